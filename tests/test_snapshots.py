"""Scenes kept on the way: whole, restartable, and without any effect on the run."""

import json

import pytest
import torch

from pipeline import optimize, render_snapshots
from pipeline.artifacts import load_safetensors, read_json, read_png
from pipeline.guidance.load import load_guidance
from pipeline.snapshots import folder_of, kept

FILES = ("scene.safetensors", "trace.parquet")


@pytest.fixture
def run(tmp_path, tiny_bank):
    def go(job, name):
        out = tmp_path / name
        optimize.optimize(job, out, bank=tiny_bank, device="cpu", init_from=None, threads=1)
        return out

    return go


def test_snapshots_change_no_bit_of_the_run(tiny_job, run):
    without = run(tiny_job("vsd", snapshots=[]), "without")
    kept_some = run(tiny_job("vsd", snapshots=[0, 3, 8, 50]), "with")
    for name in FILES:
        assert (without / name).read_bytes() == (kept_some / name).read_bytes()
    assert not (without / "snapshots").exists()
    assert sorted(int(p.name) for p in (kept_some / "snapshots").iterdir()) == [0, 3, 8]
    assert kept(read_json(kept_some / "run.json")) == [0, 3, 8]


def test_a_snapshot_is_the_scene_of_a_shorter_run(tiny_job, run):
    """Nothing in these 12 steps depends on how many there are but the ramps, which name steps."""
    long = run(tiny_job("csd", snapshots=[5]), "long")
    short = run(tiny_job("csd", snapshots=[], steps=5), "short")
    ours, _ = load_safetensors(folder_of(long, 5) / "scene.safetensors")
    theirs, _ = load_safetensors(short / "scene.safetensors")
    assert ours.keys() == theirs.keys()
    for name, tensor in theirs.items():
        half = tensor.half() if tensor.is_floating_point() else tensor
        assert torch.equal(ours[name], half), name
    record = read_json(folder_of(long, 5) / "run.json")
    assert record["evaluations"] == read_json(short / "run.json")["evaluations"]
    assert record["evaluations"] == {"text": 10, "uncond": 10}


def test_a_failed_run_keeps_what_it_reached(tiny_job, run, monkeypatch):
    prior = load_guidance

    def broken(*arguments, **named):
        guidance = prior(*arguments, **named)
        eps, calls = type(guidance).eps, []

        def nan_from_the_fourth_call(self, *given):
            calls.append(None)
            return eps(self, *given) * (float("nan") if len(calls) > 3 else 1.0)

        monkeypatch.setattr(type(guidance), "eps", nan_from_the_fourth_call)
        return guidance

    monkeypatch.setattr(optimize, "load_guidance", broken)
    quiet = {"every": 100, "extra_every": 0, "probes": 0, "probe_noises": 2}
    out = run(tiny_job("csd", snapshots=[0, 2, 3, 4], trace=quiet), "failed")
    record = read_json(out / "run.json")
    assert (record["status"], record["failed_step"]) == ("failed", 3)
    assert kept(record) == [0, 2, 3]
    assert all((folder_of(out, n) / "scene.safetensors").exists() for n in kept(record))


def test_the_views_of_snapshots_are_rendered_and_listed(tiny_job, run, tmp_path):
    out = run(tiny_job("csd", snapshots=[0, 6]), "run")
    listing = tmp_path / "snapshots.json"
    render_snapshots.main(["--runs", str(out), "--out", str(listing)])
    rows = json.loads(listing.read_text())["snapshots"]
    assert [row["step"] for row in rows] == [0, 6]
    first, second = (read_png(folder_of(out, n) / "views" / "front.png") for n in (0, 6))
    assert first.shape == (24, 24, 4)
    assert abs(first - second).max() > 0.02


def test_runs_without_snapshots_name_the_key(tiny_job, run, tmp_path):
    out = run(tiny_job("csd", snapshots=[]), "run")
    with pytest.raises(Exception, match="stage's key `snapshots`"):
        render_snapshots.main(["--runs", str(out), "--out", str(tmp_path / "x.json")])
