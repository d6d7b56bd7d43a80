"""Files become meshes in the project's world, or say why not; nothing outside them is touched."""

import builtins
import math
import re
import socket
from pathlib import Path

import hostile_meshes as hostile
import numpy as np
import pytest
import torch
import trimesh

from pipeline.meshes.load import load_mesh
from pipeline.meshes.mesh import Mesh, MeshError, checksum, face_areas, vertex_normals
from pipeline.meshes.orient import AXES, RADIUS, rotation


@pytest.fixture(autouse=True)
def no_network_no_other_files(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a network connection was tried")

    for name in ("connect", "connect_ex", "sendto"):
        monkeypatch.setattr(socket.socket, name, refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    real = builtins.open

    def watched(file: object, *arguments: object, **keywords: object) -> object:
        name = str(file)
        assert "passwd" not in name, name
        assert "secret" not in name, name
        return real(file, *arguments, **keywords)  # type: ignore[call-overload]

    monkeypatch.setattr(builtins, "open", watched)


def as_trimesh(mesh: Mesh) -> trimesh.Trimesh:
    return trimesh.Trimesh(mesh.vertices.numpy(), mesh.faces.numpy(), process=False)


@pytest.mark.parametrize("name", hostile.REPAIRED)
def test_repairable_files_become_meshes_and_say_what_changed(name, tmp_path):
    file, data, word = hostile.REPAIRED[name]
    loaded = load_mesh(hostile.write(tmp_path, file, data()))
    mesh, record = loaded.mesh, loaded.record
    assert torch.isfinite(mesh.vertices).all()
    assert 0 <= mesh.faces.min() <= mesh.faces.max() < len(mesh.vertices)
    assert (face_areas(mesh) > 0).all()
    assert mesh.vertices.norm(dim=1).max() == pytest.approx(RADIUS, abs=1e-6)
    assert word in " ".join(record["changes"])
    assert record["changes"] or not word
    assert record["status"] == "ok"
    assert record["mesh_sha256"] == checksum(mesh)
    assert record["watertight"] == as_trimesh(mesh).is_watertight


@pytest.mark.parametrize("name", hostile.REFUSED)
def test_hopeless_files_are_refused_with_file_reason_and_remedy(name, tmp_path):
    file, data, word = hostile.REFUSED[name]
    path = hostile.write(tmp_path, file, data())
    with pytest.raises(MeshError) as caught:
        load_mesh(path)
    text = str(caught.value)
    assert text.startswith(f"{path}: ")
    assert re.search(word, text)
    assert caught.value.remedy
    assert text.endswith(caught.value.remedy)
    assert len(text) < 500


def test_a_clean_file_is_not_changed(tmp_path):
    record = load_mesh(hostile.write(tmp_path, "ball.glb", hostile.ball_glb())).record
    assert record["changes"] == []
    assert record["watertight"]
    assert record["faces"] == len(hostile.BALL.faces)


def test_a_missing_file_and_a_folder_are_refused(tmp_path):
    for path in (tmp_path / "none.glb", tmp_path):
        with pytest.raises(MeshError, match="no such file"):
            load_mesh(path)


@pytest.mark.parametrize(
    "name", ["inverted", "wound at random", "repeated faces", "split vertices"]
)
def test_closed_bodies_look_outwards(name, tmp_path):
    file, data, _ = hostile.REPAIRED[name]
    mesh = as_trimesh(load_mesh(hostile.write(tmp_path, file, data())).mesh)
    assert mesh.is_watertight
    assert mesh.is_winding_consistent
    assert mesh.volume > 0


def test_each_of_several_bodies_looks_outwards(tmp_path):
    two = trimesh.util.concatenate([hostile.BALL, hostile.BOX.copy().apply_translation([9, 0, 0])])
    faces = np.concatenate([hostile.BALL.faces[:, ::-1], two.faces[len(hostile.BALL.faces) :]])
    path = hostile.write(tmp_path, "two.glb", hostile.glb(two.vertices, faces))
    mesh = as_trimesh(load_mesh(path).mesh)
    assert [body.volume > 0 for body in mesh.split()] == [True, True]


def test_an_open_body_keeps_the_winding_of_most_of_its_area(tmp_path):
    faces = hostile.BALL.faces[: len(hostile.BALL.faces) // 2].copy()
    faces[:7] = faces[:7, ::-1]
    mesh = load_mesh(hostile.write(tmp_path, "half.obj", hostile.obj(hostile.BALL.vertices, faces)))
    got = as_trimesh(mesh.mesh)
    assert got.is_winding_consistent
    middle = got.triangles_center + 0.0
    ball_centre = np.array(mesh.record["matrix"])[:3, 3]  # where the file's origin went
    assert (((middle - ball_centre) * got.face_normals).sum(1) > 0).all()


def test_a_moebius_band_is_kept_and_named(tmp_path):
    turns = np.linspace(0, 2 * np.pi, 41)[:-1]
    across = np.array([-0.3, 0.3])
    ring = [
        [(1 + s * math.cos(a / 2)) * math.cos(a), (1 + s * math.cos(a / 2)) * math.sin(a),
         s * math.sin(a / 2)]
        for a in turns for s in across
    ]  # fmt: skip
    faces = []
    for k in range(40):
        a, b = 2 * k, 2 * k + 1
        c, d = (2 * k + 2, 2 * k + 3) if k < 39 else (1, 0)
        faces += [[a, b, c], [b, d, c]]
    path = hostile.write(tmp_path, "band.obj", hostile.obj(np.array(ring), np.array(faces)))
    assert "one-sided" in " ".join(load_mesh(path).record["changes"])


def test_every_pair_of_axes_turns_without_mirroring():
    for up in AXES:
        for front in AXES:
            if up[-1] == front[-1]:
                with pytest.raises(ValueError, match="one axis"):
                    rotation(up, front)
                continue
            turn = rotation(up, front)
            assert np.linalg.det(turn) == pytest.approx(1)
            np.testing.assert_array_equal(turn @ AXES[up], [0, 0, 1])
            np.testing.assert_array_equal(turn @ AXES[front], [1, 0, 0])


def test_gltf_axes_are_the_default(tmp_path):
    # A box of 1 x 2 x 3 along glTF's x (the object's left), y (up) and z (front).
    data = hostile.glb(hostile.BOX.vertices, hostile.BOX.faces)
    mesh = load_mesh(hostile.write(tmp_path, "box.glb", data)).mesh
    size = mesh.vertices.amax(0) - mesh.vertices.amin(0)
    torch.testing.assert_close(size / size[1], torch.tensor([3.0, 1.0, 2.0]))


@pytest.mark.parametrize(("up", "front"), [("y", "z"), ("z", "-y"), ("-x", "y")])
def test_the_recorded_matrix_takes_the_file_to_the_world(up, front, tmp_path):
    vertices = hostile.BOX.vertices + np.array([3, -4, 5])
    vertices[0] *= 1.1
    path = hostile.write(tmp_path, "box.obj", hostile.obj(vertices, hostile.BOX.faces))
    loaded = load_mesh(path, up=up, front=front)
    matrix = np.array(loaded.record["matrix"])
    expected = vertices @ matrix[:3, :3].T + matrix[:3, 3]
    got = loaded.mesh.vertices.double().numpy()
    distance = np.linalg.norm(expected[:, None] - got[None], axis=-1)
    assert distance.min(1).max() < 1e-6
    assert np.linalg.det(matrix[:3, :3]) > 0


def test_nodes_place_and_mirror_their_meshes(tmp_path):
    nodes = [
        {"children": [1, 2], "rotation": [0, 0, math.sqrt(0.5), math.sqrt(0.5)]},
        {"mesh": 0, "translation": [6, 0, 0]},
        {"mesh": 0, "scale": [-1, 1, 1]},
    ]
    data = hostile.glb(hostile.BOX.vertices, hostile.BOX.faces, nodes=nodes)
    mesh = as_trimesh(load_mesh(hostile.write(tmp_path, "nodes.glb", data)).mesh)
    # Turned about z by 90 degrees the boxes stand 6 apart along y, each 2 x 1 x 3.
    unit = mesh.extents[2] / 7
    np.testing.assert_allclose(mesh.extents / unit, [3, 2, 7], rtol=1e-5)
    assert [body.volume > 0 for body in mesh.split()] == [True, True]


def test_areas_and_normals_are_those_of_trimesh():
    ball = trimesh.creation.icosphere(1)
    mesh = Mesh(torch.tensor(ball.vertices, dtype=torch.float32), torch.tensor(ball.faces))
    np.testing.assert_allclose(face_areas(mesh).numpy(), ball.area_faces, rtol=1e-5)
    np.testing.assert_allclose(vertex_normals(mesh).numpy(), ball.vertices, atol=1e-5)


def test_the_limit_of_faces_can_be_raised_or_lowered(tmp_path):
    path = hostile.write(tmp_path, "ball.glb", hostile.ball_glb())
    count = len(hostile.BALL.faces)
    assert load_mesh(path, max_faces=count).record["faces"] == count
    with pytest.raises(MeshError, match=f"limit is {count - 1}"):
        load_mesh(path, max_faces=count - 1)
