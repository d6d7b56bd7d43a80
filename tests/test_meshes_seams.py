"""Seams by hand-made atlases; colours by tabulated values."""

import pytest
import torch
import trimesh

from pipeline.meshes.bake import bake
from pipeline.meshes.colours import display_from_linear, lab, linear_from_display
from pipeline.meshes.mesh import Mesh
from pipeline.meshes.seams import seams
from pipeline.meshes.unwrap import Atlas, unwrap


def test_display_and_linear_are_inverse_and_match_the_standard():
    rgb = torch.linspace(0, 1, 257, dtype=torch.float64)[:, None].expand(-1, 3)
    linear = linear_from_display(rgb)
    torch.testing.assert_close(display_from_linear(linear), rgb, atol=1e-6, rtol=0)
    # IEC 61966-2-1: code 188 of 255 is half the light, within its rounding.
    assert float(linear_from_display(torch.tensor([188 / 255]))) == pytest.approx(0.5, abs=0.004)
    assert float(linear_from_display(torch.tensor([0.02]))) == pytest.approx(0.02 / 12.92)


def test_lab_of_known_colours():
    # Values of CIELAB under D65 as tabulated for the sRGB primaries.
    rgb = torch.tensor([[1.0, 1, 1], [0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]])
    known = [[100, 0, 0], [0, 0, 0], [53.24, 80.09, 67.20], [87.73, -86.18, 83.18]]
    known += [[32.30, 79.19, -107.86]]
    torch.testing.assert_close(lab(rgb), torch.tensor(known), atol=0.05, rtol=0)


def strip(columns: int) -> tuple[Mesh, Atlas]:
    """A strip of squares along x, cut in the middle: its right half lies higher in the texture."""
    x = torch.arange(columns + 1) / columns * 2 - 1
    bottom = torch.stack([x, torch.full_like(x, -0.5), torch.zeros_like(x)], 1)
    top = torch.stack([x, torch.full_like(x, 0.5), torch.zeros_like(x)], 1)
    n = columns + 1
    faces = [[[k, k + 1, n + k + 1], [k, n + k + 1, n + k]] for k in range(columns)]
    mesh = Mesh(torch.cat([bottom, top]), torch.tensor(faces).reshape(-1, 3))
    right = torch.arange(2 * columns) >= columns
    source = torch.arange(2 * n).repeat(2)
    flat = (mesh.vertices[:, :2] + torch.tensor([1.0, 0.5])) * torch.tensor([0.4, 0.3]) + 0.05
    uv = torch.cat([flat, flat + torch.tensor([0.0, 0.5])])
    atlas = Atlas(source, mesh.faces + (right * 2 * n)[:, None], uv, (400, 400))
    return mesh, atlas


def grey(lightness: float) -> float:
    """Display grey of a given L*."""
    return float(display_from_linear(torch.tensor([((lightness + 16) / 116) ** 3]))[0])


def test_a_known_offset_across_a_seam_is_the_measured_jump():
    mesh, atlas = strip(8)
    image = torch.full((400, 400, 3), grey(50.0))
    image[200:] = grey(57.0)  # the right half of the strip
    found = seams(mesh, atlas, image)
    assert found.seam_edges == 1
    assert found.seam == pytest.approx(7.0, abs=0.01)
    assert found.interior == pytest.approx(0.0, abs=1e-4)
    assert found.ratio == pytest.approx(7.0 / 0.23, rel=0.01)
    assert found.record()["seam_edges"] == 1


def test_a_smooth_field_has_no_seam_and_its_gradient_is_the_jump():
    mesh, atlas = strip(8)
    slope = 20.0  # of L* per world unit along x
    x = (torch.arange(400) + 0.5) / 400
    lightness = 50 + slope * ((x - 0.05) / 0.4 - 1)
    row = torch.stack([torch.full((3,), grey(float(value))) for value in lightness])
    found = seams(mesh, atlas, row.expand(400, 400, 3), distance=0.05)
    assert found.seam == pytest.approx(slope * 0.05, rel=0.02)
    # Edges between squares stand across the gradient, diagonals at 1 : 0.25 to it.
    assert 0.4 < found.interior / found.seam <= 1.0
    assert found.ratio == pytest.approx(found.seam / found.interior)


def test_points_across_folded_edges_are_as_far_apart_as_across_flat_ones():
    box = trimesh.creation.box((1, 1, 1))
    mesh = Mesh(torch.tensor(box.vertices).float(), torch.tensor(box.faces))
    atlas = unwrap(mesh, 256)
    linear = bake(lambda p: 0.5 + 0.1 * p, mesh, atlas)
    found = seams(mesh, atlas, linear, distance=0.04)
    # Lab is nearly linear here; no two points that far apart differ more than along the gradient.
    steepest = float((lab(torch.tensor([[0.5] * 3])) - lab(torch.tensor([[0.51] * 3]))).norm()) * 10
    assert found.seam < 1.6 * steepest * 0.04
    assert found.interior > 0


def test_seams_of_a_mesh_without_any_are_none():
    mesh, atlas = strip(4)
    whole = Atlas(atlas.source[:10], mesh.faces, atlas.uv[:10], atlas.size)
    found = seams(mesh, whole, torch.rand(400, 400, 3))
    assert (found.seam, found.ratio, found.seam_edges) == (None, None, 0)
    assert found.interior > 0
