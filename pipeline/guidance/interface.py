"""A guidance model predicts the noise in an image, given words; a particle does so for one scene.

Letters: rgb in [0, 1]; x = what the network sees (c channels, its own size);
x_t = sqrt(abar_t) x + sqrt(1 - abar_t) eps; t = integer index into `alphas_cumprod`;
k conditions on the same b noisy inputs.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import Parameter


@dataclass(frozen=True)
class View:
    """What is known of the b views, and of the moment, besides the text.

    background: rgb in [0, 1] behind the object; c2w: OpenGL camera-to-world;
    control: pictures in [0, 1] for control networks, by kind ("depth", "canny");
    step: of the optimisation, for schedules within a prior;
    prompted: which of the k conditions are the prompt itself, None = all. Only priors that treat
    the prompt differently (`control_on: text`) look at it.
    """

    background: Float[Tensor, "b 3"]
    c2w: Float[Tensor, "b 4 4"]
    control: Mapping[str, Float[Tensor, "b m h w"]] = field(default_factory=dict)
    step: int = 0
    prompted: tuple[bool, ...] | None = None


class Guidance(Protocol):
    """A frozen denoiser; interpolating two rows of `embed` interpolates the condition."""

    @property
    def alphas_cumprod(self) -> Float[Tensor, " T"]:
        """abar_t, the share of the signal's variance left at t; decreasing."""

    def embed(self, texts: Sequence[str]) -> Float[Tensor, "n ..."]:
        """One row per text; the null text is the empty string."""

    def encode(self, rgb: Float[Tensor, "b 3 height width"]) -> Float[Tensor, "b c h w"]:
        """The network's clean input, differentiable in rgb in [0, 1]."""

    def eps(
        self,
        x_t: Float[Tensor, "b c h w"],
        t: Int[Tensor, " b"],
        conds: Float[Tensor, "k b ..."],
        view: View,
    ) -> Float[Tensor, "k b c h w"]:
        """The predicted noise under each condition, without gradient."""


class Particle(Protocol):
    """VSD's second denoiser: it follows the renders of the scene being optimised."""

    def eps(
        self,
        x_t: Float[Tensor, "b c h w"],
        t: Int[Tensor, " b"],
        cond: Float[Tensor, "b ..."],
        view: View,
    ) -> Float[Tensor, "b c h w"]:
        """The predicted noise, without gradient."""

    def loss(
        self,
        x0: Float[Tensor, "b c h w"],
        t: Int[Tensor, " b"],
        noise: Float[Tensor, "b c h w"],
        cond: Float[Tensor, "b ..."],
        view: View,
    ) -> Float[Tensor, ""]:
        """The mean squared error of the predicted noise on current renders x0 (detached inside)."""

    def parameters(self) -> Iterator[Parameter]:
        """What the particle's own optimiser updates."""
