"""A draw at which equations are checked, and what a check is: two sides that must agree.

One side is what the code does: a method's direction, made by methods.distill from the prior's
predictions. The other is what it must be, made from densities (`moments`) or from another form of
the same equation.

Entries of predictions are of the order of 1 to 10. PRUNED: the prior leaves out components of
negligible weight, by which a prediction may be off by so much (guidance.mixture); EXACT: sums of
float64. SCORES: weights of at most 2 and 2, whose predictions add up their errors.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from methods import distill
from methods.distill import METHODS, NEG, NOISE, TEXT, UNCOND
from pipeline.equations.moments import Moment

PRUNED, EXACT, SCORES = 6e-4, 1e-9, 6.0
PROMPT, OTHER, SOURCE = "a red car", "a blue house", "a red duck"
NEGATIVE = "oversaturated color, ugly, tiling, low quality, noisy"
EDIT = "red"
NOTHING: Mapping[str, Tensor] = {}
Sides = tuple[Tensor, Tensor]  # what the code does, what it must


@dataclass(frozen=True)
class Case:
    """One draw: a moment between prompt and another object, predictions there, and weights.

    omega and omega_2 are multiples of a quarter: exact in float32, in which coefficients are.
    """

    at: Moment
    found: Mapping[str, Tensor]
    omega: float
    omega_2: float
    generator: torch.Generator

    def direction(
        self, name: str, given: Mapping[str, Tensor] = NOTHING, **settings: object
    ) -> Tensor:
        """What the method of this name makes of its predictions at step 0; `given` ones besides or
        instead of those of this case.
        """
        row = METHODS[name].make(**settings)(0, self.at.t)
        return distill.direction(row, {**self.found, **given})


def case_at(at: Moment, *, omega: float, omega_2: float, generator: torch.Generator) -> Case:
    """The predictions of the prompt, the null, the negative prompt; and the noise itself."""
    texts = {TEXT: PROMPT, UNCOND: "", NEG: NEGATIVE}
    found = {name: at.eps(at.x_t, text) for name, text in texts.items()} | {NOISE: at.noise}
    return Case(at, found, omega, omega_2, generator)


@dataclass(frozen=True)
class Check:
    """An equation, what is compared, by how much it may differ; and both sides of it."""

    equation: str
    compared: str
    tolerance: float
    sides: Callable[[Case], Sides]
