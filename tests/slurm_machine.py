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
PROGRAMS = ("slurmctld", "slurmd", "sbatch", "squeue", "munged")
INSTALL = "apt-get install -y --no-install-recommends slurm-wlm munge"
CONFIG = """\
ClusterName=one-machine
SlurmctldHost={host}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
StateSaveLocation={state}/state
SlurmdSpoolDir={state}/spool
SlurmctldPidFile={state}/slurmctld.pid
SlurmdPidFile={state}/slurmd.pid
SlurmctldLogFile={state}/slurmctld.log
SlurmdLogFile={state}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
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
NodeName={host} NodeAddr=127.0.0.1 CPUs={cpus} RealMemory=60000 Gres=gpu:{gpus}
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
        return (
            f"{STATE} exists: a Slurm of a test runs or was killed; stop it, or remove the folder"
        )
    for program in ("slurmctld", "slurmd"):
        if _running(program):
            return f"{program} runs here already and stays untouched"
    return None


def start(*, gpus: int = 2, cpus: int = 8) -> None:
    """Slurm runs, and its node is idle. Raises RuntimeError saying why it does not."""
    if reason := refusal():
        raise RuntimeError(reason)
    host = socket.gethostname().partition(".")[0]
    for folder in ("state", "spool"):
        (STATE / folder).mkdir(parents=True)
    for index in range(gpus):
        os.mknod(STATE / f"gpu{index}", 0o20666, os.makedev(1, 3))
    try:
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
        _wait_until_idle()
    except BaseException:
        stop()
        raise


def stop() -> None:
    """Nothing is left of what `start` made; a Slurm that it did not start is not touched."""
    if not STATE.exists():
        return
    for program in ("slurmd", "slurmctld"):
        pid_file = STATE / f"{program}.pid"
        if pid_file.is_file():
            _end(int(pid_file.read_text(encoding="utf-8")))
    if (STATE / "munged").exists():
        _end(int(Path("/run/munge/munged.pid").read_text(encoding="utf-8")))
    for name in ("slurm.conf", "gres.conf"):
        (ETC / name).unlink(missing_ok=True)
    shutil.rmtree(STATE)


def lose_node() -> None:
    """The node's daemon and every job on it die at once, as when a machine loses its power."""
    pid = int((STATE / "slurmd.pid").read_text(encoding="utf-8"))
    steps = subprocess.run(["pgrep", "-x", "slurmstepd"], capture_output=True, text=True).stdout
    for parent in [int(line) for line in steps.split()]:
        _kill_tree(parent)
    os.kill(pid, signal.SIGKILL)


def bring_node_back() -> None:
    """The node's daemon runs again and finds nothing of its jobs."""
    subprocess.run(["slurmd"], check=True)
    _wait_until_idle()


def _kill_tree(pid: int) -> None:
    children = subprocess.run(["pgrep", "-P", str(pid)], capture_output=True, text=True).stdout
    for child in children.split():
        _kill_tree(int(child))
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def _running(program: str) -> bool:
    return subprocess.run(["pgrep", "-x", program], capture_output=True).returncode == 0


def _wait_until_idle(seconds: float = 30.0) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        command = ["sinfo", "--noheader", "--format=%T"]
        found = subprocess.run(command, capture_output=True, text=True, timeout=30)
        if found.stdout.strip() in {"idle", "mixed", "allocated"}:
            return
        time.sleep(0.2)
    raise RuntimeError(f"the node did not become idle: {found.stdout}{found.stderr}; see {STATE}")


def _end(pid: int, seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    try:
        os.kill(pid, signal.SIGTERM)
        while time.monotonic() < deadline:
            time.sleep(0.1)
            os.kill(pid, 0)
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        pass


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
