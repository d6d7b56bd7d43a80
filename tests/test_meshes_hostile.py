"""Whatever is handed over as a mesh ends as a painted texture or as a recorded failure.

From the file to the pictures, with a small random prior and one step a mesh.
"""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hostile_meshes as hostile
import pytest
import tiny_models as tiny
from other_renderer import loaded

from pipeline import config, optimize, recipes, render_views
from pipeline.artifacts import load_safetensors, read_json, read_png
from pipeline.cameras import FOUR_VIEWS
from pipeline.meshes.prepare import write_mesh

VIEWS = {"size": 24, "samples": 8, "turntable_frames": 2}


@pytest.fixture(scope="module")
def prior(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("prior")
    latent = tiny.latent_folder(folder / "latent", prediction="v_prediction")
    path = tiny.control_folder(folder / "depth", latent, seed=0)
    nets = [tiny.control_spec(path, "depth", [0.5, 0.2, 1])]
    return tiny.spec("stable_diffusion", latent, controlnets=nets)


@pytest.fixture
def painted(tmp_path: Path, prior: dict[str, Any]) -> Callable[[Path], Path]:
    """Takes a mesh file through preparing, one step of painting, and the pictures."""

    def go(file: Path) -> Path:
        mesh, out = tmp_path / "mesh", tmp_path / "run"
        write_mesh(mesh, file, resolution=64)
        wanted = recipes.prompts(config.load_preset("smoke"), "texture")[0].prompt_id
        job = config.job("smoke", column="csd_neg", stage="texture", prompt_id=wanted, seed=0)
        small = {"steps": 1, "size": 24, "negative_prompt": "ugly"}
        small["trace"] = {"every": 1, "extra_every": 0, "probes": 0, "probe_noises": 1}
        small["views"] = job.settings["views"] | VIEWS
        job = dataclasses.replace(job, prior=prior, settings=job.settings | small)
        options: dict[str, Any] = {"bank": None, "device": "cpu", "init_from": None, "threads": 1}
        optimize.optimize(job, out, mesh=mesh, **options)
        render_views.write_pictures(out, small["views"], mesh)
        return out

    return go


@pytest.mark.parametrize("name", hostile.REPAIRED)
def test_what_can_be_repaired_is_painted(name, painted, tmp_path):
    file, data, word = hostile.REPAIRED[name]
    run = painted(hostile.write(tmp_path, file, data()))
    assert read_json(run / "run.json")["status"] == "ok"
    changes = read_json(tmp_path / "mesh" / "mesh.json")["changes"]
    assert not word or any(word in change for change in changes)
    listing = read_json(run / "views" / "views.json")
    assert listing["surface"]["colours"] == "texture"
    assert len(loaded((run / "mesh.glb").read_bytes()).faces) == listing["surface"]["faces"]
    seen = [read_png(run / "views" / f"{view}.png")[..., 3].mean() for view in FOUR_VIEWS]
    assert max(seen) > 0.02


@pytest.mark.parametrize("name", hostile.REFUSED)
def test_what_cannot_be_used_is_a_failure_that_says_why(name, painted, tmp_path):
    file, data, _ = hostile.REFUSED[name]
    path = hostile.write(tmp_path, file, data())
    run = painted(path)
    record = read_json(run / "run.json")
    assert record["status"] == "failed"
    assert record["failed_step"] is None
    assert record["reason"] == "no mesh: " + read_json(tmp_path / "mesh" / "mesh.json")["reason"]
    assert record["reason"].startswith(f"no mesh: {path.name}: ")
    _, metadata = load_safetensors(run / "scene.safetensors")
    assert metadata["placeholder"] == "true"
    listing = read_json(run / "views" / "views.json")
    assert (listing["placeholder"], listing["surface"]) == (True, None)
    assert not (run / "mesh.glb").exists()
