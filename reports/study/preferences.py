"""Estimators of a user study: shares with intervals, strengths, bias of place, agreement.

Two kinds of interval stand side by side. Wilson's and Goodman's take every answer as independent,
which answers of one person are not; they are what a paper that prints percentages could have given.
The bootstrap draws participants again (do other people agree?), or participants and prompts (would
they on other prompts?), each with everything that belongs to it.
"""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float, Int

from reports.records import rows_of
from reports.study.design import MAIN, REPEAT

if TYPE_CHECKING:
    import pandas

RESAMPLES = 2000  # a percentile's own error is then about 4 % of the interval's width
VIRTUAL = 0.5  # wins added on each side, so that a column that never wins has a finite strength


@dataclass(frozen=True)
class Resampled:
    """Weights of a bootstrap: how often each draw holds each participant, and each prompt."""

    participants: Float[np.ndarray, "draws participants"]
    prompts: Float[np.ndarray, "draws prompts"]


def wilson(hits: float, count: float, *, level: float = 0.95) -> tuple[float, float]:
    """Wilson's (1927) interval of a share; nan without answers."""
    from scipy.stats import norm

    if count <= 0:
        return float("nan"), float("nan")
    z = float(norm.ppf((1 + level) / 2))
    share, shrink = hits / count, 1 + z**2 / count
    centre = (share + z**2 / (2 * count)) / shrink
    half = z / shrink * np.sqrt(share * (1 - share) / count + z**2 / (4 * count**2))
    return float(max(0.0, centre - half)), float(min(1.0, centre + half))


def goodman(
    counts: Float[np.ndarray, " outcomes"], *, level: float = 0.95
) -> Float[np.ndarray, "outcomes 2"]:
    """Simultaneous intervals of a multinomial's shares (Goodman 1965): all true at once with
    probability `level` or more.
    """
    from scipy.stats import chi2

    counts = np.asarray(counts, dtype=np.float64)
    n = counts.sum()
    if n <= 0:
        return np.full((counts.size, 2), np.nan)
    b = chi2.ppf(1 - (1 - level) / counts.size, 1)
    spread = np.sqrt(b * (b + 4 * counts * (n - counts) / n))
    low, high = (b + 2 * counts - spread), (b + 2 * counts + spread)
    return np.clip(np.stack([low, high], axis=1) / (2 * (n + b)), 0, 1)


def bradley_terry(
    wins: Float[np.ndarray, "draws columns columns"],
) -> Float[np.ndarray, "draws columns"]:
    """Log strengths of mean zero: log P(i beats j)/P(j beats i) = s_i - s_j (Bradley-Terry 1952).

    wins[:, i, j]: how often i was preferred to j, no difference counted as half a win for each. By
    maximum likelihood with VIRTUAL wins added on each side of every pair, which makes it strictly
    concave. Newton's steps for all draws at once: a bootstrap fits thousands of small models, each
    of which takes a library milliseconds. Raises RuntimeError when a fit does not settle.
    """
    draws, k, _ = wins.shape
    wins = wins + VIRTUAL * (1 - np.eye(k))
    met = wins + wins.swapaxes(1, 2)
    strengths = np.zeros((draws, k))
    for _ in range(100):
        chance = 1 / (1 + np.exp(strengths[:, None, :] - strengths[:, :, None]))  # i beats j
        slope = (wins - met * chance).sum(axis=2)
        curve = met * chance * (1 - chance)
        laplacian = curve.sum(axis=2)[:, :, None] * np.eye(k) - curve
        step = np.linalg.solve(laplacian + 1 / k, slope[:, :, None])[:, :, 0]  # 1/k: mean zero
        longest = np.abs(step).max(axis=1, keepdims=True)
        strengths += step / np.maximum(1, longest)  # far from the optimum a full step overshoots
        if longest.max() < 1e-10:
            return np.asarray(strengths)
    raise RuntimeError("Bradley-Terry strengths did not settle in 100 steps")


def luce(counts: Float[np.ndarray, "draws columns"]) -> Float[np.ndarray, "draws columns"]:
    """Log strengths of mean zero when all columns are always shown together (Luce 1959).

    The likelihood's maximum is then the shares themselves; VIRTUAL is added to every count.
    """
    logs = np.log(counts + VIRTUAL)
    return np.asarray(logs - logs.mean(axis=1, keepdims=True))


def first_choices(
    strengths: Float[np.ndarray, "draws columns"],
) -> Float[np.ndarray, "draws columns"]:
    """The share of first choices that Luce's model expects, were all columns shown at once."""
    weights = np.exp(strengths - strengths.max(axis=1, keepdims=True))
    return np.asarray(weights / weights.sum(axis=1, keepdims=True))


def win_matrices(
    counts: Float[np.ndarray, "draws sets 3"], pairs: Sequence[tuple[int, int]], columns: int
) -> Float[np.ndarray, "draws columns columns"]:
    """wins[:, i, j] from each pair's (first, second, no difference)."""
    wins = np.zeros((len(counts), columns, columns))
    for k, (i, j) in enumerate(pairs):
        first, second, same = counts[:, k].T
        wins[:, i, j] = first + same / 2
        wins[:, j, i] = second + same / 2
    return wins


def resampled(
    participants: int, prompts: int, rng: np.random.Generator, *, draws: int = RESAMPLES
) -> dict[str, Resampled]:
    """`people`: participants drawn with replacement, prompts kept; `both`: prompts drawn as well,
    independently.
    """
    people = rng.multinomial(participants, np.full(participants, 1 / participants), size=draws)
    places = rng.multinomial(prompts, np.full(prompts, 1 / prompts), size=draws)
    people = people.astype(np.float64)
    return {
        "people": Resampled(people, np.ones((draws, prompts))),
        "both": Resampled(people, places.astype(np.float64)),
    }


def bootstrap_counts(
    counts: Int[np.ndarray, "participants prompts sets outcomes"], weights: Resampled
) -> Float[np.ndarray, "draws sets outcomes"]:
    """Each draw's totals."""
    people, prompts, *rest = counts.shape
    flat = counts.reshape(people, -1).astype(np.float64)
    by_prompt = (weights.participants @ flat).reshape(-1, prompts, *rest)
    return np.asarray(np.einsum("dp,dpso->dso", weights.prompts, by_prompt))


def percentiles(
    values: Float[np.ndarray, "draws ..."], *, level: float = 0.95
) -> tuple[Float[np.ndarray, "..."], Float[np.ndarray, "..."]]:
    """The middle `level` of the draws; draws without a value (nan) are left out."""
    tail = (1 - level) / 2
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "All-NaN", RuntimeWarning)  # then the bounds are nan too
        low, high = np.nanquantile(values, [tail, 1 - tail], axis=0)
    return low, high


def place_bias(positions: Int[np.ndarray, " answers"], options: int) -> float:
    """p of "nobody minds the place": each place was chosen as often as the others, but for chance.

    `positions` from 0; answers that name none are left out. Whatever people prefer, the design puts
    it in every place equally often. Exact binomial for two places, chi-square for more.
    """
    from scipy.stats import binomtest, chisquare

    counts = np.bincount(positions, minlength=options)
    if counts.sum() == 0:
        return float("nan")
    if options == 2:
        return float(binomtest(int(counts[0]), int(counts.sum())).pvalue)
    return float(chisquare(counts).pvalue)


def krippendorff(units: Sequence[Sequence[str]]) -> float:
    """Krippendorff's alpha for names: 1 when all who saw the same agree, 0 when as by chance.

    `units`: for each thing judged, what each person said of it; units judged once say nothing. nan
    when nothing was judged twice; 1 when everyone said the same throughout. Krippendorff 2011,
    "Computing Krippendorff's alpha-reliability", the nominal case.
    """
    names = {name: i for i, name in enumerate(sorted({v for unit in units for v in unit}))}
    coincidences = np.zeros((len(names), len(names)))
    for unit in units:
        if len(unit) < 2:
            continue
        counts = np.bincount([names[v] for v in unit], minlength=len(names)).astype(np.float64)
        together = np.outer(counts, counts) - np.diag(counts)
        coincidences += together / (len(unit) - 1)
    margins = coincidences.sum(axis=0)
    n = margins.sum()
    if n == 0:
        return float("nan")
    expected = n**2 - (margins**2).sum()
    observed = n - np.trace(coincidences)
    return float(1 - (n - 1) * observed / expected) if expected > 0 else 1.0


def consistency(table: "pandas.DataFrame") -> tuple[int, int, int]:
    """(same choice, changed to the same place, changed otherwise) over repeated questions.

    A repeat shows every option in another place: who answers by place changes the choice and keeps
    the place. `table` holds the main and repeated trials as `responses` writes them.
    """
    first = {
        (row.participant, row.trial, row.question): row
        for row in rows_of(table[table["kind"] == MAIN])
    }
    same = by_place = otherwise = 0
    for row in rows_of(table[table["kind"] == REPEAT]):
        before = first[row.participant, row.repeats, row.question]
        if row.choice == before.choice:
            same += 1
        elif row.position == before.position:
            by_place += 1
        else:
            otherwise += 1
    return same, by_place, otherwise
