"""Means over prompts with honest intervals, and paired comparisons of two columns.

A prompt is the unit: views and seeds of one prompt are not independent, so callers average within
a prompt first, and everything here takes one value a prompt. What is random takes its generator as
an argument.

Degenerate data, each handled here and nowhere else:

- fewer than two values: there is no interval; the bounds are nan.
- equal values: every resample is the same, and an interval of zero width would claim certainty.
  For hits (all 0 or all 1) Wilson's interval over prompts is given; for other quantities the zero
  width stays, and the reader has `n_prompts` beside it.
- differences that are all zero: p is 1.
"""

import hashlib
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

RESAMPLES = 9999  # bootstrap; the bounds' own error is then about 2 % of the width
# Sign flips: all of them up to 13 prompts (2**13 = 8192), a random 9999 above, where p >= 2e-4.
PERMUTATIONS = 9999


@dataclass(frozen=True)
class Interval:
    """A mean with its two-sided interval at `level`."""

    mean: float
    lower: float
    upper: float
    level: float


def generator(seed: int, *names: str) -> np.random.Generator:
    """A generator of its own for each row of a table: another row more changes no number."""
    digest = hashlib.sha256("\0".join(names).encode("utf-8")).digest()
    return np.random.default_rng([seed, *np.frombuffer(digest, dtype="<u4")])


def mean_interval(
    values: Float[np.ndarray, " prompts"], rng: np.random.Generator, *, level: float = 0.95
) -> Interval:
    """Mean over prompts with its bias-corrected accelerated bootstrap interval (Efron 1987)."""
    from scipy.stats import bootstrap

    values = _checked(values)
    if values.size < 2:
        mean = float(values.mean()) if values.size else float("nan")
        return Interval(mean, float("nan"), float("nan"), level)
    mean = float(values.mean())
    if _all_equal(values):
        return Interval(mean, mean, mean, level)
    found = bootstrap(
        (values,),
        np.mean,
        n_resamples=RESAMPLES,
        confidence_level=level,
        method="BCa",
        vectorized=True,
        batch=1000,  # bounds memory at 81 prompts to under a megabyte
        rng=rng,
    ).confidence_interval
    return Interval(mean, float(found.low), float(found.high), level)


def hit_interval(
    values: Float[np.ndarray, " prompts"], rng: np.random.Generator, *, level: float = 0.95
) -> Interval:
    """`mean_interval`, but Wilson's when every prompt is a hit or none is: never of zero width.

    `values` are shares of hits in [0, 1], one a prompt. For 6 of 6 the lower bound is 0.61.
    """
    from scipy.stats import binomtest

    values = _checked(values)
    if values.size == 0 or not (_all_equal(values) and values[0] in (0.0, 1.0)):
        return mean_interval(values, rng, level=level)
    hits = round(float(values.sum()))
    found = binomtest(hits, values.size).proportion_ci(level, method="wilson")
    return Interval(float(values[0]), float(found.low), float(found.high), level)


def sign_flip_p(differences: Float[np.ndarray, " prompts"], rng: np.random.Generator) -> float:
    """Two-sided p of a paired permutation test of mean difference 0: columns swapped within
    prompts.

    Exact, over all 2^n sign patterns, up to 13 prompts; above that by PERMUTATIONS random patterns
    and the observed one. nan without data.
    """
    from scipy.stats import permutation_test

    differences = _checked(differences)
    if differences.size == 0:
        return float("nan")
    if not differences.any() or differences.size == 1:
        return 1.0
    found = permutation_test(
        (differences,),
        np.mean,
        permutation_type="samples",
        vectorized=True,
        n_resamples=PERMUTATIONS,
        batch=1000,
        alternative="two-sided",
        rng=rng,
    )
    return float(found.pvalue)


@dataclass(frozen=True)
class Discordant:
    """Objects that only one of two columns hits, and the exact two-sided p of McNemar's test."""

    a_only: int
    b_only: int
    p: float


def mcnemar(a: Float[np.ndarray, " objects"], b: Float[np.ndarray, " objects"]) -> Discordant:
    """Exact McNemar test of hits (0 or 1) of the same objects under two columns.

    Under equality the discordant objects fall on either side like coins; p is 1 without any. Only
    for one value an object: the views of an object are not independent. Raises ValueError for
    anything but 0 and 1, such as shares of views or ranks shared by ties.
    """
    from scipy.stats import binomtest

    a, b = _checked(a), _checked(b)
    if a.shape != b.shape or not np.isin([a, b], (0.0, 1.0)).all():
        raise ValueError("McNemar's test takes one hit, 0 or 1, an object and column")
    a_only, b_only = int(((a == 1) & (b == 0)).sum()), int(((a == 0) & (b == 1)).sum())
    discordant = a_only + b_only
    p = float(binomtest(a_only, discordant, 0.5).pvalue) if discordant else 1.0
    return Discordant(a_only, b_only, p)


def smallest_p(prompts: int) -> float:
    """The smallest two-sided p that `sign_flip_p` can give on so many prompts: 2 / 2^n, or 2e-4."""
    if prompts < 1:
        return 1.0
    exact = 2.0**prompts <= PERMUTATIONS
    return min(1.0, 2.0 / 2.0**prompts if exact else 2.0 / (PERMUTATIONS + 1.0))


def holm(p_values: Float[np.ndarray, " tests"]) -> Float[np.ndarray, " tests"]:
    """p values corrected for being read together (Holm 1979); nan stays and is not counted.

    statsmodels has this too, but collects garbage at every call, which takes half a second here.
    """
    p_values = np.asarray(p_values, dtype=np.float64)
    corrected = np.full_like(p_values, np.nan)
    order = np.argsort(p_values)[: int(np.isfinite(p_values).sum())]  # nan sorts last
    remaining = np.arange(order.size, 0, -1)
    corrected[order] = np.minimum(np.maximum.accumulate(p_values[order] * remaining), 1.0)
    return corrected


def non_inferiority_p(differences: Float[np.ndarray, " n"], margin: float) -> float:
    """One-sided p, by sign flips over prompts, of a mean difference of -margin or worse."""
    shifted = np.asarray(differences, dtype=np.float64) + margin
    p = sign_flip_p(shifted, np.random.default_rng(0)) / 2.0
    return p if shifted.mean() > 0.0 else 1.0 - p


def verdict(
    difference: float, p_holm: float, *, prompts: int, tests: int, level: float = 0.95
) -> str:
    """What may be said of a pair: `a above b`, `b above a`, `not separated`, or `n too small to
    rank`.

    The last when even the most extreme outcome on this many prompts, read beside the other `tests`
    - 1, could not pass: six prompts and six pairs give 6 * 0.031 = 0.19.
    """
    alpha = 1.0 - level
    if smallest_p(prompts) * tests > alpha:
        return "n too small to rank"
    if not p_holm <= alpha:
        return "not separated"
    return "a above b" if difference > 0.0 else "b above a"


def _checked(values: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
    values = np.asarray(values, dtype=np.float64)
    if values.ndim != 1 or not np.isfinite(values).all():
        raise ValueError(f"expected one finite value a prompt, got shape {values.shape}: {values}")
    return values


def _all_equal(values: Float[np.ndarray, " n"]) -> bool:
    # Means of equal numbers taken in different orders differ in the last bits.
    return bool(np.ptp(values) <= 1e-12 * max(1.0, float(np.abs(values).max())))
