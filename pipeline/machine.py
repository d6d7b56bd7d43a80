"""What this machine has: GPUs and their driver, packages, free disk, Slurm. Asked, never changed.

Each function says what it found; pipeline.doctor judges. No CUDA context is opened and torch is
imported only to ask what it was built for.
"""

import importlib.util
import os
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

QUERY = ("index", "name", "memory.total", "driver_version")


@dataclass(frozen=True)
class Gpu:
    """One GPU as its driver describes it; `memory` in MiB."""

    index: str
    name: str
    memory: int
    driver: str


def gpus() -> list[Gpu]:
    """Every GPU that nvidia-smi lists; none without a driver or where it does not answer."""
    said = _output(
        ["nvidia-smi", f"--query-gpu={','.join(QUERY)}", "--format=csv,noheader,nounits"]
    )
    found = []
    for line in said.splitlines():
        fields = [field.strip() for field in line.split(",")]
        if len(fields) == len(QUERY) and fields[2].isdigit():
            found.append(Gpu(fields[0], fields[1], int(fields[2]), fields[3]))
    return found


def torch_cuda() -> tuple[str | None, bool]:
    """(the CUDA version that torch was built for or None, whether it can use a GPU now)."""
    import torch

    return torch.version.cuda, torch.cuda.is_available()


def installed(package: str) -> bool:
    """Whether `import package` would find something; nothing is imported."""
    return importlib.util.find_spec(package) is not None


def free_mb(folder: Path) -> float:
    """Free disk space for this user where `folder` lies or will lie, in MB (2^20 bytes)."""
    there = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
    return shutil.disk_usage(there).free / 2**20


def slurm() -> str | None:
    """The version of Slurm whose sbatch is on the path; None without one."""
    if shutil.which("sbatch") is None:
        return None
    return _output(["sbatch", "--version"]).strip() or "a Slurm that does not answer"


def hub_home() -> Path:
    """Where the libraries of huggingface.co keep tokens and, unless told otherwise, models."""
    return Path(os.environ.get("HF_HOME", Path.home() / ".cache" / "huggingface"))


def hub_cache() -> Path:
    """Where downloaded models lie."""
    return Path(os.environ.get("HF_HUB_CACHE", hub_home() / "hub"))


def has_hub_token() -> bool:
    """Whether a token for huggingface.co is set or stored; its value is not read."""
    stored = Path(os.environ.get("HF_TOKEN_PATH", hub_home() / "token"))
    return bool(os.environ.get("HF_TOKEN")) or stored.is_file()


def _output(command: Sequence[str]) -> str:
    """What the command prints; nothing when it is missing, fails, or takes over 20 seconds."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=20)
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout
