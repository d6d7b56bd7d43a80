"""How many people a study needs: for one comparison of two columns, by the normal approximation.

Someone prefers the first column in a share `effect` of the decided answers, each person in their
own share, which spreads about it so that two answers of one person correlate by `icc`. A person
gives `answers` decided answers to this comparison. The share of all answers then has the variance
of a binomial times the design effect 1 + (answers - 1) icc (Kish 1965), and the two-sided test at
`alpha` finds the difference from one half with the `power` asked for.
"""

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float


@dataclass(frozen=True)
class Need:
    """What `people` computed: participants, and the numbers on the way."""

    people: int
    independent: float  # answers that would do, were they independent
    design_effect: float
    answers: float  # decided answers a person gives to the comparison


def answers_a_person(*, trials: int, columns: int, options: int, same_share: float) -> float:
    """Decided answers to one comparison: a form's trials over its pairs, less `no difference`.

    With all columns shown at once, an answer says something of two given ones in 2 of `columns`
    cases at a rough guess: it must name one of them.
    """
    pairs = columns * (columns - 1) / 2
    decided = trials / pairs if options == 2 else trials * 2 / columns
    return decided * (1 - same_share)


def design_effect(answers: float, icc: float) -> float:
    """By how much the variance of a share exceeds that of independent answers; at least 1."""
    return 1 + max(0.0, answers - 1) * icc


def independent_answers(effect: float, *, power: float, alpha: float) -> float:
    """Independent answers that tell a share of `effect` from one half.

    n = ((z_a / 2 + z_b sqrt(p (1 - p))) / (p - 1/2))^2 with z_a the two-sided and z_b the power's
    quantile.
    """
    from scipy.stats import norm

    if not 0 < effect < 1 or effect == 0.5:
        raise ValueError(f"effect {effect}: a share in (0, 1) other than one half")
    if not 0 < alpha < 1 or not 0 < power < 1:
        raise ValueError(f"power {power} and alpha {alpha}: both in (0, 1)")
    z_alpha, z_power = norm.ppf(1 - alpha / 2), norm.ppf(power)
    spread = z_alpha / 2 + z_power * math.sqrt(effect * (1 - effect))
    return float((spread / (effect - 0.5)) ** 2)


def people(
    effect: float, *, power: float, alpha: float, comparisons: int, answers: float, icc: float
) -> Need:
    """The participants that find `effect` in each of `comparisons` with `power`.

    alpha is divided by the comparisons (Bonferroni, a little more than Holm needs).
    """
    if answers <= 0 or not 0 <= icc < 1 or comparisons < 1:
        raise ValueError(
            f"answers {answers}, icc {icc}, comparisons {comparisons}: need > 0, in [0, 1), >= 1"
        )
    independent = independent_answers(effect, power=power, alpha=alpha / comparisons)
    inflation = design_effect(answers, icc)
    return Need(math.ceil(independent * inflation / answers), independent, inflation, answers)


def detectable(
    participants: int, *, power: float, alpha: float, comparisons: int, answers: float, icc: float
) -> float:
    """The smallest share above one half that `participants` find; 1.0 when even that is missed."""
    from scipy.optimize import brentq

    have = participants * answers / design_effect(answers, icc)

    def lacking(effect: float) -> float:
        return independent_answers(effect, power=power, alpha=alpha / comparisons) - have

    if lacking(1 - 1e-9) > 0:
        return 1.0
    return float(brentq(lacking, 0.5 + 1e-4, 1 - 1e-9))


def simulated_power(
    effect: float,
    *,
    participants: int,
    alpha: float,
    answers: int,
    icc: float,
    rng: np.random.Generator,
    studies: int = 4000,
) -> float:
    """The share of simulated studies that find `effect`, with people as the units of a t test.

    Each person's own share is drawn from the beta distribution whose answers correlate by `icc`.
    """
    from scipy.stats import ttest_1samp

    means = person_means(effect, (studies, participants), answers, icc, rng)
    found = ttest_1samp(means, 0.5, axis=1).pvalue
    # Everyone agrees to the digit: no variance, no p; then the difference is plain.
    found = np.where(np.isnan(found), np.where(means[:, 0] == 0.5, 1.0, 0.0), found)
    return float(np.mean(found < alpha))


def person_means(
    effect: float, shape: tuple[int, int], answers: int, icc: float, rng: np.random.Generator
) -> Float[np.ndarray, "studies participants"]:
    """Each person's share of answers for the first column, beta-binomial."""
    if icc > 0:
        total = (1 - icc) / icc
        own = rng.beta(effect * total, (1 - effect) * total, size=shape)
    else:
        own = np.full(shape, effect)
    return np.asarray(rng.binomial(answers, own) / answers)
