"""Counting and cleaning triangle meshes, against scipy and trimesh."""

import math

import numpy as np
import pytest
import torch
import trimesh
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from pipeline.scenes import mesh_clean, mesh_terms
from pipeline.scenes.mesh_clean import ColouredMesh
from tests.raster_meshes import tensors

BALL = trimesh.creation.icosphere(2)
TORUS = trimesh.creation.torus(0.6, 0.2, major_sections=24, minor_sections=12)


def _joined(*meshes: trimesh.Trimesh) -> tuple[torch.Tensor, torch.Tensor]:
    return tensors(trimesh.util.concatenate(list(meshes)))


def _ball(radius: float, place: tuple[float, float, float] = (0, 0, 0)) -> trimesh.Trimesh:
    mesh = trimesh.creation.icosphere(2, radius=radius)
    return mesh.apply_translation(place)


@pytest.mark.parametrize("edges", [0, 40, 90, 400])
def test_components_are_scipys(edges):
    pairs = torch.randint(120, (edges, 2), generator=torch.Generator().manual_seed(edges))
    matrix = coo_matrix((np.ones(edges), pairs.numpy().T), shape=(120, 120))
    _, theirs = connected_components(matrix, directed=False)
    ours = mesh_clean.components(pairs, 120).numpy()
    lowest = np.array([np.flatnonzero(theirs == label)[0] for label in theirs])
    assert (ours == lowest).all()


def test_a_long_chain_is_one_component():
    """In an order in which neighbours learn of the lowest number last."""
    chain = torch.stack([torch.arange(5000), torch.arange(1, 5001)], 1)
    order = torch.randperm(5001, generator=torch.Generator().manual_seed(0))
    assert (mesh_clean.components(order[chain], 5001) == 0).all()


@pytest.mark.parametrize("mesh", [BALL, TORUS], ids=["ball", "torus"])
def test_closed_meshes_and_their_numbers(mesh):
    vertices, faces = tensors(mesh)
    assert mesh_clean.is_watertight(faces)
    assert mesh_clean.euler_characteristic(faces) == mesh.euler_number
    assert mesh_clean.genus(faces) == (2 - mesh.euler_number) // 2
    assert mesh_clean.volume(vertices, faces) == pytest.approx(mesh.volume, rel=1e-5)


def test_genus_adds_up_over_components():
    _, faces = _joined(TORUS, _ball(0.2, (3, 0, 0)), TORUS.copy().apply_translation((9, 0, 0)))
    assert mesh_clean.genus(faces) == 2
    # vertices without a face count for nothing
    assert mesh_clean.genus(faces + 7) == 2


def test_open_meshes_and_turned_faces_are_not_watertight():
    faces = tensors(BALL)[1]
    assert not mesh_clean.is_watertight(faces[1:])
    turned = faces.clone()
    turned[5] = turned[5].flip(0)
    assert not mesh_clean.is_watertight(turned)
    assert not mesh_clean.is_watertight(faces[:0])
    assert not mesh_clean.is_watertight(torch.cat([faces, faces[:1]]))
    with pytest.raises(ValueError, match="not closed has no genus"):
        mesh_clean.genus(faces[1:])


def _coloured(vertices: torch.Tensor, faces: torch.Tensor) -> ColouredMesh:
    return ColouredMesh(vertices, faces, vertices * 0.1 + 0.5)


def test_floaters_and_the_walls_of_hollows_go():
    """Volumes 1 : 0.125 : 0.001, and a hollow in the largest; colours stay with their vertices."""
    hollow = _ball(0.5)
    hollow.invert()
    parts = (_ball(0.1, (3, 0, 0)), _ball(1.0), hollow, _ball(0.5, (0, 3, 0)))
    mesh = _coloured(*_joined(*parts))
    for share, radii in ((0.0, (0.1, 1.0, 0.5)), (0.01, (1.0, 0.5)), (0.2, (1.0,)), (1.0, (1.0,))):
        kept = mesh_clean.without_floaters(mesh, share)
        assert mesh_clean.is_watertight(kept.faces)
        expected = BALL.volume * sum(radius**3 for radius in radii)
        assert mesh_clean.volume(kept.vertices, kept.faces) == pytest.approx(expected, rel=1e-5)
        assert len(kept.vertices) == len(BALL.vertices) * len(radii)
        torch.testing.assert_close(kept.colours, kept.vertices * 0.1 + 0.5)


def test_normals_are_trimeshs_and_point_outwards():
    vertices, faces = tensors(TORUS)
    ours = mesh_terms.vertex_normals(vertices, faces)
    by_area = np.zeros_like(TORUS.vertices)
    for corner in range(3):
        np.add.at(by_area, TORUS.faces[:, corner], TORUS.face_normals * TORUS.area_faces[:, None])
    expected = by_area / np.linalg.norm(by_area, axis=1, keepdims=True)
    torch.testing.assert_close(ours, torch.tensor(expected, dtype=torch.float32), atol=1e-5, rtol=0)
    # also of a mesh a thousand times smaller, with areas of 1e-9
    small = mesh_terms.vertex_normals(vertices * 1e-3, faces)
    torch.testing.assert_close(small, ours, atol=1e-5, rtol=0)


def test_every_edge_stands_once():
    _, faces = tensors(TORUS)
    ours = set(map(tuple, mesh_terms.closed_edges(faces).tolist()))
    assert ours == set(map(tuple, TORUS.edges_unique.tolist()))
    assert len(mesh_terms.closed_edges(faces)) == len(ours)


def test_normal_consistency_by_a_slow_loop_and_of_a_plane():
    vertices, faces = tensors(BALL)
    normals = mesh_terms.vertex_normals(vertices, faces)
    slow = [1 - float(normals[i] @ normals[j]) for i, j in BALL.edges_unique]
    ours = mesh_terms.normal_consistency(vertices, faces)
    assert float(ours.mean()) == pytest.approx(np.mean(slow), rel=1e-4)
    flat = vertices * torch.tensor([1.0, 1.0, 0.0])
    half = BALL.vertices[:, 2][BALL.faces].min(1) >= -1e-9  # the upper half, pressed flat
    plane = mesh_terms.normal_consistency(flat, faces[torch.tensor(half)])
    assert float(plane.max()) < 1e-6
    # finer balls bend less from vertex to vertex
    finer = tensors(trimesh.creation.icosphere(3))
    assert float(mesh_terms.normal_consistency(*finer).mean()) < 0.3 * float(ours.mean())


def test_the_laplacian_by_a_slow_loop():
    vertices, faces = tensors(TORUS)
    slow = [
        np.linalg.norm(sum(TORUS.vertices[j] - TORUS.vertices[i] for j in neighbours))
        for i, neighbours in enumerate(TORUS.vertex_neighbors)
    ]
    ours = mesh_terms.laplacian(vertices, faces)
    torch.testing.assert_close(ours, torch.tensor(slow).float(), atol=1e-5, rtol=1e-4)
    assert math.isfinite(
        float(
            torch.autograd.functional.vjp(
                lambda v: mesh_terms.laplacian(v, faces).sum(), vertices * 0
            )[1].sum()
        )
    )
