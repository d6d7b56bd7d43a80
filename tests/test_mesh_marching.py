"""Marching tetrahedra: every sign pattern by hand, gradients, closed surfaces of known solids."""

import itertools
import math

import numpy as np
import pytest
import torch
import trimesh
from scipy.spatial import ConvexHull, cKDTree

from pipeline.scenes import mesh_clean, mesh_terms
from pipeline.scenes.dmtet import DeformableGrid, marching_tetrahedra
from pipeline.scenes.failure import SceneFailure
from pipeline.scenes.mesh_start import sdf_from_density
from pipeline.scenes.tetgrid import TetGrid
from tests.mesh_shapes import Solid, box, sphere, torus, toy, union

CORNERS = torch.tensor(
    [[0.1, 0.0, 0.2], [1.0, 0.1, 0.0], [0.0, 1.2, 0.1], [0.2, 0.1, 0.9]], dtype=torch.float64
)  # of positive determinant
ALONE = torch.tensor([[0, 1, 2, 3]])


def _values(pattern: int) -> torch.Tensor:
    size = 0.2 + torch.rand(4, generator=torch.Generator().manual_seed(9), dtype=torch.float64)
    sign = torch.tensor([-1.0 if pattern >> k & 1 else 1.0 for k in range(4)])
    return size * sign


@pytest.mark.parametrize("pattern", range(16))
def test_one_tetrahedron_with_every_pattern_of_signs(pattern):
    """Points where each crossed edge is 0, in order; the polygon's whole area; outwards."""
    values = _values(pattern)
    points, faces = marching_tetrahedra(CORNERS, values, ALONE)
    crossed = [
        (i, j) for i, j in itertools.combinations(range(4), 2) if (values[i] < 0) != (values[j] < 0)
    ]
    assert len(faces) == {0: 0, 3: 1, 4: 2}[len(crossed)]
    assert len(points) == len(crossed)
    if not crossed:
        return
    expected = [
        (values[j] * CORNERS[i] - values[i] * CORNERS[j]) / (values[j] - values[i])
        for i, j in crossed
    ]
    torch.testing.assert_close(points, torch.stack(expected))
    # The field is linear: its gradient is the normal, and all points lie in one plane.
    edges = CORNERS[1:] - CORNERS[:1]
    outwards = torch.linalg.solve(edges, values[1:] - values[:1])
    outwards = outwards / outwards.norm()
    normals = torch.linalg.cross(
        points[faces[:, 1]] - points[faces[:, 0]], points[faces[:, 2]] - points[faces[:, 0]]
    )
    areas = normals.norm(dim=1) / 2
    torch.testing.assert_close(normals, 2 * areas[:, None] * outwards)
    basis = torch.linalg.svd(outwards[None])[2][1:]
    area = ConvexHull((points @ basis.T).numpy()).volume
    assert float(areas.sum()) == pytest.approx(area, rel=1e-9)


def test_a_node_at_zero_is_outside_and_gives_its_own_place():
    values = torch.tensor([-1.0, 0.0, 1.0, 3.0], dtype=torch.float64)
    points, faces = marching_tetrahedra(CORNERS, values, ALONE)
    torch.testing.assert_close(points[0], CORNERS[1])
    assert len(faces) == 1


def test_gradients_of_points_agree_with_finite_differences():
    generator = torch.Generator().manual_seed(2)
    grid = TetGrid(4, 1.0)
    nodes = grid.vertices().double()
    values = torch.randn(len(nodes), generator=generator, dtype=torch.float64)
    values = values + 0.2 * values.sign()  # no node changes its side within the differences
    tets = grid.crossing(values < 0)[::7]
    inputs = (nodes.requires_grad_(), values.requires_grad_())
    assert torch.autograd.gradcheck(lambda v, s: marching_tetrahedra(v, s, tets)[0], inputs)


def test_points_are_ordered_by_their_edges_and_faces_by_tetrahedra():
    grid = TetGrid(8, 1.0)
    values = sphere(0.6)(grid.vertices())
    tets = grid.crossing(values < 0)
    points, faces = marching_tetrahedra(grid.vertices(), values, tets)
    order = torch.randperm(len(tets), generator=torch.Generator().manual_seed(1))
    shuffled, shuffled_faces = marching_tetrahedra(grid.vertices(), values, tets[order])
    assert torch.equal(points, shuffled)
    assert set(map(tuple, faces.tolist())) == set(map(tuple, shuffled_faces.tolist()))
    whole = marching_tetrahedra(grid.vertices(), values, grid.tetrahedra())
    assert torch.equal(whole[0], points)
    assert torch.equal(whole[1], faces)


def _extracted(solid: Solid, resolution: int) -> tuple[torch.Tensor, torch.Tensor]:
    grid = TetGrid(resolution, 1.0)
    values = solid(grid.vertices())
    return marching_tetrahedra(grid.vertices(), values, grid.crossing(values < 0))


def test_the_volume_of_a_sphere_converges_with_the_square_of_the_spacing():
    true = 4 / 3 * math.pi * 0.7**3
    errors = [
        true - mesh_clean.volume(*_extracted(sphere(0.7), resolution))
        for resolution in (12, 24, 48)
    ]
    assert errors[0] > 3.4 * errors[1] > 3.4**2 * errors[2] > 0
    assert errors[2] < 0.004 * true


SOLIDS = {
    "sphere": (sphere(0.5), 1, 0),
    "torus": (torus(0.55, 0.22), 1, 1),
    "two boxes": (
        union(box((0.2, 0.3, 0.4), (0.5, 0, 0)), box((0.3, 0.3, 0.2), (-0.5, 0.1, 0))), 2, 0
    ),
    "toy": (toy(), 1, 0),
}  # fmt: skip


@pytest.mark.parametrize("name", SOLIDS)
def test_a_density_becomes_a_closed_mesh_within_a_hundredth_of_the_diagonal(name):
    """Chamfer distance: the mean of the distances both ways. One way they are exact, from the
    mesh's vertices; back, from where a fine grid's nodes near the surface project onto it."""
    solid, parts, handles = SOLIDS[name]
    grid = TetGrid(48, 1.0)
    density = torch.nn.functional.softplus(3.0 - 60.0 * solid(grid.vertices()))
    threshold = math.log1p(math.exp(3.0))  # softplus(3): where the distance is 0
    values = sdf_from_density(grid, density, threshold, floaters=0.0)
    points, faces = marching_tetrahedra(grid.vertices(), values, grid.crossing(values < 0))
    mesh = trimesh.Trimesh(points.numpy(), faces.numpy(), process=False)
    assert mesh.is_watertight
    assert mesh.is_winding_consistent
    assert mesh.volume > 0
    assert mesh_clean.is_watertight(faces)
    assert mesh_clean.genus(faces) == handles
    assert mesh_clean.euler_characteristic(faces) == mesh.euler_number == 2 * parts - 2 * handles
    there = float(solid(points).abs().mean())
    near = TetGrid(64, 1.0).vertices()
    near = near[solid(near).abs() < 0.03].requires_grad_()
    distance = solid(near)
    (slope,) = torch.autograd.grad(distance.sum(), near)
    on_surface = (near - distance[:, None] * slope).detach()
    samples = trimesh.sample.sample_surface(mesh, 40_000, seed=0)[0]
    back = float(cKDTree(samples).query(on_surface.numpy())[0].mean())
    diagonal = float(np.linalg.norm(mesh.extents))
    assert (there + back) / 2 < 0.01 * diagonal


def _grid(resolution: int = 8) -> DeformableGrid:
    return DeformableGrid(TetGrid(resolution, 1.0))


def test_no_deformation_turns_a_tetrahedron_over():
    """Nodes thrown about as far as they go; also towards each other, which is the worst."""
    grid = _grid()
    generator = torch.Generator().manual_seed(0)
    tets = grid.grid.tetrahedra().long()
    towards = -100 * (grid.nodes - grid.nodes[tets[500]].mean(0))
    for pull in (100 * torch.randn(grid.nodes.shape, generator=generator), towards):
        with torch.no_grad():
            grid.deformation.copy_(pull)
        moved = grid.positions()
        assert torch.equal(moved[grid.border], grid.nodes[grid.border])
        distance = (moved - grid.nodes).norm(dim=1)
        assert 0.49 * grid.grid.spacing < distance.max() <= 0.5001 * grid.grid.spacing
        points = moved[tets]
        assert (torch.linalg.det(points[:, 1:] - points[:, :1]) > -1e-7).all()


def test_a_surface_is_closed_even_where_everything_is_inside():
    grid = _grid()
    grid.fill(torch.full_like(grid.sdf, -1.0))
    points, faces = grid.surface()
    assert mesh_clean.is_watertight(faces)
    assert float(points.detach().abs().max()) <= 1.0


def test_a_surface_through_nodes_has_a_normal_everywhere():
    """Nodes at exactly 0, as no optimisation leaves them but as a box starts."""
    grid = _grid(24)
    distance = box((0.5, 0.25, 0.5), (0.0, 0.0, 0.0))(grid.nodes)
    assert (distance == 0).sum() > 100
    grid.fill(distance / grid.grid.spacing)
    points, faces = grid.surface()
    normals = mesh_terms.vertex_normals(points, faces).norm(dim=1)
    torch.testing.assert_close(normals, torch.ones_like(normals), atol=1e-4, rtol=0)
    moved = box((0.5, 0.25, 0.5), (0.0, 0.0, 0.0))(points.detach()).abs().max()
    assert moved <= 0.02 * grid.grid.spacing


def test_an_empty_surface_and_a_nan_are_failures():
    grid = _grid()
    with pytest.raises(SceneFailure, match="the mesh is empty"):
        grid.surface()
    grid.fill(sphere(0.5)(grid.nodes))
    grid.surface()
    with torch.no_grad():
        grid.deformation[3, 1] = float("nan")
    with pytest.raises(SceneFailure, match="deformation is not finite"):
        grid.surface()
