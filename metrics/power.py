"""What a design can detect: differences of means over prompts, discordant pairs, prompts or seeds.

Differences of two columns are paired by prompt, so that the standard deviation asked for is that of
the per-prompt differences. Where several pairs are read together, alpha is Holm's first step, the
level over the number of pairs: what survives that survives the correction.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

POWER = 0.8  # the share of repetitions that should notice the difference
_MOST_PROMPTS = 1_000_000


def power(effect: float, *, sd: float, prompts: int, alpha: float) -> float:
    """Chance that a two-sided paired t test notices a mean difference of `effect`."""
    from scipy.stats import nct, t

    if prompts < 2:
        return 0.0
    if sd == 0.0:
        return float(effect != 0.0)
    degrees, shift = prompts - 1, abs(effect) / sd * np.sqrt(prompts)
    bound = t.isf(alpha / 2.0, degrees)
    # scipy's lower tail is nan at some larger shifts, where it is below 1e-9
    wrong_side = nct.cdf(-bound, degrees, shift) if shift < 6.0 else 0.0
    return float(nct.sf(bound, degrees, shift) + wrong_side)


def minimum_detectable(
    *, sd: float, prompts: int, alpha: float = 0.05, wanted: float = POWER
) -> float:
    """The smallest mean difference that is noticed with chance `wanted`; nan below two prompts.

    Of the t test; sign flips on the same differences are about as powerful.
    """
    from scipy.optimize import brentq

    if prompts < 2:
        return float("nan")
    if sd == 0.0:
        return 0.0
    size = 1.0
    while power(size, sd=1.0, prompts=prompts, alpha=alpha) < wanted:
        size *= 2.0
    found = brentq(
        lambda x: power(x, sd=1.0, prompts=prompts, alpha=alpha) - wanted, 0.0, size, xtol=1e-10
    )
    return float(found * sd)


def prompts_needed(effect: float, *, sd: float, alpha: float = 0.05, wanted: float = POWER) -> int:
    """The smallest number of prompts with which `effect` is noticed with chance `wanted`.

    Raises ValueError for an effect of zero and for more than a million prompts.
    """
    low, high = 1, 2
    while power(effect, sd=sd, prompts=high, alpha=alpha) < wanted:
        low, high = high, 2 * high
        if effect == 0.0 or high > _MOST_PROMPTS:
            raise ValueError(f"no number of prompts up to {_MOST_PROMPTS} notices {effect}")
    while high - low > 1:
        middle = (low + high) // 2
        enough = power(effect, sd=sd, prompts=middle, alpha=alpha) >= wanted
        low, high = (low, middle) if enough else (middle, high)
    return high


def smallest_majority(discordant: int, *, alpha: float = 0.05) -> int | None:
    """How many of so many discordant objects must be on one side for an exact McNemar p below
    alpha.

    None when not even all of them suffice (five at alpha .05). Of 20 it takes 15.
    """
    from scipy.stats import binom

    sizes = np.arange(discordant // 2 + 1, discordant + 1)
    p = 2.0 * binom.sf(sizes - 1, discordant, 0.5)
    enough = sizes[p < alpha]
    return int(enough[0]) if enough.size else None


def mcnemar_power(a_only: float, b_only: float, *, objects: int, alpha: float = 0.05) -> float:
    """Chance that exact McNemar notices that shares `a_only` and `b_only` of objects are hit by
    one column only; summed over all numbers of discordant objects.
    """
    from scipy.stats import binom

    discordant = a_only + b_only
    if not 0.0 < discordant <= 1.0:
        raise ValueError(f"shares {a_only} and {b_only} of objects cannot be discordant")
    chance = binom.pmf(np.arange(objects + 1), objects, discordant)
    share = a_only / discordant
    total = 0.0
    for count in range(objects + 1):
        majority = smallest_majority(count, alpha=alpha)
        if majority is not None:
            tails = binom.sf(majority - 1, count, share) + binom.cdf(count - majority, count, share)
            total += float(chance[count] * tails)
    return total


@dataclass(frozen=True)
class Spread:
    """Standard deviations between prompts' true means and between seeds of one prompt."""

    between: float
    within: float
    seeds: float  # a prompt; the harmonic-like mean of analysis of variance when they differ

    @property
    def icc(self) -> float:
        """Share of the variance that prompts explain, in [0, 1]."""
        total = self.between**2 + self.within**2
        return self.between**2 / total if total > 0.0 else float("nan")

    def of_mean(self, *, prompts: int, seeds: int) -> float:
        """Standard error of the mean over so many prompts with so many seeds each."""
        return float(np.sqrt((self.between**2 + self.within**2 / seeds) / prompts))


def spread(values: Float[np.ndarray, " runs"], prompts: Int[np.ndarray, " runs"]) -> Spread:
    """Components of variance of one value a run by one-way analysis of variance.

    With the same number of seeds for every prompt this is REML where the latter is positive.
    `within` is nan when no prompt has two seeds; `between` is then the spread of the values.
    """
    counts = np.bincount(prompts).astype(np.float64)
    means = np.bincount(prompts, values) / counts
    n, runs = counts.size, values.size
    seeds = (runs - (counts**2).sum() / runs) / (n - 1) if n > 1 else float(runs)
    among = (counts * (means - values.mean()) ** 2).sum() / (n - 1) if n > 1 else float("nan")
    if runs == n:
        return Spread(float(np.sqrt(among)), float("nan"), 1.0)
    within = ((values - means[prompts]) ** 2).sum() / (runs - n)
    return Spread(
        between=float(np.sqrt(max(0.0, (among - within) / seeds))),
        within=float(np.sqrt(within)),
        seeds=float(seeds),
    )
