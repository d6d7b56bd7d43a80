"""VSD's particle (2305.16213) for the exact mixture: its frozen score plus a learned residual.

eps_particle(x_t; y, c, t) = eps(x_t; y, t) + g(t) r(x_t, eps(x_t; y, t), t, c), where r is a small
convolutional network that knows the camera c. r's last layer starts at zero, so that the particle
starts as the exact score. It takes the place of the low-rank adapter by which a large network
follows the renders. AdamW at 1e-3 fits it to one object in a few hundred steps.
"""

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.utils import skip_init

from pipeline.guidance.interface import Guidance, View

TIME_FREQUENCIES = 8
EXPECTED_SIZE = 8  # pixels of an edge of the features that depend on time and camera alone
# The score of the renders differs from the prior's by a difference of two clean images times
# a sigma / (a^2 s^2 + sigma^2), s the spread that is left between images. 0.25 keeps this gain
# at most 2; with the mixture's own 0.1 the smallest t rule the loss and the others learn slowly.
RESIDUAL_STD = 0.25


class ResidualParticle(nn.Module):
    """A particle (interface.Particle); its state_dict holds the residual and no guidance."""

    def __init__(self, guidance: Guidance, *, width: int, generator: torch.Generator) -> None:
        """`width` channels in the hidden layers, initialised by the generator."""
        super().__init__()
        self._guidance = guidance
        embedding = 2 * width
        self.embed = skip_init(nn.Linear, 2 * TIME_FREQUENCIES + 16, embedding)
        self.mix = skip_init(nn.Linear, embedding, embedding)
        self.expected = skip_init(nn.Linear, embedding, width * EXPECTED_SIZE**2)
        self.modulate = skip_init(nn.Linear, embedding, 4 * width)
        self.enter = skip_init(nn.Conv2d, 6, width, 3, stride=2, padding=1)
        self.middle = skip_init(nn.Conv2d, width, width, 3, padding=1)
        self.deep = skip_init(nn.Conv2d, width, width, 3, padding=1)
        self.leave = skip_init(nn.Conv2d, width + 6, 3, 3, padding=1)
        self._initialise(generator)

    def _initialise(self, generator: torch.Generator) -> None:
        for layer in self.children():
            assert isinstance(layer, nn.Linear | nn.Conv2d)
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu", generator=generator)
            nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
        nn.init.zeros_(self.leave.weight)

    @torch.no_grad()
    def eps(
        self,
        x_t: Float[Tensor, "b 3 s s"],
        t: Int[Tensor, " b"],
        cond: Float[Tensor, "b ..."],
        view: View,
    ) -> Float[Tensor, "b 3 s s"]:
        """The predicted noise, without gradient; the frozen score itself until the first update."""
        frozen = self._guidance.eps(x_t, t, cond[None], view)[0]
        return frozen + self.residual(x_t, frozen, t, view.c2w)

    def loss(
        self,
        x0: Float[Tensor, "b 3 s s"],
        t: Int[Tensor, " b"],
        noise: Float[Tensor, "b 3 s s"],
        cond: Float[Tensor, "b ..."],
        view: View,
    ) -> Float[Tensor, ""]:
        """The mean squared error of the predicted noise on current renders x0 (detached here)."""
        a, sigma = self._scales(t)
        x_t = a * x0.detach() + sigma * noise
        frozen = self._guidance.eps(x_t, t, cond[None], view)[0]
        predicted = frozen + self.residual(x_t, frozen, t, view.c2w)
        return (predicted - noise).square().mean()

    def residual(
        self,
        x_t: Float[Tensor, "b 3 s s"],
        frozen: Float[Tensor, "b 3 s s"],
        t: Int[Tensor, " b"],
        c2w: Float[Tensor, "b 4 4"],
    ) -> Float[Tensor, "b 3 s s"]:
        """What is added to the frozen prediction, with gradient in the network's weights."""
        silu = nn.functional.silu
        time = _waves(t, len(self._guidance.alphas_cumprod))
        known = torch.cat([time, c2w.flatten(1).float()], 1)
        embedding = silu(self.mix(silu(self.embed(known))))
        image = torch.cat([x_t, frozen], 1).float()
        expected = self.expected(embedding).view(len(t), -1, EXPECTED_SIZE, EXPECTED_SIZE)
        modulation = self.modulate(embedding)[:, :, None, None]
        scale, shift, scale_deep, shift_deep = modulation.chunk(4, 1)
        hidden = self.enter(image)
        hidden = hidden + nn.functional.interpolate(expected, hidden.shape[-2:])
        hidden = silu(self.middle(silu(hidden)) * (1.0 + scale) + shift)
        hidden = hidden + silu(self.deep(hidden) * (1.0 + scale_deep) + shift_deep)
        wide = nn.functional.interpolate(hidden, image.shape[-2:])
        a, sigma = self._scales(t)
        gain = a * sigma / (sigma.square() + RESIDUAL_STD**2 * a.square())
        return gain.to(x_t) * self.leave(torch.cat([wide, image], 1)).to(x_t)

    def _scales(self, t: Int[Tensor, " b"]) -> tuple[Tensor, Tensor]:
        alpha_bar = self._guidance.alphas_cumprod[t][:, None, None, None]
        return alpha_bar.sqrt(), (1.0 - alpha_bar).sqrt()


def _waves(t: Int[Tensor, " b"], steps: int) -> Float[Tensor, "b f"]:
    """Sines and cosines of t / steps at octaves from half a period over the whole range upwards."""
    octaves = 2.0 ** torch.arange(TIME_FREQUENCIES, device=t.device)
    phase = math.pi * (t.float() / steps)[:, None] * octaves
    return torch.cat([phase.sin(), phase.cos()], 1)
