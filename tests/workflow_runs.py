"""The workflow run as a user runs it, from sources that a test may change."""

import glob
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
SOURCES = ("pipeline", "methods", "prompts", "metrics", "reports", "presets", "profiles")


def checkout(folder: Path) -> Path:
    """A copy of what the workflow is made of, whose presets and prompts a test may change."""
    for name in SOURCES:
        ignored = shutil.ignore_patterns("__pycache__", "checkpoint")
        shutil.copytree(ROOT / name, folder / name, ignore=ignored)
    shutil.copy(ROOT / "Snakefile", folder)
    return folder


def command(
    source: Path, work: Path, preset: str | None, *options: str, cores: int | None = 2
) -> dict[str, Any]:
    """What a user types in the folder `work`, as keywords of subprocess; on a cluster no cores."""
    chosen = [] if preset is None else ["--config", f"preset={preset}"]
    here = [] if cores is None else ["--cores", str(cores)]
    program = ["-m", "snakemake", "-s", str(source / "Snakefile"), "--directory", str(work)]
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    return {
        "args": [sys.executable, *program, *here, *options, *chosen],
        "cwd": work,
        "env": environment | {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"},
    }


def present(work: Path, pattern: str) -> list[Path]:
    """Files of the pattern while others delete some; pathlib's glob raises where a folder goes."""
    return [work / name for name in glob.glob(pattern, root_dir=work, recursive=True)]


def snakemake(
    source: Path, work: Path, preset: str | None, *options: str
) -> subprocess.CompletedProcess[str]:
    """The finished command; its output and errors are in `stdout`."""
    return subprocess.run(
        **command(source, work, preset, *options),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=1800,  # on a machine that does much else
        check=False,
    )
