"""A multiresolution hash grid in plain torch, with tinycudann's layout, hash and initialisation.

Level l has scale s_l = base * growth^l - 1 and r_l = ceil(s_l) + 1 nodes a side. A point x of
[0,1]^3 lies at s_l x + 1/2; its value is trilinear in the eight nodes around. Nodes are numbered
x + r y + r^2 z where a level has room for all (dense), by a hash of x, y, z otherwise, modulo the
level's number of entries; the table is [level][entry][feature], as in tinycudann, to which it can
be handed flattened. As there, a dense level wraps around at the upper border: keep the scene clear
of the last half cell. Source: Mueller et al. 2022 (Instant NGP), section 3.

Points and features come coordinates first, (3, m) and (f, m): every operation then runs along
contiguous memory, which on a CPU is worth a factor of two to four over (m, 3).
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

HASH_PRIMES = (1, 2654435761, 805459861)
LARGEST_DENSE_RESOLUTION = 1625  # r^3 must fit in 32 bits
INITIAL_RANGE = 1e-4


@dataclass(frozen=True)
class HashGridSettings:
    """Preset data; the names in tinycudann are n_levels, n_features_per_level, and so on."""

    levels: int
    features: int
    log2_entries: int
    base_resolution: int
    growth: float

    def __post_init__(self) -> None:
        if self.levels < 1 or self.features < 1 or self.base_resolution < 2 or self.growth < 1:
            raise ValueError(f"impossible hash grid: {self}")


@dataclass(frozen=True)
class Level:
    """One level's place in the table; `offset` counts entries."""

    scale: float
    resolution: int
    entries: int
    offset: int

    @property
    def dense(self) -> bool:
        return self.resolution <= LARGEST_DENSE_RESOLUTION and self.resolution**3 <= self.entries


def grid_levels(settings: HashGridSettings) -> list[Level]:
    """The levels in table order; scales are computed in float32 as the CUDA code does."""
    levels: list[Level] = []
    log2_growth = np.float32(np.log2(settings.growth))
    for index in range(settings.levels):
        growth = np.exp2(np.float32(index) * log2_growth, dtype=np.float32)
        scale = growth * np.float32(settings.base_resolution) - np.float32(1)
        resolution = math.ceil(scale) + 1
        entries = min(math.ceil(resolution**3 / 8) * 8, 2**settings.log2_entries)
        offset = levels[-1].offset + levels[-1].entries if levels else 0
        levels.append(Level(float(scale), resolution, entries, offset))
    return levels


def corner_numbers(cell: Int[Tensor, "3 m"], level: Level) -> Int[Tensor, "8 m"]:
    """Table positions of the nodes of cells, x fastest, z slowest."""
    r = level.resolution
    corner = torch.arange(8, dtype=cell.dtype, device=cell.device)[:, None]
    if level.dense:
        first = cell[0] + cell[1] * r + cell[2] * r**2
        number = first + ((corner & 1) + (corner >> 1 & 1) * r + (corner >> 2) * r**2)
        if len(first) and int(first.max()) + 1 + r + r**2 >= level.entries:
            # r^3 + r^2 + r < 2 entries: one subtraction is the modulo.
            number = torch.where(number >= level.entries, number - level.entries, number)
    else:
        x = cell[0].long() + (corner & 1)
        y = (cell[1].long() + (corner >> 1 & 1)) * HASH_PRIMES[1]
        z = (cell[2].long() + (corner >> 2)) * HASH_PRIMES[2]
        number = ((x ^ y ^ z) & 0xFFFFFFFF) % level.entries
    return (number + level.offset).int()


def _fractions(
    points: Float[Tensor, "3 m"], levels: list[Level]
) -> tuple[Int[Tensor, "3 l m"], Float[Tensor, "3 2 l m"]]:
    """The cell of each point, and the linear weights of its lower and upper node, per axis."""
    scales = torch.tensor([level.scale for level in levels], dtype=points.dtype)
    position = points[:, None] * scales.to(points.device)[:, None] + 0.5
    cell = position.detach().floor()
    upper = position - cell
    return cell.int(), torch.stack([1 - upper, upper], 1)


def _products(
    x: Float[Tensor, "2 l m"], y: Float[Tensor, "2 l m"], z: Float[Tensor, "2 l m"]
) -> Float[Tensor, "l 8 m"]:
    """All products x_i y_j z_k in the order of the corners: x fastest, z slowest."""
    faces = [z[k] * y[j] for k in range(2) for j in range(2)]
    return torch.stack([face * x[i] for face in faces for i in range(2)], 1)


def corners(
    points: Float[Tensor, "3 m"], levels: list[Level]
) -> tuple[Int[Tensor, "l 8 m"], Float[Tensor, "l 8 m"]]:
    """Table positions and trilinear weights of the eight nodes around each point, per level."""
    cell, linear = _fractions(points, levels)
    numbers = [corner_numbers(cell[:, index], level) for index, level in enumerate(levels)]
    return torch.stack(numbers), _products(linear[0], linear[1], linear[2])


def corner_gradients(points: Float[Tensor, "3 m"], levels: list[Level]) -> Float[Tensor, "3 l 8 m"]:
    """The derivatives of the weights of `corners` with respect to the point's coordinates."""
    _, linear = _fractions(points, levels)
    scales = torch.tensor([level.scale for level in levels], dtype=points.dtype)
    slope = scales.to(points.device)[:, None].expand_as(linear[0, 0])
    slopes = torch.stack([-slope, slope])
    return torch.stack(
        [
            _products(slopes, linear[1], linear[2]),
            _products(linear[0], slopes, linear[2]),
            _products(linear[0], linear[1], slopes),
        ]
    )


class _WeightedRows(torch.autograd.Function):
    """sum_k weight[g,k,m] table[index[g,k,m], f].

    Its backward is made of differentiable operations, so second derivatives follow from it.
    Twice as fast as grid_sample per dense level, and the same for hashed ones.
    """

    @staticmethod
    def forward(ctx: Any, table: Tensor, index: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(table, index, weight)
        columns = table.t().contiguous()
        flat = index.reshape(-1)
        return torch.stack(
            [(column.index_select(0, flat).view_as(weight) * weight).sum(1) for column in columns]
        )

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, None, Tensor | None]:  # type: ignore[override]
        table, index, weight = ctx.saved_tensors
        flat = index.reshape(-1)
        grad_table = grad_weight = None
        if ctx.needs_input_grad[0]:
            zeros = torch.zeros(len(table), dtype=table.dtype, device=table.device)
            parts = [(weight * column[:, None]).reshape(-1) for column in grad]
            grad_table = torch.stack([zeros.index_add(0, flat, part) for part in parts], 1)
        if ctx.needs_input_grad[2]:
            grad_weight = torch.zeros_like(weight)
            for column, part in zip(table.t(), grad, strict=True):
                values = column.contiguous().index_select(0, flat).view_as(weight)
                grad_weight = grad_weight + values * part[:, None]
        return grad_table, None, grad_weight


def weighted_rows(
    table: Float[Tensor, "n f"], index: Int[Tensor, "g k m"], weight: Float[Tensor, "g k m"]
) -> Float[Tensor, "f g m"]:
    """Sums over k of the table's rows times weights; twice differentiable in table and weight."""
    return _WeightedRows.apply(table, index, weight)


class HashGrid(nn.Module):
    """The learned table and its three readings: by level, summed over levels, with derivatives."""

    def __init__(self, settings: HashGridSettings, generator: torch.Generator) -> None:
        super().__init__()
        self.levels = grid_levels(settings)
        entries = self.levels[-1].offset + self.levels[-1].entries
        unit = torch.rand(entries, settings.features, generator=generator)
        self.table = nn.Parameter((2 * unit - 1) * INITIAL_RANGE)

    def forward(self, points: Float[Tensor, "3 m"]) -> Float[Tensor, "lf m"]:
        """Features of all levels, level by level, as tinycudann orders them."""
        index, weight = corners(points, self.levels)
        return weighted_rows(self.table, index, weight).transpose(0, 1).flatten(0, 1)

    def summed(self, points: Float[Tensor, "3 m"], *, features: int | None = None) -> Tensor:
        """The levels' first `features` (default: all) added up, (f, m): a sum of grids."""
        index, weight = corners(points, self.levels)
        index, weight = index.flatten(0, 1)[None], weight.flatten(0, 1)[None]
        return weighted_rows(self.table[:, :features], index, weight)[:, 0]

    def gradient(self, points: Float[Tensor, "3 m"]) -> Float[Tensor, "3 lf m"]:
        """d forward(points) / d points, linear in the table, hence itself differentiable."""
        index, _ = corners(points, self.levels)
        weights = corner_gradients(points, self.levels)
        values = self.table.t().index_select(1, index.view(-1)).unflatten(1, index.shape)
        return torch.stack(
            [(values * weight).sum(2).transpose(0, 1).flatten(0, 1) for weight in weights]
        )

    def summed_gradient(self, points: Float[Tensor, "3 m"], feature: int) -> Float[Tensor, "3 m"]:
        """d summed(points)[feature] / d points."""
        index, _ = corners(points, self.levels)
        weights = corner_gradients(points, self.levels)
        values = self.table[:, feature].index_select(0, index.view(-1)).view_as(index)
        return torch.stack([(values * weight).sum((0, 1)) for weight in weights])
