"""A diffusers UNet that always predicts epsilon, whatever it was trained to predict.

Letters: x_t = a x0 + sigma eps with a = sqrt(abar_t), sigma = sqrt(1 - abar_t);
v = a eps - sigma x0 (2202.00512), hence eps = a v + sigma x_t.
"""

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from pipeline.artifacts import ArtifactError
from pipeline.guidance.controlnet import Controls, residuals
from pipeline.guidance.interface import View
from pipeline.guidance.pretrained import Source, load_module, load_scheduler


@dataclass(frozen=True)
class Denoiser:
    """The network and its noise schedule; `prediction` is epsilon or v_prediction."""

    unet: Any
    alphas_cumprod: Float[Tensor, " T"]
    prediction: str
    dtype: torch.dtype
    controls: Controls | None = None

    @property
    def channels(self) -> int:
        """Of x. An output of twice as many holds a learned variance as well, which is dropped."""
        return int(self.unet.config.in_channels)

    @property
    def size(self) -> int:
        """Pixels of an edge of x."""
        return int(self.unet.config.sample_size)

    def predicted(
        self,
        x_t: Float[Tensor, "b c h w"],
        t: Int[Tensor, " b"],
        conds: Float[Tensor, "k b L d"],
        view: View,
    ) -> Float[Tensor, "k b c h w"]:
        """The network's own prediction in float32: all conditions in one batch.

        With gradient in what the network learns, unless the caller forbids it.
        """
        k, b = conds.shape[:2]
        inputs = x_t.to(self.dtype).repeat(k, 1, 1, 1)
        texts, times = conds.to(self.dtype).flatten(0, 1), t.to(x_t.device).repeat(k)
        extra = {}
        found = self.controls and residuals(self.controls, inputs, times, texts, view, k)
        if found:
            extra = {
                "down_block_additional_residuals": found[0],
                "mid_block_additional_residual": found[1],
            }
        output = self.unet(inputs, times, texts, return_dict=False, **extra)[0]
        return output[:, : self.channels].float().unflatten(0, (k, b))  # type: ignore[no-any-return]

    @torch.no_grad()
    def eps(
        self,
        x_t: Float[Tensor, "b c h w"],
        t: Int[Tensor, " b"],
        conds: Float[Tensor, "k b L d"],
        view: View,
    ) -> Float[Tensor, "k b c h w"]:
        """The predicted noise under each condition."""
        return self.as_epsilon(self.predicted(x_t, t, conds, view), x_t, t)

    def as_epsilon(
        self,
        predicted: Float[Tensor, "*k b c h w"],
        x_t: Float[Tensor, "b c h w"],
        t: Int[Tensor, " b"],
    ) -> Float[Tensor, "*k b c h w"]:
        """The noise that `predicted` means at x_t."""
        if self.prediction == "epsilon":
            return predicted
        a, sigma = self.scales(t)
        return a * predicted + sigma * x_t

    def target(
        self,
        x0: Float[Tensor, "b c h w"],
        t: Int[Tensor, " b"],
        noise: Float[Tensor, "b c h w"],
    ) -> Float[Tensor, "b c h w"]:
        """What the network should have predicted for this x0 and noise."""
        if self.prediction == "epsilon":
            return noise
        a, sigma = self.scales(t)
        return a * noise - sigma * x0

    def scales(self, t: Int[Tensor, " b"]) -> tuple[Tensor, Tensor]:
        """(a, sigma), each (b, 1, 1, 1)."""
        abar = self.alphas_cumprod[t.to(self.alphas_cumprod.device)][:, None, None, None]
        return abar.sqrt(), (1.0 - abar).sqrt()


def load(
    source: Source, *, channels: int, dtype: torch.dtype, device: str, controls: Controls | None
) -> Denoiser:
    """The denoiser of a model folder whose images have `channels`. Raises ArtifactError."""
    unet = load_module(source, "unet", ("UNet2DConditionModel",), dtype=dtype, device=device)
    alphas_cumprod, prediction = load_scheduler(source)
    found = (unet.config.in_channels, unet.config.out_channels)
    if found not in ((channels, channels), (channels, 2 * channels)):
        raise ArtifactError(
            f"{source.path / 'unet' / 'config.json'}: {found[0]} channels in and {found[1]} out; "
            f"wanted are {channels}, and as many or twice as many out"
        )
    return Denoiser(unet, alphas_cumprod.to(device), prediction, dtype, controls)
