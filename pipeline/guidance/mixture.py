"""The exact score of a Gaussian mixture centred on renders: a prior and an oracle.

q(x | y) = sum_i w_i(y) N(x; m_i(b), s^2) over the bank's renders m_i in front of the view's
background b, with x = 2 rgb - 1. Noised to t, component i is N(x_t; a m_i, v) with
a = sqrt(abar_t) and v = a^2 s^2 + 1 - abar_t, so

    eps(x_t; y, t) = -sigma_t grad log q(x_t | y) = sigma_t (x_t - a sum_i r_i m_i) / v,
    r_i proportional to w_i(y) N(x_t; a m_i, v).

Plain densities are not finite at a few hundred pixels: everything stays in log space. A caption's
embedding is its row of weights w(y), so that an interpolated row is an interpolated mixture.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import torch
from jaxtyping import Float, Int
from torch import Tensor

from pipeline.guidance.bank import Components, Sampling, load_components
from pipeline.guidance.captions import CLEAN, Caption, VocabularyError, World, load_world, parse
from pipeline.guidance.interface import View
from pipeline.guidance.renders import Renders

Record = TypeVar("Record", Renders, Components)

TIMESTEPS = 1000
# Components whose posterior weights add up to less than this are left out of a mean. The error of
# eps is at most NEGLIGIBLE (a sigma / v) max |d|, and a sigma / v <= 1 / (2 s): with s = 0.1 and
# 32 x 32 pixels below 6e-4, where |eps| is 55.
NEGLIGIBLE = 1e-6


def squared_cosine(steps: int = TIMESTEPS) -> Float[Tensor, " T"]:
    """abar_t in float64: the squared-cosine schedule of Nichol and Dhariwal (2102.09672, eq. 17).

    Each beta is cut at 0.999, as there, so that abar stays positive: 2e-9 at the last step.
    """
    edge = torch.arange(steps + 1, dtype=torch.float64) / steps
    signal = torch.cos((edge + 0.008) / 1.008 * math.pi / 2).square()
    return torch.cumprod((signal[1:] / signal[:-1]).clamp(min=1.0 - 0.999), 0)


@dataclass(frozen=True)
class Mixture:
    """A guidance model (interface.Guidance); `components` describe the columns of an embedding."""

    world: World
    groups: list[Renders]
    components: Components
    component_std: float
    alphas_cumprod: Float[Tensor, " T"]

    def embed(self, texts: Sequence[str]) -> Float[Tensor, "k n"]:
        """Each caption's row of component weights, summing to 1; the empty caption's is the null.

        Raises VocabularyError for a caption outside the vocabulary or one that no render shows.
        """
        return torch.stack([self._row(text) for text in texts]).to(self.alphas_cumprod)

    def encode(self, rgb: Float[Tensor, "b 3 height width"]) -> Float[Tensor, "b 3 s s"]:
        """2 rgb - 1 at the bank's size; larger renders are averaged over areas. Differentiable."""
        size = self.world.size
        if min(rgb.shape[-2:]) < size:
            raise ValueError(
                f"a render of {rgb.shape[-2]} x {rgb.shape[-1]} pixels is smaller than the bank's: "
                f"{size}"
            )
        return 2.0 * torch.nn.functional.adaptive_avg_pool2d(rgb, size) - 1.0

    @torch.no_grad()
    def eps(
        self,
        x_t: Float[Tensor, "b 3 s s"],
        t: Int[Tensor, " b"],
        conds: Float[Tensor, "k b n"],
        view: View,
    ) -> Float[Tensor, "k b 3 s s"]:
        """The exact noise prediction under each condition; distances are computed once for all."""
        a, variance = self._scales(t)
        background = view.background.to(x_t)
        y = _without_background(x_t, a, background)
        groups, conds = self._active(conds)
        log_ratios = _log_ratios(groups, y, a, variance, background)
        weights = torch.softmax(conds.log() + log_ratios, -1)
        weights = weights.flatten(0, 1)
        mean = torch.zeros(len(weights), *y.shape[1:], dtype=y.dtype, device=y.device)
        behind = background.repeat(len(conds), 1)
        # also keeps denormal numbers, which are slow, out of the products
        weights = torch.where(weights < NEGLIGIBLE / weights.shape[-1], 0.0, weights)
        split = weights.split([group.squared.numel() for group in groups], -1)
        for group, share in zip(groups, split, strict=True):
            group.add_means(mean, share, behind)
        sigma = (1.0 - a.square()).sqrt()
        eps = (sigma / variance)[:, None, None] * (y - a[:, None, None] * mean.view(-1, *y.shape))
        return eps.view(len(conds), *x_t.shape)

    def log_density(
        self,
        x_t: Float[Tensor, "b 3 s s"],
        t: Int[Tensor, " b"],
        conds: Float[Tensor, "k b n"],
        view: View,
    ) -> Float[Tensor, "k b"]:
        """log q(x_t | condition), differentiable in x_t."""
        a, variance = self._scales(t)
        background = view.background.to(x_t)
        y = _without_background(x_t, a, background)
        groups, conds = self._active(conds)
        log_ratios = _log_ratios(groups, y, a, variance, background)
        dimensions = y[0].numel()
        at_background = -0.5 * (
            y.square().sum((1, 2)) / variance + dimensions * torch.log(2.0 * math.pi * variance)
        )
        return at_background + torch.logsumexp(conds.log() + log_ratios, -1)

    @torch.no_grad()
    def posterior(
        self,
        x_t: Float[Tensor, "b 3 s s"],
        t: Int[Tensor, " b"],
        cond: Float[Tensor, "b n"],
        view: View,
    ) -> Float[Tensor, " b"]:
        """q(y | x_t) in the world, whatever the null: that of the components in y's row.

        Over a partition of the captions the posteriors sum to 1. Under the `marginal` null,
        eps(y) - eps(null) = -sigma_t grad log q(y | x_t).
        """
        prior = self.components.prior.to(cond)
        rows = torch.stack([prior * (cond > 0), prior.expand_as(cond)])
        own, everything = self.log_density(x_t, t, rows, view)
        return torch.exp(own - everything)

    def _row(self, text: str) -> Float[Tensor, " n"]:
        if not text.strip():
            return self.components.null / self.components.null.sum()
        row = self.components.prior * self._matches(parse(text, self.world))
        if not row.any():
            raise VocabularyError(f"no render of this bank shows {text!r}")
        return row / row.sum()

    def _matches(self, caption: Caption) -> Tensor:
        table = self.components
        kinds = caption.kinds or {CLEAN}
        matches = torch.isin(table.kind, torch.tensor(sorted(kinds), device=table.kind.device))
        if caption.views:
            views = torch.tensor(sorted(caption.views), device=table.view.device)
            matches &= torch.isin(table.view, views)
        if caption.shape is not None:
            matches &= table.shape == caption.shape
        if caption.colour is not None:
            matches &= table.colour == caption.colour
        return matches

    def _scales(self, t: Int[Tensor, " b"]) -> tuple[Float[Tensor, " b"], Float[Tensor, " b"]]:
        alpha_bar = self.alphas_cumprod[t]
        return alpha_bar.sqrt(), alpha_bar * self.component_std**2 + 1.0 - alpha_bar

    def _active(
        self, conds: Float[Tensor, "k b n"]
    ) -> tuple[list[Renders], Float[Tensor, "k b m"]]:
        """The groups that some condition uses, and their columns of the conditions.

        Raises ValueError if a condition is not a row of weights.
        """
        if not bool((conds >= 0).all()) or not bool((conds.sum(-1) > 0).all()):
            raise ValueError("a condition must be non-negative weights with a positive sum")
        columns = conds.split([group.squared.numel() for group in self.groups], -1)
        used = [index for index, part in enumerate(columns) if bool(part.any())]
        return [self.groups[i] for i in used], torch.cat([columns[i] for i in used], -1)


def load(
    bank_dir: Path | str,
    *,
    prompt: str | Sequence[str],
    null: str,
    component_std: float,
    own_count: int,
    others_per_caption: int,
    degraded_mass: float,
    generator: torch.Generator,
    device: str | torch.device = "cpu",
    dtype: torch.dtype = torch.float32,
) -> Mixture:
    """The mixture of the bank in `bank_dir`, dense where the prompt needs it.

    prompt: the caption or captions whose objects get `own_count` renders each (view and degradation
    words do not matter here); every other object gets `others_per_caption`, stratified by azimuth.
    null: `marginal` or `heldout` (see bank.py). component_std: s, in units of x in [-1, 1].
    degraded_mass: the world's probability of a degraded render. The generator chooses subsets.
    Raises ArtifactError (files), VocabularyError (prompt), ValueError (settings).
    """
    bank = Path(bank_dir)
    world = load_world(bank / "world.json")
    prompts = [prompt] if isinstance(prompt, str) else list(prompt)
    sampling = Sampling(null, own_count, others_per_caption, degraded_mass)
    if component_std <= 0.0:
        raise ValueError(f"component_std {component_std} is not positive")
    groups, components = load_components(
        bank, world, prompts, sampling, generator=generator, dtype=dtype
    )
    return Mixture(
        world=world,
        groups=[_moved(group, device) for group in groups],
        components=_moved(components, device),
        component_std=component_std,
        alphas_cumprod=squared_cosine().to(device, dtype),
    )


def _without_background(
    x_t: Float[Tensor, "b 3 s s"], a: Float[Tensor, " b"], background: Float[Tensor, "b 3"]
) -> Float[Tensor, "b 3 hw"]:
    """x_t minus the noiseless empty image: what the components' differences d are compared with."""
    return x_t.flatten(2) - a[:, None, None] * (2.0 * background - 1.0)[:, :, None]


def _log_ratios(
    groups: list[Renders],
    y: Float[Tensor, "b 3 hw"],
    a: Float[Tensor, " b"],
    variance: Float[Tensor, " b"],
    background: Float[Tensor, "b 3"],
) -> Float[Tensor, "b n"]:
    """log N(x_t; a m_i, v) - log N(x_t; a beta, v) = (a <y, d> - a^2 |d|^2 / 2) / v.

    beta is the empty image; no norm of the whole noisy image enters, which float32 would round.
    """
    products = torch.cat([group.products(y, background) for group in groups], -1)
    norms = torch.cat([group.squared_norms(background) for group in groups], -1)
    a = a[:, None]
    return a * (products - 0.5 * a * norms) / variance[:, None]


def _moved(record: Record, device: str | torch.device) -> Record:
    """The same dataclass with its tensors on `device`."""
    moved = {
        name: value.to(device) if isinstance(value, Tensor) else value
        for name, value in vars(record).items()
    }
    return type(record)(**moved)
