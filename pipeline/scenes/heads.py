"""From grid features to a density logit and three colour logits, with the logit's derivative.

The derivative with respect to the point is written out, link by link: what the logit asks of the
features is one row a point, which the grid turns into a direction.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from pipeline.scenes.background import xavier_uniform
from pipeline.scenes.hashgrid import HashGrid, HashGridSettings

HIDDEN = 64


class SumHead(nn.Module):
    """No network: the levels' four features are added up, density first, then red, green, blue."""

    def __init__(self, settings: HashGridSettings, generator: torch.Generator) -> None:
        super().__init__()
        if settings.features != 4:
            raise ValueError(f"the sum head needs features: 4, not {settings.features}")
        self.grid = HashGrid(settings, generator)

    def forward(self, points: Float[Tensor, "3 m"]) -> Float[Tensor, "4 m"]:
        return self.grid.summed(points)

    def density(self, points: Float[Tensor, "3 m"]) -> Float[Tensor, " m"]:
        """The first row of `forward` alone, at a quarter of its cost."""
        return self.grid.summed(points, features=1)[0]

    def density_gradient(self, points: Float[Tensor, "3 m"]) -> Float[Tensor, "3 m"]:
        """d (density logit) / d points."""
        return self.grid.summed_gradient(points, 0)


class MlpHead(nn.Module):
    """Two bias-free networks with one hidden ReLU layer of 64: one for density, one for colour."""

    def __init__(self, settings: HashGridSettings, generator: torch.Generator) -> None:
        super().__init__()
        self.grid = HashGrid(settings, generator)
        features = settings.levels * settings.features
        self.density_hidden = xavier_uniform(HIDDEN, features, generator)
        self.density_out = xavier_uniform(1, HIDDEN, generator)
        self.colour_hidden = xavier_uniform(HIDDEN, features, generator)
        self.colour_out = xavier_uniform(3, HIDDEN, generator)

    def forward(self, points: Float[Tensor, "3 m"]) -> Float[Tensor, "4 m"]:
        features = self.grid(points)
        density = self.density_out @ torch.relu(self.density_hidden @ features)
        colour = self.colour_out @ torch.relu(self.colour_hidden @ features)
        return torch.cat([density, colour])

    def density(self, points: Float[Tensor, "3 m"]) -> Float[Tensor, " m"]:
        """The first row of `forward` alone."""
        return (self.density_out @ torch.relu(self.density_hidden @ self.grid(points)))[0]

    def density_gradient(self, points: Float[Tensor, "3 m"]) -> Float[Tensor, "3 m"]:
        """d (density logit) / d points."""
        active = (self.density_hidden @ self.grid(points)) > 0
        pull = self.density_hidden.t() @ (self.density_out.t() * active)  # (lf, m)
        return self.grid.gradient(points, pull)


HEADS: dict[str, type[SumHead] | type[MlpHead]] = {"sum": SumHead, "mlp": MlpHead}
