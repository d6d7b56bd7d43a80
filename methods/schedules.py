"""What changes with the step: linear ramps and the range of timesteps.

A ramp is plain data, so that a preset can hold it:

    0.5                        constant
    [first, last, end]         linear from `first` at step 0 to `last` at step `end`, then constant
    [start, first, last, end]  `first` up to step `start`, then linear; a jump is end = start + 1

Four numbers are in threestudio's order. A timestep t is an index into alphas_cumprod.
"""

import math
from collections.abc import Sequence

import torch
from jaxtyping import Int
from torch import Tensor

Ramp = float | Sequence[float]

# Appendix A.4 and the released code of arXiv 2310.19415: the negative prompt comes in over the
# first half of the NeRF stage and goes out by half over the mesh stage, 10,000 steps each.
OMEGA_2: dict[str, tuple[float, float, int]] = {"nerf": (0.0, 1.0, 5000), "mesh": (1.0, 0.5, 10000)}


def check_ramp(name: str, values: Ramp) -> None:
    """Returns if `values` is a ramp; ValueError says what is wrong with the one called `name`."""
    try:
        start, first, last, end = _parts(values)
        valid = all(math.isfinite(value) for value in (start, first, last, end))
    except (TypeError, ValueError):
        valid = False
    if not valid:
        raise ValueError(
            f"{name} must be a number, [first, last, end] or [start, first, last, end], "
            f"not {values!r}"
        )
    if end <= start:
        raise ValueError(f"{name} must end after step {start:g}, not at step {end:g}: {values!r}")


def ramp(step: int, values: Ramp) -> float:
    """The ramp's value at this step, exactly its first and last value at the ends."""
    start, first, last, end = _parts(values)
    if step >= end:
        return float(last)
    share = max(0.0, (step - start) / (end - start))
    return first + share * (last - first)


def t_range(step: int, total: int, *, low: Ramp, high: Ramp) -> tuple[int, int]:
    """The lowest and highest timestep at this step, both inclusive, within 0 and total - 1.

    `low` and `high` are ramps of shares of `total`; a share s becomes the integer part of s total.
    """
    check_ramp("low", low)
    check_ramp("high", high)
    shares = ramp(step, low), ramp(step, high)
    if not 0.0 <= shares[0] <= shares[1] <= 1.0:
        raise ValueError(
            f"timestep range at step {step} must satisfy 0 <= low <= high <= 1, not "
            f"low {shares[0]:g} and high {shares[1]:g}"
        )
    # 1e-6: a share such as 0.29 times 100 lies a rounding error below its integer.
    first, last = (min(int(share * total + 1e-6), total - 1) for share in shares)
    return first, last


def sample_t(generator: torch.Generator, low: int, high: int, batch: int) -> Int[Tensor, " b"]:
    """Independent timesteps, uniform over low, ..., high inclusive, on the generator's device."""
    return torch.randint(low, high + 1, (batch,), generator=generator, device=generator.device)


def _parts(values: Ramp) -> tuple[float, float, float, float]:
    if isinstance(values, int | float):
        values = (values, values, 1)
    if any(isinstance(value, str | bool) for value in values):
        raise TypeError(f"not numbers: {values!r}")
    start, first, last, end = (0, *values) if len(values) == 3 else values
    return start, first, last, end
