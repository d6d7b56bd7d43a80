"""Solids with known distances, and densities and radiance fields that show them."""

from collections.abc import Callable

import torch
from torch import Tensor

from pipeline.scenes.hashgrid import grid_levels
from pipeline.scenes.nerf import Nerf, NerfSettings

Solid = Callable[[Tensor], Tensor]  # points (v, 3) -> signed distances (v,)


def sphere(radius: float, centre: tuple[float, float, float] = (0.0, 0.0, 0.0)) -> Solid:
    return lambda points: (points - torch.tensor(centre)).norm(dim=-1) - radius


def torus(ring: float, tube: float) -> Solid:
    """Around z."""

    def distance(points: Tensor) -> Tensor:
        across = points[..., :2].norm(dim=-1) - ring
        return (across.square() + points[..., 2].square()).sqrt() - tube

    return distance


def box(half: tuple[float, float, float], centre: tuple[float, float, float]) -> Solid:
    def distance(points: Tensor) -> Tensor:
        beyond = (points - torch.tensor(centre)).abs() - torch.tensor(half)
        return beyond.clamp_min(0).norm(dim=-1) + beyond.amax(-1).clamp_max(0)

    return distance


def union(*solids: Solid) -> Solid:
    """Exact outside; inside a bound."""
    return lambda points: torch.stack([solid(points) for solid in solids]).amin(0)


def toy() -> Solid:
    """A car of sorts, with a front: body, cabin, two axles of wheels."""
    return union(
        box((0.6, 0.28, 0.14), (0.0, 0.0, 0.0)),
        box((0.25, 0.24, 0.14), (-0.15, 0.0, 0.24)),
        sphere(0.16, (0.38, 0.2, -0.16)),
        sphere(0.16, (0.38, -0.2, -0.16)),
        sphere(0.16, (-0.38, 0.2, -0.16)),
        sphere(0.16, (-0.38, -0.2, -0.16)),
    )


NERF = {
    "head": "sum",
    "grid": {
        "levels": 1, "features": 4, "log2_entries": 19, "base_resolution": 48, "growth": 1.0
    },
    "radius": 1.0,
    "half_width": 1.2,
    "samples": 160,
    "density_scale": 10.0,
    "colour_scale": 4.0,
    "blob": {"scale": 0.0, "radius": 0.5, "floor": -1.0, "offset": 0.0},
    "occupancy": {"resolution": 32, "threshold": 0.01, "decay": 0.9, "interval": 16},
    "background": "given",
    "orientation": 0.0,
    "sparsity": 0.0,
    "opaque": 0.0,
}  # fmt: skip


def nerf_of(solid: Solid, *, steepness: float = 1000.0, level: float = 5.0, **changes) -> Nerf:
    """A field whose logit is level - steepness * distance at the nodes of its only grid level.

    Between the nodes it is trilinear. Colours are linear in the position: x, y, z in [-1, 1] give
    logits from -2 to 2.
    """
    nerf = Nerf(NerfSettings.from_mapping({**NERF, **changes}), torch.Generator().manual_seed(0))
    (grid,) = grid_levels(nerf.settings.grid)
    line = torch.arange(grid.resolution)
    z, y, x = torch.meshgrid(line, line, line, indexing="ij")
    nodes = (torch.stack([x, y, z], -1).view(-1, 3) - 0.5) / grid.scale
    points = (nodes - 0.5) * 2 * nerf.settings.half_width
    logit = (level - steepness * solid(points)).clamp(-60, 60)
    with torch.no_grad():
        table = nerf.head.grid.table
        table[: len(points), 0] = logit / nerf.settings.density_scale
        table[: len(points), 1:] = points * (2 / nerf.settings.colour_scale)
    nerf.occupancy.update(nerf.density)
    return nerf
