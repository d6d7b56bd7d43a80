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
    """The smoke preset with more steps, so that there is something to interrupt."""
    folder = checkout(tmp_path_factory.mktemp("faults") / "source")
    preset = yaml.safe_load((folder / "presets" / "smoke.yaml").read_text(encoding="utf-8"))
    for stage in ("nerf", "mesh"):
        preset["stages"][stage] |= {"steps": 120, "checkpoint_every": 5}
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


def _kill_when(source: Path, work: Path, due: Callable[[float], bool]) -> bool:
    """Starts the command, kills its process group once it is due; says whether it was still on."""
    with (work / "log").open("a") as log:
        process = subprocess.Popen(
            **command(source, work, PRESET),
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        start = time.monotonic()
        while process.poll() is None and not due(time.monotonic() - start):
            time.sleep(0.02)
        killed = process.poll() is None
        if killed:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    return killed


def _finished_like(source: Path, work: Path, expected: dict[str, bytes]) -> None:
    done = snakemake(source, work, PRESET)
    assert done.returncode == 0, done.stdout[-5000:]
    found = results(work)
    assert set(found) == set(expected)
    assert [name for name in expected if found[name] != expected[name]] == []
    assert not list(work.glob("results/*/runs/**/checkpoint"))


@pytest.mark.parametrize("seed", [0, 1])
def test_three_kills_at_random_moments_change_nothing(source, whole, tmp_path, seed):
    expected, seconds = whole
    generator = random.Random(seed)
    moments = [generator.uniform(0.1, 0.5) * seconds for _ in range(3)]
    killed = [_kill_when(source, tmp_path, moment.__lt__) for moment in moments]
    assert killed[0]
    _finished_like(source, tmp_path, expected)


def test_a_kill_within_the_optimisation_goes_on_from_its_checkpoint(source, whole, tmp_path):
    expected, _ = whole
    assert _kill_when(source, tmp_path, lambda _: bool(present(tmp_path, CHECKPOINTS)))
    assert list((tmp_path / ".snakemake" / "locks").iterdir())
    assert not list(tmp_path.glob("results/*/geometry.html"))
    _finished_like(source, tmp_path, expected)
    logs = [path.read_text() for path in tmp_path.glob("results/**/optimize.log")]
    assert any("resumed from step" in log for log in logs)


def test_an_orphan_is_not_joined_by_a_second_process(source, whole, tmp_path):
    """Only the workflow is killed: its jobs go on, and the same command waits for none of them."""
    expected, _ = whole
    process = subprocess.Popen(
        **command(source, tmp_path, PRESET),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    while process.poll() is None and not present(tmp_path, CHECKPOINTS):
        time.sleep(0.02)
    process.kill()
    process.wait()
    orphans = {path.parent.parent.name for path in present(tmp_path, CHECKPOINTS)}
    done = snakemake(source, tmp_path, PRESET)
    if done.returncode:  # an orphan was still at work
        said = {f"{name}: another process is working on this run" for name in orphans}
        assert any(one in done.stdout for one in said)
        deadline = time.monotonic() + 300
        while present(tmp_path, "results/**/checkpoint") and time.monotonic() < deadline:
            time.sleep(0.2)
    _finished_like(source, tmp_path, expected)
