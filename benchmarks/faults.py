"""Injects faults into runs, repeats the same command, and writes what happened as a table.

    python -m benchmarks.faults --preset smoke --out docs/results/faults.md

Survived means: the faulty process ended with an error that names what to do (or was killed), no
file under its final name was half a file, and the same command afterwards ended in the bits of an
undisturbed run. Exit status 1 when a fault was not survived. Whole workflows, through Slurm too:
`make test-slow`; many kills at random moments: `python -m benchmarks.kills`.
"""

import argparse
import os
import re
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from benchmarks.hub import FILES, hub
from benchmarks.victims import (
    CHECKPOINTS,
    Victim,
    bank_of,
    broken,
    limited,
    prepare,
    signalled,
    victims,
)
from pipeline import optimize
from pipeline.artifacts import exit_status, write_text

MOUNTED = 3  # tmpfs of so many MB: the first checkpoint fits beside its temporary file, no more
HEADROOM = 48 * 2**20  # bytes of address space left to a starved process
KILLED = "killed"
STARVED_GPU = "CUDA out of memory in step 12: the exception, raised by hand on a CPU"


@dataclass(frozen=True)
class Row:
    """One line of the table; `survived` is None where the fault could not be injected here."""

    fault: str
    said: str
    after: str
    survived: bool | None


def fault_free(
    victim: Victim, expected: dict[str, bytes], fault: str, said: str, damaged: int = 0
) -> Row:
    """The row of a victim whose fault is over: the same command again, and what it left.

    As many of its files are half files as were `damaged` by hand, and it says that it skips them.
    """
    half, earlier = len(broken(victim.out)), len(victim.log())
    status = victim.finish()
    log = victim.log()[earlier:]
    after = next(iter(re.findall(r"((?:skipped|resumed|starting)[^\n]*)", log)), log[-200:])
    after = re.sub(r", which is corrupt \(.*?run again\)", " (corrupt)", after)
    after = re.sub(r"starting, \d+ steps", "begun again", after)
    if "skipped" in after and "resumed" not in after:
        after += "; begun again"
    same = status == 0 and victim.results() == expected
    done = "the same bits" if same else f"OTHER BITS (status {status})"
    known = half == damaged == after.count("skipped")
    return Row(fault, said, f"{after}; {done}", bool(same and said and known))


def last_error(victim: Victim) -> str:
    """The last line `error: ...` of the log; nothing when the program said none."""
    lines = re.findall(r"^error: (.*)$", victim.log(), flags=re.M)
    return lines[-1].replace(str(victim.out), "RUN") if lines else ""


def _signal(victim: Victim, expected: dict[str, bytes], name: str, number: int) -> Row:
    gone = signalled(victim.start(), lambda: victim.steps_kept() > 0, number)
    return fault_free(victim, expected, name, KILLED if gone else "")


def killed(victim: Victim, expected: dict[str, bytes]) -> Row:
    """The machine loses its power, or its scheduler its patience."""
    return _signal(victim, expected, "kill -9 after a checkpoint", signal.SIGKILL)


def terminated(victim: Victim, expected: dict[str, bytes]) -> Row:
    """What a scheduler sends first at a time limit or before a preemption."""
    return _signal(victim, expected, "SIGTERM (time limit, preemption)", signal.SIGTERM)


def full_disk(victim: Victim, expected: dict[str, bytes]) -> Row:
    """The disk is full when the second checkpoint is written."""
    fault = f"disk full in mid-run ({MOUNTED} MB tmpfs)"
    victim.out.mkdir(parents=True)
    try:
        _mount(victim.out, f"size={MOUNTED}m")
    except (OSError, subprocess.CalledProcessError):
        return Row(fault, "needs root", "", None)
    try:
        status = victim.finish()
        said = last_error(victim) if status == 1 else ""
        _mount(victim.out, "remount,size=200m")
        return fault_free(victim, expected, fault, said)
    finally:
        subprocess.run(["umount", "--lazy", str(victim.out)], check=True)


def _mount(folder: Path, options: str) -> None:
    command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
    subprocess.run(command, check=True, capture_output=True)


def quota(victim: Victim, expected: dict[str, bytes]) -> Row:
    """No file may grow beyond what a user is allowed."""
    status = victim.finish(limited(resource.RLIMIT_FSIZE, 2**20))
    said = last_error(victim) if status == 1 else ""
    return fault_free(victim, expected, "quota: no file above 1 MB", said)


def _damaged(victim: Victim, expected: dict[str, bytes], fault: str, newest: int) -> Row:
    """Kills once there are two checkpoints, damages the newest ones, goes on."""
    gone = signalled(victim.start(), lambda: len(list(victim.out.glob(CHECKPOINTS))) > 1)
    for path in sorted(victim.out.glob(CHECKPOINTS))[-newest:]:
        data = path.read_bytes()
        path.write_bytes(data[: len(data) // 2])
    return fault_free(victim, expected, fault, KILLED if gone else "", newest)


def corrupt(victim: Victim, expected: dict[str, bytes]) -> Row:
    """The newest checkpoint is half a file: the disk lied."""
    return _damaged(victim, expected, "newest checkpoint truncated", 1)


def all_corrupt(victim: Victim, expected: dict[str, bytes]) -> Row:
    """No checkpoint is whole."""
    return _damaged(victim, expected, "both checkpoints truncated", 2)


def starved(victim: Victim, expected: dict[str, bytes]) -> Row:
    """The machine has no memory left; the kernel refuses it, as under a limit of Slurm."""
    pages = int(Path("/proc/self/statm").read_text(encoding="utf-8").split()[0])
    limit = pages * os.sysconf("SC_PAGE_SIZE") + HEADROOM
    status = victim.finish(limited(resource.RLIMIT_AS, limit))
    said = last_error(victim) if status == 1 else ""
    return fault_free(victim, expected, "no memory left", said)


def starved_gpu(victim: Victim, expected: dict[str, bytes]) -> Row:
    """The GPU's allocator gives up in step 12. Raised by hand: no GPU is needed."""
    step = optimize.one_step

    def failing(number: int, *rest: object) -> object:
        if number == 12:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return step(number, *rest)  # type: ignore[arg-type]

    status = victim.finish(lambda: setattr(optimize, "one_step", failing))
    said = last_error(victim) if status == 1 and "batch" in last_error(victim) else ""
    return fault_free(victim, expected, STARVED_GPU, said)


def two_at_once(victim: Victim, expected: dict[str, bytes]) -> Row:
    """A workflow was killed without its jobs, and begun again while one still ran."""
    first = victim.start()
    while victim.steps_kept() == 0:
        time.sleep(0.001)
    os.kill(first, signal.SIGSTOP)
    status = victim.finish()
    said = last_error(victim) if status == 1 else ""
    os.killpg(first, signal.SIGKILL)
    os.waitpid(first, 0)
    return fault_free(victim, expected, "the same run started twice", said)


FAULTS: dict[str, Callable[[Victim, dict[str, bytes]], Row]] = {
    "killed": killed,
    "terminated": terminated,
    "full_disk": full_disk,
    "quota": quota,
    "corrupt": corrupt,
    "all_corrupt": all_corrupt,
    "starved": starved,
    "starved_gpu": starved_gpu,
    "two_at_once": two_at_once,
}


def hub_rows(folder: Path) -> list[Row]:
    """Downloads from a hub that misbehaves, then from the same one when it is well."""
    found = []
    for mode, fault in (("slow", "hub times out"), ("truncated", "hub breaks off in a file")):
        with hub() as server:
            server.mode = mode
            status, said, files = server.download(folder / mode)
            half = [name for name, data in files.items() if data != FILES[name]]
            server.mode = "well"
            again, _, whole = server.download(folder / mode)
        same = again == 0 and whole == FILES
        ok = status == 1 and said.startswith("error: ") and not half and same
        after = "downloaded whole" if same else "STILL BROKEN"
        said = re.sub(r"(in the cache )\S+", r"\1CACHE", said.removeprefix("error: "))
        found.append(Row(fault, said, after, ok))
    return found


def page(rows: list[Row], preset: str) -> str:
    """The table as Markdown."""
    words = {True: "yes", False: "**no**", None: "not tried"}
    lines = [
        "# Faults injected and survived",
        "",
        f"Made by `python -m benchmarks.faults --preset {preset}`. Each fault hits a run of the "
        "first stage in mid-run, or a download; then the same command is given again. Survived: "
        "the process was killed, or ended with the error quoted; no file under its final name was "
        "half a file, but for those that were truncated by hand; the repeated command ended in the "
        "bits of an undisturbed run, having done again at most the steps since the last "
        "checkpoint. RUN and CACHE stand for folders.",
        "",
        "Whole workflows are killed, and a node of a Slurm cluster lost, by `make test-slow` "
        "(tests/test_faults.py, tests/test_slurm.py); runs are killed at random moments by "
        "`python -m benchmarks.kills`. No GPU took part: what its allocator raises was raised by "
        "hand in a run on a CPU.",
        "",
        "| fault | how the program ended | the same command again | survived |",
        "|---|---|---|---|",
    ]
    for row in rows:
        cells = (row.fault, row.said or "nothing", row.after, words[row.survived])
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(lines) + "\n"


def main() -> int:
    """The program."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--preset", default="smoke")
    parser.add_argument("--bank", type=Path, help="instead of the one under results/")
    parser.add_argument("--only", nargs="+", choices=[*FAULTS, "hub"], default=[*FAULTS, "hub"])
    parser.add_argument("--out", type=Path, help="a Markdown file instead of standard output")
    given = parser.parse_args()
    bank = bank_of(given.preset, given.bank)
    prepare()
    rows = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (whole, *_) = victims(given.preset, bank, folder / "whole")
        whole.finish()
        expected = whole.results()
        for fault in given.only:
            if fault == "hub":
                rows += hub_rows(folder)
            else:
                (victim, *_) = victims(given.preset, bank, folder / fault)
                rows.append(FAULTS[fault](victim, expected))
            print(rows[-1], file=sys.stderr, flush=True)
    text = page(rows, given.preset)
    print(text) if given.out is None else write_text(given.out, text)
    return int(any(row.survived is False for row in rows))


if __name__ == "__main__":
    sys.exit(exit_status(main))
