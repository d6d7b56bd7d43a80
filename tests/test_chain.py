"""A chain of stages: each goes on from the one before, and a failed one fails what follows."""

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import RED_CAR

from pipeline.artifacts import load_safetensors, read_json, read_table
from reports.records import read_run

Stage = Callable[..., Path]


@pytest.fixture
def stage(presets: Any, tiny: dict[str, Any], tiny_bank: Path, tmp_path: Path, program: Any) -> Any:
    """Runs one stage of the chain nerf -> refine as the workflow does; returns its folder."""
    two = copy.deepcopy(tiny)
    two["tasks"]["geometry"]["chain"] = ["nerf", "refine"]
    two["stages"]["refine"] = copy.deepcopy(two["stages"]["nerf"])
    two["columns"]["csd_neg"]["overrides"] = {"gradient_weight": 1e300}  # beyond single precision
    presets("two", two)

    def go(column: str, name: str, init_from: Path | None = None) -> Path:
        out = tmp_path / column / name
        options = {"preset": "two", "column": column, "stage": name, "prompt-id": RED_CAR}
        options |= {"seed": 0, "bank": tiny_bank, "out": out}
        options |= {} if init_from is None else {"init-from": init_from}
        arguments = [part for key, value in options.items() for part in (f"--{key}", value)]
        assert program("pipeline.optimize", *arguments) == 0
        return out

    return go


def test_a_stage_goes_on_from_the_one_before(stage: Stage) -> None:
    first = stage("csd", "nerf")
    second = stage("csd", "refine", first)
    record = read_json(second / "run.json")
    assert (record["status"], record["stage"]) == ("ok", "refine")
    start = record["inputs"]["init_from/scene.safetensors"]
    assert start == read_json(first / "run.json")["outputs"]["scene.safetensors"]


def test_a_failed_stage_fails_the_one_after_it_without_optimising(
    stage: Stage, tiny: dict[str, Any], program: Any, monkeypatch: Any, capsys: Any, tmp_path: Path
) -> None:
    first = stage("csd_neg", "nerf")
    checkpoint = tmp_path / "csd_neg" / "refine" / "checkpoint"
    checkpoint.mkdir(parents=True)  # of a time when the first stage had not failed
    with monkeypatch.context() as patch:
        patch.setattr("pipeline.guidance.load.load_guidance", None)  # no prior is loaded
        second = stage("csd_neg", "refine", first)
    reason = "stage nerf failed: a gradient is not finite"
    assert f"[csd_neg/{RED_CAR}/seed0/refine] not started: {reason}" in capsys.readouterr().err
    record = read_json(second / "run.json")
    assert (record["status"], record["reason"]) == ("failed", reason)
    assert (record["failed_step"], record["placeholder"]) == (None, True)
    assert (record["evaluations"], record["seconds"]["steps"]) == ({}, 0.0)
    tensors, metadata = load_safetensors(second / "scene.safetensors")
    assert (metadata["placeholder"], list(tensors)) == ("true", ["placeholder"])
    assert read_table(second / "trace", "trace").empty
    assert not checkpoint.exists()

    views = json.dumps(tiny["stages"]["nerf"]["views"])
    assert program("pipeline.render_views", "--run", second, "--settings", views) == 0
    assert read_json(second / "views" / "views.json")["placeholder"] is True
    assert read_run(second).failed
    out = tmp_path / "verdict.txt"
    assert program("pipeline.verdict", "--runs", second, "--out", out) == 1
    assert capsys.readouterr().err.endswith(f"{second}: failed: {reason}\n")
