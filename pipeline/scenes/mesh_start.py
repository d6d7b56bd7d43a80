"""A mesh that starts as what a radiance field shows.

The surface is where the density crosses a threshold tau. Densities rise steeply and over orders of
magnitude; their logits (inverse softplus) are close to linear across the surface, so that

    sdf = (logit(tau) - logit(sigma)) / slope

crosses zero on an edge where the density itself crosses tau. The slope, one number, is chosen so
that the values are about distances in spacings of the grid. "auto" takes for tau the mean of the
densities above 1e-5 at the nodes, as threestudio does. Parts that are small or wholly enclosed are
no part of the start.
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from pipeline.scenes.failure import SceneFailure
from pipeline.scenes.mesh import Mesh, MeshSettings
from pipeline.scenes.mesh_clean import components
from pipeline.scenes.nerf import Nerf
from pipeline.scenes.tetgrid import TetGrid

PRESENT = 1e-5  # a density that counts in the mean
NODES_AT_ONCE = 1 << 16


def logit(density: Float[Tensor, " v"]) -> Float[Tensor, " v"]:
    """The inverse of softplus; at least -46 (a density of 1e-20)."""
    density = density.clamp_min(1e-20)
    return density + torch.log(-torch.expm1(-density))


def automatic_threshold(density: Float[Tensor, " v"]) -> float:
    """The mean of the densities that are not 0. Raises SceneFailure where all are."""
    present = density[density > PRESENT]
    if not len(present):
        raise SceneFailure("the radiance field is empty: there is no surface to start from")
    return float(present.mean())


def sdf_from_density(
    grid: TetGrid, density: Float[Tensor, " v"], threshold: float | str, floaters: float
) -> Float[Tensor, " v"]:
    """Signed distances at the nodes, in spacings, negative where the density exceeds threshold.

    Raises SceneFailure where the density crosses the threshold nowhere, or is not finite.
    """
    if not bool(density.isfinite().all()):
        raise SceneFailure("the radiance field's density is not finite")
    if isinstance(threshold, str):
        threshold = automatic_threshold(density)
    border = grid.border().to(density.device)
    level = logit(torch.full_like(density[:1], threshold)) - logit(density)
    inside = (level < 0) & ~border
    if not bool(inside.any()):
        raise SceneFailure(f"no density of the radiance field exceeds {threshold:.4g}")
    solid = solid_nodes(grid, inside, border, floaters)
    distance = level / _slope(grid, level, inside)
    distance = torch.where(solid, -distance.abs().clamp_min(1e-3), distance.abs())
    return torch.where(border, distance.clamp_min(1.0), distance)


def _slope(grid: TetGrid, level: Float[Tensor, " v"], inside: Bool[Tensor, " v"]) -> float:
    """The median change of the level from outside to inside, by spacing, over crossed edges.

    An edge is 2 or sqrt(3) spacings long and meets the surface at any angle: on average over all
    directions half of its length counts.
    """
    tets = grid.crossing(inside).long()
    change = level[tets].amax(1) - level[tets].amin(1)
    return float(change.median().clamp_min(1e-6)) / 2**0.5


def solid_nodes(
    grid: TetGrid, inside: Bool[Tensor, " v"], border: Bool[Tensor, " v"], floaters: float
) -> Bool[Tensor, " v"]:
    """The nodes inside, without parts of less than `floaters` of the largest, hollows filled."""
    label = components(grid.edges(inside), grid.nodes)
    size = torch.bincount(label[inside], minlength=grid.nodes)
    solid = inside & (size[label] >= floaters * size.max())
    label = components(grid.edges(~solid), grid.nodes)
    open_air = torch.zeros_like(inside)
    open_air[label[border]] = True
    return solid | ~open_air[label]


@torch.no_grad()
def mesh_from_nerf(nerf: Nerf, settings: MeshSettings, generator: torch.Generator) -> Mesh:
    """The field's surface, with its colours and its environment where both have one.

    Raises SceneFailure where there is no surface, ValueError where the colour fields differ.
    """
    mine, theirs = settings, nerf.settings
    for name in ("head", "grid", "half_width", "colour_scale"):
        if getattr(mine, name) != getattr(theirs, name):
            raise ValueError(
                f"mesh {name}: {getattr(mine, name)!r}, but the radiance field before it has "
                f"{getattr(theirs, name)!r}"
            )
    mesh = Mesh(settings, generator)
    mesh.head.load_state_dict(nerf.head.state_dict())
    if mesh.environment is not None and nerf.environment is not None:
        mesh.environment.load_state_dict(nerf.environment.state_dict())
    nodes = mesh.shape.nodes
    density = torch.cat(
        [nerf.density(part.t().contiguous()) for part in nodes.split(NODES_AT_ONCE)]
    )
    density = torch.where(nodes.norm(dim=1) <= theirs.radius, density, 0.0)
    sdf = sdf_from_density(mesh.shape.grid, density, settings.threshold, settings.floaters)
    mesh.shape.fill(sdf)
    return mesh
