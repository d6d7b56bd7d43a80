"""Priors on pixels: DeepFloyd-IF and whatever has its folder format.

x = 2 rgb - 1 at the UNet's size (64 for IF-I-XL). IF-I-XL predicts epsilon and a variance, which
distillation does not need; its text encoder is T5, those of small siblings are CLIP's.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from pipeline.guidance import denoiser
from pipeline.guidance.denoiser import Denoiser
from pipeline.guidance.embeddings import Texts, bits_of
from pipeline.guidance.interface import View
from pipeline.guidance.pretrained import dtype_of, identity, resolve

PARTS = ("unet", "scheduler")
CHANNELS = 3


@dataclass(frozen=True)
class PixelPrior:
    """A guidance model (interface.Guidance); `models` says by name what its weights are."""

    denoiser: Denoiser
    texts: Texts
    models: dict[str, str]

    @property
    def alphas_cumprod(self) -> Float[Tensor, " T"]:
        """Of the folder's scheduler."""
        return self.denoiser.alphas_cumprod

    def embed(self, texts: Sequence[str]) -> Float[Tensor, "n L d"]:
        """Rows of hidden states. Raises VocabularyError for a text it cannot read whole."""
        return self.texts.embed(texts)

    def encode(self, rgb: Float[Tensor, "b 3 height width"]) -> Float[Tensor, "b 3 s s"]:
        """2 rgb - 1 at the network's size, differentiable."""
        return 2.0 * resized(rgb, self.denoiser.size) - 1.0

    def eps(
        self,
        x_t: Float[Tensor, "b 3 s s"],
        t: Int[Tensor, " b"],
        conds: Float[Tensor, "k b L d"],
        view: View,
    ) -> Float[Tensor, "k b 3 s s"]:
        """The predicted noise under each condition, without gradient."""
        return self.denoiser.eps(x_t, t, conds, view)


def load(settings: Mapping[str, Any], *, device: str, cache: Path | None) -> PixelPrior:
    """The prior of a preset's `path` or `hub`, in its `dtype`, its text encoder in
    `text_encoder_bits`. Raises ArtifactError.
    """
    dtype = dtype_of(settings["dtype"])
    source = resolve(settings, PARTS)
    network = denoiser.load(source, channels=CHANNELS, dtype=dtype, device=device, controls=None)
    texts = Texts(source, dtype, device, cache, bits_of(settings))
    return PixelPrior(network, texts, {source.name: identity(source, PARTS)})


def resized(rgb: Float[Tensor, "b 3 height width"], size: int) -> Float[Tensor, "b 3 s s"]:
    """The image at size x size: linear between pixels, averaged over areas when it shrinks."""
    if rgb.shape[-2:] == (size, size):
        return rgb
    return torch.nn.functional.interpolate(rgb, (size, size), mode="bilinear", antialias=True)
