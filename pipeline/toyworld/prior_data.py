"""Pictures and captions that the learned priors are trained on.

A pool of layers is rendered once; colour, background, fault and caption are drawn anew for every
batch from a generator that depends on the seed and the step only, so that a resumed training sees
the same batches. Two thirds of the objects have the world's plain proportions, a third vary.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from pipeline.cameras import CameraRanges
from pipeline.toyworld.degrade import DEGRADE
from pipeline.toyworld.render import geometry
from pipeline.toyworld.vocabulary import COLOURS, DEGRADATIONS, SHAPES, caption
from pipeline.toyworld.world import as_bytes, covering_cameras, drawn, instances, seeded

# a little wider than the miniature's cameras, so that its views are not on the border
RANGES = CameraRanges((-180, 180), (-12, 48), (2.75, 3.25), (39.5, 40.5))
OVERHEAD = CameraRanges((-180, 180), (60, 80), (2.75, 3.25), (39.5, 40.5))
VARIED, ABOVE = 1 / 3, 0.05  # shares of the pool: varied objects, cameras overhead
GREYS = (0.25, 0.75)  # of backgrounds; scenes are shown on greys inside this range
DEGRADED = 0.10  # share of pictures with a fault
NO_VIEW, NO_CAPTION = 0.08, 0.12  # shares of captions without view word, and of empty ones


@dataclass(frozen=True)
class Pool:
    """Rendered layers: premultiplied base rgb, alpha, tint; perhaps normals and depth."""

    planes: UInt8[Tensor, "n 5 s s"]
    geometry: UInt8[Tensor, "n 4 s s"] | None  # normal * 0.5 + 0.5 on black, normalised depth
    shape: Int[Tensor, " n"]
    shade: Float[Tensor, "n 3"]
    azimuth: Float[Tensor, " n"]
    elevation: Float[Tensor, " n"]

    def __len__(self) -> int:
        return len(self.planes)


@dataclass(frozen=True)
class Batch:
    """Pictures in [0, 1] with their captions; `index` says which of the pool each one shows."""

    rgb: Float[Tensor, "b 3 s s"]
    captions: list[str]
    index: Int[Tensor, " b"]


def pool(per_shape: int, *, seed: int, size: int, with_geometry: bool = False) -> Pool:
    """About `per_shape` renders of each shape; the objects and views depend on the seed only."""
    above = max(int(ABOVE * per_shape), 1)
    varied = max(int(VARIED * per_shape), 1)
    lots = [
        (RANGES, 0.0, max(per_shape - varied - above, 1)),
        (RANGES, 1.0, varied),
        (OVERHEAD, 0.0, above),
    ]
    rows = [
        _lot(number, shape, ranges, diversity, count, (seed, size, with_geometry))
        for number, shape in enumerate(SHAPES)
        for ranges, diversity, count in lots
    ]
    columns = list(zip(*rows, strict=True))
    planes, shaped = torch.cat(columns[0]), columns[1]
    solid = torch.cat(shaped) if with_geometry else None
    return Pool(planes, solid, *(torch.cat(column) for column in columns[2:]))


def _lot(
    number: int,
    shape: str,
    ranges: CameraRanges,
    diversity: float,
    count: int,
    settings: tuple[int, int, bool],
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    seed, size, with_geometry = settings
    objects = instances(shape, seed=seed, diversity=diversity, count=count)
    words = ("prior cameras", seed, shape, diversity, ranges.elevation)
    cameras = covering_cameras(count, ranges, seeded(*words))
    index = torch.arange(count) % len(objects)
    layers, shade = drawn(objects, index, cameras, size)
    planes = as_bytes(torch.cat([layers.base, layers.alpha, layers.tint], 1))
    solid = torch.empty(0, dtype=torch.uint8)
    if with_geometry:
        normal, depth, alpha = geometry([p[index] for p in objects.parts], cameras, size)
        solid = as_bytes(torch.cat([(0.5 * normal + 0.5) * alpha, depth], 1))
    kind = torch.full((count,), number)
    return planes, solid, kind, shade, cameras.azimuth_deg, cameras.elevation_deg


def view_word(azimuth: float, elevation: float) -> str:
    """The view word at the thresholds of the miniature's presets: 45, 45 and 60 degrees."""
    if elevation > 60:
        return "overhead"
    angle = abs((azimuth + 180.0) % 360.0 - 180.0)
    return "front" if angle < 45 else "back" if angle > 135 else "side"


def batch(
    pool: Pool,
    size: int,
    generator: torch.Generator,
    *,
    degraded: float = DEGRADED,
    no_caption: float = NO_CAPTION,
) -> Batch:
    """`size` pictures in random colours on random greys; the shares have faults, no caption."""

    def draw(*shape: int) -> Tensor:
        return torch.rand(*shape, generator=generator)

    index = torch.randint(len(pool), (size,), generator=generator)
    colour = torch.randint(len(COLOURS), (size,), generator=generator)
    fault = torch.randint(len(DEGRADE), (size,), generator=generator)
    fault = torch.where(draw(size) < degraded, fault, -1)
    values = pool.planes[index].float() / 255
    main = (torch.tensor(list(COLOURS.values()))[colour] + pool.shade[index]).clamp(0, 1)
    rgba = torch.cat([values[:, :3] + values[:, 4:] * main[..., None, None], values[:, 3:4]], 1)
    for number, spoil in enumerate(DEGRADE.values()):
        lot = torch.nonzero(fault == number)[:, 0]
        if len(lot):
            rgba[lot] = spoil(rgba[lot], generator)
    low, high = GREYS
    grey = low + (high - low) * draw(size, 1, 1, 1)
    rgb = (rgba[:, :3] + (1 - rgba[:, 3:]) * grey).clamp(0, 1)
    coins = draw(size, 3).tolist()
    rows = zip(index.tolist(), colour.tolist(), fault.tolist(), coins, strict=True)
    captions = ["" if row[3][0] < no_caption else _words(pool, *row) for row in rows]
    return Batch(rgb, captions, index)


def _words(pool: Pool, at: int, colour: int, fault: int, coin: list[float]) -> str:
    """A fault is called by its phrase or by the whole negative prompt, the union of all faults."""
    if fault >= 0:
        return DEGRADATIONS[fault] if coin[1] < 0.4 else ", ".join(DEGRADATIONS)
    word = view_word(float(pool.azimuth[at]), float(pool.elevation[at]))
    named = SHAPES[int(pool.shape[at])], list(COLOURS)[colour]
    return caption(*named, None if coin[2] < NO_VIEW else word)
