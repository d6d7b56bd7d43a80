"""Priors on latents: Stable Diffusion 1.5 and 2.1, with or without ControlNets, and their like.

x = scaling_factor * z, with z the mean of the autoencoder's posterior at 2 rgb - 1, or a sample of
it as in the paper's code. The gradient passes through the encoder.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from pipeline.artifacts import ArtifactError
from pipeline.guidance import controlnet, denoiser
from pipeline.guidance.deepfloyd import resized
from pipeline.guidance.denoiser import Denoiser
from pipeline.guidance.embeddings import Texts
from pipeline.guidance.interface import View
from pipeline.guidance.pretrained import WHOLE, dtype_of, identity, load_module, resolve

PARTS = ("unet", "scheduler", "vae")
LATENTS = ("mode", "sample")


@dataclass(frozen=True)
class LatentPrior:
    """A guidance model (interface.Guidance); `models` says by name what its weights are.

    `generator` draws the posterior's samples, None takes its mode: part of a run's state.
    """

    denoiser: Denoiser
    vae: Any
    texts: Texts
    generator: torch.Generator | None
    models: dict[str, str]

    @property
    def alphas_cumprod(self) -> Float[Tensor, " T"]:
        """Of the folder's scheduler."""
        return self.denoiser.alphas_cumprod

    @property
    def picture_size(self) -> int:
        """Pixels of an edge of what the autoencoder, and every ControlNet, sees."""
        return self.denoiser.size * 2 ** (len(self.vae.config.block_out_channels) - 1)  # type: ignore[no-any-return]

    def embed(self, texts: Sequence[str]) -> Float[Tensor, "n L d"]:
        """Rows of hidden states. Raises VocabularyError for a text it cannot read whole."""
        return self.texts.embed(texts)

    def encode(self, rgb: Float[Tensor, "b 3 height width"]) -> Float[Tensor, "b c h w"]:
        """The scaled latents of the image at the autoencoder's size, float32, differentiable."""
        image = 2.0 * resized(rgb, self.picture_size) - 1.0
        posterior = self.vae.encode(image.to(self.denoiser.dtype)).latent_dist
        z = posterior.mode().float()
        if self.generator is not None:
            noise = torch.randn(z.shape, generator=self.generator).to(z, non_blocking=True)
            z = z + posterior.std.float() * noise
        return float(self.vae.config.scaling_factor) * z  # type: ignore[no-any-return]

    def eps(
        self,
        x_t: Float[Tensor, "b c h w"],
        t: Int[Tensor, " b"],
        conds: Float[Tensor, "k b L d"],
        view: View,
    ) -> Float[Tensor, "k b c h w"]:
        """The predicted noise under each condition, without gradient."""
        return self.denoiser.eps(x_t, t, conds, view)


def load(settings: Mapping[str, Any], *, device: str, cache: Path | None) -> LatentPrior:
    """The prior of a preset's `path` or `hub`, in its `dtype`, with its `controlnets`.

    `latent`: mode or sample, by a generator seeded with `seed`. `controlnets`, `control_on`:
    controlnet.load. Raises ArtifactError.
    """
    dtype = dtype_of(settings["dtype"])
    if settings["latent"] not in LATENTS:
        raise ArtifactError(f"latent {settings['latent']!r} is not one of {', '.join(LATENTS)}")
    source = resolve(settings, PARTS)
    vae = load_module(source, "vae", ("AutoencoderKL",), dtype=dtype, device=device)
    controls, beside = controlnet.load(
        settings["controlnets"], settings["control_on"], dtype=dtype, device=device
    )
    network = denoiser.load(
        source, channels=vae.config.latent_channels, dtype=dtype, device=device, controls=controls
    )
    if controls is not None:
        controlnet.require_fit(controls, beside, network.unet)
    sample = settings["latent"] == "sample"
    return LatentPrior(
        network,
        vae,
        Texts(source, dtype, device, cache),
        torch.Generator().manual_seed(settings["seed"]) if sample else None,
        {source.name: identity(source, PARTS)}
        | {other.name: identity(other, [WHOLE]) for other in beside},
    )
