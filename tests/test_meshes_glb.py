"""Atlases, baked textures and GLB files: identities, round trips, another renderer."""

import json
import struct

import hostile_meshes as hostile
import numpy as np
import pytest
import torch
import trimesh
from other_renderer import loaded, other_render

from pipeline.artifacts import ArtifactError
from pipeline.cameras import Cameras, orbit
from pipeline.meshes import unwrap as unwrapping
from pipeline.meshes.bake import at, bake, dilated
from pipeline.meshes.colours import linear_from_display
from pipeline.meshes.export_glb import SHORT, UNSIGNED, bare_glb, coloured_glb, textured_glb
from pipeline.meshes.glb import chunks
from pipeline.meshes.load import load_mesh
from pipeline.meshes.mesh import Mesh, MeshError
from pipeline.meshes.seams import seams
from pipeline.meshes.unwrap import Atlas, load_atlas, save_atlas, texels, unwrap
from pipeline.raster.interface import backend
from pipeline.raster.projection import clip_positions
from pipeline.toyworld import meshes as toy
from pipeline.toyworld.objects import build
from pipeline.toyworld.world import seeded

SIZE = 96


def mesh_of(shape: trimesh.Trimesh) -> Mesh:
    vertices = torch.tensor(np.asarray(shape.vertices), dtype=torch.float32)
    return Mesh(vertices, torch.tensor(np.asarray(shape.faces)))


def waves(position: torch.Tensor) -> torch.Tensor:
    """Differs along every axis, so that a turned or mirrored object is another picture."""
    return 0.5 + 0.45 * torch.sin(5 * position + torch.tensor([0.0, 1.0, 2.5]))


@pytest.fixture(scope="module")
def blob() -> tuple[Mesh, Atlas, torch.Tensor]:
    mesh = mesh_of(trimesh.creation.torus(0.6, 0.25, major_sections=40, minor_sections=16))
    atlas = unwrap(mesh, 256)
    return mesh, atlas, bake(waves, mesh, atlas)


def test_an_atlas_keeps_the_faces_and_cuts_them_without_overlap(blob):
    mesh, atlas, _ = blob
    assert torch.equal(atlas.source[atlas.faces], mesh.faces)
    assert 0 <= atlas.uv.min() < atlas.uv.max() <= 1
    a, b, c = (atlas.uv * torch.tensor(atlas.size[::-1]))[atlas.faces].unbind(1)
    (x, y), (s, t) = (b - a).unbind(1), (c - a).unbind(1)
    area = ((x * t - y * s).abs() / 2).sum()
    covered = texels(mesh, atlas).covered.sum()
    # If triangles lay on one another, fewer texels than their area would be covered.
    assert covered == pytest.approx(float(area), rel=0.03)


def test_the_same_mesh_has_the_same_atlas_and_its_file_keeps_it(blob, tmp_path):
    mesh, atlas, _ = blob
    save_atlas(tmp_path / "atlas.safetensors", atlas, mesh)
    for again in (unwrap(mesh, 256), load_atlas(tmp_path / "atlas.safetensors", mesh)):
        assert again.size == atlas.size
        for name in ("uv", "source", "faces"):
            assert torch.equal(getattr(again, name), getattr(atlas, name))
    with pytest.raises(ArtifactError, match="the atlas of another mesh"):
        load_atlas(tmp_path / "atlas.safetensors", Mesh(mesh.vertices * 0.5, mesh.faces))
    with pytest.raises(ValueError, match="at least 32"):
        unwrap(mesh, 16)


def test_small_triangles_have_room_in_the_atlas_too():
    mesh = mesh_of(trimesh.creation.icosphere(3, 0.004))  # areas around 1e-7
    atlas = unwrap(mesh, 128)
    corners = atlas.uv[atlas.faces]
    assert ((corners - corners.roll(1, 1)).abs().amax((1, 2)) > 0).all()


def test_fine_smooth_bends_are_roughened_a_little_and_planes_are_not():
    ball = mesh_of(trimesh.creation.icosphere(6))  # neighbours differ by less than a degree
    moved = (unwrapping.roughened(ball) - ball.vertices).norm(dim=1)
    assert (moved > 0).all()
    assert moved.max() < 0.1 * trimesh.creation.icosphere(6).edges_unique_length.max()
    assert torch.equal(unwrapping.roughened(ball), unwrapping.roughened(ball))
    box = trimesh.creation.box((1, 1, 1)).subdivide().subdivide()
    for still in (mesh_of(box), mesh_of(trimesh.creation.icosphere(3))):
        assert torch.equal(unwrapping.roughened(still), still.vertices)


@pytest.mark.parametrize(
    ("program", "word"),
    [
        ("import os; os.kill(os.getpid(), 11)", "ended with -11"),
        ("raise ValueError('no room')", "no room"),
        ("import time; time.sleep(60)", "more than 1 s"),
    ],
)
def test_a_library_that_crashes_or_hangs_is_a_failure_of_the_mesh(
    program, word, monkeypatch, tmp_path
):
    worker = tmp_path / "worker.py"
    worker.write_text(program)
    monkeypatch.setattr(unwrapping, "WORKER", worker)
    monkeypatch.setattr(unwrapping, "PATIENCE", 1 if "sleep" in program else 60)
    with pytest.raises(MeshError, match=word):
        unwrap(mesh_of(trimesh.creation.box((1, 1, 1))), 64)


def test_charts_on_one_another_are_an_error():
    mesh = mesh_of(trimesh.creation.box((1, 1, 1)))
    uv = torch.tensor([[0.1, 0.1], [0.9, 0.1], [0.1, 0.9]])
    atlas = Atlas(
        mesh.faces.reshape(-1), torch.arange(36).reshape(-1, 3), uv.repeat(12, 1), (50, 50)
    )
    with pytest.raises(MeshError, match="on one another"):
        texels(mesh, atlas)


def test_texels_lie_on_the_surface_with_its_normal():
    mesh = mesh_of(trimesh.creation.box((0.8, 1.0, 0.6)))
    shown = texels(mesh, unwrap(mesh, 64))
    position, normal = shown.position[shown.covered], shown.normal[shown.covered]
    half = torch.tensor([0.4, 0.5, 0.3])
    torch.testing.assert_close((position * normal).sum(1), (half * normal.abs()).sum(1))
    assert (position.abs() <= half + 1e-6).all()
    assert torch.equal(
        shown.position[~shown.covered], torch.zeros_like(shown.position[~shown.covered])
    )


def test_dilation_takes_the_nearest_covered_texel():
    image = torch.rand(9, 11, 2, generator=torch.Generator().manual_seed(0))
    covered = torch.zeros(9, 11, dtype=torch.bool)
    covered[[1, 7, 3], [2, 8, 4]] = True
    got = dilated(image, covered)
    where = covered.nonzero().float()
    for row in range(9):
        for column in range(11):
            distance = (where - torch.tensor([row, column])).norm(dim=1)
            nearest = where[distance <= distance.min() + 1e-6].long()
            assert any(torch.equal(got[row, column], image[a, b]) for a, b in nearest.tolist())
    assert torch.equal(dilated(image, covered & False), image)


def test_a_baked_field_is_read_back_at_the_surface(blob):
    mesh, atlas, image = blob
    generator = torch.Generator().manual_seed(0)
    face = torch.randint(len(mesh.faces), (3000,), generator=generator)
    share = torch.rand(3000, 3, generator=generator) ** 2
    share = share / share.sum(1, keepdim=True)
    point = (share[:, :, None] * mesh.vertices[mesh.faces[face]]).sum(1)
    uv = (share[:, :, None] * atlas.uv[atlas.faces[face]]).sum(1)
    assert (at(image, uv) - waves(point)).abs().max() < 0.06  # about a texel's change
    assert torch.equal(bake(waves, mesh, atlas, chunk=1000), image)


def test_the_baked_texture_has_no_visible_seams(blob):
    mesh, atlas, image = blob
    assert seams(mesh, atlas, image).ratio < 1.3
    shuffled = image.clone()
    shuffled[: len(image) // 2] *= 0.6  # whatever charts lie there
    assert seams(mesh, atlas, shuffled).ratio > seams(mesh, atlas, image).ratio


def check_structure(data: bytes) -> dict:
    """The file is one whole GLB: lengths agree, nothing lies outside, accessors fit their views."""
    assert struct.unpack("<4sII", data[:12]) == (b"glTF", 2, len(data))
    tree, binary = chunks("memory", data)
    assert all("uri" not in item for key in ("buffers", "images") for item in tree.get(key, []))
    assert "extensionsRequired" not in tree
    assert len(binary) - 3 <= tree["buffers"][0]["byteLength"] <= len(binary)
    widths = {"SCALAR": 1, "VEC2": 2, "VEC3": 3}
    for accessor in tree["accessors"]:
        view = tree["bufferViews"][accessor["bufferView"]]
        assert view["byteOffset"] % 4 == 0
        size = 2 if accessor["componentType"] == SHORT else 4
        assert view["byteLength"] == size * widths[accessor["type"]] * accessor["count"]
        assert view["byteOffset"] + view["byteLength"] <= len(binary)
    json.dumps(tree, allow_nan=False)
    return tree


def test_files_are_whole_and_the_same_each_time(blob):
    mesh, atlas, image = blob
    for data, again in (
        (bare_glb(mesh), bare_glb(mesh)),
        (coloured_glb(mesh, waves(mesh.vertices)), coloured_glb(mesh, waves(mesh.vertices))),
        (textured_glb(mesh, atlas, image), textured_glb(mesh, atlas, image)),
    ):
        assert data == again
        check_structure(data)


def test_geometry_stands_upright_in_gltf_and_returns_unchanged(blob, tmp_path):
    mesh, _, _ = blob
    shape = loaded(bare_glb(mesh))
    x, y, z = mesh.vertices.T.numpy()
    np.testing.assert_array_equal(shape.vertices, np.stack([y, z, x], 1).astype(np.float32))
    np.testing.assert_array_equal(shape.faces, mesh.faces)
    assert shape.volume > 0  # turned, not mirrored
    path = tmp_path / "again.glb"
    path.write_bytes(bare_glb(mesh))
    again = load_mesh(path, place="keep")
    assert torch.equal(again.mesh.vertices.sort(0).values, mesh.vertices.sort(0).values)
    assert again.record["changes"] == []


def test_vertex_colours_are_linear_light_and_unlit(blob):
    mesh, _, _ = blob
    data = coloured_glb(mesh, waves(mesh.vertices))
    tree = check_structure(data)
    assert tree["materials"][0]["extensions"] == {"KHR_materials_unlit": {}}
    assert tree["extensionsUsed"] == ["KHR_materials_unlit"]
    light = torch.tensor(loaded(data).visual.vertex_attributes["color"])
    expected = linear_from_display(waves(mesh.vertices))
    torch.testing.assert_close(light, expected)
    with pytest.raises(ValueError, match="for 640 vertices"):
        coloured_glb(mesh, torch.zeros(3, 3))


def test_textures_return_as_written(blob):
    mesh, atlas, image = blob
    shape = loaded(textured_glb(mesh, atlas, image))
    picture = np.asarray(shape.visual.material.baseColorTexture)
    np.testing.assert_array_equal(picture, (image * 255 + 0.5).to(torch.uint8).numpy())
    np.testing.assert_allclose(shape.visual.uv[:, 0], atlas.uv[:, 0], atol=1e-6)
    np.testing.assert_allclose(1 - shape.visual.uv[:, 1], atlas.uv[:, 1], atol=1e-6)
    with pytest.raises(ValueError, match="an atlas of"):
        textured_glb(Mesh(mesh.vertices, mesh.faces[:5]), atlas, image)


def test_large_meshes_number_their_vertices_in_four_bytes():
    ball = mesh_of(trimesh.creation.icosphere(4))
    copies = 2**16 // len(ball.vertices) + 1
    many = Mesh(ball.vertices.repeat(copies, 1), ball.faces + len(ball.vertices) * (copies - 1))
    for mesh, kind in ((ball, SHORT), (many, UNSIGNED)):
        data = bare_glb(mesh)
        assert check_structure(data)["accessors"][-1]["componentType"] == kind
        np.testing.assert_array_equal(loaded(data).faces, mesh.faces)


@pytest.mark.parametrize("name", hostile.REPAIRED)
def test_whatever_could_be_repaired_can_be_textured(name, tmp_path):
    file, data, _ = hostile.REPAIRED[name]
    mesh = load_mesh(hostile.write(tmp_path, file, data())).mesh
    atlas = unwrap(mesh, 64)
    image = bake(waves, mesh, atlas)
    shape = loaded(textured_glb(mesh, atlas, image))
    middle = mesh.vertices[mesh.faces].mean(1)
    uv = atlas.uv[atlas.faces].mean(1)
    assert (at(image, uv) - waves(middle)).abs().mean() < 0.1  # coarse texels, but the right place
    np.testing.assert_array_equal(shape.faces, atlas.faces)


def field_render(mesh: Mesh, cameras: Cameras) -> tuple[torch.Tensor, torch.Tensor]:
    """(rgb, covered) of the field itself at every pixel's centre."""
    raster = backend("cpu")
    pos = clip_positions(mesh.vertices, cameras, 1.0)
    rast = raster.rasterize(pos, mesh.faces, (SIZE, SIZE))
    covered = rast[..., 3] > 0
    return waves(raster.interpolate(mesh.vertices[None], rast, mesh.faces)), covered


@pytest.mark.parametrize("name", ["torus", "car"])
def test_another_renderer_shows_the_fields_own_picture(name, blob):
    if name == "torus":
        mesh, atlas, image = blob
    else:
        mesh = Mesh(*toy.mesh(build("car", 1, 0.0, seeded("any"))))
        atlas = unwrap(mesh, 512)
        image = bake(waves, mesh, atlas)
    cameras = orbit([10.0, 130.0, 250.0], [15.0, 50.0, -20.0], 3.0, 40.0)
    ours, inside = field_render(mesh, cameras)
    theirs, hit = other_render(textured_glb(mesh, atlas, image), cameras, SIZE)
    assert (inside.numpy() == hit).mean() > 0.999  # rays along edges may fall to either side
    both = inside.numpy() & hit
    error = (ours.numpy()[both] - theirs[both]) ** 2
    psnr = -10 * np.log10(error.mean())
    print(f"{name}: {psnr:.1f} dB")
    assert psnr >= 30
