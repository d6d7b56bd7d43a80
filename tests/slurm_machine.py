"""A real Slurm on this one machine, for as long as a test or a shell needs it.

    python tests/slurm_machine.py start        # Debian's slurm-wlm and munge, as root
    python tests/slurm_machine.py stop

One node with as many GPUs as asked for; their devices are copies of /dev/null, which Slurm hands
out as it hands out real ones (CUDA_VISIBLE_DEVICES), and nothing can compute on. No accounting, so
that what a small cluster lacks is lacking here. Refuses to start where a Slurm is configured or
runs, and removes only what it made. The configuration must lie in /etc/slurm: the executor plugin
strips SLURM_CONF from the environment of its jobs.
"""

import argparse
import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

ETC = Path("/etc/slurm")
STATE = Path("/var/tmp/one-machine-slurm")
PROGRAMS = ("slurmctld", "slurmd", "sbatch", "squeue", "scontrol", "munged")
INSTALL = "apt-get install -y --no-install-recommends slurm-wlm munge"
# A requeued job waits for cred_expire and the next look at the queue: Slurm's 120 s and 60 s would
# be time spent waiting, and nothing else.
CONFIG = """\
ClusterName=one-machine
SlurmctldHost={host}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=cred_expire=20
StateSaveLocation={state}/state
SlurmdSpoolDir={state}/spool
SlurmctldPidFile={state}/slurmctld.pid
SlurmdPidFile={state}/slurmd.pid
SlurmctldLogFile={state}/slurmctld.log
SlurmdLogFile={state}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SchedulerParameters=sched_interval=2
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
SlurmdParameters=config_overrides
DefMemPerCPU=100
MinJobAge=300
KillWait=2
SlurmdTimeout=10
ReturnToService=2
GresTypes=gpu
NodeName={host} NodeAddr=127.0.0.1 CPUs={cpus} RealMemory=256000 Gres=gpu:{gpus}
PartitionName=batch Nodes={host} Default=YES MaxTime=INFINITE State=UP
"""


def refusal() -> str | None:
    """Why no Slurm can be started here, with the remedy; None when one can."""
    if os.geteuid() != 0:
        return "needs root: it starts daemons and makes device nodes"
    if missing := [program for program in PROGRAMS if shutil.which(program) is None]:
        return f"{missing[0]} is missing; on Debian: {INSTALL}"
    for name in ("slurm.conf", "gres.conf"):
        if (ETC / name).exists():
            return f"{ETC / name} exists: this machine has a Slurm, which stays untouched"
    if STATE.exists():
        return f"{STATE} exists: a Slurm of a test was killed; python tests/slurm_machine.py stop"
    for program in ("slurmctld", "slurmd"):
        if _running(program):
            return f"{program} runs here already and stays untouched"
    if subprocess.run(["scontrol", "ping"], capture_output=True, timeout=60).returncode == 0:
        return "a Slurm answers here, configured elsewhere (SLURM_CONF, DNS); it stays untouched"
    return None


def start(*, gpus: int = 2, cpus: int = 8) -> None:
    """Slurm runs, and its node is idle. Raises RuntimeError saying why it does not."""
    if reason := refusal():
        raise RuntimeError(reason)
    host = socket.gethostname().partition(".")[0]
    for folder in ("state", "spool"):
        (STATE / folder).mkdir(parents=True)
    try:
        for index in range(gpus):
            os.mknod(STATE / f"gpu{index}", 0o20666, os.makedev(1, 3))
        text = CONFIG.format(host=host, state=STATE, gpus=gpus, cpus=cpus)
        (ETC / "slurm.conf").write_text(text, encoding="utf-8")
        devices = f"{STATE}/gpu[0-{gpus - 1}]" if gpus > 1 else f"{STATE}/gpu0"
        gres = f"NodeName={host} Name=gpu File={devices}\n"
        (ETC / "gres.conf").write_text(gres, encoding="utf-8")
        if not _running("munged"):
            subprocess.run(
                ["install", "-d", "-o", "munge", "-g", "munge", "/run/munge"], check=True
            )
            subprocess.run(["runuser", "-u", "munge", "--", "/usr/sbin/munged"], check=True)
            (STATE / "munged").touch()
        subprocess.run(["slurmctld", "-c"], check=True)
        subprocess.run(["slurmd"], check=True)
        _wait_for_node("idle")
    except BaseException:
        stop()
        raise


def stop() -> None:
    """Nothing is left of what `start` made; a Slurm that it did not start is not touched."""
    if not STATE.exists():
        return
    # The controller first: it would start again what it sees dying.
    for program in ("slurmctld", "slurmd"):
        _end(program, STATE / f"{program}.pid")
    _kill_jobs()
    if (STATE / "munged").exists():
        _end("munged", Path("/run/munge/munged.pid"))
    for name in ("slurm.conf", "gres.conf"):
        (ETC / name).unlink(missing_ok=True)
    shutil.rmtree(STATE)


def lose_node() -> None:
    """The node's daemon and every job die at once, as without power, and Slurm has noticed."""
    os.kill(int((STATE / "slurmd.pid").read_text(encoding="utf-8")), signal.SIGKILL)
    _kill_jobs()
    _wait_for_node("down", "down*")


def bring_node_back() -> None:
    """The node's daemon runs again and finds nothing of its jobs."""
    subprocess.run(["slurmd"], check=True)
    _wait_for_node("idle", "mixed", "allocated")


def _kill_jobs() -> None:
    """Every process of every job is dead, the inner ones with the outer ones."""
    command = ["ps", "-e", "-o", "pid=,ppid=,comm="]
    listed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    processes = [line.split(maxsplit=2) for line in listed.splitlines()]
    doomed: set[str] = set()
    found = {pid for pid, _, name in processes if name == "slurmstepd"}
    while found:
        doomed |= found
        found = {pid for pid, parent, _ in processes if parent in doomed} - doomed
    for pid in doomed:
        with contextlib.suppress(ProcessLookupError):
            os.kill(int(pid), signal.SIGKILL)


def _running(program: str) -> bool:
    return subprocess.run(["pgrep", "-x", program], capture_output=True).returncode == 0


def _wait_for_node(*states: str, seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        command = ["sinfo", "--noheader", "--format=%T"]
        found = subprocess.run(command, capture_output=True, text=True, timeout=60)
        if found.stdout.strip() in states:
            return
        time.sleep(0.2)
    raise RuntimeError(f"the node is {found.stdout}{found.stderr}, not {states[0]}; see {STATE}")


def _end(program: str, pid_file: Path, seconds: float = 20.0) -> None:
    """The daemon has ended; a number that another program bears by now is left alone."""
    if not pid_file.is_file():
        return
    pid = int(pid_file.read_text(encoding="utf-8"))
    deadline = time.monotonic() + seconds
    with contextlib.suppress(ProcessLookupError, FileNotFoundError):
        if Path(f"/proc/{pid}/comm").read_text(encoding="utf-8").strip() != program:
            return
        os.kill(pid, signal.SIGTERM)
        while time.monotonic() < deadline:
            time.sleep(0.1)
            os.kill(pid, 0)
        os.kill(pid, signal.SIGKILL)


def main() -> None:
    """The program."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("what", choices=("start", "stop"))
    parser.add_argument("--gpus", type=int, default=2)
    given = parser.parse_args()
    if given.what == "start":
        start(gpus=given.gpus)
    else:
        stop()


if __name__ == "__main__":
    try:
        main()
    except RuntimeError as error:
        sys.exit(f"error: {error}")
