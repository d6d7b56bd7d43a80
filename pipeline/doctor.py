"""What a preset needs and this machine lacks, each with the remedy.

    python -m pipeline.doctor --preset paper

Prints one line per requirement, `ok` or `missing` with the line that fixes it; exit status 1 when
anything is missing. The workflow asks the same question before it runs its first job.
"""

import argparse
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

OPTIMIZES_ON = ("cpu",)  # the devices that pipeline.optimize accepts in this release
ROOT = Path(__file__).resolve().parent.parent  # relative paths in presets start here


def requirements(preset: Mapping[str, Any], *, jobs_run_here: bool = True) -> dict[str, str | None]:
    """Each requirement of the preset -> None when it is met, else the remedy in words.

    Where the jobs run elsewhere (a cluster), this machine's GPU does not matter.
    """
    found: dict[str, str | None] = {}
    device = preset["device"]
    if device == "cuda" and jobs_run_here:
        found["a CUDA GPU"] = _cuda()
    if device not in OPTIMIZES_ON:
        known = ", ".join(OPTIMIZES_ON)
        found[f"optimisation on {device}"] = f"this release optimises on {known} only"
    for prior in dict.fromkeys(stage["prior"] for stage in preset["stages"].values()):
        spec = preset["priors"][prior]
        if "path" in spec:
            there = (ROOT / spec["path"]).is_dir()
            found[f"weights of {prior}"] = None if there else f"no folder {spec['path']}"
        elif hub := spec.get("hub", spec.get("model")):
            found[f"weights of {prior}"] = _weights(hub)
    clip = preset["evaluation"]["clip"]
    if clip.startswith("local-dir:"):
        folder = clip.removeprefix("local-dir:")
        there = (ROOT / folder / "open_clip_model.safetensors").is_file()
        found[f"the CLIP model in {folder}"] = None if there else "run make toyworld"
    return found


def missing_for(preset: Mapping[str, Any], *, jobs_run_here: bool = True) -> list[str]:
    """The unmet requirements, "what: remedy"."""
    found = requirements(preset, jobs_run_here=jobs_run_here)
    return [f"{what}: {remedy}" for what, remedy in found.items() if remedy]


def _cuda() -> str | None:
    import torch

    return None if torch.cuda.is_available() else "no CUDA device; use a machine that has one"


def _weights(models: list[str]) -> str | None:
    """None when one of the hub ids, `owner/name` or `owner/name@revision`, is in the local cache.

    No network is touched.
    """
    models = [model.partition("@")[0] for model in models]
    home = Path(os.environ.get("HF_HOME", Path.home() / ".cache" / "huggingface"))
    cache = Path(os.environ.get("HF_HUB_CACHE", home / "hub"))
    if any((cache / ("models--" + model.replace("/", "--"))).is_dir() for model in models):
        return None
    page = f"https://huggingface.co/{models[0]}"
    return f"accept the licence at {page}, then: hf auth login && hf download {models[0]}"


def main(arguments: list[str] | None = None) -> int:
    """The program."""
    from pipeline.config import ConfigError, load_preset

    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--preset", required=True)
    given = parser.parse_args(arguments)
    try:
        found = requirements(load_preset(given.preset))
    except ConfigError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    for what, remedy in found.items():
        print(f"ok       {what}" if remedy is None else f"missing  {what}: {remedy}")
    return int(any(found.values()))


if __name__ == "__main__":
    sys.exit(main())
