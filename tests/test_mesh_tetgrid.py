"""The lattice of tetrahedra: congruent, without cracks, and what crosses a surface."""

import itertools

import pytest
import torch

from pipeline.scenes.tetgrid import TetGrid

GRID = TetGrid(resolution=8, half_width=1.5)
A = 4 * 1.5 / 8  # the side of a cell


def _vectors(grid: TetGrid) -> torch.Tensor:
    points = grid.vertices().double()[grid.tetrahedra().long()]
    return points[:, 1:] - points[:, :1]


def test_all_tetrahedra_have_the_same_volume_and_the_same_edges():
    """a^3 / 12; two edges a and four a sqrt(3)/2, whose ends are known."""
    determinants = torch.linalg.det(_vectors(GRID))
    torch.testing.assert_close(determinants / 6, torch.full_like(determinants, A**3 / 12))
    points = GRID.vertices().double()[GRID.tetrahedra().long()]
    pairs = list(itertools.combinations(range(4), 2))
    lengths = torch.stack([(points[:, i] - points[:, j]).norm(dim=1) for i, j in pairs], 1)
    expected = torch.tensor([A * 3**0.5 / 2] * 4 + [A] * 2, dtype=torch.float64)
    torch.testing.assert_close(lengths.sort(1).values, expected.expand(len(lengths), -1))


def test_they_fill_the_cube_but_for_a_pyramid_on_each_outer_face():
    n = GRID.cells
    assert len(GRID.tetrahedra()) == 12 * n * n * (n - 1)
    filled = float(torch.linalg.det(_vectors(GRID)).sum() / 6)
    assert filled == pytest.approx((n * A) ** 3 - 6 * n * n * A**3 / 6, rel=1e-12)


def test_there_are_no_cracks():
    """A face belongs to two tetrahedra, or to one and then to the border alone.

    The pyramids left out have 4 * 6 n^2 sides; two meet in each of 12 n, which bound nothing.
    """
    tets = GRID.tetrahedra().long().sort(1).values
    faces = torch.cat([tets[:, list(chosen)] for chosen in itertools.combinations(range(4), 3)])
    unique, counts = torch.unique(faces, dim=0, return_counts=True)
    assert counts.max() == 2
    assert GRID.border()[unique[counts == 1]].all()
    assert len(unique[counts == 1]) == 24 * GRID.cells**2 - 24 * GRID.cells


def test_the_nodes_are_numbered_as_promised():
    points, n = GRID.vertices(), GRID.cells
    assert len(points) == GRID.nodes == (n + 1) ** 3 + n**3
    torch.testing.assert_close(points[1] - points[0], torch.tensor([A, 0.0, 0.0]))
    torch.testing.assert_close(points[0], torch.full((3,), -1.5))
    torch.testing.assert_close(points[(n + 1) ** 3], torch.full((3,), -1.5 + A / 2))
    assert float(points.max()) == 1.5
    assert GRID.spacing == pytest.approx(A / 2)


@pytest.mark.parametrize("share", [0.0, 0.03, 0.5, 1.0])
def test_crossing_tetrahedra_are_those_with_both_signs(share):
    inside = torch.rand(GRID.nodes, generator=torch.Generator().manual_seed(3)) < share
    tets = GRID.tetrahedra()
    count = inside[tets.long()].sum(1)
    assert torch.equal(GRID.crossing(inside), tets[(count > 0) & (count < 4)])


def test_edges_are_those_of_the_tetrahedra():
    """Beyond them only pairs of border nodes: the edges of the cells' outer faces."""
    tets = GRID.tetrahedra().long()
    pairs = [tets[:, list(ends)].sort(1).values for ends in itertools.combinations(range(4), 2)]
    expected = set(map(tuple, torch.cat(pairs).tolist()))
    chosen = torch.ones(GRID.nodes, dtype=torch.bool)
    edges = GRID.edges(chosen).long()
    found = set(map(tuple, edges.sort(1).values.tolist()))
    assert len(found) == len(edges)
    assert found >= expected
    border = GRID.border()
    assert all(border[i] and border[j] for i, j in found - expected)


def test_edges_join_chosen_nodes_only():
    chosen = torch.rand(GRID.nodes, generator=torch.Generator().manual_seed(4)) < 0.6
    everything = GRID.edges(torch.ones_like(chosen)).long()
    expected = everything[chosen[everything].all(1)]
    assert torch.equal(GRID.edges(chosen).long(), expected)


@pytest.mark.parametrize("resolution", [7, 2, 4096])
def test_an_impossible_resolution_is_refused(resolution):
    with pytest.raises(ValueError, match=f"resolution {resolution} must be even"):
        TetGrid(resolution, 1.0)
    with pytest.raises(ValueError, match="half_width"):
        TetGrid(8, 0.0)
