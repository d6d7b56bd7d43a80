"""Model folders in diffusers' format, from disk or from the hub, loaded whole or not at all.

A preset names a model either by `path`, a local folder, or by `hub`: ids in order of preference,
each `owner/name` or `owner/name@revision`, because models that papers used have been withdrawn and
live on as copies. `variant` is the infix of the hub's weight files (fp16) or null. The network is
used for hub ids only, and not at all under HF_HUB_OFFLINE=1. Weights are safetensors only.
"""

import fnmatch
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from pipeline.artifacts import ArtifactError, digest, read_json, sha256
from pipeline.torchvision_shim import ensure_torchvision

DTYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
TRANSFORMERS = ("T5EncoderModel", "CLIPTextModel")  # which of the classes are not diffusers'
DRY = "dry"  # in a weight file's metadata and in an identity: random numbers (dry.py)
WHOLE = ""  # the part that is the folder itself, as in a ControlNet's
PLAIN_FILES = ("*.json", "*.txt", "*.model")  # configurations, vocabularies
OTHER_WEIGHTS = ("*.fp16*", "*.bf16*", "*.8bit*", "*.non_ema*", "*.ema*")


@dataclass(frozen=True)
class Source:
    """Where a model is: `name` as the preset has it, `path` on this disk.

    `revision` is the commit on the hub, None for a local folder; `dry`: random weights will do.
    """

    name: str
    path: Path
    revision: str | None = None
    variant: str | None = None
    dry: bool = False


def resolve(spec: Mapping[str, Any], parts: Sequence[str]) -> Source:
    """The first of the spec's models that there is, with its sub-folders `parts` on this disk.

    Raises ArtifactError, with the remedy, when there is none, when the hub cannot be reached and
    the files are not in its cache, and at once for a gated model: its copies are not asked.
    """
    if ("path" in spec) == ("hub" in spec):
        raise ArtifactError(
            f"prior {spec.get('name', '')!r}: give either `path`, a model folder, or `hub`, a list "
            "of ids on huggingface.co"
        )
    if "path" in spec:
        return Source(str(spec["path"]), _local(Path(spec["path"])), dry=bool(spec.get(DRY, False)))
    reasons = []
    for name in spec["hub"]:
        try:
            return _snapshot(name, spec.get("variant"), parts)
        except FileNotFoundError as error:
            reasons.append(str(error))
    raise ArtifactError("no model could be had: " + "; ".join(reasons))


def with_parts(source: Source, parts: Sequence[str]) -> Source:
    """The same model of the same revision with more of its sub-folders on this disk."""
    if source.revision is None:
        return source
    name = source.name.partition("@")[0]
    try:
        return _snapshot(f"{name}@{source.revision}", source.variant, parts)
    except FileNotFoundError as error:
        raise ArtifactError(str(error)) from error


def identity(source: Source, parts: Sequence[str]) -> str:
    """What decides the numbers of these parts: the hub's commit, or a hash of the local files."""
    if source.revision is not None:
        return f"{source.name.partition('@')[0]}@{source.revision}"
    files = [
        file
        for part in parts
        for file in sorted((source.path / part).iterdir())
        if any(fnmatch.fnmatch(file.name, known) for known in (*PLAIN_FILES, "*.safetensors"))
    ]
    found = digest([[str(file.relative_to(source.path)), sha256(file)] for file in files])
    return f"{DRY}:{found}" if source.dry else found


def load_module(
    source: Source,
    part: str,
    kinds: Sequence[str],
    *,
    dtype: torch.dtype,
    device: str,
    quantization: Any = None,
) -> Any:
    """The network in the sub-folder `part`, frozen, in evaluation mode; its class is in `kinds`.

    quantization: transformers' configuration of fewer bits than the dtype's, for its own classes.
    Raises ArtifactError naming the file for a missing or corrupt one, for a configuration of
    another class and for one that does not fit the weights: nothing is initialised at random.
    """
    ensure_torchvision()
    folder = source.path / part
    kind = _kind(folder / "config.json", kinds)
    weights = _weights(folder, source.variant)
    marked = any([DRY in _metadata(path) for path in weights])
    if source.dry:
        print(f"DRY: {folder}: random weights, nothing made with them is a result", file=sys.stderr)
    elif marked:
        raise ArtifactError(
            f"{weights[0]}: dry, random weights in a real shape, and no result comes of them: name "
            "another `path`, or `hub` (`python -m benchmarks.full_size` measures with these)"
        )
    options: dict[str, Any] = {"use_safetensors": True, "variant": source.variant}
    options["local_files_only"] = True
    if quantization is not None:  # done where the weights are to be, while they are read
        options |= {"quantization_config": quantization, "device_map": {"": device}}
    try:
        with torch.random.fork_rng(devices=[]):  # the libraries initialise what they then load
            module, report = _class(kind).from_pretrained(
                folder, **{_dtype_name(kind): dtype}, output_loading_info=True, **options
            )
    except Exception as error:  # the libraries raise whatever their parsers raise
        raise ArtifactError(
            f"{folder / 'config.json'} and the weights beside it do not fit each other "
            f"({_first_line(error)}); fetch or train the model again"
        ) from error
    wrong = {name: report[name] for name in ("missing_keys", "mismatched_keys") if report[name]}
    if kind not in TRANSFORMERS and report["unexpected_keys"]:
        wrong["unexpected_keys"] = report["unexpected_keys"]
    if wrong:
        found = "; ".join(
            f"{name}: {', '.join(map(str, sorted(wrong[name])[:3]))}" for name in wrong
        )
        raise ArtifactError(
            f"{folder / 'config.json'} describes other weights than {weights[0].name} holds "
            f"({found}); fetch or train the model again"
        )
    # channels last: what tensor cores want, and a tenth faster on a CPU as well
    return module.to(device, memory_format=torch.channels_last).eval().requires_grad_(False)


def load_scheduler(source: Source) -> tuple[torch.Tensor, str]:
    """(abar_t, what the network predicts: epsilon or v_prediction), from the scheduler's folder."""
    ensure_torchvision()
    from diffusers import DDPMScheduler

    path = source.path / "scheduler" / "scheduler_config.json"
    try:
        scheduler = DDPMScheduler.from_config(read_json(path))
    except (TypeError, ValueError, NotImplementedError) as error:
        raise ArtifactError(f"{path}: not a noise schedule ({_first_line(error)})") from error
    prediction = str(scheduler.config.prediction_type)
    if prediction not in ("epsilon", "v_prediction"):
        raise ArtifactError(
            f"{path}: prediction_type {prediction!r}; this code reads epsilon and v_prediction"
        )
    return scheduler.alphas_cumprod, prediction


def dtype_of(name: str) -> torch.dtype:
    """The torch dtype that a preset calls fp32, fp16 or bf16."""
    if name not in DTYPES:
        raise ArtifactError(f"dtype {name!r} is not one of {', '.join(DTYPES)}")
    return DTYPES[name]


def _local(path: Path) -> Path:
    if not path.is_dir():
        raise ArtifactError(
            f"{path}: no such model folder; `make toyworld` writes those of the toy world, "
            "`hub: [owner/name]` in place of `path` downloads others"
        )
    return path


def _snapshot(name: str, variant: str | None, parts: Sequence[str]) -> Source:
    """The hub's model on this disk; FileNotFoundError says why it cannot be had."""
    from huggingface_hub import constants, get_session, snapshot_download
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        HFValidationError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    repository, _, revision = name.partition("@")
    page = f"{constants.ENDPOINT}/{repository}"
    weights = "*.safetensors" if variant is None else f"*.{variant}*.safetensors"
    prefixes = [f"{part}/" if part else "" for part in parts]
    hooks = get_session().event_hooks["request"]
    if _bounded not in hooks:
        hooks.append(_bounded)
    try:
        path = snapshot_download(
            repository,
            revision=revision or None,
            allow_patterns=[prefix + p for prefix in prefixes for p in (*PLAIN_FILES, weights)],
            ignore_patterns=list(OTHER_WEIGHTS) if variant is None else None,
        )
    except GatedRepoError as error:
        raise ArtifactError(
            f"{repository} is gated: accept its licence at {page}, then log in with "
            "`hf auth login` or set HF_TOKEN"
        ) from error
    except (RepositoryNotFoundError, RevisionNotFoundError) as error:
        raise FileNotFoundError(f"{name}: not there, or private; see {page}") from error
    except LocalEntryNotFoundError as error:
        raise FileNotFoundError(
            f"{name}: not in the cache {constants.HF_HUB_CACHE}, and the hub cannot be reached "
            "(download it where there is a network, and unset HF_HUB_OFFLINE there)"
        ) from error
    except (HfHubHTTPError, HFValidationError) as error:
        raise FileNotFoundError(f"{name}: {_first_line(error)}; see {page}") from error
    except Exception as error:
        if not _of_the_network(error):
            raise
        raise ArtifactError(
            f"{name}: the hub does not answer, or broke off ({_first_line(error)}); nothing half "
            "is in the cache: the same command asks again"
        ) from error
    return Source(name, Path(path), Path(path).name, variant)


def _bounded(request: Any) -> None:
    """Requests that would wait for ever, as the hub's client sends some, wait HF's time-out."""
    from huggingface_hub import constants

    limits = request.extensions.setdefault("timeout", {})
    for kind in ("connect", "read", "write", "pool"):
        if limits.get(kind) is None:
            limits[kind] = float(constants.HF_HUB_DOWNLOAD_TIMEOUT)


def _of_the_network(error: Exception) -> bool:
    """Whether it is the HTTP client's own: time-outs, connections that broke off."""
    return type(error).__module__.partition(".")[0].startswith("httpx")


def _kind(path: Path, kinds: Sequence[str]) -> str:
    config = read_json(path)
    found = config.get("_class_name") or (config.get("architectures") or [None])[0]
    if found not in kinds:
        raise ArtifactError(f"{path} describes a {found}, but {' or '.join(kinds)} is wanted here")
    return str(found)


def _class(kind: str) -> Any:
    if kind in TRANSFORMERS:
        import transformers

        transformers.utils.logging.disable_progress_bar()
        return getattr(transformers, kind)
    import diffusers

    return getattr(diffusers, kind)


def _dtype_name(kind: str) -> str:
    return "dtype" if kind in TRANSFORMERS else "torch_dtype"


def _weights(folder: Path, variant: str | None) -> list[Path]:
    pattern = "*.safetensors" if variant is None else f"*.{variant}*.safetensors"
    weights = sorted(folder.glob(pattern))
    if not weights:
        raise ArtifactError(
            f"{folder} holds no {pattern}; pickled weights (.bin, .pt, .ckpt) are not read: fetch "
            "or convert them as safetensors"
        )
    return weights


def _metadata(path: Path) -> dict[str, str]:
    """Of a weight file. Raises ArtifactError when it is corrupt."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(str(path), framework="pt") as file:
            return dict(file.metadata() or {})
    except (SafetensorError, OSError) as error:
        raise ArtifactError(
            f"{path}: corrupt ({error}); delete it and fetch it again (for weights kept in "
            "this repository: git checkout)"
        ) from error


def _first_line(error: Exception) -> str:
    return str(error).strip().split("\n")[0][:300] or type(error).__name__
