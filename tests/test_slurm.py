"""The workflow through a real Slurm on this machine, disturbed, ends in the bits of a local run."""

import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import slurm_machine
import yaml
from test_faults import results
from workflow_runs import checkout, command

from pipeline.artifacts import read_json

pytestmark = pytest.mark.slow
PRESET = "long"
TARGET = "tables"
GPUS = 2
OPTIONS = [
    "--jobs", "6", "--latency-wait", "5",
    "--slurm-init-seconds-before-status-checks", "1", "--seconds-between-status-checks", "1",
    "--default-resources", "slurm_partition=batch", "mem_mb=1500", "runtime=60",
    "--set-resources", "optimize:gpu=1", *(
        f"{rule}:one_by_one=1" for rule in ("views", "bank_shape", "bank_degraded", "mesh")
    ),
]  # fmt: skip


def _slurm(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    return done.stdout


@pytest.fixture(scope="module")
def machine() -> Iterator[None]:
    reason = slurm_machine.refusal()
    if reason:
        pytest.skip(reason)
    slurm_machine.start(gpus=GPUS)
    yield
    slurm_machine.stop()


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The smoke preset with a first stage that is long enough to be interrupted."""
    folder = checkout(tmp_path_factory.mktemp("slurm") / "source")
    preset = yaml.safe_load((folder / "presets" / "smoke.yaml").read_text(encoding="utf-8"))
    preset["stages"]["nerf"] |= {"steps": 120, "checkpoint_every": 5}
    preset["stages"]["mesh"] |= {"steps": 60, "checkpoint_every": 5}
    (folder / "presets" / f"{PRESET}.yaml").write_text(yaml.safe_dump(preset), encoding="utf-8")
    return folder


def _finish(call: dict[str, Any], log: Path) -> None:
    """The command, waited for; it succeeded."""
    with log.open("w") as stream:
        done = subprocess.run(**call, stdout=stream, stderr=subprocess.STDOUT, timeout=3000)
    assert done.returncode == 0, log.read_text(encoding="utf-8")[-5000:]


def _after(work: Path, pattern: str, act: Callable[[], None], done: list[str]) -> threading.Thread:
    """Does `act` once a file of the pattern is there; `done` says that it happened."""

    def watch() -> None:
        deadline = time.monotonic() + 1800
        while time.monotonic() < deadline:
            if any(work.glob(pattern)):
                act()
                done.append(pattern)
                return
            time.sleep(0.02)

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    return thread


def _kill_jobs() -> None:
    """As a user would who lost patience: every step of every running job gets SIGKILL."""
    for job in _slurm("squeue", "--noheader", "--states=R", "--format=%i").split():
        _slurm("scancel", "--signal=KILL", job)


def _lose_node() -> None:
    slurm_machine.lose_node()
    time.sleep(15)  # longer than SlurmdTimeout: Slurm has given the node up
    slurm_machine.bring_node_back()


def test_a_second_slurm_is_refused_while_one_runs(machine: None) -> None:
    reason = slurm_machine.refusal()
    assert reason is not None
    assert "slurm.conf exists: this machine has a Slurm, which stays untouched" in reason


def test_each_job_sees_its_own_device(machine: None) -> None:
    show = "echo $CUDA_VISIBLE_DEVICES; sleep 2"
    call = ["srun", "--gpus=1", "--mem=100", "sh", "-c", show]
    jobs = [subprocess.Popen(call, stdout=subprocess.PIPE, text=True) for _ in range(GPUS)]
    assert sorted(job.communicate(timeout=60)[0].strip() for job in jobs) == ["0", "1"]


def test_kills_and_a_lost_node_on_a_cluster_change_no_bit(
    machine: None, source: Path, tmp_path: Path
) -> None:
    """A run through sbatch loses its jobs once to scancel and once to a dead node."""
    work, alone = tmp_path / "cluster", tmp_path / "local"
    work.mkdir()
    alone.mkdir()
    done: list[str] = []
    watchers = [
        _after(work, "results/**/nerf/checkpoint/step*.safetensors", _kill_jobs, done),
        _after(work, "results/**/mesh/checkpoint/step*.safetensors", _lose_node, done),
    ]
    profile = ["--workflow-profile", str(source / "profiles" / "slurm")]
    call = command(source, work, PRESET, TARGET, *OPTIONS, *profile)
    call["args"] = [part for part in call["args"] if part not in ("--cores", "2")]
    _finish(call, tmp_path / "log")
    for watcher in watchers:
        watcher.join(timeout=60)
    assert len(done) == 2
    _finish(command(source, alone, PRESET, TARGET), tmp_path / "log")
    expected, found = results(alone, PRESET), results(work, PRESET)
    assert set(found) == set(expected)
    assert [name for name in expected if found[name] != expected[name]] == []
    logs = [path.read_text(encoding="utf-8") for path in work.glob("results/**/optimize.log")]
    assert any("resumed from step" in one for one in logs)
    seen = {
        read_json(path.with_name("run.json"))["visible_devices"]
        for path in work.glob("results/*/runs/**/trace.parquet")
    }
    assert seen == {str(index) for index in range(GPUS)}
    assert not list(work.glob("results/*/runs/**/checkpoint"))
