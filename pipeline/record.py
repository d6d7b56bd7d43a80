"""run.json: what a run was, on what, from what, and how it ended.

Together with the checksums of its inputs and outputs it lets every number on a page be followed
back to a commit, a set of settings and the files in between.
"""

import hashlib
import importlib.metadata
import os
import platform
import resource
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.artifacts import (
    SCHEMA_VERSION,
    TABLES,
    digest,
    load_safetensors,
    read_json,
    safetensors_bytes,
    sha256,
    write_bytes,
    write_json,
    write_table,
)
from pipeline.checksums import of_folder
from pipeline.config import Job

if TYPE_CHECKING:
    import pandas
    import torch

PACKAGES = (
    "torch",
    "numpy",
    "safetensors",
    "diffusers",
    "transformers",
    "open_clip_torch",
    "snakemake",
)
ROOT = Path(__file__).resolve().parent.parent
SOURCES = [
    f"{folder}/*.{kind}"  # in subfolders too
    for folder in ("pipeline", "methods", "prompts", "metrics", "reports", "presets")
    for kind in ("py", "yaml")
]


def source_state() -> dict[str, Any]:
    """{commit, dirty} of this source tree; both None outside a git checkout.

    Dirty: a tracked file differs, or there is a module or settings file that no commit holds.
    """
    try:
        commit = _git("rev-parse", "HEAD")
        changed = _git("status", "--porcelain", "--untracked-files=no")
        added = _git("ls-files", "--others", "--exclude-standard", "--", *SOURCES)
    except (OSError, subprocess.SubprocessError):  # a command that takes too long is one
        return {"commit": None, "dirty": None}
    return {"commit": commit, "dirty": bool(changed or added)}


def _git(*arguments: str) -> str:
    command = ["git", "-C", str(ROOT), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=20)
    return done.stdout.strip()


def versions() -> dict[str, str]:
    """Installed version of each package that can change a result, and of Python."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def peak_memory_mb() -> float:
    """Peak resident memory of this process so far, in MB (2^20 bytes)."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(peak / (1024.0 if sys.platform != "darwin" else 1024.0**2), 1)


def peak_device_memory_mb(device: str) -> float | None:
    """Most memory that tensors of this process took on its GPU so far, in MB (2^20 bytes).

    These are torch's own tensors; what tiny-cuda-nn and nvdiffrast allocate themselves comes on
    top. None on a CPU, where `peak_memory_mb` holds it all.
    """
    if not device.startswith("cuda"):
        return None
    import torch

    return round(torch.cuda.max_memory_allocated(device) / 2**20, 1)


def process_age() -> float | None:
    """Seconds since this process started, interpreter and imports included; None where unknown."""
    try:
        fields = Path("/proc/self/stat").read_text(encoding="utf-8").rsplit(")", 1)[1].split()
        started = float(fields[19]) / os.sysconf("SC_CLK_TCK")
        return time.clock_gettime(time.CLOCK_BOOTTIME) - started
    except (OSError, AttributeError, IndexError, ValueError):
        return None


def device_name(device: str) -> str:
    """What the numbers were computed on, in words."""
    if device.startswith("cuda"):
        import torch

        return torch.cuda.get_device_name(device)
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def checksums(
    bank: Path | None, init_from: Path | None, mesh: Path | None = None
) -> dict[str, str]:
    """The sha256 of every file of the bank, of the scene (and its settings) and the mesh that a run
    starts from.
    """
    files = of_folder(bank) if bank else {}
    found = {f"bank/{name}": value for name, value in files.items()}
    if init_from is not None:
        found["init_from/scene.safetensors"] = sha256(init_from / "scene.safetensors")
        settings = read_json(init_from / "run.json")["settings"]  # they say what the numbers mean
        found["init_from/settings"] = digest(settings)
    if mesh is not None:
        found["mesh/mesh.safetensors"] = sha256(mesh / "mesh.safetensors")
    return found


def failure_before(init_from: Path | None) -> str | None:
    """Why a run cannot start: the run in `init_from` failed. None when it did not, or without one.

    Raises ArtifactError when there is no scene, or a placeholder whose run.json is missing.
    """
    if init_from is None:
        return None
    _, metadata = load_safetensors(init_from / "scene.safetensors")
    if metadata.get("placeholder") != "true":
        return None
    before = read_json(init_from / "run.json")
    return f"stage {before['stage']} failed: {before['reason']}"


def mesh_failure(mesh: Path | None) -> str | None:
    """Why a texture cannot start: its file held no usable mesh. None otherwise, or without one."""
    if mesh is None:
        return None
    found = read_json(mesh / "mesh.json")
    return None if found["status"] == "ok" else f"no mesh: {found['reason']}"


@dataclass(frozen=True)
class Origin:
    """What a run was made from and on.

    `inputs`: checksums by name; `sources`: what `source_state` said when the run began, as the tree
    may change meanwhile; `import_seconds`: the process's age at that moment.
    """

    inputs: Mapping[str, str]
    device: str
    threads: int
    import_seconds: float | None
    sources: Mapping[str, Any]


@dataclass(frozen=True)
class Outcome:
    """What a run ended in: a scene, or a failure with the step at which it happened.

    `failed_step` is None where the stage before had failed and no step was made. `backends`: by
    part, what served it (backends.py).
    """

    failure: str | None = None
    failed_step: int | None = None
    scene: "Mapping[str, torch.Tensor] | None" = None
    rows: Sequence[Mapping[str, Any]] = ()
    step_seconds: float = 0.0
    evaluations: Mapping[str, int] = field(default_factory=dict)
    backends: Mapping[str, Sequence[str]] = field(default_factory=dict)


def write_run(out: Path, job: Job, origin: Origin, outcome: Outcome) -> None:
    """`out` holds trace.parquet, run.json and, last, scene.safetensors.

    Of a failed run the scene file is an empty placeholder, marked so in its metadata and in
    run.json.
    """
    import torch

    failed = outcome.failure is not None
    tensors = {"placeholder": torch.zeros(1)} if outcome.scene is None else outcome.scene
    data = safetensors_bytes(tensors, {"placeholder": str(failed).lower()})
    trace_path = write_table(_trace_table(outcome.rows), out / "trace", "trace")
    age, imports, steps = process_age(), origin.import_seconds, outcome.step_seconds
    write_json(
        out / "run.json",
        {
            "schema_version": SCHEMA_VERSION,
            "status": "failed" if failed else "ok",
            "reason": outcome.failure,
            "failed_step": outcome.failed_step,
            "placeholder": failed,
            **asdict(job),
            "device": origin.device,
            "device_name": device_name(origin.device),
            "visible_devices": os.environ.get("CUDA_VISIBLE_DEVICES"),  # which of several was ours
            "threads": origin.threads,
            "seconds": {
                "imports": _rounded(imports),
                "steps": _rounded(steps),
                "rest": _rounded(age and max(0.0, age - (imports or 0.0) - steps)),
            },
            "peak_memory_mb": peak_memory_mb(),
            "peak_device_memory_mb": peak_device_memory_mb(origin.device),
            "backends": dict(outcome.backends),
            "evaluations": dict(outcome.evaluations),
            **origin.sources,
            "versions": versions(),
            "inputs": dict(origin.inputs),
            "outputs": {
                "scene.safetensors": hashlib.sha256(data).hexdigest(),
                "trace.parquet": sha256(trace_path),
            },
        },
    )
    write_bytes(out / "scene.safetensors", data)


def _trace_table(rows: Sequence[Mapping[str, Any]]) -> "pandas.DataFrame":
    import pandas

    frame = pandas.DataFrame(list(rows), columns=list(TABLES["trace"]))
    return frame.astype({"t": "Int64", "norm": "float64", "weighted_norm": "float64"})


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 3)
