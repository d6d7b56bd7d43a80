"""VSD's particle (2305.16213) for a UNet: low-rank updates of its attention that know the camera.

Frozen prior and particle share one network in memory. While the particle works, its adapter is
switched on and an embedding of the camera, the flattened c2w, is added to the time embedding; both
start at zero, so that the particle starts as the frozen prediction. Otherwise the network computes
the very bits that it did before. ControlNets show the particle what they show the prior.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import Parameter

from pipeline.guidance.denoiser import Denoiser
from pipeline.guidance.interface import View
from pipeline.torchvision_shim import ensure_torchvision

ATTENTION = ("to_q", "to_k", "to_v", "to_out.0", "add_k_proj", "add_v_proj")
CAMERA = 16  # numbers in c2w
CAMERA_DROPOUT = 0.1  # as in ProlificDreamer: the particle also learns the views' average
NAME = "particle"


class LoraParticle:
    """A particle (interface.Particle) on the prior's own network; at most one a network.

    The generator initialises the weights and later drops cameras: it belongs to the run's state.
    """

    def __init__(self, denoiser: Denoiser, *, rank: int, generator: torch.Generator) -> None:
        """Adapters of this rank, in float32 whatever the network's precision."""
        ensure_torchvision()
        from diffusers.models.embeddings import TimestepEmbedding
        from peft import LoraConfig
        from peft.tuners.tuners_utils import BaseTunerLayer

        if getattr(denoiser.unet, "peft_config", None):
            raise ValueError("this network has a particle already; load the prior again")
        unet = denoiser.unet
        with torch.random.fork_rng(devices=[]):  # the libraries initialise from the global stream
            unet.add_adapter(
                LoraConfig(r=rank, lora_alpha=rank, target_modules=list(ATTENTION)), NAME
            )
            width = unet.time_embedding.linear_2.out_features
            self.camera = TimestepEmbedding(CAMERA, width).to(denoiser.alphas_cumprod.device)
        self._denoiser, self._generator = denoiser, generator
        self._layers = [m for m in unet.modules() if isinstance(m, BaseTunerLayer)]
        named = [(name, p) for name, p in unet.named_parameters() if f".{NAME}." in name]
        camera = [(f"camera.{name}", p) for name, p in self.camera.named_parameters()]
        self._weights: dict[str, Parameter] = dict(named + camera)
        self._initialise()
        self._switch(on=False)

    def _initialise(self) -> None:
        """Every product starts at zero: of its two factors, the last layer's."""
        for name, weight in self._weights.items():
            weight.data = torch.zeros_like(weight, dtype=torch.float32)
            if ".lora_A." in name or name == "camera.linear_1.weight":
                fresh = torch.empty(weight.shape)
                nn.init.kaiming_uniform_(fresh, a=5**0.5, generator=self._generator)
                weight.data.copy_(fresh)

    def parameters(self) -> Iterator[Parameter]:
        """What the particle's own optimiser updates: adapters and the camera's embedding."""
        return iter(self._weights.values())

    def state_dict(self) -> dict[str, Tensor]:
        """The particle's weights by name; nothing of the frozen network."""
        return {name: weight.detach() for name, weight in self._weights.items()}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """These weights are `state`'s. Raises ValueError when the names differ."""
        if state.keys() != self._weights.keys():
            different = sorted(state.keys() ^ self._weights.keys())
            raise ValueError(f"not this particle's weights: {', '.join(different[:4])}")
        for name, weight in self._weights.items():
            weight.data.copy_(state[name])

    @torch.no_grad()
    def eps(
        self,
        x_t: Float[Tensor, "b c h w"],
        t: Int[Tensor, " b"],
        cond: Float[Tensor, "b L d"],
        view: View,
    ) -> Float[Tensor, "b c h w"]:
        """The predicted noise, without gradient; the frozen prediction until the first update."""
        with self._working(view.c2w):
            predicted = self._denoiser.predicted(x_t, t, cond[None], view)[0]
        return self._denoiser.as_epsilon(predicted, x_t, t)

    def loss(
        self,
        x0: Float[Tensor, "b c h w"],
        t: Int[Tensor, " b"],
        noise: Float[Tensor, "b c h w"],
        cond: Float[Tensor, "b L d"],
        view: View,
    ) -> Float[Tensor, ""]:
        """The mean squared error of what the network predicts (epsilon or v) on renders x0."""
        a, sigma = self._denoiser.scales(t)
        x0 = x0.detach()
        kept = torch.rand(len(x0), generator=self._generator) >= CAMERA_DROPOUT
        kept = kept[:, None, None].to(view.c2w, non_blocking=True)
        with self._working(view.c2w * kept):
            predicted = self._denoiser.predicted(a * x0 + sigma * noise, t, cond[None], view)[0]
        return (predicted - self._denoiser.target(x0, t, noise)).square().mean()

    @contextmanager
    def _working(self, c2w: Float[Tensor, "b 4 4"]) -> Iterator[None]:
        """Inside, the network is the particle seen from these cameras."""
        embedding = self.camera(c2w.flatten(1).to(self.camera.linear_1.weight))

        def add_camera(_module: Any, _inputs: Any, time: Tensor) -> Tensor:
            return time + embedding.to(time)

        hook = self._denoiser.unet.time_embedding.register_forward_hook(add_camera)
        self._switch(on=True)
        try:
            yield
        finally:
            self._switch(on=False)
            hook.remove()

    def _switch(self, *, on: bool) -> None:
        for layer in self._layers:
            layer.enable_adapters(on)
        for weight in self._weights.values():  # peft freezes what it switches off, but backward
            weight.requires_grad_(True)  # comes after the network was switched back
