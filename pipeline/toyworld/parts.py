"""A part is a primitive with a pose, a size and a colour, for n instances of an object at once.

Everything that varies between instances has a leading axis n. `colour` None means the object's main
colour (the one its caption names), scaled by `factor`; otherwise a fixed linear rgb.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from pipeline.toyworld.primitives import Shape, outline

Number = float | Tensor
Colour = tuple[float, float, float]
# vary(nominal, spread): (n,) values within nominal * (1 +- spread * diversity)
Vary = Callable[[float, float], Tensor]

RADIUS = 0.95  # of the ball around the origin that every object fits into


@dataclass(frozen=True)
class Part:
    """World point = centre + rotation @ (half * local point), the local point in a primitive."""

    kind: str
    centre: Float[Tensor, "n 3"]
    half: Float[Tensor, "n 3"]
    rotation: Float[Tensor, "3 3"]
    shape: Shape
    colour: Colour | None
    factor: float
    present: Bool[Tensor, " n"]

    def __getitem__(self, index: Tensor) -> "Part":
        """The part of the chosen instances."""
        return replace(
            self,
            centre=self.centre[index],
            half=self.half[index],
            present=self.present[index],
        )


def _stack(values: Sequence[Number]) -> Tensor:
    count = max((len(value) for value in values if isinstance(value, Tensor)), default=1)
    return torch.stack([torch.as_tensor(v, dtype=torch.float32).expand(count) for v in values], -1)


def turn(roll: float = 0.0, pitch: float = 0.0, yaw: float = 0.0) -> Float[Tensor, "3 3"]:
    """Rotation by degrees about +x, then +y, then +z."""
    (cr, sr), (cp, sp), (cy, sy) = (
        (math.cos(math.radians(a)), math.sin(math.radians(a))) for a in (roll, pitch, yaw)
    )
    about_x = torch.tensor([[1, 0, 0], [0, cr, -sr], [0, sr, cr]])
    about_y = torch.tensor([[cp, 0, sp], [0, 1, 0], [-sp, 0, cp]])
    about_z = torch.tensor([[cy, -sy, 0], [sy, cy, 0], [0, 0, 1]])
    return about_z @ about_y @ about_x


UPRIGHT = turn()
ALONG_X = turn(pitch=90)  # local +z points to the front
ALONG_Y = turn(roll=-90)  # local +z points to the left


def part(
    kind: str,
    centre: Sequence[Number],
    half: Sequence[Number],
    colour: Colour | None = None,
    *,
    taper: tuple[float, float] = (1.0, 1.0),
    cut: float = -1.0,
    rotation: Tensor = UPRIGHT,
    factor: float = 1.0,
    present: Tensor | None = None,
) -> Part:
    """A Part whose numbers may be floats or (n,) tensors; `half` is along the part's own axes."""
    stacked, size = _stack(centre), _stack(half)
    if present is None:
        present = torch.ones(1, dtype=torch.bool)
    return Part(kind, stacked, size, rotation, (*taper, cut), colour, factor, present)


def expanded(parts: Sequence[Part], count: int) -> list[Part]:
    """The same parts with every leading axis of length `count`."""
    return [
        replace(
            p,
            centre=p.centre.expand(count, 3).clone(),
            half=p.half.expand(count, 3).clone(),
            present=p.present.expand(count).clone(),
        )
        for p in parts
    ]


def surface(parts: Sequence[Part]) -> Float[Tensor, "n k 3"]:
    """Points on all parts whose hull contains them; NaN for the parts that an instance lacks."""
    clouds = []
    for p in parts:
        local = outline(p.kind, p.shape) * p.half[:, None]
        points = local @ p.rotation.T + p.centre[:, None]
        clouds.append(torch.where(p.present[:, None, None], points, torch.nan))
    return torch.cat(clouds, 1)


def fitted(parts: Sequence[Part]) -> list[Part]:
    """The parts moved and scaled so that the smallest ball around them is RADIUS at the origin.

    The ball's centre is found by Badoiu and Clarkson's walk to the farthest point; it is kept in
    the plane y = 0, so that symmetric objects stay symmetric.
    """
    points = surface(parts)
    keep = torch.tensor([1.0, 0.0, 1.0])
    first = torch.nan_to_num(points, nan=torch.inf).amin(1)
    last = torch.nan_to_num(points, nan=-torch.inf).amax(1)
    centre = (first + last) / 2 * keep
    for step in range(1, 60):
        distance = torch.nan_to_num((points - centre[:, None]).norm(dim=-1), nan=-1.0)
        farthest = points[torch.arange(len(points)), distance.argmax(1)]
        centre = centre + (farthest - centre) / (step + 1) * keep
    distance = torch.nan_to_num((points - centre[:, None]).norm(dim=-1), nan=-1.0)
    scale = (RADIUS / distance.amax(1, keepdim=True)) * 0.995  # outlines are polygons, not circles
    return [replace(p, centre=(p.centre - centre) * scale, half=p.half * scale) for p in parts]
