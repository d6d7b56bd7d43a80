"""The hash grid against a slow reading of tinycudann's definition, and its derivatives."""

import itertools
import math

import pytest
import torch
import torch.nn.functional as F

from pipeline.scenes import hashgrid_plain
from pipeline.scenes.hashgrid import HashGrid, HashGridSettings, grid_levels

MIXED = HashGridSettings(levels=4, features=2, log2_entries=9, base_resolution=4, growth=1.7)
DENSE = HashGridSettings(levels=3, features=4, log2_entries=15, base_resolution=8, growth=2.0)


def _grid(settings: HashGridSettings, *, double: bool = False) -> HashGrid:
    generator = torch.Generator().manual_seed(0)
    grid = HashGrid(settings, generator)
    with torch.no_grad():
        grid.table.copy_(torch.randn(grid.table.shape, generator=generator))
    return grid.double() if double else grid


def _points(count: int, *, low: float = 0.0, high: float = 1.0, seed: int = 1) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return low + (high - low) * torch.rand(3, count, generator=generator)


def _slow_entry(node: tuple[int, int, int], resolution: int, entries: int) -> int:
    """tinycudann's grid_index: strides while they fit, else the hash in 32 bits; then modulo."""
    if resolution**3 <= entries:
        return (node[0] + node[1] * resolution + node[2] * resolution**2) % entries
    primes = (1, 2654435761, 805459861)
    hashed = 0
    for coordinate, prime in zip(node, primes, strict=True):
        hashed ^= (coordinate * prime) % 2**32
    return hashed % entries


def _slow_features(grid: HashGrid, settings: HashGridSettings, point: list[float]) -> list[float]:
    features, offset = [], 0
    for level in range(settings.levels):
        scale = settings.base_resolution * settings.growth**level - 1
        resolution = math.ceil(scale) + 1
        entries = min(-(-(resolution**3) // 8) * 8, 2**settings.log2_entries)
        position = [x * scale + 0.5 for x in point]
        cell = [math.floor(p) for p in position]
        total = [0.0] * settings.features
        for corner in itertools.product((0, 1), repeat=3):
            weight = math.prod(
                p - c if bit else 1 - (p - c)
                for p, c, bit in zip(position, cell, corner, strict=True)
            )
            node = tuple(c + bit for c, bit in zip(cell, corner, strict=True))
            row = grid.table[offset + _slow_entry(node, resolution, entries)]
            total = [t + weight * float(v) for t, v in zip(total, row, strict=True)]
        features += total
        offset += entries
    return features


def test_features_are_tinycudanns_on_dense_and_hashed_levels():
    """Also at the upper border, where a dense level wraps around. Tolerance: float32 weights."""
    grid = _grid(MIXED).requires_grad_(False)
    assert [level.dense for level in grid.levels] == [True, True, False, False]
    points = torch.cat([_points(40), _points(10, low=0.97), torch.ones(3, 1), torch.zeros(3, 1)], 1)
    expected = [_slow_features(grid, MIXED, point) for point in points.t().tolist()]
    torch.testing.assert_close(grid(points).t(), torch.tensor(expected), atol=1e-4, rtol=0)


def test_level_sizes_of_a_known_configuration():
    """Instant NGP's defaults, by hand: 16, 32, 64 nodes a side are dense in 2^19, 128 is not."""
    levels = grid_levels(HashGridSettings(4, 2, 19, 16, 2.0))
    assert [level.resolution for level in levels] == [16, 32, 64, 128]
    assert [level.entries for level in levels] == [4096, 32768, 262144, 524288]
    assert [level.offset for level in levels] == [0, 4096, 36864, 299008]
    assert [level.dense for level in levels] == [True, True, True, False]
    fractional = grid_levels(HashGridSettings(2, 2, 19, 16, 1.38191))[1]
    assert fractional.scale == pytest.approx(16 * 1.38191 - 1, rel=1e-6)
    assert (fractional.resolution, fractional.entries) == (23, 12168)  # 23^3 = 12167


def test_dense_levels_equal_grid_sample():
    """torch's own trilinear sampler on the same nodes, away from the wrapped half cell."""
    grid = _grid(DENSE).requires_grad_(False)
    points = _points(500, low=0.0, high=0.92)
    sampled = []
    for level in grid.levels:
        r = level.resolution
        nodes = grid.table[level.offset : level.offset + r**3].t().view(1, 4, r, r, r)
        position = (points * level.scale + 0.5) * 2 / (r - 1) - 1
        at = position.t().view(1, -1, 1, 1, 3)
        sampled.append(F.grid_sample(nodes, at, align_corners=True)[0, :, :, 0, 0])
    torch.testing.assert_close(grid(points), torch.cat(sampled), atol=2e-5, rtol=0)
    torch.testing.assert_close(grid.summed(points), sum(sampled), atol=4e-5, rtol=0)
    torch.testing.assert_close(grid.summed(points, features=1), grid.summed(points)[:1])


def test_a_linear_field_is_reproduced_exactly():
    settings = HashGridSettings(1, 1, 12, 8, 1.0)
    grid = HashGrid(settings, torch.Generator())
    z, y, x = torch.meshgrid(*[torch.arange(8.0)] * 3, indexing="ij")
    with torch.no_grad():
        grid.table.copy_((2 * x - 3 * y + 0.5 * z).reshape(-1, 1))
    points = _points(100, high=0.9)
    position = points * 7 + 0.5
    expected = 2 * position[0] - 3 * position[1] + 0.5 * position[2]
    torch.testing.assert_close(grid(points)[0], expected, atol=1e-4, rtol=1e-5)
    slope = torch.tensor([2.0, -3.0, 0.5])[:, None].expand(3, 100) * 7
    torch.testing.assert_close(grid.summed_gradient(points, 0), slope, atol=1e-3, rtol=0)


def test_corner_weights_are_a_partition_of_unity():
    levels = grid_levels(MIXED)
    _, weight = hashgrid_plain.corners(_points(200), levels)
    assert (weight >= 0).all()
    torch.testing.assert_close(weight.sum(1), torch.ones_like(weight[:, 0]))
    slopes = hashgrid_plain.corner_gradients(_points(200), levels).sum(2)
    torch.testing.assert_close(slopes, torch.zeros_like(slopes), atol=1e-4, rtol=0)


@pytest.mark.parametrize("reading", ["forward", "summed"])
def test_first_and_second_derivatives_in_float64(reading):
    """gradcheck and gradgradcheck with respect to points and table."""
    grid = _grid(HashGridSettings(2, 2, 6, 3, 1.6), double=True)
    points = _points(4, low=0.1, high=0.8, seed=3).double().requires_grad_()

    def features(points: torch.Tensor, table: torch.Tensor) -> torch.Tensor:
        return torch.func.functional_call(_Reading(grid, reading), {"grid.table": table}, (points,))

    table = grid.table.detach().clone().requires_grad_()
    assert torch.autograd.gradcheck(features, (points, table))
    assert torch.autograd.gradgradcheck(features, (points, table))


class _Reading(torch.nn.Module):
    def __init__(self, grid: HashGrid, reading: str) -> None:
        super().__init__()
        self.grid, self.reading = grid, reading

    def forward(self, points: torch.Tensor) -> torch.Tensor:
        return getattr(self.grid, self.reading)(points)


def test_the_analytic_gradient_is_autograds():
    grid = _grid(MIXED, double=True)
    points = _points(30, high=0.9).double().requires_grad_()
    pull = torch.randn(8, 30, generator=torch.Generator().manual_seed(5)).double()
    (expected,) = torch.autograd.grad((pull * grid(points)).sum(), points)
    torch.testing.assert_close(grid.gradient(points, pull), expected)
    (expected,) = torch.autograd.grad(grid.summed(points)[1].sum(), points)
    torch.testing.assert_close(grid.summed_gradient(points, 1), expected)


def test_the_analytic_gradient_has_derivatives_in_table_and_pull():
    settings = HashGridSettings(2, 2, 6, 3, 1.6)
    grid = _grid(settings, double=True)
    points = _points(4, low=0.1, high=0.8, seed=3).double()
    pull = torch.randn(4, 4, generator=torch.Generator().manual_seed(6)).double()
    inputs = (grid.table.detach().clone().requires_grad_(), pull.requires_grad_())
    gradient = hashgrid_plain.gradient
    assert torch.autograd.gradcheck(lambda t, p: gradient(t, points, settings, p), inputs)


def test_the_gradient_reaches_the_table_as_through_a_plain_gather():
    grid = _grid(MIXED, double=True)
    points = _points(50).double()
    index, weight = hashgrid_plain.corners(points, grid.levels)
    chosen = torch.randn(2, 4, 50, generator=torch.Generator().manual_seed(4)).double()
    plain = (grid.table[index.long()] * weight[..., None]).sum(1).permute(2, 0, 1)
    (expected,) = torch.autograd.grad((plain * chosen).sum(), grid.table)
    fast = hashgrid_plain.weighted_rows(grid.table, index, weight)
    torch.testing.assert_close(fast, plain)
    (actual,) = torch.autograd.grad((fast * chosen).sum(), grid.table)
    torch.testing.assert_close(actual, expected)


def test_no_points_are_no_features():
    grid = _grid(DENSE)
    assert grid.summed(torch.zeros(3, 0)).shape == (4, 0)
    assert grid(torch.zeros(3, 0)).shape == (12, 0)


def test_the_table_starts_small_and_is_decided_by_the_generator():
    first, second, third = (
        HashGrid(DENSE, torch.Generator().manual_seed(seed)).table for seed in (0, 0, 1)
    )
    assert torch.equal(first, second)
    assert not torch.equal(first, third)
    assert first.abs().max() <= 1e-4
    assert first.std().item() == pytest.approx(1e-4 / 3**0.5, rel=0.01)  # of a uniform variable


def test_impossible_settings_are_refused():
    with pytest.raises(ValueError, match="impossible"):
        HashGridSettings(0, 4, 15, 8, 2.0)
