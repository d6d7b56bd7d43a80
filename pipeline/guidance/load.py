"""Priors and particles by the names that presets use."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from pipeline.artifacts import ArtifactError
from pipeline.guidance.captions import VocabularyError
from pipeline.guidance.interface import Guidance, Particle


def load_guidance(
    spec: Mapping[str, Any], *, bank: Path | None, prompt: str, device: str
) -> Guidance:
    """The frozen model that the preset's prior names, on `device`.

    Raises ArtifactError when its files are missing or it is not part of this release.
    """
    name = spec["name"]
    if name not in PRIORS:
        raise ArtifactError(f"prior {name!r} cannot be run here; there are {', '.join(PRIORS)}")
    settings = {key: value for key, value in spec.items() if key != "name"}
    return PRIORS[name](settings, bank, prompt, device)


def load_particle(
    spec: Mapping[str, Any], guidance: Guidance, generator: torch.Generator
) -> Particle:
    """VSD's particle of the kind that the preset names, at its start."""
    kind = spec["kind"]
    if kind not in PARTICLES:
        raise ArtifactError(f"particle {kind!r} cannot be run; there are {', '.join(PARTICLES)}")
    return PARTICLES[kind](spec, guidance, generator)


def _mixture(settings: Mapping[str, Any], bank: Path | None, prompt: str, device: str) -> Guidance:
    from pipeline.guidance.mixture import load

    if bank is None:
        raise ArtifactError("the mixture prior needs --bank, the folder the bank rule writes")
    try:
        return load(
            bank,
            prompt=prompt,
            null=settings["null_prompt"],
            component_std=settings["component_std"],
            own_count=settings["own_count"],
            others_per_caption=settings["others_per_caption"],
            degraded_mass=settings["degraded_mass"],
            generator=torch.Generator().manual_seed(settings["seed"]),
            device=device,
        )
    except VocabularyError:
        raise
    except ValueError as error:  # the preset asks for more than the bank holds
        raise ArtifactError(str(error)) from error


def _residual(spec: Mapping[str, Any], guidance: Guidance, generator: torch.Generator) -> Particle:
    from pipeline.guidance.particle import ResidualParticle

    return ResidualParticle(guidance, width=spec["width"], generator=generator)


PRIORS: dict[str, Callable[..., Guidance]] = {"mixture": _mixture}
PARTICLES: dict[str, Callable[..., Particle]] = {"residual": _residual}
