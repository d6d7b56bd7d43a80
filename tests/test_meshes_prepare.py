"""A mesh file's folder: whole for a mesh that can be painted, marked for one that cannot."""

import hostile_meshes as hostile
import pytest
import torch

from pipeline.artifacts import load_safetensors, read_json, sha256, write_json
from pipeline.meshes import unwrap as unwrapping
from pipeline.meshes.export_glb import bare_glb
from pipeline.meshes.load import load_mesh
from pipeline.meshes.mesh import Mesh, MeshError, checksum
from pipeline.meshes.prepare import write_mesh
from pipeline.meshes.unwrap import load_atlas, unwrap


@pytest.fixture
def ball(tmp_path):
    return hostile.write(tmp_path, "ball.glb", hostile.ball_glb())


def test_the_folder_holds_what_painting_takes(ball, tmp_path, program):
    folder = tmp_path / "out"
    options = ["--up=-y", "--resolution", "64", "--out", folder]
    assert program("pipeline.meshes.prepare", ball, *options) == 0
    record = read_json(folder / "mesh.json")
    tensors, metadata = load_safetensors(folder / "mesh.safetensors")
    mesh = Mesh(**tensors)
    assert (record["status"], record["up"], metadata["status"]) == ("ok", "-y", "ok")
    assert checksum(mesh) == record["mesh_sha256"]
    expected = unwrap(mesh, 64)
    atlas = load_atlas(folder / "atlas.safetensors", mesh)
    assert torch.equal(atlas.uv, expected.uv)
    assert record["texels"] == list(expected.size)
    assert (folder / "bare.glb").read_bytes() == bare_glb(mesh)
    names = {"mesh.safetensors", "atlas.safetensors", "bare.glb"}
    assert record["outputs"] == {name: sha256(folder / name) for name in names}
    assert {path.name for path in folder.iterdir()} == names | {"mesh.json"}


def test_the_same_file_gives_the_same_bits(ball, tmp_path):
    one, other = (write_mesh(tmp_path / name, ball, resolution=64) for name in "ab")
    assert one == other


def test_a_file_without_a_mesh_is_a_result(tmp_path, program, capsys, ball):
    folder = tmp_path / "out"
    write_mesh(folder, ball, resolution=64)  # what lay there before is not left behind
    bad = hostile.write(tmp_path, "bad.glb", b"nothing")
    assert program("pipeline.meshes.prepare", bad, "--out", folder) == 0
    record = read_json(folder / "mesh.json")
    assert record["status"] == "failed"
    assert record["reason"].startswith("bad.glb: its content is not GLB, OBJ or PLY; export it")
    assert f"failed: {record['reason']}" in capsys.readouterr().err
    for name in ("mesh.safetensors", "atlas.safetensors"):
        tensors, _ = load_safetensors(folder / name)
        assert len(tensors["faces"]) == 0
    assert not (folder / "bare.glb").exists()


def test_a_mesh_that_cannot_be_unwrapped_is_a_result_and_names_its_file(
    ball, tmp_path, monkeypatch
):
    worker = tmp_path / "worker.py"
    worker.write_text("raise ValueError('no room')")
    monkeypatch.setattr(unwrapping, "WORKER", worker)
    record = write_mesh(tmp_path / "out", ball, resolution=64)
    assert record["status"] == "failed"
    assert record["reason"].startswith("ball.glb: xatlas could not unwrap it")
    assert "no room" in record["reason"]


def test_the_origin_is_repeated_and_its_failure_is_the_meshs(ball, tmp_path, program):
    origin = {"status": "ok", "uid": "a" * 32, "author": "Ann", "licence": "by"}
    write_json(tmp_path / "origin.json", origin)
    options = ["--resolution", "64", "--origin", tmp_path / "origin.json"]
    assert program("pipeline.meshes.prepare", ball, "--out", tmp_path / "a", *options) == 0
    assert read_json(tmp_path / "a" / "mesh.json")["origin"] == origin
    refused = {"status": "failed", "uid": "b" * 32, "what": "its licence is 'by-nc'"}
    write_json(tmp_path / "origin.json", refused | {"remedy": "choose another object"})
    empty = hostile.write(tmp_path, "empty.glb", b"")
    assert program("pipeline.meshes.prepare", empty, "--out", tmp_path / "b", *options) == 0
    record = read_json(tmp_path / "b" / "mesh.json")
    assert record["reason"] == f"{'b' * 32}: its licence is 'by-nc'; choose another object"


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(MeshError, match=r"gone\.obj: no such file"):
        load_mesh(tmp_path / "gone.obj")
