"""Priors and particles by the names that presets use."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from pipeline.artifacts import ArtifactError
from pipeline.guidance.captions import VocabularyError
from pipeline.guidance.interface import Guidance, Particle


def load_guidance(
    spec: Mapping[str, Any],
    *,
    bank: Path | None,
    prompt: str | Sequence[str],
    device: str,
    text_cache: Path | None = None,
) -> Guidance:
    """The frozen model that the preset's prior describes, on `device`.

    `kind` says which code reads the other settings; a prior without one is called after its kind.
    prompt: what will be asked for, one caption or several; the mixture is dense there.
    text_cache: the folder of embedded texts (embeddings.py); None computes them in this process.
    Raises ArtifactError when files are missing or do not fit.
    """
    kind = spec.get("kind", spec["name"])
    if kind not in PRIORS:
        raise ArtifactError(f"prior kind {kind!r} is unknown; there are {', '.join(PRIORS)}")
    return PRIORS[kind](spec, bank=bank, prompt=prompt, device=device, text_cache=text_cache)


def models(guidance: Guidance) -> dict[str, str]:
    """What the prior's weights are, by the names in the preset: a hub commit or a hash of files.

    Empty for a prior without weights.
    """
    return dict(getattr(guidance, "models", {}))


def load_particle(
    spec: Mapping[str, Any], guidance: Guidance, generator: torch.Generator
) -> Particle:
    """VSD's particle of the kind that the preset names, at its start."""
    kind = spec["kind"]
    if kind not in PARTICLES:
        raise ArtifactError(f"particle {kind!r} cannot be run; there are {', '.join(PARTICLES)}")
    return PARTICLES[kind](spec, guidance, generator)


def _mixture(
    settings: Mapping[str, Any],
    *,
    bank: Path | None,
    prompt: str | Sequence[str],
    device: str,
    text_cache: Path | None,
) -> Guidance:
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


def _deepfloyd(
    settings: Mapping[str, Any],
    *,
    bank: Path | None,
    prompt: str | Sequence[str],
    device: str,
    text_cache: Path | None,
) -> Guidance:
    from pipeline.guidance.deepfloyd import load

    return load(settings, device=device, cache=text_cache)


def _stable_diffusion(
    settings: Mapping[str, Any],
    *,
    bank: Path | None,
    prompt: str | Sequence[str],
    device: str,
    text_cache: Path | None,
) -> Guidance:
    from pipeline.guidance.stable_diffusion import load

    return load(settings, device=device, cache=text_cache)


def _residual(spec: Mapping[str, Any], guidance: Guidance, generator: torch.Generator) -> Particle:
    from pipeline.guidance.particle import ResidualParticle

    particle = ResidualParticle(guidance, width=spec["width"], generator=generator)
    return particle.to(guidance.alphas_cumprod.device)


def _lora(spec: Mapping[str, Any], guidance: Guidance, generator: torch.Generator) -> Particle:
    from pipeline.guidance.lora import LoraParticle

    if not hasattr(guidance, "denoiser"):
        raise ArtifactError("particle kind 'lora' needs a learned prior; the mixture's is residual")
    return LoraParticle(guidance.denoiser, rank=spec["width"], generator=generator)


PRIORS: dict[str, Callable[..., Guidance]] = {
    "mixture": _mixture,
    "deepfloyd": _deepfloyd,
    "stable_diffusion": _stable_diffusion,
}
PARTICLES: dict[str, Callable[..., Particle]] = {"residual": _residual, "lora": _lora}
