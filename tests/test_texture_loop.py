"""What ControlNets are shown of a scene, and the loop that paints a mesh under them."""

import dataclasses
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tiny_models as tiny
import torch
from torch import Tensor

from pipeline import cameras, config, control_images, optimize, recipes, trace
from pipeline.artifacts import load_safetensors, read_json, save_safetensors, write_json
from pipeline.controls import canny
from pipeline.scenes.interface import Rendering
from pipeline.scenes.texture import Texture, TextureSettings
from pipeline.toyworld import meshes, world
from pipeline.toyworld.render import geometry

VIEWS = cameras.four_views(3.0, 40.0)
EDGES = {"blur": 1, "low": 50.0, "high": 100.0}
NETS: list[dict[str, Any]] = [{"image": "depth"}, {"image": "canny", "edges": EDGES}]
GREY = torch.full((4, 3), 0.5)


def _toy(shape: str) -> tuple[Tensor, Tensor]:
    return meshes.mesh(world.instances(shape, seed=1, diversity=0.0).parts)


def _scene(vertices: Tensor, faces: Tensor) -> Texture:
    settings = config.load_preset("mini")["stages"]["texture"]["scene"]
    spec = {key: value for key, value in settings.items() if key != "kind"}
    scene = Texture(TextureSettings.from_mapping(spec), torch.Generator().manual_seed(0))
    scene.put_on(vertices, faces)
    return scene


@pytest.mark.parametrize("shape", ["car", "house"])
@pytest.mark.parametrize("size", [64, 128])
def test_control_images_are_those_that_the_networks_were_trained_on(shape, size):
    """Against the ray tracer that made the training's pictures, with four rays a pixel."""
    scene = _scene(*_toy(shape))
    found = scene.render(VIEWS, height=size, width=size, background=GREY, normals=True)
    pictures = control_images.control_images(found, VIEWS, NETS, 64)
    parts = world.instances(shape, seed=1, diversity=0.0).parts
    one = [p[torch.zeros(4, dtype=torch.long)] for p in parts]
    normal, depth, alpha = geometry(one, VIEWS, 64)
    edges = canny((0.5 * normal + 0.5) * alpha, **EDGES)
    assert (pictures["depth"] - depth).abs().mean() < (0.025 if size == 64 else 0.015)
    near = torch.nn.functional.max_pool2d(edges, 3, 1, 1)
    assert ((pictures["canny"] > 0) & (near == 0)).sum() < 0.05 * (pictures["canny"] > 0).sum()
    near = torch.nn.functional.max_pool2d(pictures["canny"], 3, 1, 1)
    assert ((edges > 0) & (near == 0)).sum() < 0.1 * (edges > 0).sum()


def _rendering(alpha: Tensor, depth: Tensor, normal: Tensor | None) -> Rendering:
    rgb = torch.zeros(len(alpha), 3, *alpha.shape[2:])
    return Rendering(rgb=rgb, alpha=alpha, depth=depth, normal=normal, background=rgb)


def test_a_wall_across_the_axis_has_one_depth():
    """A distance along the ray is the depth over the cosine: 2.5 everywhere here."""
    _, directions = cameras.rays(VIEWS, 40, 40)
    axis = -VIEWS.c2w[:, None, None, :3, 2]
    distance = (2.5 / (directions * axis).sum(-1))[:, None]
    found = control_images.axial_depth(distance, VIEWS)
    torch.testing.assert_close(found, torch.full_like(found, 2.5), rtol=0, atol=1e-5)
    assert distance.max() > 2.5 / math.cos(math.radians(20.0))


def test_depth_falls_from_1_at_the_nearest_to_0_and_is_0_outside():
    step = torch.linspace(2.0, 4.0, 8).expand(4, 1, 8, 8)
    _, directions = cameras.rays(VIEWS, 8, 8)
    cosine = -(directions * VIEWS.c2w[:, None, None, :3, 2]).sum(-1)[:, None]
    alpha = torch.ones(4, 1, 8, 8)
    alpha[..., :2] = 0.0
    rendering = _rendering(alpha, step / cosine * alpha, None)
    nearness = control_images.control_images(rendering, VIEWS, NETS[:1], 8)["depth"]
    expected = torch.tensor([0.0, 0.0, 1.0, 0.8, 0.6, 0.4, 0.2, 0.0]).expand_as(nearness)
    torch.testing.assert_close(nearness, expected, rtol=0, atol=1e-5)


def test_edges_are_those_of_the_normals_over_black_averaged_over_areas():
    generator = torch.Generator().manual_seed(0)
    coarse = torch.nn.functional.normalize(torch.randn(4, 3, 8, 8, generator=generator), dim=1)
    normal = coarse.repeat_interleave(8, 2).repeat_interleave(8, 3)
    alpha = torch.ones(4, 1, 64, 64)
    alpha[:, :, :16] = 0.0
    normal = normal * alpha
    expected = canny((0.5 * normal + 0.5) * alpha, **EDGES)
    assert 0.05 < expected.mean() < 0.9
    rendering = _rendering(alpha, alpha, normal)
    found = control_images.control_images(rendering, VIEWS, NETS, 64)
    assert torch.equal(found["canny"], expected)
    fine = [x.repeat_interleave(2, 2).repeat_interleave(2, 3) for x in (alpha, normal)]
    finer = control_images.control_images(_rendering(fine[0], fine[0], fine[1]), VIEWS, NETS, 64)
    torch.testing.assert_close(finer["canny"], expected)
    with pytest.raises(ValueError, match="normals"):
        control_images.control_images(_rendering(alpha, alpha, None), VIEWS, NETS, 64)
    with pytest.raises(ValueError, match=r"'pose'.*depth, canny"):
        control_images.control_images(rendering, VIEWS, [{"image": "pose"}], 64)


@pytest.fixture(scope="module")
def prior(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """A random latent prior of 16 pixels with a depth and a canny ControlNet."""
    folder = tmp_path_factory.mktemp("prior")
    latent = tiny.latent_folder(folder / "latent", prediction="v_prediction")
    nets = []
    for seed, image in enumerate(("depth", "canny")):
        path = tiny.control_folder(folder / image, latent, seed=seed)
        nets.append(tiny.control_spec(path, image, [0.5, 0.2, 1]))
    nets[1]["edges"] = EDGES
    return tiny.spec("stable_diffusion", latent, controlnets=nets)


@pytest.fixture
def paint(tmp_path: Path, prior: dict[str, Any]) -> Callable[..., Path]:
    """Runs four steps of a column of the preset under the small prior into tmp_path / name."""
    vertices, faces = _toy("car")
    mesh = tmp_path / "mesh"
    save_safetensors(mesh / "mesh.safetensors", {"vertices": vertices, "faces": faces}, {})
    write_json(mesh / "mesh.json", {"status": "ok"})

    def go(column: str, name: str, **changes: Any) -> Path:
        wanted = recipes.prompts(config.load_preset("mini"), "texture")[0].prompt_id
        job = config.job("mini", column=column, stage="texture", prompt_id=wanted, seed=0)
        quiet = {"every": 1, "extra_every": 0, "probes": 1, "probe_noises": 2}
        small = {"steps": 4, "size": 24, "checkpoint_every": 1, "trace": quiet}
        own = {"negative_prompt": "ugly"} | small
        job = dataclasses.replace(job, prior=prior | changes, settings=job.settings | own)
        out = tmp_path / name
        options: dict[str, Any] = {"bank": None, "device": "cpu", "init_from": None, "threads": 1}
        optimize.optimize(job, out, mesh=mesh, **options)
        return out

    return go


def test_painting_moves_colours_and_no_vertex(paint):
    out = paint("csd", "run")
    record = read_json(out / "run.json")
    assert (record["status"], record["task"], record["stage"]) == ("ok", "texture", "texture")
    assert "mesh/mesh.safetensors" in record["inputs"]
    tensors, _ = load_safetensors(out / "scene.safetensors")
    vertices, faces = _toy("car")
    assert torch.equal(tensors["vertices"], vertices)
    assert torch.equal(tensors["faces"], faces)
    assert tensors["head.grid.table"].abs().max() > 0.01


def test_the_prior_sees_the_pictures_and_their_weights_step_by_step(paint, monkeypatch):
    steps, seen = [], []
    from pipeline.guidance import controlnet

    picture, weight = controlnet._picture, controlnet.Control.weight

    def kept(control: Any, view: Any, x_t: Tensor) -> Tensor:
        seen.append({name: image.shape for name, image in view.control.items()})
        return picture(control, view, x_t)

    def asked(control: Any, step: int) -> float:
        steps.append((step, weight(control, step)))
        return weight(control, step)

    monkeypatch.setattr(controlnet, "_picture", kept)
    monkeypatch.setattr(controlnet.Control, "weight", asked)
    paint("csd", "run")
    assert all(set(shapes) == {"depth", "canny"} for shapes in seen)
    assert all(shape[1:] == (1, 16, 16) for shapes in seen for shape in shapes.values())
    assert set(steps) == {(0, 0.5), (1, 0.2), (2, 0.2), (3, 0.2)}


@pytest.mark.parametrize("column", ["csd", "vsd"])
def test_a_killed_run_goes_on_to_the_same_bits(paint, monkeypatch, column):
    whole = paint(column, "whole")
    append = trace.append

    def stop(path: Path, rows: list[trace.Row]) -> None:
        if rows and rows[0]["step"] == 2:
            raise KeyboardInterrupt
        append(path, rows)

    with monkeypatch.context() as patch:
        patch.setattr(trace, "append", stop)
        with pytest.raises(KeyboardInterrupt):
            paint(column, "torn")
    torn = paint(column, "torn")
    for name in ("scene.safetensors", "trace.parquet"):
        assert (torn / name).read_bytes() == (whole / name).read_bytes()


def test_a_file_without_a_mesh_is_a_recorded_failure(paint, tmp_path):
    write_json(tmp_path / "mesh" / "mesh.json", {"status": "failed", "reason": "a.glb: empty"})
    record = read_json(paint("csd", "run") / "run.json")
    assert record["status"] == "failed"
    assert record["reason"] == "no mesh: a.glb: empty"
