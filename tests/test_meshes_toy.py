"""Toy objects as triangle meshes: closed parts, the renderer's silhouettes, the world's places."""

import numpy as np
import pytest
import torch
import trimesh

from pipeline.cameras import four_views
from pipeline.meshes.load import load_mesh
from pipeline.raster.interface import backend
from pipeline.raster.projection import clip_positions
from pipeline.toyworld import meshes
from pipeline.toyworld.objects import build
from pipeline.toyworld.parts import RADIUS, part, turn
from pipeline.toyworld.render import geometry
from pipeline.toyworld.vocabulary import SHAPES
from pipeline.toyworld.world import seeded

ROUND = np.sin(2 * np.pi / 32) / (2 * np.pi / 32)  # area of a polygon of 32 corners over its circle


@pytest.mark.parametrize(
    ("kind", "taper", "volume"),
    [
        ("box", (1.0, 1.0), 8.0),
        ("box", (1.0, 0.0), 4.0),  # a roof
        ("box", (0.5, 0.5), 8 * (1 + 0.5 + 0.25) / 3),
        ("frustum", (1.0, 1.0), 2 * np.pi * ROUND),
        ("frustum", (0.0, 0.0), 2 * np.pi / 3 * ROUND),  # a cone
        ("frustum", (0.5, 0.5), 2 * np.pi * (1 + 0.5 + 0.25) / 3 * ROUND),
    ],
)
def test_parts_are_closed_wound_outwards_and_of_the_right_volume(kind, taper, volume):
    half = torch.tensor([0.3, 0.2, 0.4])
    one = part(kind, (0.1, 0.2, 0.3), half.tolist(), taper=taper, rotation=turn(20, 30, 40))
    vertices, faces = meshes.part_mesh(one, 0)
    solid = trimesh.Trimesh(vertices.numpy(), faces.numpy())  # merges vertices at one place
    assert solid.is_watertight
    assert solid.is_winding_consistent
    assert solid.volume == pytest.approx(volume * float(half.prod()), rel=1e-4)


@pytest.mark.parametrize("cut", [-1.0, -0.12, 0.5])
def test_caps_of_ellipsoids_have_the_volume_of_the_formula(cut):
    vertices, faces = meshes.part_mesh(part("ellipsoid", (0, 0, 0), (0.5, 0.6, 0.7), cut=cut), 0)
    solid = trimesh.Trimesh(vertices.numpy(), faces.numpy())
    assert solid.is_watertight
    exact = np.pi * (2 / 3 - cut + cut**3 / 3) * 0.5 * 0.6 * 0.7
    assert 0.97 * exact < solid.volume < exact  # inscribed


@pytest.mark.parametrize("shape", SHAPES)
def test_silhouettes_are_the_renderers(shape):
    parts = build(shape, 1, 0.0, seeded(shape))
    vertices, faces = meshes.mesh(parts)
    assert RADIUS * 0.98 < vertices.norm(dim=1).max() <= RADIUS
    assert len(faces) < 15_000
    cameras, size = four_views(3.0, 40.0), 96
    four = [p[torch.zeros(4, dtype=torch.long)] for p in parts]
    alpha = geometry(four, cameras, size, supersample=1)[2][:, 0] > 0.5
    shown = backend("cpu").rasterize(clip_positions(vertices, cameras, 1.0), faces, (size, size))
    ours = shown[..., 3] > 0
    iou = (alpha & ours).sum((1, 2)) / (alpha | ours).sum((1, 2))
    assert iou.min() >= 0.98


def test_absent_parts_are_absent():
    parts = [part("box", (0, 0, 0), (1, 1, 1)), part("box", (3, 0, 0), (1, 1, 1))]
    parts[1] = part("box", (3, 0, 0), (1, 1, 1), present=torch.tensor([False]))
    assert len(meshes.mesh(parts)[1]) == 12


def test_the_program_writes_a_glb_that_loads_where_it_was(program, tmp_path):
    out = tmp_path / "duck.glb"
    assert program("pipeline.toyworld.meshes", "--shape", "duck", "--out", out) == 0
    loaded = load_mesh(out, place="keep")
    assert not [change for change in loaded.record["changes"] if "merged" not in change]
    assert loaded.record["watertight"]
    vertices, _ = meshes.mesh(build("duck", 1, 0.0, seeded("any")))
    exact = "donot_use_mm_for_euclid_dist"
    far = torch.cdist(loaded.mesh.vertices, vertices, compute_mode=exact).amin(1).max()
    assert far < 1e-5
    beak = loaded.mesh.vertices[:, 0].argmax()
    assert abs(float(loaded.mesh.vertices[beak, 1])) < 0.2  # a duck's front is its beak
    assert (
        program("pipeline.toyworld.meshes", "--shape", "duck", "--instance", 1, "--out", out) == 1
    )
