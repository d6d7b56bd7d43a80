"""Random moments of a distillation under the exact mixture, and a second way to its densities.

Everything is in float64. `log_q` adds up the Gaussians of whole composed images, without the
cropped pixels, the subtracted background and the pruning of `guidance.mixture`; its gradients come
from autograd. A residual between the two is an error of one of them.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from jaxtyping import Float, Int
from torch import Tensor

from methods import distill
from pipeline.guidance.interface import View
from pipeline.guidance.mixture import Mixture, load

BATCH = 2
COUNT = 24  # renders of the prompt's object: few, since every sum here is over all of them


def exact_prior(bank: Path, prompts: Sequence[str], seed: int) -> Mixture:
    """The bank's mixture with its marginal null in float64, dense where `prompts` are."""
    return load(
        bank,
        prompt=list(prompts),
        null="marginal",
        component_std=0.1,
        own_count=COUNT,
        others_per_caption=4,
        degraded_mass=0.1,
        generator=torch.Generator().manual_seed(seed),
        dtype=torch.float64,
    )


@dataclass(frozen=True)
class Moment:
    """Noisy inputs x_t of images x0 that are half one thing and half another, seen somehow at t."""

    prior: Mixture
    view: View
    t: Int[Tensor, " b"]
    noise: Float[Tensor, "b 3 s s"]
    x0: Float[Tensor, "b 3 s s"]
    means: Float[Tensor, "b n d"]  # every component before each view's background

    @property
    def sigma(self) -> Float[Tensor, "b 1 1 1"]:
        """The noise's share of x_t."""
        return (1.0 - self.prior.alphas_cumprod[self.t]).sqrt()[:, None, None, None]

    @property
    def x_t(self) -> Float[Tensor, "b 3 s s"]:
        """The noisy input."""
        return distill.diffused(self.x0, self.noise, self.prior.alphas_cumprod, self.t)

    def eps(self, x_t: Float[Tensor, "b 3 s s"], text: str) -> Float[Tensor, "b 3 s s"]:
        """The prior's noise prediction."""
        conds = self.prior.embed([text])[:, None].expand(-1, len(x_t), -1)
        return self.prior.eps(x_t, self.t, conds, self.view)[0]

    def weights(self, text: str) -> Float[Tensor, " n"]:
        """The caption's components with their probabilities in the world, which add up to its."""
        prior = self.prior.components.prior.to(self.means)
        return prior * (self.prior.embed([text])[0] > 0) if text else prior

    def log_q(self, x: Float[Tensor, "b 3 s s"], text: str) -> Float[Tensor, " b"]:
        """log of q(x, caption), of every Gaussian; "" is the world itself."""
        alpha_bar = self.prior.alphas_cumprod[self.t][:, None]
        variance = alpha_bar * self.prior.component_std**2 + 1.0 - alpha_bar
        flat, a = x.flatten(1), alpha_bar.sqrt()
        products = torch.einsum("bnd,bd->bn", self.means, flat)
        squared = flat.square().sum(1, keepdim=True) - 2.0 * a * products
        squared = squared + alpha_bar * self.means.square().sum(-1)
        dimensions = self.means.shape[-1]
        log_normal = -0.5 * (squared / variance + dimensions * torch.log(2 * math.pi * variance))
        return torch.logsumexp(self.weights(text).log() + log_normal, -1)

    def score(
        self, x_t: Float[Tensor, "b 3 s s"], terms: Sequence[tuple[float, str]]
    ) -> Float[Tensor, "b 3 s s"]:
        """-sigma times the gradient of sum_k c_k log q(x, caption_k) at x_t."""
        x = x_t.detach().requires_grad_(True)
        total = sum(c * self.log_q(x, text).sum() for c, text in terms)
        assert isinstance(total, Tensor)
        return -self.sigma * torch.autograd.grad(total, x)[0]

    def posterior(self, text: str) -> Float[Tensor, " b"]:
        """q(caption | x_t)."""
        return torch.exp(self.log_q(self.x_t, text) - self.log_q(self.x_t, ""))


def moment(
    prior: Mixture,
    generator: torch.Generator,
    *,
    between: tuple[str, str],
    times: tuple[int, int] = (100, 900),
) -> Moment:
    """A moment drawn from `generator`: x0 half a render of one caption and half of the other, t
    uniform in `times`, a background of any grey.
    """
    grey = torch.rand(BATCH, generator=generator, dtype=torch.float64)
    view = View(grey[:, None].expand(-1, 3), torch.eye(4).expand(BATCH, 4, 4))
    images, opacity = component_images(prior)
    behind = (1.0 - opacity)[None, :, None] * grey[:, None, None, None]
    means = (2.0 * (images + behind) - 1.0).flatten(2)
    size = prior.world.size
    noise = torch.randn(BATCH, 3, size, size, generator=generator, dtype=torch.float64)
    t = torch.randint(*times, (BATCH,), generator=generator)
    empty = Moment(prior, view, t, noise, torch.zeros_like(noise), means)
    first, second = (render_of(empty, text, generator) for text in between)
    return replace(empty, x0=0.5 * (first + second))


def render_of(at: Moment, text: str, generator: torch.Generator) -> Float[Tensor, "b 3 s s"]:
    """Renders of `text` before the moment's backgrounds."""
    own = torch.nonzero(at.prior.embed([text])[0]).flatten()
    index = own[torch.randint(len(own), (BATCH,), generator=generator)]
    return at.means[torch.arange(BATCH), index].view_as(at.noise)


def component_images(
    prior: Mixture,
) -> tuple[Float[Tensor, "n 3 hw"], Float[Tensor, "n hw"]]:
    """(premultiplied rgb, opacity) of every component, in the order of an embedding's columns."""
    every = []
    for group in prior.groups:
        drawn = group.features.unflatten(1, (4, -1))[:, None].expand(
            -1, group.squared.shape[1], -1, -1
        )
        rgb = drawn[:, :, :3]
        if group.tint is not None and group.rgb is not None:
            rgb = rgb + group.rgb[..., None] * group.tint[:, None, None]
        found = torch.zeros(group.squared.numel(), 4, prior.world.size**2, dtype=rgb.dtype)
        whole = torch.cat([rgb, drawn[:, :, 3:]], 2).flatten(0, 1)
        found[:, :, group.pixels] = whole
        every.append(found)
    images = torch.cat(every)
    return images[:, :3], images[:, 3]
