"""Runs that a benchmark may kill, starve and damage: forked, so that each starts in a moment.

A victim is `pipeline.optimize` as the workflow calls it, in a process of its own with its own log,
forked from one that has imported everything and computed nothing.
"""

import os
import resource
import signal
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pandas
import torch

from pipeline import optimize
from pipeline.artifacts import ArtifactError, exit_status, load_safetensors, read_json
from pipeline.config import ConfigError, load_preset
from pipeline.guidance.captions import VocabularyError
from pipeline.recipes import prompts

SAME = ("scene.safetensors", "trace.parquet")  # what a failure of the machine must not change
CHECKPOINTS = "checkpoint/step*.safetensors"


@dataclass(frozen=True)
class Victim:
    """One run of a preset's first geometry stage, and the folder that it works in."""

    preset: str
    column: str
    prompt_id: str
    stage: str
    bank: Path
    out: Path

    @property
    def settings(self) -> Mapping[str, int]:
        return load_preset(self.preset)["stages"][self.stage]

    def arguments(self) -> list[str]:
        named = ("preset", "column", "stage", "prompt_id", "bank", "out")
        pairs = [(f"--{name.replace('_', '-')}", str(getattr(self, name))) for name in named]
        return [part for pair in pairs for part in pair] + ["--seed", "0", "--threads", "1"]

    def start(self, before: Callable[[], object] | None = None) -> int:
        """The process that runs it, in a group of its own; `before` happens in it, first."""
        self.out.mkdir(parents=True, exist_ok=True)
        process = forked()
        if process:
            return process
        status = 1
        try:
            log = os.open(self.out / "optimize.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
            os.dup2(log, 1)
            os.dup2(log, 2)
            if before is not None:
                before()
            program = partial(optimize.main, self.arguments())
            status = exit_status(program, ConfigError, VocabularyError)
        finally:
            sys.stderr.flush()
            os._exit(status)

    def finish(self, before: Callable[[], object] | None = None) -> int:
        """The exit status of the same command, waited for; below 0 for a signal."""
        return ended(self.start(before))

    def log(self) -> str:
        return (self.out / "optimize.log").read_text(encoding="utf-8")

    def results(self) -> dict[str, bytes]:
        return {name: (self.out / name).read_bytes() for name in SAME}

    def steps_kept(self) -> int:
        """The step of the newest checkpoint; 0 without one."""
        names = sorted(path.stem for path in self.out.glob(CHECKPOINTS))
        return int(names[-1].removeprefix("step")) if names else 0


def victims(
    preset: str, bank: Path, folder: Path, columns: list[str] | None = None
) -> list[Victim]:
    """One run a column, of the first prompt, each in a folder of its own under `folder`."""
    spec = load_preset(preset)
    stage = spec["tasks"]["geometry"]["chain"][0]
    prompt = prompts(spec, "geometry")[0].prompt_id
    return [
        Victim(preset, column, prompt, stage, bank, folder / column)
        for column in columns or list(spec["columns"])
    ]


def bank_of(preset: str, given: Path | None) -> Path:
    """The image bank that the victims read. Raises ArtifactError naming what makes one."""
    bank = (given or Path("results") / preset / "bank").resolve()
    if not (bank / "world.json").is_file():
        made = f"snakemake --cores all --config preset={preset} --until bank_checksums"
        raise ArtifactError(f"{bank}: not an image bank; make one: {made}")
    return bank


def forked() -> int:
    """As os.fork; the child leads a process group before either of the two goes on."""
    process = os.fork()
    os.setpgid(process, process)
    return process


def ended(process: int) -> int:
    """The exit status of the child `process`; minus the signal's number where one ended it."""
    _, status = os.waitpid(process, 0)
    return os.waitstatus_to_exitcode(status)


def signalled(process: int, due: Callable[[], bool], number: int = signal.SIGKILL) -> bool:
    """Sends the signal to the process' group once it is due; says whether it ended of that."""
    while not due():
        if os.waitpid(process, os.WNOHANG) != (0, 0):
            return False
        time.sleep(0.001)
    os.killpg(process, number)
    return ended(process) == -number


def broken(folder: Path) -> list[str]:
    """The files of a run folder under their final names that cannot be read whole."""
    readers: dict[str, Callable[[Path], object]] = {
        ".safetensors": load_safetensors,
        ".parquet": pandas.read_parquet,
        ".json": read_json,
    }
    found = []
    for path in sorted(folder.rglob("*")):
        if path.suffix in readers and not path.name.startswith(".partial-"):
            try:
                readers[path.suffix](path)
            except (ArtifactError, OSError, ValueError) as error:
                found.append(f"{path}: {error}")
    return found


def limited(kind: int, value: int) -> Callable[[], object]:
    """Sets a limit of the kernel on the process that calls it."""
    return partial(resource.setrlimit, kind, (value, value))


def prepare() -> None:
    """One thread, as the workflow has it; before any fork, for threads do not survive one."""
    torch.set_num_threads(1)
