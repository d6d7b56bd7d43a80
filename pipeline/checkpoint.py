"""A run killed at any moment goes on from its last checkpoint and ends in the same bits.

A checkpoint is one safetensors file, `checkpoint/step<n>.safetensors`: every tensor of the run's
state by dotted name (scene, optimiser, particle, generators, normaliser) and, as JSON in its
metadata, the rest (step, accumulated seconds, evaluation counts, settings key). One file, renamed
into place, cannot be half a checkpoint. The trace grows as `checkpoint/trace.jsonl` beside it and
is cut to the checkpoint's step.
"""

import json
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from pipeline.artifacts import ArtifactError, load_safetensors, save_safetensors

KEPT = 2  # the last one, and one to fall back on


def flatten(tree: Any, prefix: str = "") -> tuple[dict[str, Tensor], Any]:
    """(tensors by dotted path, the same tree with each tensor replaced by its path)."""
    if isinstance(tree, Tensor):
        return {prefix: tree}, {"__tensor__": prefix}
    if isinstance(tree, Mapping):
        items: Iterable[tuple[Any, Any]] = tree.items()
    elif isinstance(tree, list | tuple):
        items = enumerate(tree)
    else:
        return {}, tree
    tensors: dict[str, Tensor] = {}
    skeleton = []
    for key, value in items:
        found, rest = flatten(value, f"{prefix}.{key}" if prefix else str(key))
        tensors |= found
        skeleton.append([key, rest])
    if isinstance(tree, Mapping):
        return tensors, {"__items__": skeleton}
    return tensors, [rest for _, rest in skeleton]


def unflatten(tensors: Mapping[str, Tensor], skeleton: Any) -> Any:
    """The tree that `flatten` took apart; tuples come back as lists."""
    if isinstance(skeleton, dict):
        if "__tensor__" in skeleton:
            return tensors[skeleton["__tensor__"]]
        return {key: unflatten(tensors, value) for key, value in skeleton["__items__"]}
    if isinstance(skeleton, list):
        return [unflatten(tensors, value) for value in skeleton]
    return skeleton


def save(folder: Path, step: int, key: str, state: Mapping[str, Any]) -> Path:
    """`folder` holds `state` after `step` steps of the run `key`, and one older checkpoint."""
    tensors, skeleton = flatten(dict(state))
    # Optimisers may share storage between entries; safetensors refuses aliases.
    tensors = {name: tensor.detach().clone() for name, tensor in tensors.items()}
    metadata = {"key": key, "step": str(step), "state": json.dumps(skeleton, allow_nan=False)}
    path = save_safetensors(folder / f"step{step:07d}.safetensors", tensors, metadata)
    for old in _files(folder)[:-KEPT]:
        old.unlink(missing_ok=True)
    return path


def load_latest(folder: Path, key: str) -> tuple[int, Any, str]:
    """(step, state, remark) of the newest usable checkpoint; (0, None, remark) without one.

    Checkpoints of other settings are removed; a corrupt one is skipped in favour of the one before.
    `remark` says in words what happened, for the log ("" when there was nothing to say).
    """
    remarks = []
    for path in reversed(_files(folder)):
        try:
            tensors, metadata = load_safetensors(path)
            found, step = metadata["key"], int(metadata["step"])
            state = unflatten(tensors, json.loads(metadata["state"]))
        except (ArtifactError, KeyError, json.JSONDecodeError) as error:
            remarks.append(f"skipped {path.name}, which is corrupt ({error})")
            continue
        if found != key:
            for other in _files(folder):
                other.unlink(missing_ok=True)
            return 0, None, f"restarted: {path.name} was made under other settings"
        remarks.append(f"resumed from {path.name}")
        return step, state, "; ".join(remarks)
    return 0, None, "; ".join(remarks)


def remove(folder: Path) -> None:
    """`folder` is gone."""
    shutil.rmtree(folder, ignore_errors=True)


def _files(folder: Path) -> list[Path]:
    return sorted(folder.glob("step*.safetensors"))
