"""Backgrounds: one colour a view, given by the caller, or a learned map of the surroundings."""

import torch
from jaxtyping import Float
from torch import Tensor, nn


def spherical_harmonics(directions: Float[Tensor, "3 r"]) -> Float[Tensor, "9 r"]:
    """The nine real spherical harmonics of degree at most 2, orthonormal on the unit sphere.

    Order l = 0, 1, 2 and m = -l .. l; "degree 3" in tinycudann's counting of bands.
    """
    x, y, z = directions
    return torch.stack(
        [
            torch.full_like(x, 0.28209479177387814),  # 1 / (2 sqrt(pi))
            0.4886025119029199 * y,  # sqrt(3 / (4 pi))
            0.4886025119029199 * z,
            0.4886025119029199 * x,
            1.0925484305920792 * x * y,  # sqrt(15 / (4 pi))
            1.0925484305920792 * y * z,
            0.31539156525252005 * (3 * z * z - 1),  # sqrt(5 / (16 pi))
            1.0925484305920792 * x * z,
            0.5462742152960396 * (x * x - y * y),  # sqrt(15 / (16 pi))
        ]
    )


def xavier_uniform(rows: int, columns: int, generator: torch.Generator) -> nn.Parameter:
    """A bias-free layer (out, in), uniform within sqrt(6 / (in + out)) as tinycudann starts."""
    bound = (6 / (rows + columns)) ** 0.5
    return nn.Parameter((2 * torch.rand(rows, columns, generator=generator) - 1) * bound)


class EnvironmentMap(nn.Module):
    """Colour in (0,1) by viewing direction: harmonics, two hidden ReLU layers of 16, sigmoid."""

    def __init__(self, generator: torch.Generator) -> None:
        super().__init__()
        self.first = xavier_uniform(16, 9, generator)
        self.second = xavier_uniform(16, 16, generator)
        self.last = xavier_uniform(3, 16, generator)

    def forward(self, directions: Float[Tensor, "3 r"]) -> Float[Tensor, "3 r"]:
        hidden = torch.relu(self.first @ spherical_harmonics(directions))
        return torch.sigmoid(self.last @ torch.relu(self.second @ hidden))
