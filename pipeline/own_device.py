"""Runs a command that has a GPU to itself, among all that do so on this machine.

    python -m pipeline.own_device cuda python -m pipeline.optimize --preset paper ...

Waits until one of the visible GPUs is free, hides the others from the command
(CUDA_VISIBLE_DEVICES), says which on stderr, and becomes the command. The lock on a GPU is a
file's, which the kernel lets go of when the command dies, however it dies. Under Slurm, which gives
a job its devices, and for `cpu`, the command starts at once.
"""

import fcntl
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from pipeline.machine import gpus

LOCKS = Path(tempfile.gettempdir()) / "score-distillation-gpus"  # one folder for all of the machine
POLL = 1.0  # seconds
VISIBLE = "CUDA_VISIBLE_DEVICES"


def visible() -> list[str]:
    """The GPUs that a command started here would see, as CUDA_VISIBLE_DEVICES names them."""
    if (named := os.environ.get(VISIBLE)) is not None:
        return [name.strip() for name in named.split(",") if name.strip()]
    return [gpu.index for gpu in gpus()]


def claimed(devices: Sequence[str], folder: Path = LOCKS) -> tuple[str, int] | None:
    """(a device that nobody held, the descriptor that holds it now); None when all are held."""
    folder.mkdir(parents=True, exist_ok=True)
    if folder.stat().st_uid == os.getuid():
        folder.chmod(0o1777)  # other users' jobs take their locks here as well
    for device in devices:
        mark = os.open(folder / f"{device}.lock", os.O_RDWR | os.O_CREAT, 0o666)
        try:
            fcntl.flock(mark, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(mark)
            continue
        os.set_inheritable(mark, True)
        return device, mark
    return None


def main(arguments: Sequence[str]) -> int:
    """The program; returns only when there is nothing to run on."""
    if len(arguments) < 2:
        print("usage: python -m pipeline.own_device DEVICE COMMAND ...", file=sys.stderr)
        return 2
    device, command = arguments[0], list(arguments[1:])
    if device == "cuda" and "SLURM_JOB_ID" not in os.environ:
        devices = visible()
        if not devices:
            print("error: no GPU is visible; python -m pipeline.doctor says more", file=sys.stderr)
            return 1
        while (found := claimed(devices)) is None:
            time.sleep(POLL)
        os.environ[VISIBLE] = found[0]
    if device == "cuda":
        print(f"{VISIBLE}={os.environ.get(VISIBLE, '')}", file=sys.stderr, flush=True)
    os.execvp(command[0], command)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
