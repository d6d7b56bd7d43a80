"""Pictures drawn from a learned prior: DDIM with classifier-free guidance."""

from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import Module

from pipeline.toyworld import prior_nets

Residuals = Callable[[Tensor, Tensor, Tensor], dict[str, object]]


@torch.no_grad()
def sample(
    model: Path,
    captions: Sequence[str],
    *,
    omega: float,
    steps: int,
    generator: torch.Generator,
    batch: int = 32,
    residuals: Residuals | None = None,
) -> Float[Tensor, "n 3 s s"]:
    """One picture in [0, 1] a caption; omega is the paper's (eq. 6): text + omega (text - null).

    `residuals(x_t, t, states)` adds control to the network's call (see `controlled`); it is asked
    for all captions at once, each without and with its text. Trailing time steps, no noise added.
    """
    unet = prior_nets.pretrained("unet", model / "unet", "cpu")
    encoder = prior_nets.pretrained("text_encoder", model / "text_encoder", "cpu")
    vae = prior_nets.pretrained("vae", model / "vae", "cpu") if (model / "vae").exists() else None
    size, channels = unet.config.sample_size, unet.config.in_channels
    shape = (len(captions), channels, size, size)
    noise = torch.randn(shape, generator=generator)  # type: ignore[arg-type]
    null = encoder(prior_nets.token_ids([""])).last_hidden_state
    states = encoder(prior_nets.token_ids(list(captions))).last_hidden_state
    found = []
    size_of = len(captions) if residuals is not None else batch
    for x, text in zip(noise.split(size_of), states.split(size_of), strict=True):
        both = torch.cat([null.expand_as(text), text])
        x0 = _ddim(unet, _schedule(model, steps), x, both, omega, residuals)
        if vae is not None:
            x0 = vae.decode(x0 / vae.config.scaling_factor, return_dict=False)[0]
        found.append((x0 / 2 + 0.5).clamp(0, 1))
    return torch.cat(found)


def _schedule(model: Path, steps: int) -> object:
    prior_nets.ensure_torchvision()
    from diffusers import DDIMScheduler

    latent = (model / "vae").exists()
    found = DDIMScheduler.from_pretrained(
        model / "scheduler", timestep_spacing="trailing", clip_sample=not latent
    )
    found.set_timesteps(steps)
    return found


def _ddim(
    unet: Module,
    schedule: object,
    x: Tensor,
    both: Tensor,
    omega: float,
    residuals: Residuals | None,
) -> Tensor:
    for t in schedule.timesteps:  # type: ignore[attr-defined]
        twice, times = torch.cat([x, x]), t.expand(2 * len(x))
        extra = {} if residuals is None else residuals(twice, times, both)
        null, text = unet(twice, times, both, return_dict=False, **extra)[0].chunk(2)
        x = schedule.step(text + omega * (text - null), t, x).prev_sample  # type: ignore[attr-defined]
    return x
