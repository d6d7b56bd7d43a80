"""A coarse grid that knows where the density may be worth sampling.

Each cell keeps a decaying maximum of densities seen at random points of it (Instant NGP, appendix
C). A cell is occupied if it or one of its 26 neighbours exceeds the threshold: the margin of one
cell lets the object grow into space that is empty now, because samples there receive gradient.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn


@dataclass(frozen=True)
class OccupancySettings:
    """Preset data. `threshold` is a density; below 0 every cell of the ball counts as occupied."""

    resolution: int
    threshold: float
    decay: float
    interval: int

    def __post_init__(self) -> None:
        if self.resolution < 2 or self.interval < 1 or not 0 <= self.decay <= 1:
            raise ValueError(f"impossible occupancy grid: {self}")


class Occupancy(nn.Module):
    """Cells of the cube [-radius, radius]^3; all state is in buffers, so resuming is exact."""

    density: Tensor
    mask: Tensor
    extent: Tensor

    def __init__(self, settings: OccupancySettings, radius: float) -> None:
        super().__init__()
        self.settings, self.radius = settings, radius
        size = settings.resolution
        self.register_buffer("density", torch.zeros(size**3))
        self.register_buffer("mask", torch.ones(size**3, dtype=torch.bool))
        self.register_buffer("extent", torch.tensor(radius))

    def occupied(self, position: Float[Tensor, "3 n"]) -> Bool[Tensor, " n"]:
        """Whether points of the cube lie in occupied cells."""
        size = self.settings.resolution
        cell = position * (size / (2 * self.radius)) + size / 2
        cell = cell.int().clamp_(0, size - 1)
        return self.mask.index_select(0, (cell[2] * size + cell[1]) * size + cell[0])

    @torch.no_grad()
    def update(
        self,
        density: Callable[[Float[Tensor, "3 n"]], Float[Tensor, " n"]],
        generator: torch.Generator | None = None,
    ) -> None:
        """Look at a random point (without generator: the centre) of each cell in the ball."""
        size = self.settings.resolution
        width = 2 * self.radius / size
        line = torch.arange(size, device=self.density.device)
        z, y, x = torch.meshgrid(line, line, line, indexing="ij")
        cells = torch.stack([x, y, z]).flatten(1).to(torch.float32)
        centre_distance = ((cells + 0.5) * width - self.radius).norm(dim=0)
        meets_ball = centre_distance < self.radius + width * 3**0.5 / 2
        inside = meets_ball.nonzero()[:, 0]
        offset = torch.full((3, len(inside)), 0.5)
        if generator is not None:
            offset = torch.rand(3, len(inside), generator=generator)
        points = (cells[:, inside] + offset.to(cells.device)) * width - self.radius
        self.density.mul_(self.settings.decay)
        self.density[inside] = torch.maximum(self.density[inside], density(points))
        dense = (self.density > self.settings.threshold) & meets_ball
        grown = F.max_pool3d(dense.view(1, 1, size, size, size).float(), 3, 1, 1).view(-1) > 0
        self.mask.copy_(grown & meets_ball)
        reach = centre_distance[self.mask] + width * 3**0.5 / 2
        furthest = float(reach.max()) if len(reach) else 0.0
        self.extent.fill_(min(furthest, self.radius))
