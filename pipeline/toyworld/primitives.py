"""Ray against three convex solids, each in its own frame where it fits the cube [-1, 1]^3.

box        |x| <= 1 and |y| <= 1 at z = -1, shrinking to taper[0], taper[1] at z = 1 (wedge, roof)
frustum    radius 1 at z = -1, shrinking to taper[0] at z = 1 (cylinder, cone)
ellipsoid  the unit ball above the plane z = cut (cut = -1: all of it)

A ray is o + t d with d of any length, so that t is comparable between frames. `enter` gives the t
at which the ray enters the solid (+inf: never); `normal` the outward normal at a surface point, of
any length.
"""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

Vector = tuple[Float[Tensor, " m"], Float[Tensor, " m"], Float[Tensor, " m"]]
Shape = tuple[float, float, float]  # taper x, taper y, cut

_TINY = 1e-12


def _slab(
    low: Tensor, high: Tensor, distance: Tensor, slope: Tensor | float
) -> tuple[Tensor, Tensor]:
    """[low, high] cut by the half space distance + t * slope <= 0; parallel rays stay or die."""
    slope = torch.as_tensor(slope)
    t = -distance / torch.where(slope.abs() < _TINY, _TINY, slope)
    return torch.where(slope < 0, torch.maximum(low, t), low), torch.where(
        slope >= 0, torch.minimum(high, t), high
    )


def _first(low: Tensor, high: Tensor) -> Tensor:
    return torch.where((low < high) & (low > 0), low, torch.inf)


def _start(d: Vector) -> tuple[Tensor, Tensor]:
    return torch.full_like(d[0], -torch.inf), torch.full_like(d[0], torch.inf)


def enter_box(o: Vector, d: Vector, shape: Shape) -> Float[Tensor, " m"]:
    """t of entry into the tapered box: six half spaces."""
    low, high = _start(d)
    low, high = _slab(low, high, o[2] - 1, d[2])
    low, high = _slab(low, high, -o[2] - 1, -d[2])
    for axis in (0, 1):
        middle, growth = (1 + shape[axis]) / 2, (shape[axis] - 1) / 2
        for sign in (1.0, -1.0):
            distance = sign * o[axis] - middle - growth * o[2]
            low, high = _slab(low, high, distance, sign * d[axis] - growth * d[2])
    return _first(low, high)


def normal_box(p: Vector, shape: Shape) -> Vector:
    """Normal of the face that p is closest to."""
    growth = [(k - 1) / 2 for k in shape[:2]]
    over_x = p[0].abs() - (1 + shape[0]) / 2 - growth[0] * p[2]
    over_y = p[1].abs() - (1 + shape[1]) / 2 - growth[1] * p[2]
    face = torch.stack([over_x, over_y, p[2].abs() - 1]).argmax(0)
    x = torch.where(face == 0, torch.sign(p[0]), 0.0)
    y = torch.where(face == 1, torch.sign(p[1]), 0.0)
    tilt = torch.where(face == 0, -growth[0], -growth[1])
    return x, y, torch.where(face == 2, torch.sign(p[2]), tilt)


def enter_frustum(o: Vector, d: Vector, shape: Shape) -> Float[Tensor, " m"]:
    """t of entry into the frustum: the double cone's chord cut by the slab |z| <= 1.

    Its apex lies at or above z = 1, so the slab keeps the lower nappe only. A ray steeper than the
    cone (a < 0) is inside outside the roots: the half line of the lower nappe is kept.
    """
    middle, growth = (1 + shape[0]) / 2, (shape[0] - 1) / 2
    radius = middle + growth * o[2]
    a = d[0] * d[0] + d[1] * d[1] - (growth * d[2]) ** 2
    a = torch.where(a.abs() < _TINY, _TINY, a)
    b = o[0] * d[0] + o[1] * d[1] - growth * d[2] * radius
    c = o[0] * o[0] + o[1] * o[1] - radius * radius
    discriminant = b * b - a * c
    root = discriminant.clamp_min(0).sqrt()
    first, second = (-b - root) / a, (-b + root) / a
    near, far = torch.minimum(first, second), torch.maximum(first, second)
    steep, up = a < 0, d[2] > 0
    low = torch.where(steep, torch.where(up, -torch.inf, far), near)
    high = torch.where(steep, torch.where(up, near, torch.inf), far)
    low, high = _slab(low, high, o[2] - 1, d[2])
    low, high = _slab(low, high, -o[2] - 1, -d[2])
    return torch.where((discriminant >= 0) | steep, _first(low, high), torch.inf)


def normal_frustum(p: Vector, shape: Shape) -> Vector:
    """Normal of the cap (|z| within 1e-3 of 1) or of the mantle."""
    middle, growth = (1 + shape[0]) / 2, (shape[0] - 1) / 2
    cap = p[2].abs() > 1 - 1e-3
    mantle = -growth * (middle + growth * p[2])
    return (
        torch.where(cap, 0.0, p[0]),
        torch.where(cap, 0.0, p[1]),
        torch.where(cap, torch.sign(p[2]), mantle),
    )


def enter_ellipsoid(o: Vector, d: Vector, shape: Shape) -> Float[Tensor, " m"]:
    """t of entry into the unit ball above z = cut."""
    a = d[0] * d[0] + d[1] * d[1] + d[2] * d[2]
    b = o[0] * d[0] + o[1] * d[1] + o[2] * d[2]
    c = o[0] * o[0] + o[1] * o[1] + o[2] * o[2] - 1
    discriminant = b * b - a * c
    root = discriminant.clamp_min(0).sqrt()
    low, high = (-b - root) / a, (-b + root) / a
    if shape[2] > -1:
        low, high = _slab(low, high, shape[2] - o[2], -d[2])
    return torch.where(discriminant >= 0, _first(low, high), torch.inf)


def normal_ellipsoid(p: Vector, shape: Shape) -> Vector:
    """The radius, or straight down on the cut."""
    if shape[2] <= -1:
        return p
    flat = p[2] < shape[2] + 1e-3
    return torch.where(flat, 0.0, p[0]), torch.where(flat, 0.0, p[1]), torch.where(flat, -1.0, p[2])


SOLIDS: dict[str, tuple[Callable[..., Tensor], Callable[..., Vector]]] = {
    "box": (enter_box, normal_box),
    "frustum": (enter_frustum, normal_frustum),
    "ellipsoid": (enter_ellipsoid, normal_ellipsoid),
}


def outline(kind: str, shape: Shape) -> Float[Tensor, "k 3"]:
    """Points whose hull contains the solid to within 1 %: corners, rings, or a fine sphere."""
    if kind == "box":
        signs = torch.cartesian_prod(*[torch.tensor([-1.0, 1.0])] * 3)
        top = signs[:, 2:] > 0
        return torch.where(top, signs * torch.tensor([shape[0], shape[1], 1.0]), signs)
    angle = torch.arange(24) * (2 * torch.pi / 24)
    ring = torch.stack([angle.cos(), angle.sin(), torch.zeros(24)], -1)
    if kind == "frustum":
        up = torch.tensor([0.0, 0.0, 1.0])
        return torch.cat([ring - up, ring * shape[0] + up])
    heights = torch.linspace(max(shape[2], -1.0), 1.0, 9)
    radii = (1 - heights**2).clamp_min(0).sqrt()
    scale = torch.stack([radii, radii, torch.zeros(9)], -1)[:, None]
    lift = torch.stack([torch.zeros(9), torch.zeros(9), heights], -1)[:, None]
    return (ring * scale + lift).reshape(-1, 3)
