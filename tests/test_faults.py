"""kill -9 of a whole workflow at any moment, then the same command: the same bits."""

import os
import random
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from workflow_runs import checkout, command, present, snakemake

pytestmark = pytest.mark.slow
PRESET = "long"
CHECKPOINTS = "results/**/checkpoint/step*.safetensors"
# What must not depend on when the machine failed; run.json and the turntable are left out.
SAME = ("scene.safetensors", "trace.parquet", "views/*.png", "poster.png", "embeddings.npz")


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The smoke preset's text-to-3D with more steps, so that there is something to interrupt."""
    folder = checkout(tmp_path_factory.mktemp("faults") / "source")
    preset = yaml.safe_load((folder / "presets" / "smoke.yaml").read_text(encoding="utf-8"))
    preset["tasks"] = {"geometry": preset["tasks"]["geometry"]}
    preset["stages"]["nerf"] |= {"steps": 120, "checkpoint_every": 5}
    preset["stages"]["mesh"] |= {"steps": 60, "checkpoint_every": 5}
    (folder / "presets" / f"{PRESET}.yaml").write_text(yaml.safe_dump(preset), encoding="utf-8")
    return folder


def results(work: Path, preset: str = PRESET) -> dict[str, bytes]:
    """Every file of a finished workflow that must not depend on what happened on the way."""
    root = work / "results" / preset
    patterns = [*(f"runs/**/{name}" for name in SAME), "tables/**/*.parquet", "tables/**/*.csv"]
    patterns += ["meshes/*/*.safetensors"]
    patterns += ["bank/*.safetensors", "truth/*.safetensors", "bank/world.json"]
    files = {path for pattern in patterns for path in root.glob(pattern)}
    assert len(files) > 40
    return {str(path.relative_to(root)): path.read_bytes() for path in files}


@pytest.fixture(scope="module")
def whole(source: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, bytes], float]:
    """(what an undisturbed run leaves, its seconds)."""
    work = tmp_path_factory.mktemp("whole")
    start = time.monotonic()
    done = snakemake(source, work, PRESET)
    assert done.returncode == 0, done.stdout[-5000:]
    return results(work), time.monotonic() - start


def _killed(source: Path, work: Path, due: Callable[[], bool], *, jobs: bool = True) -> bool:
    """Starts the command and kills it once it is due, with its `jobs` or leaving them orphans.

    False when it had ended before.
    """
    with (work / "log").open("a") as log:
        process = subprocess.Popen(
            **command(source, work, PRESET),
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        while process.poll() is None and not due():
            time.sleep(0.02)
        alive = process.poll() is None
        if alive:
            os.killpg(process.pid, signal.SIGKILL) if jobs else process.kill()
        process.wait()
    return alive


def _killed_after(source: Path, work: Path, seconds: float) -> bool:
    moment = time.monotonic() + seconds
    return _killed(source, work, lambda: time.monotonic() >= moment)


def _checkpoint(work: Path) -> Callable[[], bool]:
    """Due once there is a checkpoint that was not there before."""
    before = set(present(work, CHECKPOINTS))
    return lambda: bool(set(present(work, CHECKPOINTS)) - before)


def _resumed(work: Path) -> bool:
    logs = present(work, "results/**/optimize.log")
    return any("resumed from step" in log.read_text(encoding="utf-8") for log in logs)


def _orphans_meet_their_command(source: Path, work: Path) -> None:
    """Only the workflow is killed: its jobs go on, and the same command joins none of them."""
    assert _killed(source, work, lambda: _resumed(work), jobs=False)
    orphans = {path.parent.parent.name for path in present(work, CHECKPOINTS)}
    done = snakemake(source, work, PRESET)
    if done.returncode:  # an orphan was still at work
        said = {f"{name}: another process is working on this run" for name in orphans}
        assert any(one in done.stdout for one in said), done.stdout[-5000:]
        deadline = time.monotonic() + 300
        while present(work, "results/**/checkpoint") and time.monotonic() < deadline:
            time.sleep(0.2)


def test_a_workflow_killed_in_every_phase_ends_in_the_same_bits(source, whole, tmp_path):
    expected, seconds = whole
    generator = random.Random(0)
    assert _killed_after(source, tmp_path, generator.uniform(0.1, 0.3) * seconds)
    assert _killed(source, tmp_path, _checkpoint(tmp_path))
    assert list((tmp_path / ".snakemake" / "locks").iterdir())
    assert not list(tmp_path.glob("results/*/geometry.html"))
    _orphans_meet_their_command(source, tmp_path)
    for _ in range(2):  # what is left: later stages, pictures, tables, pages
        _killed_after(source, tmp_path, generator.uniform(0.1, 0.3) * seconds)
    done = snakemake(source, tmp_path, PRESET)
    assert done.returncode == 0, done.stdout[-5000:]
    found = results(tmp_path)
    assert set(found) == set(expected)
    assert [name for name in expected if found[name] != expected[name]] == []
    assert not list(tmp_path.glob("results/*/runs/**/checkpoint"))
