"""Regularisers of a volume side by side, and the schedules of their weights.

A schedule is preset data: a number, or [first, last, end], linear from step 0 to step `end` and
constant after it, or [start, first, last, end] with the ramp delayed to step `start`, so that
[5000, 1, 20, 5001] jumps from 1 to 20 after step 5000 (threestudio's order, as in methods).
"""

from collections.abc import Callable, Sequence

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from pipeline.scenes.interface import Rendering

Schedule = float | Sequence[float]


def schedule_value(schedule: Schedule, step: int) -> float:
    """The weight at a step."""
    if isinstance(schedule, int | float):
        return float(schedule)
    start, first, last, end = _four(schedule)
    if step >= end:
        return last
    return first + (last - first) * max(step - start, 0) / (end - start)


def never_acts(schedule: Schedule) -> bool:
    """Whether the weight is 0 at every step, so that what it needs need not be computed."""
    if isinstance(schedule, int | float):
        return schedule == 0
    return all(value == 0 for value in _four(schedule)[1:3])


def _four(schedule: Sequence[float]) -> tuple[float, float, float, float]:
    values = [float(value) for value in schedule]
    if len(values) == 3:
        values.insert(0, 0.0)
    if len(values) != 4 or not 0 <= values[0] < values[3]:
        raise ValueError(
            f"schedule {list(schedule)!r}: a number, [first, last, end] or "
            "[start, first, last, end] with 0 <= start < end"
        )
    return values[0], values[1], values[2], values[3]


def orientation_term(
    weights: Float[Tensor, " m"], normals: Float[Tensor, "3 m"], directions: Float[Tensor, "3 m"]
) -> Float[Tensor, " m"]:
    """Per sample w max(n.d, 0)^2: surfaces seen from behind (Ref-NeRF, eq. 11).

    The weights carry no gradient: otherwise density is lowered where normals should turn.
    """
    return weights.detach() * (normals * directions).sum(0).clamp_min(0).square()


def orientation(rendering: Rendering) -> Float[Tensor, ""]:
    """Sum of the rays' orientation terms over the number of rays that hit something."""
    hits = (rendering.alpha.detach() > 0).sum().clamp_min(1)
    return rendering.terms["orientation"].sum() / hits


def sparsity(rendering: Rendering) -> Float[Tensor, ""]:
    """Mean of sqrt(alpha^2 + 0.01) over pixels: opacity costs (DreamFusion's form)."""
    return (rendering.alpha.square() + 0.01).sqrt().mean()


def opaque(rendering: Rendering) -> Float[Tensor, ""]:
    """Mean binary entropy of alpha over pixels: in between costs; clamped off 0 and 1."""
    alpha = rendering.alpha.clamp(1e-3, 1 - 1e-3)
    return F.binary_cross_entropy(alpha, alpha)


REGULARIZERS: dict[str, Callable[[Rendering], Float[Tensor, ""]]] = {
    "orientation": orientation,
    "sparsity": sparsity,
    "opaque": opaque,
}


def weighted_terms(
    rendering: Rendering, schedules: dict[str, Schedule], step: int
) -> dict[str, Float[Tensor, ""]]:
    """Each regulariser whose weight is not 0 at this step, times its weight."""
    weights = {name: schedule_value(schedule, step) for name, schedule in schedules.items()}
    return {
        name: weight * REGULARIZERS[name](rendering) for name, weight in weights.items() if weight
    }
