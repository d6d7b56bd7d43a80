"""Emission-absorption volume rendering along rays, on packed samples.

Samples of one ray stand `step` apart in a ball; only those in occupied cells are kept, all rays' in
one list sorted by ray, then by distance. With optical thickness tau_i = sigma_i * step,

    transmittance T_i = exp(-sum_{j<i} tau_j),   weight w_i = T_i (1 - exp(-tau_i))

over the samples j of the same ray (Max 1995; Mildenhall et al. 2020, eq. 3).
Rays and points come coordinates first, (3, r).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

LARGEST_THICKNESS = 1e4  # exp(-1e4) is 0 in every format; keeps the running sums finite


@dataclass(frozen=True)
class Samples:
    """Packed samples: the ray's number (not decreasing), distance along it, position."""

    ray: Int[Tensor, " m"]
    distance: Float[Tensor, " m"]
    position: Float[Tensor, "3 m"]

    def select(self, kept: Bool[Tensor, " m"]) -> "Samples":
        """The samples where `kept`, in the same order."""
        index = kept.nonzero()[:, 0]
        return Samples(
            self.ray.index_select(0, index),
            self.distance.index_select(0, index),
            self.position.index_select(1, index),
        )


def ball_interval(
    origins: Float[Tensor, "3 r"], directions: Float[Tensor, "3 r"], radius: float
) -> tuple[Float[Tensor, " r"], Float[Tensor, " r"]]:
    """Distances at which unit rays enter and leave the ball; equal where they miss it."""
    middle = -(origins * directions).sum(0)
    closest = (origins + directions * middle).square().sum(0)
    half = (radius**2 - closest).clamp_min(0).sqrt()
    near = (middle - half).clamp_min(0)
    return near, torch.maximum(middle + half, near)


def march(
    origins: Float[Tensor, "3 r"],
    directions: Float[Tensor, "3 r"],
    jitter: Float[Tensor, " r"],
    *,
    radius: float,
    step: float,
    occupied_radius: float,
    occupied: Callable[[Float[Tensor, "3 n"]], Bool[Tensor, " n"]],
) -> Samples:
    """Samples at near + (k + jitter) step inside the ball of `radius`, in occupied cells only.

    jitter in [0,1), one number a ray (a shifted comb is an unbiased estimate, as strata are).
    Everything occupied lies within `occupied_radius`, which shortens the search and no more:
    where the samples of a ray stand does not depend on the occupancy.
    """
    near, far = ball_interval(origins, directions, radius)
    inner_near, inner_far = ball_interval(origins, directions, min(occupied_radius, radius))
    first = ((inner_near - near) / step - jitter).ceil().clamp_min(0)
    last = (torch.minimum(inner_far, far) - near) / step - jitter
    count = torch.where(inner_far > inner_near, (last - first).ceil().clamp_min(0), 0.0)
    rays = count.nonzero()[:, 0]
    origins, directions = origins.index_select(1, rays), directions.index_select(1, rays)
    start = (near + (first + jitter) * step).index_select(0, rays)
    count = count.index_select(0, rays)
    k = torch.arange(int(count.max()) if len(rays) else 0, device=rays.device)
    distance = start[:, None] + k * step
    position = torch.addcmul(origins[:, :, None], directions[:, :, None], distance)
    inside = occupied(position.flatten(1)).view_as(distance) & (k < count[:, None])
    kept = inside.view(-1).nonzero()[:, 0]
    return Samples(
        rays.index_select(0, kept // max(len(k), 1)),
        distance.view(-1).index_select(0, kept),
        position.flatten(1).index_select(1, kept),
    )


def _ray_starts(ray: Int[Tensor, " m"]) -> Int[Tensor, " m"]:
    """For each sample the index of its ray's first sample."""
    index = torch.arange(len(ray), device=ray.device)
    begins = torch.ones_like(ray, dtype=torch.bool)
    begins[1:] = ray[1:] != ray[:-1]
    return torch.cummax(torch.where(begins, index, 0), 0).values


def _sum_before(values: Tensor, starts: Tensor) -> Tensor:
    """Sums over the earlier samples of the same ray, in float64.

    The sum runs over all rays and the part before the ray is subtracted: in float32 the
    difference of two large sums would be noise.
    """
    exclusive = values.double().cumsum(0) - values
    return exclusive - exclusive.index_select(0, starts)


class _CompositingWeights(torch.autograd.Function):
    """w(tau) by closed form; d w_j / d tau_i = T_{i+1} if j = i, -w_j if j > i, else 0."""

    @staticmethod
    def forward(ctx: Any, tau: Tensor, starts: Tensor) -> Tensor:
        tau = tau.clamp_max(LARGEST_THICKNESS)
        transmittance = torch.exp(-_sum_before(tau, starts)).to(tau.dtype)
        weights = -transmittance * torch.expm1(-tau)
        ctx.save_for_backward(weights, transmittance - weights, starts)
        return weights

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:  # type: ignore[override]
        weights, after, starts = ctx.saved_tensors
        share = (weights * grad).double()
        running = share.cumsum(0)
        exclusive = running - share
        before = exclusive - exclusive.index_select(0, starts)
        rays = torch.zeros_like(running).index_add_(0, starts, share)
        behind = rays.index_select(0, starts) - before - share
        return after * grad - behind.to(grad.dtype), None


def compositing_weights(tau: Float[Tensor, " m"], ray: Int[Tensor, " m"]) -> Float[Tensor, " m"]:
    """The weights w_i; they lie in [0,1] and add up to 1 - exp(-sum tau) on each ray.

    Finite with finite gradients for any tau >= 0, infinity included. First derivatives only.
    """
    return _CompositingWeights.apply(tau, _ray_starts(ray))


def ray_sums(
    values: Float[Tensor, "c m"], ray: Int[Tensor, " m"], rays: int
) -> Float[Tensor, "c r"]:
    """Sums over each ray's samples; 0 for a ray without any."""
    channels = torch.arange(len(values), device=ray.device)[:, None] * rays
    total = torch.zeros(len(values) * rays, dtype=values.dtype, device=values.device)
    return total.index_add(0, (channels + ray).view(-1), values.reshape(-1)).view(-1, rays)
