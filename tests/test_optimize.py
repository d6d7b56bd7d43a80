"""The loop: same seed, same bits, also after a kill; failures of science and of the machine."""

import json
import os
import resource
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import RED_CAR

from pipeline import checkpoint, config, distillation, observe, optimize, recipes, trace
from pipeline.artifacts import load_safetensors, read_json, read_table, sha256
from pipeline.guidance.load import load_guidance
from pipeline.run_state import Run, named_generator
from pipeline.scenes.load import load_scene

ROOT = Path(__file__).resolve().parent.parent
FILES = ("scene.safetensors", "trace.parquet", "trace.csv")
Optimize = Callable[..., Path]


@pytest.fixture
def run(tmp_path: Path, tiny_bank: Path) -> Optimize:
    """Runs a job into tmp_path / name."""

    def go(job: config.Job, name: str, *, bank: Path = tiny_bank, init: Path | None = None) -> Path:
        out = tmp_path / name
        optimize.optimize(job, out, bank=bank, device="cpu", init_from=init, threads=1)
        return out

    return go


def _bytes(out: Path) -> dict[str, bytes]:
    return {name: (out / name).read_bytes() for name in FILES}


def _stop_at(monkeypatch: pytest.MonkeyPatch, step: int, act: Callable[[Path], None]) -> None:
    """When the rows of `step` are to be written, write half a line and act."""
    append = trace.append

    def torn(path: Path, rows: list[trace.Row]) -> None:
        if rows and rows[0]["step"] == step:
            with path.open("a") as stream:
                stream.write(json.dumps(rows[0])[:17])
            act(path)
        append(path, rows)

    monkeypatch.setattr(trace, "append", torn)


def _interrupt(path: Path) -> None:
    raise KeyboardInterrupt


# Between two checkpoints, before the first, right after one, in the last step.
@pytest.mark.parametrize(
    ("column", "step"),
    [("csd_neg", 2), ("csd_neg", 6), ("csd_neg", 8), ("vsd", 4), ("vsd", 7), ("vsd", 11)],
)
def test_interrupted_and_resumed_runs_end_in_the_same_bits(
    tiny_job, run, monkeypatch, capsys, column, step
):
    job = tiny_job(column)
    whole = run(job, "whole")
    again = run(job, "again")
    assert _bytes(again) == _bytes(whole)

    with monkeypatch.context() as patch:
        _stop_at(patch, step, _interrupt)
        with pytest.raises(KeyboardInterrupt):
            run(job, "torn")
    capsys.readouterr()
    torn = run(job, "torn")
    log = capsys.readouterr().err
    assert ("resumed from step" in log) == (step >= 4)
    assert _bytes(torn) == _bytes(whole)
    records = [read_json(out / "run.json") for out in (torn, whole)]
    assert records[0]["evaluations"] == records[1]["evaluations"]
    assert not (torn / "checkpoint").exists()


MATCHED = config.load_preset("mini")["columns"]


def test_the_matched_columns_see_the_same_cameras_backgrounds_t_and_noise(
    tiny_job, tiny, run, monkeypatch
):
    plain = {name: {**column, "stages": {}} for name, column in MATCHED.items()}
    monkeypatch.setitem(tiny, "columns", plain)
    drawn: list[torch.Tensor] = []
    cameras, background = observe.draw_cameras, observe.draw_background
    diffused = distillation.distill.diffused

    def seen_cameras(*arguments: Any) -> Any:
        found = cameras(*arguments)
        drawn.append(found.c2w)
        return found

    def seen_background(*arguments: Any) -> torch.Tensor:
        drawn.append(background(*arguments))
        return drawn[-1]

    def seen_noise(x: torch.Tensor, noise: torch.Tensor, *arguments: Any) -> torch.Tensor:
        drawn.extend([noise, arguments[-1]])
        return diffused(x, noise, *arguments)

    monkeypatch.setattr(observe, "draw_cameras", seen_cameras)
    monkeypatch.setattr(observe, "draw_background", seen_background)
    monkeypatch.setattr(distillation.distill, "diffused", seen_noise)
    quiet = {"every": 12, "extra_every": 0, "probes": 0, "probe_noises": 2}
    columns = {}
    for column in MATCHED:
        drawn.clear()
        run(tiny_job(column, trace=quiet), column)
        columns[column] = list(drawn)
    assert list(columns) == ["sds", "csd", "csd_neg", "vsd"]
    first = columns["sds"]
    assert len(first) == 12 * 4
    assert not torch.equal(first[2], first[6])  # another noise at another step
    for others in columns.values():
        assert all(torch.equal(a, b) for a, b in zip(first, others, strict=True))


def test_a_particles_draws_are_its_own_and_come_back_from_a_checkpoint():
    first, again, other = (
        named_generator(seed, name)
        for seed, name in ((0, "particle"), (0, "particle"), (1, "particle"))
    )
    draws = [torch.rand(4, generator=generator) for generator in (first, again, other)]
    assert torch.equal(draws[0], draws[1])
    assert not torch.equal(draws[0], draws[2])
    layer = torch.nn.Linear(1, 1)
    parts = (layer, torch.optim.SGD(layer.parameters()), torch.Generator().manual_seed(0))
    run = Run(*parts, particle_generator=first)
    state = run.state()
    expected = [torch.rand(4, generator=g) for g in (run.generator, first)]
    run.restore(state)
    found = [torch.rand(4, generator=g) for g in (run.generator, first)]
    assert all(torch.equal(a, b) for a, b in zip(expected, found, strict=True))


def test_another_seed_gives_another_scene(tiny_job, run):
    first, second = run(tiny_job("csd"), "0"), run(tiny_job("csd", seed=1), "1")
    assert _bytes(first)["scene.safetensors"] != _bytes(second)["scene.safetensors"]


def test_a_corrupt_newest_checkpoint_costs_time_and_no_bits(tiny_job, run, monkeypatch, capsys):
    job = tiny_job("csd_neg")
    whole = run(job, "whole")
    with monkeypatch.context() as patch:
        _stop_at(patch, 10, _interrupt)
        with pytest.raises(KeyboardInterrupt):
            run(job, "torn")
    newest = sorted((whole.parent / "torn" / "checkpoint").glob("step*"))[-1]
    newest.write_bytes(newest.read_bytes()[:-100])
    torn = run(job, "torn")
    assert f"skipped {newest.name}, which is corrupt" in capsys.readouterr().err
    assert _bytes(torn) == _bytes(whole)


def test_a_checkpoint_of_other_settings_is_not_resumed(tiny_job, run, monkeypatch, capsys):
    with monkeypatch.context() as patch:
        _stop_at(patch, 6, _interrupt)
        with pytest.raises(KeyboardInterrupt):
            run(tiny_job("csd"), "torn")
    job = tiny_job("csd", gradient_weight=2.0)
    torn = run(job, "torn")
    assert "was made under other settings" in capsys.readouterr().err
    assert _bytes(torn) == _bytes(run(job, "whole"))


def test_a_checkpoint_made_from_other_files_is_not_resumed(tiny_job, run, monkeypatch, capsys):
    """The stage before was run again meanwhile."""
    starts = [run(tiny_job("csd", seed=seed), f"start{seed}") for seed in (1, 2)]
    job = tiny_job("csd_neg")
    with monkeypatch.context() as patch:
        _stop_at(patch, 6, _interrupt)
        with pytest.raises(KeyboardInterrupt):
            run(job, "torn", init=starts[0])
    capsys.readouterr()
    torn = run(job, "torn", init=starts[1])
    assert "restarted" in capsys.readouterr().err
    assert _bytes(torn) == _bytes(run(job, "whole", init=starts[1]))


KILLED = """
import os, signal, sys
from pathlib import Path
from pipeline import config, optimize, trace
config.PRESETS = Path(sys.argv.pop(1))
number = int(sys.argv.pop(1))
append = trace.append
def torn(path, rows):
    if rows[0]["step"] == 9:
        path.open("a").write('{"step": 9, "t')
        os.kill(os.getpid(), number)
    append(path, rows)
trace.append = torn
optimize.main(sys.argv[1:])
"""


def _arguments(column: str, bank: Path, out: Path, **changes: Any) -> list[str]:
    options = {"preset": "tiny", "column": column, "stage": "nerf", "prompt-id": RED_CAR, "seed": 0}
    options |= {"bank": bank, "out": out} | changes
    return [part for name, value in options.items() for part in (f"--{name}", str(value))]


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_killed_process_leaves_checkpoints_and_no_result(
    tiny_job, tiny_bank, run, tmp_path, number
):
    job = tiny_job("vsd")
    arguments = [config.PRESETS, int(number), *_arguments("vsd", tiny_bank, tmp_path / "killed")]
    done = subprocess.run(
        [sys.executable, "-c", KILLED, *map(str, arguments)],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        timeout=120,
    )
    assert done.returncode == -number
    out = tmp_path / "killed"
    assert [path.name for path in out.iterdir()] == ["checkpoint"]
    assert len(list((out / "checkpoint").glob("step*.safetensors"))) == checkpoint.KEPT
    assert _bytes(run(job, "killed")) == _bytes(run(job, "whole"))


def test_evaluations_are_counted_where_a_coefficient_asks_for_them(tiny_job, run):
    """csd_neg with omega_1 = 1 and omega_2 from 0 to 1 over 6 of 12 steps: the null's coefficient
    is omega_2 - 1, zero from step 6 on, and the negative's -omega_2, zero at step 0 only."""
    record = read_json(run(tiny_job("csd_neg"), "a") / "run.json")
    assert record["evaluations"] == {"text": 12 * 2, "uncond": 6 * 2, "neg": 11 * 2}
    record = read_json(run(tiny_job("csd"), "b") / "run.json")
    assert record["evaluations"] == {"text": 12 * 2, "uncond": 12 * 2}
    record = read_json(run(tiny_job("vsd"), "c") / "run.json")
    assert record["evaluations"] == dict.fromkeys(
        ("text", "uncond", "particle", "particle_training"), 12 * 2
    )
    perp = {"reference": "neg", "scale": 1.0}
    record = read_json(run(tiny_job("csd", perp_neg=perp), "d") / "run.json")
    assert record["evaluations"] == {
        **{"text": 12 * 2, "uncond": 12 * 2, "neg": 12 * 2},
        "view_neg": 2 * 12 * 2,
    }


def test_tracing_more_changes_no_bit_of_the_scene_and_no_count(tiny_job, run):
    spec = {"every": 1, "extra_every": 3, "probes": 4, "probe_noises": 2}
    rich = run(tiny_job("csd", trace=spec), "rich")
    poor = run(tiny_job("csd", trace=spec | {"every": 5, "extra_every": 0, "probes": 0}), "poor")
    assert _bytes(rich)["scene.safetensors"] == _bytes(poor)["scene.safetensors"]
    records = [read_json(out / "run.json") for out in (rich, poor)]
    assert records[0]["evaluations"] == records[1]["evaluations"]
    table = read_table(rich / "trace", "trace")
    negative = table[table["term"] == "negative"].set_index("step")["norm"]
    assert negative.notna().groupby(level=0).all().to_dict() == {
        step: step % 3 == 0 for step in range(12)
    }
    posterior = table[table["term"] == "posterior"]["norm"]
    assert ((posterior >= 0) & (posterior <= 1 + 1e-6)).all()
    assert len(posterior) == 12 * 2


def test_run_json_says_what_was_run_from_what(tiny_job, tiny_bank, run):
    job = tiny_job("csd_neg")
    out = run(job, "a")
    record = read_json(out / "run.json")
    assert (record["status"], record["reason"], record["placeholder"]) == ("ok", None, False)
    assert record["settings"] == job.settings
    assert record["prompt"] == "a red car"
    assert (record["column"], record["stage"], record["seed"]) == ("csd_neg", "nerf", 0)
    assert record["method_version"] == job.method_version
    for name, value in record["outputs"].items():
        assert value == sha256(out / name)
    assert record["inputs"] == {
        f"bank/{path.name}": sha256(path) for path in sorted(tiny_bank.iterdir())
    }
    assert set(record["seconds"]) == {"imports", "steps", "rest"}
    assert record["seconds"]["steps"] > 0
    assert record["peak_memory_mb"] > 50
    assert {"commit", "dirty", "versions", "device", "threads"} <= set(record)


def test_init_from_starts_where_the_other_run_ended(tiny_job, run):
    start = run(tiny_job("csd"), "start")
    job = tiny_job("csd", seed=5)
    job.settings["optimizer"]["decay"] = [0.0, 0.0, 1]  # learning rates of 0
    out = run(job, "moved", init=start)
    before, _ = load_safetensors(start / "scene.safetensors")
    after, _ = load_safetensors(out / "scene.safetensors")
    fresh = load_scene(job.settings, torch.Generator().manual_seed(5)).state_dict()
    for name in (n for n in before if n.startswith("head")):
        assert torch.equal(before[name], after[name]), name
        assert not torch.allclose(before[name], fresh[name], atol=1e-3), name
    inputs = read_json(out / "run.json")["inputs"]
    assert inputs["init_from/scene.safetensors"] == sha256(start / "scene.safetensors")


class Poisoned:
    """A guidance whose predictions turn to NaN at one call."""

    def __init__(self, inner: Any, call: int) -> None:
        self.inner, self.call, self.alphas_cumprod = inner, call, inner.alphas_cumprod
        self.embed, self.encode = inner.embed, inner.encode

    def eps(self, *arguments: Any) -> torch.Tensor:
        self.call -= 1
        return self.inner.eps(*arguments) * (float("nan") if self.call < 0 else 1.0)


def _poison(monkeypatch: pytest.MonkeyPatch, what: str, job: config.Job) -> None:
    """From step 5 on, the direction, the render or the gradient is not finite."""
    if what == "the direction":
        monkeypatch.setattr(
            optimize, "load_guidance", lambda *a, **k: Poisoned(load_guidance(*a, **k), 5)
        )
    elif what == "the render":
        draw = observe.draw_background

        def infinite(spec: Any, batch: int, generator: torch.Generator) -> torch.Tensor:
            calls.append(1)
            return draw(spec, batch, generator) + (float("inf") if len(calls) > 5 else 0.0)

        calls: list[int] = []
        monkeypatch.setattr(observe, "draw_background", infinite)
    else:
        weigh = distillation.WEIGHTS[job.settings["weight"]]
        steps: list[int] = []

        def huge(alphas: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
            steps.append(1)
            return weigh(alphas, t) * (float("inf") if len(steps) > 5 else 1.0)

        monkeypatch.setitem(distillation.WEIGHTS, job.settings["weight"], huge)


@pytest.mark.parametrize("what", ["the direction", "the render", "a gradient"])
def test_a_nan_is_a_recorded_result(tiny_job, run, monkeypatch, capsys, what):
    quiet = {"every": 1, "extra_every": 0, "probes": 0, "probe_noises": 2}
    job = tiny_job("csd", trace=quiet)
    _poison(monkeypatch, what, job)
    out = run(job, "failed")  # does not raise: the job ends well
    record = read_json(out / "run.json")
    assert (record["status"], record["failed_step"]) == ("failed", 5)
    assert record["reason"] == f"{what} is not finite"
    assert record["placeholder"] is True
    assert f"failed at step 5: {what} is not finite" in capsys.readouterr().err
    tensors, metadata = load_safetensors(out / "scene.safetensors")
    assert metadata["placeholder"] == "true"
    assert list(tensors) == ["placeholder"]
    assert sorted(set(read_table(out / "trace", "trace")["step"])) == [0, 1, 2, 3, 4]
    assert not (out / "checkpoint").exists()


def test_a_regulariser_that_refuses_a_nan_does_not_hide_it(tiny_job, run, monkeypatch):
    """Binary cross-entropy raises an error of its own, on a GPU one that nothing survives."""
    weights = tiny_job("csd").settings["regularizers"] | {"opaque": [1.0, 1.0, 1]}
    look, calls = distillation.observe, []

    def lost(*arguments: Any) -> Any:
        rendering, *rest = look(*arguments)
        calls.append(1)
        bad = float("nan") if len(calls) > 5 else 1.0
        return replace(rendering, rgb=rendering.rgb * bad, alpha=rendering.alpha * bad), *rest

    monkeypatch.setattr(distillation, "observe", lost)
    record = read_json(run(tiny_job("csd", regularizers=weights), "lost") / "run.json")
    assert (record["failed_step"], record["reason"]) == (5, "the render is not finite")


def test_of_several_that_are_not_finite_the_first_is_named():
    good, bad = torch.ones(3), torch.tensor([1.0, float("-inf")])
    distillation.require_finite([("the render", good), ("a gradient", good)])
    named = [("the render", good), ("the direction", bad), ("a gradient", bad)]
    with pytest.raises(distillation.ScientificFailure, match=r"^the direction is not finite$"):
        distillation.require_finite(named)


def _limited(limit: int, work: Callable[[], int]) -> int:
    """`work` while no file may grow beyond `limit` bytes: it fails as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    try:
        return work()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


# Bytes a file may have, steps between rows and between checkpoints, the first file without room.
FULL = [
    (4_000, 1, 4, "trace.jsonl"),
    (12_000, 12, 4, "step0000004.safetensors"),
    (12_000, 12, 12, "scene.safetensors"),
]


@pytest.mark.parametrize(("limit", "every", "checkpoints", "file"), FULL)
def test_a_full_disk_ends_the_program_and_leaves_nothing_half_written(
    tiny_job, tiny_bank, run, tmp_path, program, capsys, limit, every, checkpoints, file
):
    spec = {"every": every, "extra_every": 0, "probes": 0, "probe_noises": 2}
    job = tiny_job("csd", trace=spec, checkpoint_every=checkpoints)
    arguments = _arguments("csd", tiny_bank, tmp_path / "full")
    assert _limited(limit, lambda: program("pipeline.optimize", *arguments)) == 1
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("error: ")
    assert file in error
    left = [path.name for path in (tmp_path / "full").rglob("*") if path.is_file()]
    early = {"lock", "trace.jsonl"}
    late = {"run.json", "trace.csv", "trace.parquet"} if file == "scene.safetensors" else set()
    assert set(left) == early | late
    assert _bytes(run(job, "full")) == _bytes(run(job, "whole"))


def _broken_banks(bank: Path, to: Path) -> dict[str, Path]:
    found = {"missing": to / "none"}
    for name in ("without car", "corrupt", "old", "small"):
        found[name] = shutil.copytree(bank, to / name)
    (found["without car"] / "car.safetensors").unlink()
    corrupt = found["corrupt"] / "degraded.safetensors"
    corrupt.write_bytes(corrupt.read_bytes()[:1000])
    world = found["old"] / "world.json"
    world.write_text(world.read_text().replace('"schema_version": "1.', '"schema_version": "0.'))
    shutil.copy(found["small"] / "degraded.safetensors", found["small"] / "car.safetensors")
    return found


def test_a_missing_or_broken_bank_is_named_with_its_remedy(
    tiny_job, tiny_bank, tmp_path, program, capsys
):
    tiny_job("csd")
    messages = {
        "missing": "world.json: no such file; run the rule that writes it",
        "without car": "car.safetensors: no such file; run the rule that writes it",
        "corrupt": "degraded.safetensors: not safetensors",
        "old": "schema_version '0.0'",
        "small": "car.safetensors lacks base, tint, shade",
    }
    for name, bank in _broken_banks(tiny_bank, tmp_path / "banks").items():
        assert program("pipeline.optimize", *_arguments("csd", bank, tmp_path / "out")) == 1
        error = capsys.readouterr().err
        assert error.startswith("error: ")
        assert error.count("\n") == 1
        assert messages[name] in error
        assert not (tmp_path / "out").exists()


def test_wrong_choices_are_named_in_one_line(presets, tiny, tiny_bank, tmp_path, program, capsys):
    presets("tiny", tiny)
    large = json.loads(json.dumps(tiny))
    large["priors"]["mixture"]["own_count"] = 1000
    presets("large", large)
    outside = json.loads(json.dumps(tiny))
    outside["stages"]["nerf"]["negative_prompt"] = "blurry"
    presets("outside", outside)
    fluent = json.loads(json.dumps(tiny))
    fluent["tasks"]["geometry"] |= {"prompts": "dreamfusion81", "limit": None}
    presets("fluent", fluent)
    corgi = next(p for p in recipes.prompts(config.load_preset("fluent"), "geometry"))
    wrong = [
        ({"column": "cds"}, "no column 'cds'; there are csd, csd_neg, vsd"),
        ({"preset": "huge"}, "unknown preset 'huge'"),
        ({"stage": "mesh"}, "no stage 'mesh'"),
        ({"prompt-id": "x-00000000"}, "no prompt 'x-00000000'"),
        ({"preset": "large"}, "1000 are asked for captions"),
        ({"preset": "outside"}, "blurry"),
        ({"preset": "fluent", "prompt-id": corgi.prompt_id}, corgi.text),
        ({"init-from": tmp_path / "none"}, "scene.safetensors: no such file"),
    ]
    for changes, message in wrong:
        arguments = _arguments(
            **({"column": "csd", "bank": tiny_bank, "out": tmp_path / "out"} | changes)
        )
        assert program("pipeline.optimize", *arguments) == 1
        error = capsys.readouterr().err
        assert error.startswith("error: ")
        assert error.count("\n") == 1, error
        assert message in error
    assert not (tmp_path / "out").exists()


def test_progress_is_a_line_per_tenth_with_the_run_it_belongs_to(tiny_job, run, capsys):
    run(tiny_job("csd", steps=40, checkpoint_every=40), "a")
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 12
    assert all(line.startswith(f"[csd/{RED_CAR}/seed0/nerf] ") for line in lines)
    assert [line.split()[2] for line in lines[1:-1]] == [f"{n}/40," for n in range(4, 41, 4)]
