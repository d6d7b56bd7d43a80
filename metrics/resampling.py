"""Intervals of many means at once, from one set of resamples of prompts and of seeds within them.

Arrays are (runs, quantities): one row a (prompt, seed), all views of a run already averaged. The
mean is over prompts, each the mean of its seeds. A resample draws prompts with replacement and,
within every drawn prompt, as many seeds as it has with replacement; with one seed a prompt that is
the bootstrap clustered by prompt. Resamples are rows of weights, so that all quantities of a table
cost one matrix product: 10,000 resamples of 81 prompts for a thousand quantities take seconds.

The second level adds a little: prompts' means already vary with their seeds, and drawing seeds
anew adds (k - 1)/k of that again for k seeds a prompt. Intervals with several seeds are somewhat
wide, never narrow.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

RESAMPLES = 10_000
_AT_ONCE = 200  # quantities a matrix product: 16 MB of resampled means


@dataclass(frozen=True)
class Intervals:
    """Means over prompts and the bounds of their two-sided intervals, one a quantity."""

    mean: Float[np.ndarray, " m"]
    lower: Float[np.ndarray, " m"]
    upper: Float[np.ndarray, " m"]


def prompt_means(
    values: Float[np.ndarray, "runs m"], prompts: Int[np.ndarray, " runs"]
) -> Float[np.ndarray, "prompts m"]:
    """The mean of every prompt's runs; `prompts` numbers them from 0 without gaps."""
    return np.stack([values[prompts == p].mean(axis=0) for p in range(prompts.max(initial=-1) + 1)])


def resampled_weights(
    prompts: Int[np.ndarray, " runs"], rng: np.random.Generator, *, resamples: int = RESAMPLES
) -> Float[np.ndarray, "resamples runs"]:
    """Weights of the runs in each resample: rows add up to one.

    `prompts` says which prompt each run is of, numbered from 0 without gaps.
    """
    counts = np.bincount(prompts)
    if not counts.size or (counts == 0).any():
        raise ValueError(f"prompts must be numbered from 0 without gaps, got {prompts}")
    n, runs = counts.size, prompts.size
    drawn = rng.integers(0, n, size=(resamples, n))
    rows = np.arange(resamples)[:, None] * runs
    weights = np.zeros(resamples * runs)
    order = np.argsort(prompts, kind="stable")
    first = np.concatenate([[0], np.cumsum(counts)[:-1]])
    for k in range(counts.max()):  # the k-th seed of every drawn prompt that has so many
        has = counts[drawn] > k
        seed = (rng.random(drawn.shape) * counts[drawn]).astype(np.int64) if runs > n else 0
        place = rows + order[first[drawn] + seed]
        share = has / (n * counts[drawn])
        weights += np.bincount(place.ravel(), share.ravel(), minlength=weights.size)
    return weights.reshape(resamples, runs)


def mean_intervals(
    values: Float[np.ndarray, "runs m"],
    prompts: Int[np.ndarray, " runs"],
    weights: Float[np.ndarray, "resamples runs"],
    *,
    level: float = 0.95,
) -> Intervals:
    """Bias-corrected accelerated intervals (Efron 1987) of means over prompts.

    The acceleration is the jackknife's over prompts. A quantity that all prompts share has a point
    for an interval; one prompt has none (nan).
    """
    values = np.asarray(values, dtype=np.float64)
    if values.ndim != 2 or not np.isfinite(values).all():
        raise ValueError(f"expected finite values (runs, quantities), got shape {values.shape}")
    of_prompt = prompt_means(values, prompts)
    mean = of_prompt.mean(axis=0)
    bounds = np.full((2, mean.size), np.nan)
    if len(of_prompt) > 1:
        acceleration = _acceleration(of_prompt)
        for start in range(0, mean.size, _AT_ONCE):
            part = slice(start, start + _AT_ONCE)
            means = weights @ values[:, part]
            bounds[:, part] = _bca(means, mean[part], acceleration[part], level)
        same = _same(values)
        bounds[:, same] = mean[same]
    return Intervals(mean, *bounds)


def median_interval(
    values: Float[np.ndarray, "runs views"],
    weights: Float[np.ndarray, "resamples runs"],
    *,
    level: float = 0.95,
) -> tuple[float, float, float]:
    """(median over all views, lower, upper) by percentiles of the resampled medians.

    Of percentiles, since the jackknife behind an acceleration fails for medians (Efron 1982).
    """
    runs, views = values.shape
    known, place = np.unique(values, return_inverse=True)  # ranks take few values
    share = np.zeros((runs, known.size))
    np.add.at(share, (np.arange(runs)[:, None], place.reshape(runs, views)), 1.0 / views)
    total = np.cumsum(weights @ share, axis=1)
    # half of the weight may end exactly between two values, which the median then averages
    below, above = (np.minimum((total < half).sum(axis=1), known.size - 1) for half in _HALVES)
    medians = (known[below] + known[above]) / 2.0
    # whole order statistics, the outer ones: between two of them an infinite ratio has no value
    medians.sort()
    last = (1.0 - level) / 2.0 * (len(medians) - 1)
    lower, upper = medians[int(last)], medians[len(medians) - 1 - int(last)]
    if runs < 2:
        lower = upper = np.nan
    return float(np.median(values)), float(lower), float(upper)


_HALVES = (0.5 - 1e-9, 0.5 + 1e-9)  # weights are sums of n terms: rounding stays below 1e-12


def _acceleration(of_prompt: Float[np.ndarray, "prompts m"]) -> Float[np.ndarray, " m"]:
    """Of the mean, whose jackknife deviations are the prompts' own over n - 1."""
    deviation = of_prompt - of_prompt.mean(axis=0)
    spread = (deviation**2).sum(axis=0)
    cubes = (deviation**3).sum(axis=0)
    return np.divide(cubes, 6.0 * spread**1.5, out=np.zeros_like(cubes), where=spread > 0.0)


def _bca(
    means: Float[np.ndarray, "resamples m"],
    mean: Float[np.ndarray, " m"],
    acceleration: Float[np.ndarray, " m"],
    level: float,
) -> Float[np.ndarray, "2 m"]:
    from scipy.special import ndtr, ndtri

    # hits take few values: a resampled mean that equals the mean but for rounding must count half
    near = 1e-12 * np.maximum(1.0, np.abs(mean))
    below = ((means < mean - near).mean(axis=0) + (means <= mean + near).mean(axis=0)) / 2.0
    with np.errstate(invalid="ignore"):  # a quantity that never varies gives nan, replaced above
        bias = ndtri(below)
        tails = ndtri([(1.0 - level) / 2.0, (1.0 + level) / 2.0])[:, None]
        share = ndtr(bias + (bias + tails) / (1.0 - acceleration * (bias + tails)))
    means.sort(axis=0)
    place = np.nan_to_num(share) * (len(means) - 1)
    left = np.floor(place).astype(np.int64)
    right = np.minimum(left + 1, len(means) - 1)
    columns = np.arange(mean.size)
    return means[left, columns] + (place - left) * (means[right, columns] - means[left, columns])


def _same(values: Float[np.ndarray, "runs m"]) -> Bool[np.ndarray, " m"]:
    scale = np.maximum(1.0, np.abs(values).max(axis=0))
    return np.ptp(values, axis=0) <= 1e-12 * scale


def sign_flip_ps(
    differences: Float[np.ndarray, "prompts m"], rng: np.random.Generator, *, resamples: int = 9999
) -> Float[np.ndarray, " m"]:
    """`statistics.sign_flip_p` of each column, all from one set of sign patterns.

    All views and seeds of a prompt change sign together. Exact up to 13 prompts for the default
    number of resamples; above that the smallest p is 2 / (resamples + 1).
    """
    differences = np.asarray(differences, dtype=np.float64)
    n = len(differences)
    if n == 0:
        return np.full(differences.shape[1], np.nan)
    exact = 2.0**n <= resamples
    if exact:
        signs = 1.0 - 2.0 * ((np.arange(2**n)[:, None] >> np.arange(n)) & 1)
    else:
        signs = 1.0 - 2.0 * rng.integers(0, 2, size=(resamples, n))
    p = np.ones(differences.shape[1])
    for start in range(0, p.size, _AT_ONCE):
        part = slice(start, start + _AT_ONCE)
        sums, observed = signs @ differences[:, part], differences[:, part].sum(axis=0)
        near = 1e-12 * np.maximum(1.0, np.abs(differences[:, part]).sum(axis=0))
        extra = 0 if exact else 1  # the observed pattern is one of them
        tails = [(sums >= observed - near).sum(axis=0), (sums <= observed + near).sum(axis=0)]
        p[part] = 2.0 * (np.minimum(*tails) + extra) / (len(signs) + extra)
    return np.minimum(p, 1.0)
