"""The workflow through a real Slurm on this machine, disturbed, ends in the bits of a local run."""

import re
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
from workflow_runs import checkout, command, present

from pipeline.artifacts import read_json

pytestmark = pytest.mark.slow
PRESET = "long"
GPUS = 2
SUBMITTED = {"optimize", "texts", "embed"}
GROUPED = {"bank_bank_rest_bank_shape_truth", "meshes_mesh_toy_mesh", "views_views"}
GROUPED |= {"scores_score"}


def _slurm(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


@pytest.fixture(scope="module")
def machine() -> Iterator[None]:
    reason = slurm_machine.refusal()
    if reason:
        pytest.skip(reason)
    slurm_machine.start(gpus=GPUS)
    yield
    slurm_machine.stop()


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """The smoke preset with stages that last long enough to be interrupted."""
    folder = checkout(tmp_path / "source")
    preset = yaml.safe_load((folder / "presets" / "smoke.yaml").read_text(encoding="utf-8"))
    preset["stages"]["nerf"] |= {"steps": 120, "checkpoint_every": 5}
    preset["stages"]["mesh"] |= {"steps": 60, "checkpoint_every": 5}
    (folder / "presets" / f"{PRESET}.yaml").write_text(yaml.safe_dump(preset), encoding="utf-8")
    return folder


def _own_profile(source: Path) -> Path:
    """The profile with what is this cluster's own, as its users are told to: in a copy."""
    theirs = source / "profiles" / "slurm" / "config.yaml"
    profile = yaml.safe_load(theirs.read_text(encoding="utf-8"))
    assert profile["slurm-status-command"] == "squeue"
    quick = ("slurm-init-seconds-before-status-checks", "seconds-between-status-checks")
    profile |= dict.fromkeys(quick, 1) | {"jobs": 6, "latency-wait": 5}
    profile["resources"] = ["one_by_one=2"]  # within a submission two side by side, as locally
    profile["default-resources"].append("slurm_partition=batch")
    profile["set-resources"].append("optimize:gpu=1")
    ours = source / "profiles" / "ours" / "config.yaml"
    ours.parent.mkdir()
    ours.write_text(yaml.safe_dump(profile), encoding="utf-8")
    return ours.parent


def _finish(call: dict[str, Any], log: Path) -> str:
    """What the command said, which was waited for and succeeded."""
    with log.open("w") as stream:
        done = subprocess.run(**call, stdout=stream, stderr=subprocess.STDOUT, timeout=3600)
    said = log.read_text(encoding="utf-8")
    assert done.returncode == 0, said[-5000:]
    return said


def _after(work: Path, pattern: str, act: Callable[[], None], done: list[str]) -> None:
    """Does `act` once a file of the pattern is there; `done` says that it happened."""

    def watch() -> None:
        deadline = time.monotonic() + 1800
        while time.monotonic() < deadline:
            if present(work, pattern):
                act()
                done.append(pattern)
                return
            time.sleep(0.05)

    threading.Thread(target=watch, daemon=True).start()


def _kill_jobs() -> None:
    """As a user would who lost patience: every step of every running job gets SIGKILL."""
    for job in _slurm("squeue", "--noheader", "--states=R", "--format=%i").stdout.split():
        _slurm("scancel", "--signal=KILL", job)


def _lose_node() -> None:
    slurm_machine.lose_node()
    slurm_machine.bring_node_back()


def test_a_second_slurm_is_refused_while_one_runs(machine: None) -> None:
    reason = slurm_machine.refusal()
    assert reason is not None
    assert "slurm.conf exists: this machine has a Slurm, which stays untouched" in reason
    with pytest.raises(RuntimeError, match="stays untouched"):
        slurm_machine.start()
    assert _slurm("scontrol", "ping").returncode == 0


def test_each_job_sees_its_own_device(machine: None) -> None:
    show = "echo $CUDA_VISIBLE_DEVICES; sleep 2"
    call = ["srun", "--gpus=1", "--mem=100", "sh", "-c", show]
    jobs = [subprocess.Popen(call, stdout=subprocess.PIPE, text=True) for _ in range(GPUS)]
    assert sorted(job.communicate(timeout=60)[0].strip() for job in jobs) == ["0", "1"]


def test_without_accounting_squeue_alone_says_what_became_of_a_job(machine: None) -> None:
    submit = ("sbatch", "--parsable", "--output=/dev/null", "--mem=100", "--wrap")
    jobs = {_slurm(*submit, f"exit {code}").stdout.strip(): code for code in (0, 3)}
    deadline, states = time.monotonic() + 60, dict.fromkeys(jobs, "")
    while time.monotonic() < deadline and not set(states.values()) <= {"COMPLETED", "FAILED"}:
        time.sleep(0.2)
        told = _slurm("squeue", "--states=all", "--noheader", "--format=%i %T").stdout
        states = {job: dict(map(str.split, told.splitlines())).get(job, "") for job in jobs}
    assert states == {job: "FAILED" if code else "COMPLETED" for job, code in jobs.items()}
    refused = _slurm("sacct")
    assert refused.returncode != 0
    assert "disabled" in refused.stderr


def test_kills_and_a_lost_node_on_a_cluster_change_no_bit(
    machine: None, source: Path, tmp_path: Path
) -> None:
    """A run through sbatch loses its jobs once to scancel and once to a dead node."""
    work, alone = tmp_path / "cluster", tmp_path / "local"
    work.mkdir()
    alone.mkdir()
    done: list[str] = []
    _after(work, "results/**/nerf/checkpoint/step*.safetensors", _kill_jobs, done)
    _after(work, "results/**/mesh/checkpoint/step*.safetensors", _lose_node, done)
    profile = ("--workflow-profile", str(_own_profile(source)))
    said = _finish(command(source, work, PRESET, *profile, cores=None), tmp_path / "log")
    assert len(done) == 2
    # Downloads, lists and pages stay with snakemake; short jobs share a submission.
    assert set(re.findall(r"slurm_logs/rule_(\w+)/", said)) == SUBMITTED
    assert set(re.findall(r"slurm_logs/group_(\w+)/", said)) == GROUPED

    _finish(command(source, alone, PRESET), tmp_path / "log")
    expected, found = results(alone, PRESET), results(work, PRESET)
    assert set(found) == set(expected)
    assert [name for name in expected if found[name] != expected[name]] == []
    assert (work / "results" / PRESET / "texture.html").exists()
    logs = [path.read_text(encoding="utf-8") for path in work.glob("results/**/optimize.log")]
    assert any("resumed from step" in one for one in logs)
    seen = {
        read_json(path.with_name("run.json"))["visible_devices"]
        for path in work.glob("results/*/runs/**/trace.parquet")
    }
    assert seen == {str(index) for index in range(GPUS)}
    assert not list(work.glob("results/*/runs/**/checkpoint"))
