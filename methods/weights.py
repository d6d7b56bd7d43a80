"""w(t), how much each timestep counts: alphas_cumprod and t in, one w per sample out."""

from collections.abc import Callable

import torch
from jaxtyping import Float, Int
from torch import Tensor

Weight = Callable[[Float[Tensor, " T"], Int[Tensor, " b"]], Float[Tensor, " b"]]


def sds(alphas_cumprod: Float[Tensor, " T"], t: Int[Tensor, " b"]) -> Float[Tensor, " b"]:
    """1 - alpha_bar = sigma_t^2: DreamFusion, ProlificDreamer, and CSD's mesh stage."""
    return 1.0 - alphas_cumprod[t]


def uniform(alphas_cumprod: Float[Tensor, " T"], t: Int[Tensor, " b"]) -> Float[Tensor, " b"]:
    """1: Magic3D's coarse stage in threestudio, and CSD's NeRF stage."""
    return torch.ones_like(alphas_cumprod[t])


def fantasia3d(alphas_cumprod: Float[Tensor, " T"], t: Int[Tensor, " b"]) -> Float[Tensor, " b"]:
    """sqrt(alpha_bar) (1 - alpha_bar): Fantasia3D's geometry stage."""
    return alphas_cumprod[t].sqrt() * (1.0 - alphas_cumprod[t])


def lucid_dreamer(alphas_cumprod: Float[Tensor, " T"], t: Int[Tensor, " b"]) -> Float[Tensor, " b"]:
    """sqrt((1 - alpha_bar) / alpha_bar): LucidDreamer (arXiv 2311.11284).

    With it a difference of noise predictions becomes minus the difference of predicted images.
    """
    return ((1.0 - alphas_cumprod[t]) / alphas_cumprod[t]).sqrt()


WEIGHTS: dict[str, Weight] = {
    "sds": sds,
    "uniform": uniform,
    "fantasia3d": fantasia3d,
    "lucid_dreamer": lucid_dreamer,
}
