"""Readings of a hash grid's table in plain torch; `hashgrid.py` says what the numbers are.

Every operation runs along contiguous memory, which on a CPU is worth a factor of two to four over
points and features last.
"""

import functools
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from pipeline.scenes.hashgrid import HashGridSettings, Level, grid_levels

HASH_PRIMES = (1, 2654435761, 805459861)


def corner_numbers(cell: Int[Tensor, "3 m"], level: Level) -> Int[Tensor, "8 m"]:
    """Table positions of the nodes of cells, x fastest, z slowest."""
    r = level.resolution
    corner = torch.arange(8, dtype=cell.dtype, device=cell.device)[:, None]
    if level.dense:
        first = cell[0] + cell[1] * r + cell[2] * r**2
        number = first + ((corner & 1) + (corner >> 1 & 1) * r + (corner >> 2) * r**2)
        if _may_reach(first, level.entries - 1 - r - r**2):
            # r^3 + r^2 + r < 2 entries: one subtraction is the modulo.
            number = torch.where(number >= level.entries, number - level.entries, number)
    else:
        x = cell[0].long() + (corner & 1)
        y = (cell[1].long() + (corner >> 1 & 1)) * HASH_PRIMES[1]
        z = (cell[2].long() + (corner >> 2)) * HASH_PRIMES[2]
        number = ((x ^ y ^ z) & 0xFFFFFFFF) % level.entries
    return (number + level.offset).int()


def _may_reach(number: Int[Tensor, " m"], limit: int) -> bool:
    """False where all lie below. A GPU is not asked: the loop would wait for its answer."""
    return number.is_cuda or (len(number) > 0 and int(number.max()) >= limit)


@functools.cache
def _scales(
    levels: tuple[Level, ...], dtype: torch.dtype, device: torch.device
) -> Float[Tensor, "l 1"]:
    return torch.tensor([[level.scale] for level in levels], dtype=dtype, device=device)


def _fractions(
    points: Float[Tensor, "3 m"], levels: tuple[Level, ...]
) -> tuple[Int[Tensor, "3 l m"], Float[Tensor, "3 2 l m"]]:
    """The cell of each point, and the linear weights of its lower and upper node, per axis."""
    position = points[:, None] * _scales(levels, points.dtype, points.device) + 0.5
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
    points: Float[Tensor, "3 m"], levels: tuple[Level, ...]
) -> tuple[Int[Tensor, "l 8 m"], Float[Tensor, "l 8 m"]]:
    """Table positions and trilinear weights of the eight nodes around each point, per level."""
    cell, linear = _fractions(points, levels)
    numbers = [corner_numbers(cell[:, index], level) for index, level in enumerate(levels)]
    return torch.stack(numbers), _products(linear[0], linear[1], linear[2])


def corner_gradients(
    points: Float[Tensor, "3 m"], levels: tuple[Level, ...]
) -> Float[Tensor, "3 l 8 m"]:
    """The derivatives of the weights of `corners` with respect to the point's coordinates."""
    _, linear = _fractions(points, levels)
    slope = _scales(levels, points.dtype, points.device).expand_as(linear[0, 0])
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


def features(
    table: Float[Tensor, "n f"], points: Float[Tensor, "3 m"], settings: HashGridSettings
) -> Float[Tensor, "lf m"]:
    """The values at the points, level by level; twice differentiable in table and points."""
    index, weight = corners(points, grid_levels(settings))
    return weighted_rows(table, index, weight).transpose(0, 1).flatten(0, 1)


def summed(
    table: Float[Tensor, "n f"],
    points: Float[Tensor, "3 m"],
    settings: HashGridSettings,
    count: int | None,
) -> Float[Tensor, "c m"]:
    """The levels' first `count` features (None: all) added up."""
    index, weight = corners(points, grid_levels(settings))
    index, weight = index.flatten(0, 1)[None], weight.flatten(0, 1)[None]
    return weighted_rows(table[:, :count], index, weight)[:, 0]


def gradient(
    table: Float[Tensor, "n f"],
    points: Float[Tensor, "3 m"],
    settings: HashGridSettings,
    pull: Float[Tensor, "lf m"],
) -> Float[Tensor, "3 m"]:
    """d (pull . features) / d points; linear, hence differentiable, in `table` and in `pull`."""
    levels = grid_levels(settings)
    index, _ = corners(points, levels)
    values = table.t().index_select(1, index.view(-1)).unflatten(1, index.shape)
    pulls = pull.unflatten(0, (len(levels), -1)).transpose(0, 1)[:, :, None]
    pulled = (values * pulls).sum(0)
    weights = corner_gradients(points, levels)
    return torch.stack([(pulled * weight).sum((0, 1)) for weight in weights])


def summed_gradient(
    table: Float[Tensor, "n f"],
    points: Float[Tensor, "3 m"],
    settings: HashGridSettings,
    feature: int,
) -> Float[Tensor, "3 m"]:
    """d summed(feature) / d points; linear, hence differentiable, in `table`."""
    levels = grid_levels(settings)
    index, _ = corners(points, levels)
    weights = corner_gradients(points, levels)
    values = table[:, feature].index_select(0, index.view(-1)).view_as(index)
    return torch.stack([(values * weight).sum((0, 1)) for weight in weights])
