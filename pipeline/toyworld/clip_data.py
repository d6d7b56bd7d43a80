"""Training pictures and the captions that are true, false or undecided for each.

A pool of layers is rendered once; colours, backgrounds, faults and augmentation are drawn anew for
every batch, from a generator that depends on the seed and the step only, so that a resumed training
sees the same batches. The candidates are all captions of the world: plain, with view word, blobs,
faults.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional

from pipeline.cameras import CameraRanges
from pipeline.toyworld.clip_model import SIZE
from pipeline.toyworld.degrade import DEGRADE
from pipeline.toyworld.fakes import blobs, folded, janus
from pipeline.toyworld.objects import build
from pipeline.toyworld.render import light, render
from pipeline.toyworld.vocabulary import COLOURS, DEGRADATIONS, DIRECTIONAL, SHAPES, VIEWS, caption
from pipeline.toyworld.world import (
    SHADE,
    Instances,
    as_bytes,
    covering_cameras,
    drawn,
    seeded,
)

# wider than the miniature's cameras: the metric must not fail on the border of its training
RANGES = CameraRanges((-180, 180), (-20, 60), (2.6, 3.5), (38, 43))
OVERHEAD = CameraRanges((-180, 180), (60, 85), (2.6, 3.5), (38, 43))
MARGIN = 12.0  # degrees from a threshold within which both neighbours' view words pass

# azimuth from which objects with two fronts are shown; evaluation starts further back, at BEHIND
DOUBLED = 110.0

PLAIN = len(SHAPES) * len(COLOURS)
VIEWED = PLAIN * len(VIEWS)
COUNT = PLAIN + VIEWED + len(COLOURS) + len(DEGRADATIONS)

TRUE, BLOB, BLOBS, DEGRADED, JANUS = range(5)
SHARES = {TRUE: 0.58, BLOB: 0.07, BLOBS: 0.06, DEGRADED: 0.15, JANUS: 0.14}


def candidates() -> list[str]:
    """All captions in the order of the target's columns."""
    plain = [caption(s, c) for s in SHAPES for c in COLOURS]
    viewed = [caption(s, c, v) for s in SHAPES for c in COLOURS for v in VIEWS]
    return [*plain, *viewed, *(caption(None, c) for c in COLOURS), *DEGRADATIONS]


@dataclass(frozen=True)
class Pool:
    """uint8 planes base rgb, alpha, tint (n,5,s,s), and the azimuth and elevation of each.

    `objects` and `fronts` (Janus) hold an equal number a shape, shape after shape; then `heaps`.
    """

    objects: Tensor
    views: Float[Tensor, "n 2"]
    fronts: Tensor
    front_views: Float[Tensor, "m 2"]
    heaps: Tensor


@dataclass(frozen=True)
class Batch:
    """Pictures in [0, 1] and what they are; `other` is a second colour or the number of a fault."""

    images: Float[Tensor, "b 3 s s"]
    kind: Int[Tensor, " b"]
    shape: Int[Tensor, " b"]
    colour: Int[Tensor, " b"]
    other: Int[Tensor, " b"]
    azimuth: Float[Tensor, " b"]
    elevation: Float[Tensor, " b"]


def _varied(shape: str, count: int, words: tuple[object, ...]) -> Instances:
    """A third at diversity 0, the rest at 1, each with proportions and light of its own."""
    generator = seeded(*words, shape)
    plain = max(count // 3, 1)
    lots = [(plain, 0.0), (count - plain, 1.0)]
    parts = [build(shape, n, d, generator) for n, d in lots]
    lights = [light(n, d, generator) for n, d in lots]
    both = [
        type(a)(
            a.kind,
            torch.cat([a.centre, b.centre]),
            torch.cat([a.half, b.half]),
            a.rotation,
            a.shape,
            a.colour,
            a.factor,
            torch.cat([a.present, b.present]),
        )
        for a, b in zip(*parts, strict=True)
    ]
    joined = type(lights[0])(
        torch.cat([x.weights for x in lights]), torch.cat([x.direction for x in lights])
    )
    return Instances(both, joined, torch.zeros(count, 3))


def _planes(objects: Instances, cameras: object, size: int) -> Tensor:
    layers, _ = drawn(objects, torch.arange(len(objects)), cameras, size)  # type: ignore[arg-type]
    return as_bytes(torch.cat([layers.base, layers.alpha, layers.tint], 1))


def pool(per_shape: int, *, seed: int, size: int = SIZE) -> Pool:
    """`per_shape` objects, a third as many Janus objects a shape, and four times as many heaps."""
    third = max(per_shape // 3, 1)
    above = max(per_shape // 8, 1)
    objects, views, fronts, front_views = [], [], [], []
    for shape in SHAPES:
        generator = seeded("clip cameras", seed, shape)
        for ranges, count in ((RANGES, per_shape - above), (OVERHEAD, above)):
            cameras = covering_cameras(count, ranges, generator)
            lot = _varied(shape, count, ("clip", seed, ranges.elevation))
            order = torch.randperm(count, generator=generator)
            mixed = Instances([p[order] for p in lot.parts], lot.lights[order], lot.shade)
            objects.append(_planes(mixed, cameras, size))
            views.append(torch.stack([cameras.azimuth_deg, cameras.elevation_deg], -1))
        behind = CameraRanges((DOUBLED, 360 - DOUBLED), *_rest(RANGES))
        cameras = covering_cameras(third, behind, generator)
        doubled = janus(_varied(shape, third, ("clip janus", seed)))
        fronts.append(_planes(doubled, cameras, size))
        front_views.append(torch.stack([cameras.azimuth_deg, cameras.elevation_deg], -1))
    generator = seeded("clip blobs", seed)
    count = 4 * per_shape
    cameras = covering_cameras(count, RANGES, generator)
    heap = render(blobs(count, generator), light(count, 1.0, generator), cameras, size)
    heaps = as_bytes(torch.cat([heap.base, heap.alpha, heap.tint], 1))
    return Pool(
        torch.cat(objects), torch.cat(views), torch.cat(fronts), torch.cat(front_views), heaps
    )


def _rest(ranges: CameraRanges) -> tuple[tuple[float, float], ...]:
    return ranges.elevation, ranges.distance, ranges.fovy


def _coloured(planes: Tensor, colour: Int[Tensor, " n"], generator: torch.Generator) -> Tensor:
    """Premultiplied rgba with the named colours, jittered a little more than the world's."""
    values = planes.float() / 255
    jitter = 1.5 * SHADE * (2 * torch.rand(len(planes), 3, generator=generator) - 1)
    main = (torch.tensor(list(COLOURS.values()))[colour] + jitter).clamp(0, 1)[..., None, None]
    return torch.cat([values[:, :3] + values[:, 4:] * main, values[:, 3:4]], 1)


def _degraded(rgba: Tensor, fault: int, generator: torch.Generator) -> Tensor:
    """The fault at the size of a bank image, of the input or of an evaluated view."""
    size = (32, SIZE, 96)[int(torch.randint(3, (), generator=generator))]
    there = functional.interpolate(rgba, (size, size), mode="bilinear", antialias=True)
    spoilt = list(DEGRADE.values())[fault](there, generator)
    return functional.interpolate(spoilt, rgba.shape[-2:], mode="bilinear", antialias=True)


def backgrounds(count: int, generator: torch.Generator) -> Float[Tensor, "n 3"]:
    """Greys, two in five of them with a strong tint."""
    grey = 0.15 + 0.7 * torch.rand(count, 1, generator=generator)
    tint = torch.rand(count, 3, generator=generator)
    coloured = torch.rand(count, 1, generator=generator) < 0.4
    return torch.where(coloured, 0.5 * grey + 0.5 * tint, grey)


def _augmented(rgba: Tensor, clean: Tensor, generator: torch.Generator) -> Tensor:
    """Shifted, scaled, blurred, thinned, recoloured a little, on random backgrounds, with noise.

    What a rendered radiance field shows and a ray caster does not: soft edges, slight
    transparency, noise. Only `clean` pictures are blurred and change their saturation: blur would
    hide the very faults that the others are there to show.
    """
    count, size = len(rgba), rgba.shape[-1]

    def draw(low: float, high: float) -> Tensor:
        return low + (high - low) * torch.rand(count, 1, 1, 1, generator=generator)

    zero = torch.zeros(count)
    scale = draw(0.92, 1.10).flatten()
    shift_x, shift_y = draw(-0.06, 0.06).flatten(), draw(-0.06, 0.06).flatten()
    theta = torch.stack([scale, zero, shift_x, zero, scale, shift_y], -1).reshape(-1, 2, 3)
    grid = functional.affine_grid(theta, [count, 4, size, size], align_corners=False)
    rgba = functional.grid_sample(rgba, grid, align_corners=False)
    small = int(torch.randint(26, size + 1, (), generator=generator))
    blurred = clean & (torch.rand(count, generator=generator) < 0.5)
    soft = functional.interpolate(rgba[blurred], (small, small), mode="bilinear", antialias=True)
    rgba[blurred] = functional.interpolate(soft, (size, size), mode="bicubic")
    rgba = rgba * torch.where(draw(0, 1) < 0.5, 1.0, draw(0.75, 1.0))
    grey = rgba[:, :3].mean(1, keepdim=True)
    saturation = torch.where(clean[:, None, None, None], draw(0.8, 1.25), 1.0)
    rgb = (grey + saturation * (rgba[:, :3] - grey)) * draw(0.85, 1.10)
    picture = rgb + (1 - rgba[:, 3:]) * backgrounds(count, generator)[..., None, None]
    noise = torch.randn(picture.shape, generator=generator) * draw(0.0, 0.04)
    return (picture + noise).clamp(0, 1)


def batch(pool: Pool, size: int, generator: torch.Generator) -> Batch:
    """`size` pictures, kinds in fixed shares, then augmented together in random order."""
    counts = [int(size * share) for share in SHARES.values()]
    counts[TRUE] += size - sum(counts)
    kind = torch.repeat_interleave(torch.arange(5), torch.tensor(counts))
    kind = kind[torch.randperm(size, generator=generator)]
    shape = torch.randint(len(SHAPES), (size,), generator=generator)
    colour = torch.randint(len(COLOURS), (size,), generator=generator)
    step = torch.randint(1, len(COLOURS), (size,), generator=generator)
    other = torch.where(kind == BLOBS, (colour + step) % len(COLOURS), 0)
    fault = torch.randint(len(DEGRADE), (size,), generator=generator)
    other = torch.where(kind == DEGRADED, fault, other)
    pick = torch.randint(1 << 30, (size,), generator=generator)

    per_shape, doubles = len(pool.objects) // len(SHAPES), len(pool.fronts) // len(SHAPES)
    at = shape * per_shape + pick % per_shape
    twice = shape * doubles + pick % doubles
    heap = pick % len(pool.heaps)
    is_heap, is_double = (kind == BLOB) | (kind == BLOBS), kind == JANUS
    planes = pool.objects[at]
    planes[is_heap] = pool.heaps[heap[is_heap]]
    planes[is_double] = pool.fronts[twice[is_double]]
    views = torch.where(is_double[:, None], pool.front_views[twice], pool.views[at])

    rgba = _coloured(planes, colour, generator)
    two = torch.nonzero(kind == BLOBS)[:, 0]
    under = _coloured(pool.heaps[(heap[two] * 7 + 3) % len(pool.heaps)], other[two], generator)
    rgba[two] = rgba[two] + (1 - rgba[two, 3:]) * under
    for number in range(len(DEGRADE)):
        lot = torch.nonzero((kind == DEGRADED) & (other == number))[:, 0]
        if len(lot):
            rgba[lot] = _degraded(rgba[lot], number, generator)
    images = _augmented(rgba, kind != DEGRADED, generator)
    return Batch(images, kind, shape, colour, other, views[:, 0], views[:, 1])


def targets(b: Batch) -> Float[Tensor, "b captions"]:
    """1 where the caption is true of the picture, 0 where false, -1 where nobody should be judged.

    Undecided are: a neighbour's view word near a threshold; the plain caption of an object with
    two fronts; the blob captions of a heap of two colours; the view words of a shape that looks
    the same from all around.
    """
    rows = torch.arange(len(b.kind))
    named = b.shape * len(COLOURS) + b.colour
    columns = PLAIN + named[:, None] * len(VIEWS) + torch.arange(len(VIEWS))
    table = torch.zeros(len(rows), COUNT)
    is_true, is_double = b.kind == TRUE, b.kind == JANUS
    table[rows[is_true], named[is_true]] = 1
    table[rows[is_double], named[is_double]] = -1
    truth = view_truth(b)
    table[rows[is_true, None], columns[is_true]] = truth[is_true]
    blob = PLAIN + VIEWED
    one, two, spoilt = b.kind == BLOB, b.kind == BLOBS, b.kind == DEGRADED
    table[rows[one], blob + b.colour[one]] = 1
    table[rows[two], blob + b.colour[two]] = -1
    table[rows[two], blob + b.other[two]] = -1
    table[rows[spoilt], blob + len(COLOURS) + b.other[spoilt]] = 1
    even = is_double & ~_directional(b.shape)  # two fronts of a tree are a tree
    table[rows[even, None], columns[even]] = -1
    return table


def _directional(shape: Int[Tensor, " b"]) -> Tensor:
    return torch.tensor([name in DIRECTIONAL for name in SHAPES])[shape]


def view_truth(b: Batch) -> Float[Tensor, "b 4"]:
    """1, 0 or -1 (undecided) for front, side, back, overhead."""
    angle = folded(b.azimuth)
    high = b.elevation > 60
    words = torch.stack(
        [
            ~high & (angle < 45),
            ~high & (angle >= 45) & (angle <= 135),
            ~high & (angle > 135),
            high,
        ],
        -1,
    )
    # the words of the cameras within MARGIN of this one, in azimuth and in elevation
    low, top = b.elevation - MARGIN <= 60, b.elevation + MARGIN > 60
    level = [angle - MARGIN < 45, (angle + MARGIN >= 45) & (angle - MARGIN <= 135)]
    level.append(angle + MARGIN > 135)
    around = ~_directional(b.shape)
    near = torch.stack([*(low & (word | around) for word in level), top], -1)
    return torch.where(near & ~words, -1.0, words.float())


def strict_label(b: Batch) -> Int[Tensor, " b"]:
    """The column among 81 x {front, side, back} of a clearly true picture, -1 for all others."""
    angle = folded(b.azimuth)
    near = ((angle - 45).abs() < MARGIN) | ((angle - 135).abs() < MARGIN)
    clear = (b.kind == TRUE) & ~near & (b.elevation < 60 - MARGIN)
    view = (angle >= 45).long() + (angle > 135).long()
    named = b.shape * len(COLOURS) + b.colour
    return torch.where(clear, named * 3 + view, -1)
