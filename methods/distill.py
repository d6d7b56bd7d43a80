"""Score distillation methods side by side: each is a row of coefficients over noise predictions.

A method's gradient at the network's input is w(t) * sum_k c_k(step, t) * eps_k. The predictions:

    text           eps(x_t; y, t)        the prompt
    uncond         eps(x_t; t)           the empty prompt
    neg            eps(x_t; y_neg, t)    the negative prompt; for editing, what is to disappear
    particle       eps_phi*(x_t; y, t)   a model of the current renders (VSD)
    noise          eps                   the noise that made x_t; needs no network
    source_text    eps(xs_t; y_s, t)     source image, its prompt, same t and eps (DDS)
    source_uncond  eps(xs_t; t)          source image, the empty prompt

Omega means one thing: classifier-free guidance is text + omega (text - uncond), as in eq. 6 of
"Text-to-3D with Classifier Score Distillation" (arXiv 2310.19415; equation numbers below are its).
`conversions.py` has the scales of other sources. No network, no w(t), no randomness in here.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from methods.schedules import Ramp, check_ramp, ramp

TEXT = "text"
UNCOND = "uncond"
NEG = "neg"
PARTICLE = "particle"
NOISE = "noise"
SOURCE_TEXT = "source_text"
SOURCE_UNCOND = "source_uncond"

# The order of summation. Each prediction stands next to its counterpart at the source image, so
# that DDS at identical inputs cancels to exactly zero in floating point.
NAMES = (TEXT, SOURCE_TEXT, UNCOND, SOURCE_UNCOND, NEG, PARTICLE, NOISE)

Coefficients = Callable[[int, Int[Tensor, " b"]], dict[str, Float[Tensor, " b"]]]
Row = dict[str, float]


@dataclass(frozen=True)
class Method:
    """A row of coefficients by name.

    `make(**settings)` gives `coefficients(step, t)`: per prediction one float32 value per sample,
    for every prediction the method can ever use. `centred` rows sum to zero at every step and t.
    `version` grows when the numbers a method produces change.
    """

    name: str
    version: int
    equation: str
    centred: bool
    make: Callable[..., Coefficients]


def sds(*, omega: float) -> Coefficients:
    """Score distillation sampling (DreamFusion), eq. 6: text + omega (text - uncond) - noise."""
    return _constant(_guided(omega) | {NOISE: -1.0})


def sds_uncentred(*, omega: float) -> Coefficients:
    """SDS without its noise term: the same mean, as the noise's is zero, but more variance.

    The remark below eq. 4; also the gradient of score Jacobian chaining without its variance
    reduction.
    """
    return _constant(_guided(omega))


def csd() -> Coefficients:
    """Classifier score distillation, eq. 7: text - uncond."""
    return _constant({TEXT: 1.0, UNCOND: -1.0})


def csd_neg(*, omega_1: float, omega_2: Ramp) -> Coefficients:
    """CSD with annealed negative prompt, eq. 10: omega_1 (text - uncond) - omega_2 (neg - uncond).

    `omega_2` follows the step; `schedules.OMEGA_2` has the paper's for both stages.
    """
    _check_number("omega_1", omega_1)
    check_ramp("omega_2", omega_2)

    def row(step: int) -> Row:
        weight = ramp(step, omega_2)
        return {TEXT: omega_1, UNCOND: weight - omega_1, NEG: -weight}

    return lambda step, t: _filled(row(step), t)


def csd_edit(*, omega_1: float, omega_2: Ramp) -> Coefficients:
    """CSD for editing, eq. 11: eq. 10 with the words to remove as negative prompt.

    The paper's values are omega_1 = 1, omega_2 = 0.5 (section 5.4).
    """
    return csd_neg(omega_1=omega_1, omega_2=omega_2)


def dds(*, omega: float) -> Coefficients:
    """Delta denoising score, eq. 14: guided text minus guided source text, each at its own image.

    The three parts are text - source_text, omega (text - uncond) and -omega (source_text -
    source_uncond); the three functions below leave parts out, as Fig. 7 does.
    """
    return _constant(_guided(omega) | {SOURCE_TEXT: -(1.0 + omega), SOURCE_UNCOND: omega})


def dds_omega0() -> Coefficients:
    """DDS at omega = 0 (Fig. 7): text - source_text."""
    return _constant({TEXT: 1.0, SOURCE_TEXT: -1.0})


def dds_no_cls(*, omega: float) -> Coefficients:
    """DDS without its part omega (text - uncond) (Fig. 7); it fails, which is the paper's point."""
    _check_number("omega", omega)
    return _constant({TEXT: 1.0, SOURCE_TEXT: -(1.0 + omega), SOURCE_UNCOND: omega})


def dds_cls(*, omega: float) -> Coefficients:
    """DDS's part omega (text - uncond) alone (Fig. 7): CSD at another scale."""
    _check_number("omega", omega)
    return _constant({TEXT: omega, UNCOND: -omega})


def vsd(*, omega: float) -> Coefficients:
    """Variational score distillation (ProlificDreamer), eq. 12: guided text - particle.

    ProlificDreamer's scale of 7.5 is omega = 6.5 here.
    """
    return _constant(_guided(omega) | {PARTICLE: -1.0})


def nfsd(*, omega: float, neg_from: int) -> Coefficients:
    """Noise-free score distillation (Katzir et al., arXiv 2310.17590): guided text - [t large] neg.

    In the source's terms s delta_C + delta_D, where delta_D = uncond for t < `neg_from` (200 of
    1000) and uncond - neg from there on; its s of 7.5 is omega = 6.5. The row sums to 1 below
    `neg_from`: there the prediction itself, not a difference, is followed.
    """
    _check_number("neg_from", neg_from)
    guided = _guided(omega)
    return lambda step, t: _filled(guided, t) | {NEG: -(t >= neg_from).float()}


METHODS: dict[str, Method] = {
    method.name: method
    for method in (
        Method("sds", 1, "text + omega (text - uncond) - noise (eq. 6)", True, sds),
        Method(
            "sds_uncentred", 1, "text + omega (text - uncond) (below eq. 4)", False, sds_uncentred
        ),
        Method("csd", 1, "text - uncond (eq. 7)", True, csd),
        Method(
            "csd_neg", 1, "omega_1 (text - uncond) - omega_2 (neg - uncond) (eq. 10)", True, csd_neg
        ),
        Method(
            "csd_edit", 1, "omega_1 (text - uncond) - omega_2 (edit - uncond) (eq. 11)", True,
            csd_edit,
        ),
        Method("dds", 1, "guided text - guided source_text (eq. 14)", True, dds),
        Method("dds_omega0", 1, "text - source_text (Fig. 7)", True, dds_omega0),
        Method(
            "dds_no_cls", 1, "text - source_text - omega (source_text - source_uncond) (Fig. 7)",
            True, dds_no_cls,
        ),
        Method("dds_cls", 1, "omega (text - uncond) (Fig. 7)", True, dds_cls),
        Method("vsd", 2, "text + omega (text - uncond) - particle (eq. 12)", True, vsd),
        Method("nfsd", 1, "text + omega (text - uncond) - [t >= neg_from] neg", False, nfsd),
    )
}  # fmt: skip


def needed(coefficients: Mapping[str, Float[Tensor, " b"]]) -> list[str]:
    """The predictions a network must make: those with a coefficient that is not zero.

    In the order of summation. The noise is left out, since no network predicts it.
    """
    return [name for name in _used(coefficients) if name != NOISE]


def direction(
    coefficients: Mapping[str, Float[Tensor, " b"]],
    predictions: Mapping[str, Float[Tensor, "b c h w"]],
) -> Float[Tensor, "b c h w"]:
    """The sum of coefficient times prediction, per sample, in at least float32.

    Predictions whose coefficients are all zero may be missing. KeyError names one that is not.
    """
    total: Tensor | None = None
    for name in _used(coefficients):
        if name not in predictions:
            raise KeyError(
                f"prediction {name!r} has a coefficient but is not among {[*predictions]}"
            )
        prediction = predictions[name]
        # Half precision would lose the small difference of two predictions times a large omega.
        dtype = torch.promote_types(prediction.dtype, torch.float32)
        coefficient = coefficients[name].to(prediction.device, dtype, non_blocking=True)
        term = coefficient[:, None, None, None] * prediction
        total = term if total is None else total + term
    if total is None:
        raise ValueError("all coefficients are zero: there is no direction")
    return total


def diffused(
    x: Float[Tensor, "b c h w"],
    noise: Float[Tensor, "b c h w"],
    alphas_cumprod: Float[Tensor, " T"],
    t: Int[Tensor, " b"],
) -> Float[Tensor, "b c h w"]:
    """x_t = sqrt(alpha_bar_t) x + sqrt(1 - alpha_bar_t) noise."""
    alpha_bar = alphas_cumprod.to(x.device, x.dtype)[t.to(x.device), None, None, None]
    return alpha_bar.sqrt() * x + (1.0 - alpha_bar).sqrt() * noise


def surrogate(x: Float[Tensor, "b c h w"], gradient: Float[Tensor, "b c h w"]) -> Float[Tensor, ""]:
    """A loss whose gradient with respect to x is `gradient` / b; its value means nothing."""
    return (x * gradient.detach()).sum() / len(x)


def _guided(omega: float) -> Row:
    _check_number("omega", omega)
    return {TEXT: 1.0 + omega, UNCOND: -omega}


def _constant(row: Row) -> Coefficients:
    return lambda step, t: _filled(row, t)


def _filled(row: Row, t: Int[Tensor, " b"]) -> dict[str, Float[Tensor, " b"]]:
    return {
        name: torch.full(t.shape, value, dtype=torch.float32, device=t.device)
        for name, value in row.items()
    }


def _used(coefficients: Mapping[str, Float[Tensor, " b"]]) -> list[str]:
    unknown = set(coefficients) - set(NAMES)
    if unknown:
        raise KeyError(f"unknown prediction {sorted(unknown)[0]!r}: choose from {', '.join(NAMES)}")
    return [n for n in NAMES if n in coefficients and bool((coefficients[n] != 0).any())]


def _check_number(name: str, value: float) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError(f"{name} must be a finite number, not {value!r}")
