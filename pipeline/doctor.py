"""What a preset needs and this machine lacks, each with the remedy.

    python -m pipeline.doctor --preset paper

Prints one line per requirement: `ok`, `missing` with the line that fixes it, or `absent` for what
would help and is not needed. Exit status 1 when anything is missing. The workflow asks the same
question before it runs its first job.
"""

import argparse
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pipeline import machine
from pipeline.sizes import results_mb

ROOT = Path(__file__).resolve().parent.parent  # relative paths in presets start here
# The hub's copy of what open_clip calls by these names; it downloads the same file on first use.
CLIP_HUB = {"ViT-B-32-quickgelu:openai": "timm/vit_base_patch32_clip_224.openai"}
# What to download of a repository that holds many copies: a pipeline's parts lie in folders of
# their own beside whole checkpoints of twice the size, a single model's files at the top.
PIPELINE = '"*.json" "*.txt" "*.model" "*/*{variant}.safetensors" --exclude "safety_checker/*"'
MODEL = '"*.json" "*{variant}.safetensors"'
PLUGIN = ("snakemake_executor_plugin_slurm", "slurm")  # and the extra that brings it
FASTER = {
    "nvdiffrast": "the plain rasterizer takes its place; environment.yml says how to build it",
    "tinycudann": "the plain hash grid takes its place; environment.yml says how to build it",
}


def requirements(preset: Mapping[str, Any], *, jobs_run_here: bool = True) -> dict[str, str | None]:
    """Each requirement of the preset -> None when it is met, else the remedy in words.

    Where the jobs run elsewhere (a cluster), this machine's GPU does not matter.
    """
    found: dict[str, str | None] = {}
    device = preset["device"]
    if device == "cuda" and jobs_run_here:
        found["a CUDA GPU"] = _cuda()
    for prior in dict.fromkeys(stage["prior"] for stage in preset["stages"].values()):
        spec = preset["priors"][prior]
        found |= dict(_weights(prior, spec, PIPELINE))
        if spec.get("text_encoder_bits"):
            found["bitsandbytes"] = _package("bitsandbytes", "bitsandbytes")
        for part in spec.get("controlnets", []):
            found |= dict(_weights(f"{prior}'s ControlNet", part, MODEL))
    found |= dict(_clip(preset["evaluation"]["clip"]))
    if any(name.startswith("weights of") and remedy for name, remedy in found.items()):
        found["a token for huggingface.co"] = None if machine.has_hub_token() else "hf auth login"
    found["disk space"] = _disk(results_mb(preset))
    if not jobs_run_here:
        found["the Slurm plugin"] = _package(*PLUGIN)
    return found


def missing_for(preset: Mapping[str, Any], *, jobs_run_here: bool = True) -> list[str]:
    """The unmet requirements, "what: remedy"."""
    found = requirements(preset, jobs_run_here=jobs_run_here)
    return [f"{what}: {remedy}" for what, remedy in found.items() if remedy]


def remarks(preset: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """("ok" or "absent", words) of what a run can do without and a user wants to know."""
    if preset["device"] == "cuda":
        for gpu in machine.gpus():
            yield "ok", f"GPU {gpu.index}: {gpu.name}, {gpu.memory} MiB, driver {gpu.driver}"
        if (count := len(machine.gpus())) > 1:
            yield "ok", f"{count} GPUs: --resources gpu={count} uses them all, a job on each"
        for package, otherwise in FASTER.items():
            there = machine.installed(package)
            yield ("ok", package) if there else ("absent", f"{package}: {otherwise}")
    version = machine.slurm()
    if version is None:
        yield "absent", "Slurm: only --workflow-profile profiles/slurm needs it"
    elif plugin := _package(*PLUGIN):
        yield "absent", f"{version}, but not Snakemake's plugin for it: {plugin}"
    else:
        yield "ok", f"{version} and Snakemake's plugin: --workflow-profile profiles/slurm"


def _cuda() -> str | None:
    """None when torch can use a GPU, else which of GPU, driver and build is at fault."""
    built, usable = machine.torch_cuda()
    if usable:
        return None
    found = machine.gpus()
    if not found:
        return "no GPU answers nvidia-smi; use a machine that has one, or install NVIDIA's driver"
    if built is None:
        return (
            f"{found[0].name} is there, but this torch is a CPU build; from PyPI itself: "
            "pip install --force-reinstall -c constraints.txt torch torchvision"
        )
    return (
        f"driver {found[0].driver} does not serve CUDA {built}, for which this torch was built: "
        "take a newer driver, or the same torch for an older CUDA from PyTorch's own index"
    )


def _weights(name: str, spec: Mapping[str, Any], files: str) -> Iterator[tuple[str, str | None]]:
    """What a model needs: its folder, or one of its hub ids in the local cache, whole."""
    if "path" in spec:
        there = (ROOT / spec["path"]).is_dir()
        yield f"weights of {name}", None if there else f"no folder {spec['path']}"
    elif hub := spec.get("hub", spec.get("model")):
        variant = f".{spec['variant']}*" if spec.get("variant") else ""
        wanted = f"--include {files.format(variant=variant)}"
        yield f"weights of {name}: {_repository(hub[0])}", _cached(hub, wanted)


def _clip(clip: str) -> Iterator[tuple[str, str | None]]:
    if clip.startswith("local-dir:"):
        folder = clip.removeprefix("local-dir:")
        there = (ROOT / folder / "open_clip_model.safetensors").is_file()
        yield f"the CLIP model in {folder}", None if there else "run make toyworld"
    elif clip in CLIP_HUB:
        wanted = '--include "*.json" "open_clip_model.safetensors"'
        yield f"weights of {clip}: {CLIP_HUB[clip]}", _cached([CLIP_HUB[clip]], wanted)


def _cached(models: Sequence[str], files: str) -> str | None:
    """None when one of the hub ids, `owner/name` or `owner/name@revision`, is in the local cache.

    No network is touched. A download that broke off has left a file `.incomplete`, and does not
    count.
    """
    names = [_repository(model) for model in models]
    for name in names:
        folder = machine.hub_cache() / ("models--" + name.replace("/", "--"))
        if folder.is_dir() and not any((folder / "blobs").glob("*.incomplete")):
            return None
    page = f"https://huggingface.co/{names[0]}"
    return f"accept the licence at {page}, then: hf auth login && hf download {names[0]} {files}"


def _repository(model: str) -> str:
    """A hub id without its revision."""
    return model.partition("@")[0]


def _disk(needed: float) -> str | None:
    free = machine.free_mb(Path("results"))
    if free >= needed:
        return None
    return (
        f"{free / 1024:.0f} GB free under results/, at least {needed / 1024:.0f} GB needed: make "
        "room, or run in a folder on another disk (snakemake -s .../Snakefile --directory THERE)"
    )


def _package(name: str, extra: str) -> str | None:
    """None when the package that one of our extras brings is installed."""
    return None if machine.installed(name) else f"pip install -c constraints.txt -e '.[{extra}]'"


def main(arguments: list[str] | None = None) -> int:
    """The program."""
    from pipeline.config import ConfigError, load_preset

    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--preset", required=True)
    given = parser.parse_args(arguments)
    try:
        preset = load_preset(given.preset)
    except ConfigError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    found = requirements(preset)
    for what, remedy in found.items():
        print(f"ok       {what}" if remedy is None else f"missing  {what}: {remedy}")
    for word, what in remarks(preset):
        print(f"{word:<8} {what}")
    return int(any(found.values()))


if __name__ == "__main__":
    sys.exit(main())
