"""Scenes by the kind that presets name, fresh or from a run folder."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from pipeline.artifacts import ArtifactError, load_safetensors


def load_scene(
    settings: Mapping[str, Any],
    generator: torch.Generator,
    init_from: Path | None = None,
    *,
    samples: int | None = None,
) -> Any:
    """The scene of a stage's settings, its state drawn from `generator` or read from `init_from`.

    samples: instead of the settings' number, for pictures finer than the optimisation's. Raises
    ArtifactError when the run folder's scene is missing, a failed run's placeholder, or of another
    kind.
    """
    spec = dict(settings["scene"]) | dict(settings["regularizers"])
    if samples is not None:
        spec["samples"] = samples
    scene = SCENES[spec.pop("kind")](spec, generator)
    if init_from is None:
        return scene
    path = init_from / "scene.safetensors"
    tensors, metadata = load_safetensors(path)
    if metadata.get("placeholder") == "true":
        raise ArtifactError(f"{path}: the run before this one failed; see its run.json")
    try:
        scene.load_state_dict(tensors)
    except RuntimeError as error:
        reason = str(error).splitlines()[0]
        raise ArtifactError(f"{path}: not a scene of these settings ({reason})") from error
    return scene


def _nerf(spec: Mapping[str, Any], generator: torch.Generator) -> Any:
    from pipeline.scenes.nerf import Nerf, NerfSettings

    return Nerf(NerfSettings.from_mapping(spec), generator)


SCENES: dict[str, Callable[[Mapping[str, Any], torch.Generator], Any]] = {"nerf": _nerf}
