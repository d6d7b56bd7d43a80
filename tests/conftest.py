"""A toy world small enough to optimise in: 16 pixels, a few renders, a few steps."""

import copy
import runpy
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from browser import browser, visit  # noqa: F401  fixtures of every page's tests

from pipeline import config
from pipeline.artifacts import save_safetensors, write_json
from pipeline.toyworld import bank as toy
from pipeline.toyworld.vocabulary import SHAPES
from pipeline.toyworld.world import ranges_of

SIZE = 16
RENDERS = 30  # of each shape
CAMERAS = {
    "azimuth": [-180, 180],
    "elevation": [-10, 45],
    "distance": [3.0, 3.0],
    "fovy": [40, 40],
}
RED_CAR = "a-red-car-4ff7ca0b"
torch.set_num_threads(1)


@pytest.fixture(scope="session")
def tiny_bank(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bank as the rules write it. Tests that break it copy it first."""
    folder = tmp_path_factory.mktemp("world") / "bank"
    world = {"seed": 1, "diversity": 0.0}
    ranges = ranges_of(CAMERAS)
    for shape in SHAPES:
        images = toy.shape_images(shape, RENDERS, SIZE, ranges, **world)
        save_safetensors(folder / f"{shape}.safetensors", images, {})
    degraded = toy.degraded_images(45, SIZE, ranges, **world)
    save_safetensors(folder / "degraded.safetensors", degraded, {})
    write_json(folder / "world.json", toy.world_description({}, SIZE, CAMERAS, **world))
    return folder


def tiny_preset() -> dict[str, Any]:
    """The smoke preset made smaller: 12 steps at 16 pixels, a checkpoint every 4, 3 columns."""
    preset = yaml.safe_load((config.PRESETS / "smoke.yaml").read_text(encoding="utf-8"))
    preset["tasks"] = {"geometry": preset["tasks"]["geometry"] | {"chain": ["nerf"]}}
    preset["stages"] = {"nerf": preset["stages"]["nerf"]}
    preset["priors"] = {"mixture": preset["priors"]["mixture"]}
    preset["world"] |= {"size": SIZE, "count": RENDERS, "count_others": RENDERS, "seed": 1}
    preset["priors"]["mixture"] |= {"own_count": 20, "others_per_caption": 3}
    stage = preset["stages"]["nerf"]
    stage |= {"steps": 12, "batch": 2, "size": SIZE, "checkpoint_every": 4, "perp_neg": None}
    stage["cameras"] |= CAMERAS
    stage["scene"] |= {"samples": 16}
    stage["scene"]["grid"] |= {"levels": 2, "base_resolution": 4}
    stage["scene"]["occupancy"] |= {"resolution": 8, "interval": 3}
    stage["trace"] = {"every": 1, "extra_every": 0, "probes": 2, "probe_noises": 3}
    stage["snapshots"] = []
    stage["views"] |= {"size": 24, "samples": 16, "turntable_frames": 5}
    ramp = {"omega_1": 1.0, "omega_2": [0.0, 1.0, 6]}
    preset["columns"] = {
        "csd": {"method": "csd", "settings": {}, "overrides": {}},
        "csd_neg": {"method": "csd_neg", "settings": ramp, "overrides": {}},
        "vsd": {"method": "vsd", "settings": {"omega": 6.5}, "overrides": {}},
    }
    return preset


@pytest.fixture
def presets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """Puts presets of this test's own in place of the repository's; returns a preset's name."""
    folder = tmp_path / "presets"
    folder.mkdir()
    shutil.copy(config.PRESETS / "schema.yaml", folder)
    monkeypatch.setattr(config, "PRESETS", folder)

    def write(name: str, preset: Any) -> str:
        text = preset if isinstance(preset, str) else yaml.safe_dump(preset, sort_keys=False)
        (folder / f"{name}.yaml").write_text(text, encoding="utf-8")
        config._read.cache_clear()
        config._checked.cache_clear()
        config._resolved.cache_clear()
        return name

    return write


@pytest.fixture(scope="session")
def tiny() -> dict[str, Any]:
    return tiny_preset()


@pytest.fixture
def tiny_job(presets: Callable[..., str], tiny: dict[str, Any]) -> Callable[..., config.Job]:
    """The resolved job of one column of the tiny preset; keywords replace settings of its stage."""

    def resolve(column: str, *, seed: int = 0, **changes: Any) -> config.Job:
        preset = copy.deepcopy(tiny)
        preset["stages"]["nerf"] |= changes
        name = presets("tiny", preset)
        return config.job(name, column=column, stage="nerf", prompt_id=RED_CAR, seed=seed)

    return resolve


@pytest.fixture
def program(monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """Runs a program as `python -m` does, in this process; returns its exit status."""

    def run(module: str, *arguments: Any) -> int:
        monkeypatch.setattr(sys, "argv", [module, *map(str, arguments)])
        monkeypatch.delitem(sys.modules, module, raising=False)
        with pytest.raises(SystemExit) as caught:
            runpy.run_module(module, run_name="__main__")
        return int(caught.value.code or 0)

    return run
