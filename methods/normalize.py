"""The scale of a method's gradient against the regularisers, which Adam does not cancel.

Methods differ in the size of their gradient by orders of magnitude, and so in how much a fixed
regulariser counts. Each function here maps (gradient, state) to (gradient, state):

    none  the gradient as it is
    step  unit L2 norm over the whole batch at every step, as the released CSD code does in its
          NeRF stage; a gradient that vanishes is blown up again
    ema   divided by the root mean square over steps of that norm, averaged up to step `steps` and
          frozen from there on: methods start at one scale, and a gradient that vanishes may vanish

The gradient includes w(t). The state is a dict of tensors, to be kept in checkpoints.
"""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

# The released code's guard against division by zero.
FLOOR = 1e-8

State = dict[str, Tensor]
Gradient = Float[Tensor, "b c h w"]


def initial_state() -> State:
    """No step seen yet."""
    return {
        "sum_of_squares": torch.zeros((), dtype=torch.float64),
        "count": torch.zeros((), dtype=torch.int64),
    }


def none(gradient: Gradient, state: State, *, steps: int) -> tuple[Gradient, State]:
    """The gradient itself."""
    return gradient, state


def step(gradient: Gradient, state: State, *, steps: int) -> tuple[Gradient, State]:
    """The gradient at unit L2 norm over the batch, or 0 where it is 0."""
    return gradient / (_norm(gradient) + FLOOR).to(gradient), state


def ema(gradient: Gradient, state: State, *, steps: int) -> tuple[Gradient, State]:
    """The gradient over the root mean square norm of the first `steps` gradients.

    This one is included if it is among them; from call number `steps` on the state stays what it
    is. ValueError if `steps` is below 1.
    """
    if steps < 1:
        raise ValueError(f"ema needs at least 1 step to average over, not {steps}")
    if int(state["count"]) < steps:
        state = {
            "sum_of_squares": state["sum_of_squares"] + _norm(gradient).square().cpu(),
            "count": state["count"] + 1,
        }
    scale = (state["sum_of_squares"] / state["count"]).sqrt() + FLOOR
    return gradient / scale.to(gradient, non_blocking=True), state


Normalization = Callable[..., tuple[Gradient, State]]
NORMALIZATIONS: dict[str, Normalization] = {"none": none, "step": step, "ema": ema}


def _norm(gradient: Gradient) -> Float[Tensor, ""]:
    return torch.linalg.vector_norm(gradient, dtype=torch.float64)
