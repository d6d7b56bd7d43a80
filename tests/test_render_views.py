"""The pictures of a run: straight alpha, numbers that describe them, nothing when it failed."""

import io
import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from pipeline import distillation, optimize, render_views
from pipeline.artifacts import (
    ArtifactError,
    load_safetensors,
    read_json,
    read_png,
    save_safetensors,
    sha256,
    write_json,
)
from pipeline.cameras import FOUR_VIEWS, orbit
from pipeline.scenes.interface import Rendering
from pipeline.scenes.load import load_scene
from pipeline.surfaces import surface


@pytest.fixture
def finished(tiny_job, tiny_bank, tmp_path) -> tuple[Path, dict]:
    """A finished run and its views' settings."""
    job = tiny_job("csd")
    optimize.optimize(
        job, tmp_path / "run", bank=tiny_bank, device="cpu", init_from=None, threads=1
    )
    render_views.write_pictures(tmp_path / "run", job.settings["views"])
    return tmp_path / "run", job.settings["views"]


def _rendered(run: Path, views: dict) -> Rendering:
    """The four views over black, from the scene itself."""
    settings = read_json(run / "run.json")["settings"]
    scene = load_scene(settings, torch.Generator(), run, samples=views["samples"])
    cameras = orbit(list(FOUR_VIEWS.values()), views["elevation"], views["distance"], views["fovy"])
    size = {"height": views["size"], "width": views["size"]}
    with torch.no_grad():
        return scene.render(cameras, background=torch.zeros(4, 3), normals=True, **size)


def test_pictures_are_the_render_with_straight_alpha(finished):
    run, views = finished
    found = _rendered(run, views)
    for i, name in enumerate(FOUR_VIEWS):
        picture = read_png(run / "views" / f"{name}.png")
        assert picture.shape == (views["size"], views["size"], 4)
        rgb, alpha = picture[..., :3], picture[..., 3:]
        expected = found.alpha[i].permute(1, 2, 0).numpy()
        assert np.abs(alpha - expected).max() <= 0.51 / 255
        # both colour and alpha are rounded: half a level each, the colour counted alpha times
        assert np.abs(rgb * alpha - found.rgb[i].permute(1, 2, 0).numpy()).max() <= 1.02 / 255
        assert not rgb[expected[..., 0] == 0].any()


def test_normal_pictures_hold_unit_normals_where_the_object_is(finished):
    run, views = finished
    found = _rendered(run, views)
    for i, name in enumerate(FOUR_VIEWS):
        picture = read_png(run / "views" / f"{name}_normal.png")
        inside = found.alpha[i, 0].numpy() > 0
        normal = found.normal[i].permute(1, 2, 0).numpy()
        assert np.abs(2 * picture[..., :3] - 1 - normal)[inside].max() <= 1.02 / 255
        assert not picture[~inside].any()


def test_straight_undoes_premultiplication_where_there_is_something():
    rng = np.random.default_rng(0)
    colour, alpha = rng.random((6, 6, 3)), rng.random((6, 6, 1))
    alpha[:2] = 0.0
    found = render_views.straight(colour * alpha, alpha)
    assert np.allclose(found[2:, :, :3], colour[2:])
    assert np.array_equal(found[..., 3:], alpha)
    assert not found[:2].any()


def test_depth_is_distance_over_its_scale_in_16_bits(finished):
    run, views = finished
    listing = read_json(run / "views" / "views.json")
    settings = read_json(run / "run.json")["settings"]
    scene = load_scene(settings, torch.Generator(), run, samples=views["samples"])
    cameras = orbit([0.0], views["elevation"], views["distance"], views["fovy"])
    size = {"height": views["size"], "width": views["size"]}
    with torch.no_grad():
        depth = scene.render(cameras, background=torch.zeros(1, 3), **size).depth[0, 0].numpy()
    with Image.open(run / "views" / "front_depth.png") as image:
        stored = np.asarray(image).astype(np.float64)
    assert stored.max() > 255  # 16 bits, not 8
    error = np.abs(stored / 65535 * listing["depth_scale"] - depth).max()
    assert error <= listing["depth_scale"] / 65535 + 1e-5


@pytest.mark.parametrize("count", [1, 2, 5, 8, 36])
def test_the_sheet_is_filled_row_by_row(count):
    frames = [np.full((3, 4, 4), i + 1.0, dtype=np.float32) for i in range(count)]
    grid, columns = render_views.sheet(frames)
    rows = math.ceil(count / columns)
    assert grid.shape == (rows * 3, columns * 4, 4)
    for place in range(rows * columns):
        row, column = place // columns, place % columns
        tile = grid[3 * row : 3 * row + 3, 4 * column : 4 * column + 4]
        assert (tile == (place + 1 if place < count else 0)).all()
    assert abs(rows - columns) <= 1


def test_views_json_describes_the_files(finished):
    run, views = finished
    listing = read_json(run / "views" / "views.json")
    assert listing["placeholder"] is False
    assert {key: listing[key] for key in ("size", "elevation", "distance", "fovy")} == {
        key: views[key] for key in ("size", "elevation", "distance", "fovy")
    }
    expected = {f"views/{n}{k}.png" for n in FOUR_VIEWS for k in ("", "_normal", "_depth")}
    assert set(listing["outputs"]) == expected | {"poster.png", "turntable.webp", "mesh.glb"}
    for name, value in listing["outputs"].items():
        assert value == sha256(run / name)
    assert listing["scene_sha256"] == sha256(run / "scene.safetensors")
    frames = views["turntable_frames"]
    assert listing["frames"] == frames
    assert listing["azimuths"] == pytest.approx([360 * i / frames for i in range(frames)], abs=1e-3)
    with Image.open(io.BytesIO((run / "turntable.webp").read_bytes())) as image:
        rows = math.ceil(frames / listing["columns"])
        assert image.size == (listing["columns"] * views["size"], rows * views["size"])


def test_the_poster_is_the_front_view_and_views_differ(finished):
    run, _ = finished
    front = (run / "views" / "front.png").read_bytes()
    assert (run / "poster.png").read_bytes() == front
    assert (run / "views" / "back.png").read_bytes() != front


def test_the_mesh_is_the_scenes_surface(finished):
    run, _ = finished
    record = read_json(run / "run.json")
    found = surface("nerf", load_scene(record["settings"], torch.Generator(), run))
    assert (run / "mesh.glb").read_bytes() == found.glb
    assert read_json(run / "views" / "views.json")["surface"] == found.record
    assert found.record["faces"] > 100


def test_a_scene_without_a_surface_has_no_mesh_and_is_no_error(finished):
    run, views = finished
    tensors, metadata = load_safetensors(run / "scene.safetensors")
    tensors["head.grid.table"] = tensors["head.grid.table"].clone()
    tensors["head.grid.table"][:, 0] = -100.0  # no density anywhere
    save_safetensors(run / "scene.safetensors", tensors, metadata)
    render_views.write_pictures(run, views)
    listing = read_json(run / "views" / "views.json")
    assert listing["surface"] is None
    assert listing["placeholder"] is False
    assert "mesh.glb" not in listing["outputs"]
    assert not (run / "mesh.glb").exists()  # an earlier scene's is gone


def test_rendering_twice_gives_the_same_bits(finished):
    run, views = finished
    before = {path: path.read_bytes() for path in (run / "views").iterdir()}
    before |= {path: path.read_bytes() for path in (run / "mesh.glb", run / "turntable.webp")}
    (run / "views" / ".partial-x.png").write_bytes(b"left by a kill")
    render_views.write_pictures(run, views)
    assert {path: path.read_bytes() for path in before} == before


def test_a_failed_runs_pictures_are_empty_and_marked(tiny_job, tiny_bank, tmp_path, monkeypatch):
    job = tiny_job("csd")

    def stop(*arguments: object) -> None:
        raise distillation.ScientificFailure("the render is not finite")

    monkeypatch.setattr(optimize, "one_step", stop)
    run = tmp_path / "failed"
    optimize.optimize(job, run, bank=tiny_bank, device="cpu", init_from=None, threads=1)
    render_views.write_pictures(run, job.settings["views"])
    listing = read_json(run / "views" / "views.json")
    assert (listing["placeholder"], listing["surface"]) == (True, None)
    assert not (run / "mesh.glb").exists()
    for name in FOUR_VIEWS:
        assert not read_png(run / "views" / f"{name}.png").any()
    with Image.open(run / "turntable.webp") as image:
        assert not np.asarray(image.convert("RGBA"))[..., 3].any()


def test_what_is_missing_or_foreign_is_named(finished, tmp_path, program, capsys):
    run, views = finished
    arguments = ("--run", run, "--settings", json.dumps(views))
    assert program("pipeline.render_views", *arguments) == 0
    assert program("pipeline.render_views", "--run", run, "--settings", "{") == 1
    assert capsys.readouterr().err.startswith("error: ")

    record = read_json(run / "run.json")
    record["settings"]["scene"]["grid"]["levels"] += 1
    write_json(run / "run.json", record)
    with pytest.raises(ArtifactError, match="not a scene of these settings"):
        render_views.write_pictures(run, views)
    (run / "scene.safetensors").unlink()
    assert program("pipeline.render_views", *arguments) == 1
    assert "scene.safetensors: no such file" in capsys.readouterr().err
    (run / "run.json").unlink()
    assert program("pipeline.render_views", *arguments) == 1
    assert "run.json: no such file" in capsys.readouterr().err
