"""The instances, cameras and images that one seed stands for; what the bank and truth files hold.

Instance k of a shape has the same proportions and light in every file written with the same world
seed and diversity, so that the truth holds the very objects of which the bank holds images.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, fields

import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from pipeline.cameras import CameraRanges, Cameras, orbit
from pipeline.toyworld.objects import build
from pipeline.toyworld.parts import Part
from pipeline.toyworld.render import Layers, Light, light, render
from pipeline.toyworld.vocabulary import COLOURS

# Raise when this package draws another object, light or picture than before, by more than rounding.
# Truth files carry it, and protocols name truths by it: bits differ between kinds of CPU.
VERSION = 1

INSTANCES = 16  # of a shape at diversity > 0: many enough to differ, few enough for truth files
SHADE = 0.06  # largest colour jitter of an instance at diversity 1

# Strides of an additive recurrence. Azimuth and elevation matter most and take the powers of the
# plastic number (root of x^3 = x + 1), the best pair in the plane; distance and field of view take
# the golden ratio and the square root of two, which have no common period with it.
_PLASTIC, _GOLDEN = 1.324717957244746, 1.618033988749895
_STRIDES = torch.tensor([1 / _PLASTIC, _PLASTIC**-2, 1 / _GOLDEN, 2**0.5], dtype=torch.float64)


@dataclass(frozen=True)
class Instances:
    """Objects of one shape: parts, lights and colour jitter, each with a leading axis."""

    parts: list[Part]
    lights: Light
    shade: Float[Tensor, "n 3"]

    def __len__(self) -> int:
        return len(self.shade)


def seeded(*words: object) -> torch.Generator:
    """A generator whose stream depends on all the words and on nothing else."""
    text = "/".join(str(word) for word in words)
    number = int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1
    return torch.Generator().manual_seed(number)


def instances(shape: str, *, seed: int, diversity: float, count: int | None = None) -> Instances:
    """The world's objects of a shape: one at diversity 0, else `count` (INSTANCES)."""
    if diversity == 0.0:
        count = 1
    elif count is None:
        count = INSTANCES
    generator = seeded("instances", seed, shape)
    parts = build(shape, count, diversity, generator)
    lights = light(count, diversity, generator)
    jitter = 2 * torch.rand(count, 3, generator=generator) - 1
    return Instances(parts, lights, SHADE * diversity * jitter)


def covering_cameras(count: int, ranges: CameraRanges, generator: torch.Generator) -> Cameras:
    """Cameras uniform on the ranges and evenly spread: any prefix covers them without large holes.

    A randomly shifted additive recurrence instead of independent draws: at 3,200 images the largest
    gap between poses is several times smaller, and thin parts need dense poses.
    """
    shift = torch.rand(4, generator=generator, dtype=torch.float64)
    steps = torch.arange(count, dtype=torch.float64)[:, None]
    unit = ((steps * _STRIDES + shift) % 1.0).float()
    columns = [
        low + (high - low) * unit[:, k]
        for k, (low, high) in enumerate(
            (ranges.azimuth, ranges.elevation, ranges.distance, ranges.fovy)
        )
    ]
    return orbit(*columns)


def chosen_cameras(cameras: Cameras, index: Int[Tensor, " m"]) -> Cameras:
    """The cameras at the given places."""
    return Cameras(*(getattr(cameras, field.name)[index] for field in fields(cameras)))


def drawn(
    objects: Instances, index: Int[Tensor, " n"], cameras: Cameras, size: int
) -> tuple[Layers, Float[Tensor, "n 3"]]:
    """(layers, shade) of image i = object index[i] seen by camera i."""
    parts = [p[index] for p in objects.parts]
    return render(parts, objects.lights[index], cameras, size), objects.shade[index]


def main_colour(colour: str, shade: Float[Tensor, "n 3"]) -> Float[Tensor, "n 3"]:
    """The main colour of each image: the named colour plus its instance's jitter, within [0, 1]."""
    return (torch.tensor(COLOURS[colour]) + shade).clamp(0, 1)


def as_bytes(plane: Float[Tensor, "..."]) -> UInt8[Tensor, "..."]:
    """[0, 1] rounded to 256 levels."""
    return (plane * 255 + 0.5).clamp(0, 255).to(torch.uint8)


def packed(layers: Layers, shade: Float[Tensor, "n 3"]) -> dict[str, Tensor]:
    """The file's tensors: `base` uint8 (n,4,s,s), `tint` uint8 (n,1,s,s), `shade` (n,3)."""
    base = torch.cat([layers.base, layers.alpha], 1)
    return {"base": as_bytes(base), "tint": as_bytes(layers.tint), "shade": shade.clone()}


def composed(tensors: dict[str, Tensor], colour: str) -> Float[Tensor, "n 4 s s"]:
    """Premultiplied rgba of a bank file's images in a colour, float in [0, 1]."""
    base, tint = tensors["base"].float() / 255, tensors["tint"].float() / 255
    main = main_colour(colour, tensors["shade"])[..., None, None]
    return torch.cat([base[..., :3, :, :] + tint * main, base[..., 3:, :, :]], -3)


def camera_arrays(cameras: Cameras) -> dict[str, Tensor]:
    """The file's camera tensors, float32 (n,), in degrees and world units."""
    return {
        "azimuth_deg": cameras.azimuth_deg.clone(),
        "elevation_deg": cameras.elevation_deg.clone(),
        "distance": cameras.distance.clone(),
        "fovy_deg": torch.rad2deg(cameras.fovy),
    }


def ranges_of(data: dict[str, Sequence[float]]) -> CameraRanges:
    """Camera ranges from preset data, whose other keys (how cameras are paired) are left aside."""
    names = ("azimuth", "elevation", "distance", "fovy")
    return CameraRanges.from_mapping({name: data[name] for name in names if name in data})
