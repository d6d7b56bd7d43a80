"""Jobs beside each other on one machine never share a device; fake devices, real locks."""

import itertools
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pipeline import own_device

ROOT = Path(__file__).resolve().parent.parent
SHOW = "import os, sys, time; print(os.environ['CUDA_VISIBLE_DEVICES'], flush=True); "


@pytest.fixture
def environment(tmp_path):
    """Three devices that are only names; locks of this test's own."""
    found = {k: v for k, v in os.environ.items() if not k.startswith("SLURM_")}
    return found | {"CUDA_VISIBLE_DEVICES": "0,1,GPU-c", "TMPDIR": str(tmp_path)}


def _started(environment, code, device="cuda"):
    command = [sys.executable, "-m", "pipeline.own_device", device, sys.executable, "-c", code]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, cwd=ROOT, env=environment, stdout=pipe, stderr=pipe, text=True)


def test_every_job_has_a_device_of_its_own_and_the_next_waits(environment):
    jobs = [_started(environment, SHOW + "time.sleep(600)") for _ in range(3)]
    try:
        assert {job.stdout.readline().strip() for job in jobs} == {"0", "1", "GPU-c"}
        fourth = _started(environment, SHOW)
        time.sleep(1.0)
        assert fourth.poll() is None
        jobs[1].send_signal(signal.SIGKILL)  # the kernel lets go of what a killed job held
        out, err = fourth.communicate(timeout=30)
        assert out.strip() in {"0", "1", "GPU-c"}
        assert f"CUDA_VISIBLE_DEVICES={out.strip()}" in err
    finally:
        for job in jobs:
            job.kill()
            job.communicate()


def test_no_two_of_many_short_jobs_meet_on_a_device(environment, tmp_path):
    """Each writes when it began and ended; intervals on one device do not overlap."""
    code = (
        "import os, time; a = time.monotonic(); time.sleep(0.2); "
        "print(os.environ['CUDA_VISIBLE_DEVICES'], a, time.monotonic())"
    )
    jobs = [_started(environment, code) for _ in range(6)]
    spans: dict[str, list[tuple[float, float]]] = {}
    for job in jobs:
        device, begin, end = job.communicate(timeout=60)[0].split()
        spans.setdefault(device, []).append((float(begin), float(end)))
    assert sum(map(len, spans.values())) == 6
    for used in spans.values():
        ordered = sorted(used)
        assert all(one[1] <= two[0] for one, two in itertools.pairwise(ordered))


def test_a_cluster_has_chosen_already(environment):
    chosen = environment | {"SLURM_JOB_ID": "7", "CUDA_VISIBLE_DEVICES": "1"}
    out, err = _started(chosen, SHOW).communicate(timeout=30)
    assert (out, err) == ("1\n", "CUDA_VISIBLE_DEVICES=1\n")


def test_a_cpu_job_waits_for_nothing_and_its_status_is_the_jobs_own(environment):
    job = _started(environment, "import sys; sys.exit(7)", device="cpu")
    assert job.communicate(timeout=30) == ("", "")
    assert job.returncode == 7


def test_no_device_is_an_error_that_names_the_doctor(environment, tmp_path):
    job = _started(environment | {"CUDA_VISIBLE_DEVICES": ""}, SHOW)
    _, err = job.communicate(timeout=30)
    assert job.returncode == 1
    assert re.search("no GPU is visible.*pipeline.doctor", err)


def test_devices_are_the_drivers_where_none_is_named(monkeypatch):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(own_device, "gpus", lambda: [])
    assert own_device.visible() == []
