"""More faces or fewer for the same shape."""

import numpy as np
import pytest
import torch
import trimesh

from pipeline.meshes.detail import quartered, thinned
from pipeline.meshes.mesh import Mesh


def mesh_of(shape: trimesh.Trimesh) -> Mesh:
    return Mesh(torch.tensor(np.asarray(shape.vertices)).float(), torch.tensor(shape.faces))


def shape_of(mesh: Mesh) -> trimesh.Trimesh:
    return trimesh.Trimesh(mesh.vertices.numpy(), mesh.faces.numpy(), process=False)


def test_quartered_faces_are_trimeshs_subdivision():
    torus = trimesh.creation.torus(0.6, 0.25, major_sections=9, minor_sections=6)
    mesh = mesh_of(torus)
    found, expected = quartered(mesh), torus.subdivide()
    shape = shape_of(found)
    assert (len(shape.vertices), len(shape.faces)) == (len(expected.vertices), len(expected.faces))
    assert shape.is_watertight
    assert shape.volume == pytest.approx(expected.volume, rel=1e-5)
    assert torch.equal(found.vertices[: len(mesh.vertices)], mesh.vertices)
    ours, theirs = (s.triangles_center.round(4) for s in (shape, expected))
    assert {tuple(c) for c in ours.tolist()} == {tuple(c) for c in theirs.tolist()}


def test_a_thinned_ball_is_a_ball_of_fewer_faces():
    ball = mesh_of(trimesh.creation.icosphere(5))
    found = thinned(ball, 3000)
    assert 1000 < len(found.faces) <= 3000
    shape = shape_of(found)
    assert shape.is_watertight
    assert shape.volume == pytest.approx(4 / 3 * np.pi, rel=0.02)
    radius = found.vertices.norm(dim=1)
    assert 0.98 < radius.min() <= radius.max() <= 1.0
    assert len(torch.unique(found.faces)) == len(found.vertices)


def test_a_mesh_of_few_faces_is_not_touched():
    ball = mesh_of(trimesh.creation.icosphere(2))
    assert thinned(ball, len(ball.faces)) is ball


def test_faces_that_repeat_after_thinning_are_there_once():
    """Two sheets closer than a cell fall together; each keeps one face of either side."""
    sheet = trimesh.creation.box((1, 1, 1e-4)).subdivide().subdivide().subdivide().subdivide()
    found = thinned(mesh_of(sheet), 1000)
    first = found.faces.argmin(1, keepdim=True)
    rows = found.faces.gather(1, (first + torch.arange(3)) % 3)
    assert len(torch.unique(rows, dim=0)) == len(rows) <= 1000
    assert (found.faces != found.faces.roll(1, 1)).all()
