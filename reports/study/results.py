"""The table of a user study: one row per question, population and quantity, with every interval.

| quantity | value | lower, upper | reading |
|---|---|---|---|
| preferred | share of decided answers for column_a over column_b | Wilson | pairs |
| no_difference | share of answers that see none between the two | Wilson | pairs |
| share | share of answers that choose column_a, pooled | Goodman | best |
| share_by_people, share_by_prompts | mean of each person's, each prompt's share | - | best |
| preferred_luce | column_a over column_b as Luce's model has it | - | best |
| strength | log strength of column_a, mean zero | - | both |
| first_choice | share of first choices that the model expects | - | both |
| first_place | share of the answers naming an option that name the first place | Wilson | both |
| consistency | share of repeated questions answered alike | Wilson | both |
| agreement | Krippendorff's alpha | - | both |

people_* and both_* are bootstrap intervals over participants, and over participants and prompts.
p is that of sign flips over participants (of `first_place`: that nobody minds the place), p_holm
corrected over the pairs of a question.
"""

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from metrics import statistics
from reports.study import preferences as pref
from reports.study.design import MAIN
from reports.study.responses import tally
from reports.study.texts import PAIRS, SAME

if TYPE_CHECKING:
    import pandas

KEPT, ALL, FINISHED = "kept", "all", "finished"
POPULATIONS = {
    KEPT: "after the exclusions that were fixed beforehand",
    ALL: "without any exclusion",
    FINISHED: "after the exclusions, without answers at which a failed run was shown",
}
COLUMNS = (
    *("question", "population", "quantity", "column_a", "column_b", "n", "value"),
    *("lower", "upper", "people_lower", "people_upper", "both_lower", "both_upper"),
    *("p", "p_holm", "verdict"),
)
Vector = np.ndarray
Estimate = Callable[[Vector], Vector]  # (draws, sets, outcomes) counts -> (draws, values)


@dataclass(frozen=True)
class Sample:
    """One question's main answers in one population: who chose what, and its bootstrap draws."""

    counts: Vector  # participants, prompts, sets, outcomes
    draws: Mapping[str, Vector]  # "people" and "both": draws, sets, outcomes

    @property
    def total(self) -> Vector:
        """(sets, outcomes)."""
        return np.asarray(self.counts.sum(axis=(0, 1)))


def outcome_sets(columns: Sequence[str], reading: str) -> list[list[str]]:
    """Each set of columns that is compared, and what can be answered to it."""
    if reading == PAIRS:
        return [[a, b, SAME] for a, b in itertools.combinations(columns, 2)]
    return [list(columns)]


def populations(
    table: "pandas.DataFrame", excluded: Sequence[str]
) -> dict[str, "pandas.DataFrame"]:
    """The answers of each population that differs from `kept`, and of `kept`."""
    kept = table[~table["participant"].isin(list(excluded))]
    found = {KEPT: kept}
    if excluded:
        found[ALL] = table
    if kept["failed_shown"].any():
        found[FINISHED] = kept[~kept["failed_shown"]]
    return found


def result_rows(
    table: "pandas.DataFrame",
    *,
    questions: Sequence[str],
    columns: Sequence[str],
    reading: str,
    excluded: Sequence[str],
    draws: int = pref.RESAMPLES,
) -> list[dict[str, Any]]:
    """The table's rows in a fixed order. Equal answers give equal numbers."""
    sets = outcome_sets(columns, reading)
    found = []
    for population, answers in populations(table, excluded).items():
        for question in questions:
            own = answers[answers["question"] == question]
            if own[own["kind"] == MAIN].empty:
                continue
            rng = statistics.generator(0, "user study", question, population)
            sample = read_sample(own, sets, rng, draws=draws)
            estimates = pair_rows if reading == PAIRS else best_rows
            rows = [*estimates(sample, columns, rng), *quality_rows(own, len(sets[0]), reading)]
            found += [{"question": question, "population": population} | row for row in rows]
    return found


def read_sample(
    own: "pandas.DataFrame",
    sets: Sequence[Sequence[str]],
    rng: np.random.Generator,
    *,
    draws: int,
) -> Sample:
    """Counts of one question's answers, with their bootstrap."""
    people = sorted(set(own["participant"]))
    prompts = sorted(set(own.loc[own["kind"] == MAIN, "prompt_id"]))
    counts = tally(own, sets, participants=people, prompts=prompts)
    weights = pref.resampled(len(people), len(prompts), rng, draws=draws)
    boot = {name: pref.bootstrap_counts(counts, weight) for name, weight in weights.items()}
    return Sample(counts, boot)


def estimated(sample: Sample, estimate: Estimate) -> list[dict[str, float]]:
    """Each of the estimate's values, with both bootstrap intervals; none from one participant."""
    values = estimate(sample.total[None])[0]
    rows = [{"value": float(v)} for v in values]
    if sample.counts.shape[0] < 2:
        return rows
    for name, draws in sample.draws.items():
        low, high = pref.percentiles(estimate(draws))
        for row, a, b in zip(rows, low, high, strict=True):
            row |= {f"{name}_lower": float(a), f"{name}_upper": float(b)}
    return rows


def shares(numerator: Vector, denominator: Vector) -> Vector:
    """Their quotient; nan, quietly, where nothing was counted."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(numerator / denominator)


def tested(
    sample: Sample, pairs: Sequence[tuple[Vector, Vector]], rng: np.random.Generator
) -> list[dict[str, Any]]:
    """p, p_holm and verdict of each pair: sign flips of each person's difference in shares.

    `pairs`: per pair, how often each person chose either. Who was not asked says nothing.
    """
    asked = sample.counts.sum(axis=(1, 3))  # participants, sets
    found = []
    for k, (first, second) in enumerate(pairs):
        n = asked[:, min(k, asked.shape[1] - 1)]
        differences = ((first - second)[n > 0] / n[n > 0]).astype(np.float64)
        found.append((differences, statistics.sign_flip_p(differences, rng)))
    corrected = statistics.holm(np.array([p for _, p in found]))
    return [
        {
            "p": p,
            "p_holm": float(holm),
            "verdict": statistics.verdict(
                float(d.mean()) if d.size else float("nan"),
                float(holm),
                prompts=d.size,
                tests=len(found),
            ),
        }
        for (d, p), holm in zip(found, corrected, strict=True)
    ]


def pair_rows(
    sample: Sample, columns: Sequence[str], rng: np.random.Generator
) -> list[dict[str, Any]]:
    """preferred, no_difference, strength, first_choice."""
    names = list(itertools.combinations(columns, 2))
    index = list(itertools.combinations(range(len(columns)), 2))

    def strengths(counts: Vector) -> Vector:
        return pref.bradley_terry(pref.win_matrices(counts, index, len(columns)))

    preferred = estimated(sample, lambda c: shares(c[..., 0], c[..., 0] + c[..., 1]))
    undecided = estimated(sample, lambda c: shares(c[..., 2], c.sum(axis=-1)))
    by_person = sample.counts.sum(axis=1)  # participants, sets, outcomes
    tests = tested(
        sample, [(by_person[:, k, 0], by_person[:, k, 1]) for k in range(len(names))], rng
    )
    rows: list[dict[str, Any]] = []
    for k, (a, b) in enumerate(names):
        first, second, same = (int(v) for v in sample.total[k])
        low, high = pref.wilson(first, first + second)
        row = {"quantity": "preferred", "column_a": a, "column_b": b, "n": first + second}
        rows.append(row | {"lower": low, "upper": high} | preferred[k] | tests[k])
        low, high = pref.wilson(same, first + second + same)
        row = {"quantity": "no_difference", "column_a": a, "column_b": b}
        row |= {"n": first + second + same, "lower": low, "upper": high}
        rows.append(row | undecided[k])
    return rows + model_rows(sample, columns, strengths)


def best_rows(
    sample: Sample, columns: Sequence[str], rng: np.random.Generator
) -> list[dict[str, Any]]:
    """share and its two other means, preferred_luce, strength, first_choice."""
    counts = sample.total[0]
    intervals = pref.goodman(counts)
    pooled = estimated(sample, lambda c: shares(c[:, 0], c[:, 0].sum(axis=1, keepdims=True)))
    rows: list[dict[str, Any]] = []
    for k, column in enumerate(columns):
        row = {"quantity": "share", "column_a": column, "n": int(counts.sum())}
        row |= {"lower": float(intervals[k, 0]), "upper": float(intervals[k, 1])}
        rows.append(row | pooled[k])
    for quantity, axis in (("share_by_people", 1), ("share_by_prompts", 0)):
        units = sample.counts[:, :, 0].sum(axis=axis)
        units = units[units.sum(axis=1) > 0]
        means = shares(units, units.sum(axis=1, keepdims=True)).mean(axis=0)
        rows += [
            {"quantity": quantity, "column_a": c, "n": len(units), "value": float(v)}
            for c, v in zip(columns, means, strict=True)
        ]
    pairs = list(itertools.combinations(range(len(columns)), 2))

    def against(c: Vector) -> Vector:
        own = pref.luce(c[:, 0])
        return np.stack([1 / (1 + np.exp(own[:, j] - own[:, i])) for i, j in pairs], axis=1)

    by_person = sample.counts[:, :, 0].sum(axis=1)
    tests = tested(sample, [(by_person[:, i], by_person[:, j]) for i, j in pairs], rng)
    for (i, j), value, test in zip(pairs, estimated(sample, against), tests, strict=True):
        row = {"quantity": "preferred_luce", "column_a": columns[i], "column_b": columns[j]}
        rows.append(row | {"n": int(counts[i] + counts[j])} | value | test)
    return rows + model_rows(sample, columns, lambda c: pref.luce(c[:, 0]))


def model_rows(sample: Sample, columns: Sequence[str], strengths: Estimate) -> list[dict[str, Any]]:
    """strength and first_choice of every column, from one fit a draw."""
    k = len(columns)

    def both(counts: Vector) -> Vector:
        fitted = strengths(counts)
        return np.concatenate([fitted, pref.first_choices(fitted)], axis=1)

    values = estimated(sample, both)
    n = int(sample.total.sum())
    quantities = ("strength", "first_choice")
    return [
        {"quantity": quantity, "column_a": column, "n": n} | values[q * k + c]
        for q, quantity in enumerate(quantities)
        for c, column in enumerate(columns)
    ]


def quality_rows(own: "pandas.DataFrame", outcomes: int, reading: str) -> list[dict[str, Any]]:
    """first_place, consistency, agreement: what the answers say of themselves."""
    main = own[own["kind"] == MAIN]
    options = outcomes - (reading == PAIRS)
    places = main.loc[main["position"] > 0, "position"].to_numpy() - 1
    first, n = int((places == 0).sum()), len(places)
    low, high = pref.wilson(first, n)
    bias = {"value": first / n if n else float("nan"), "lower": low, "upper": high}
    same, by_place, otherwise = pref.consistency(own)
    repeated = same + by_place + otherwise
    low, high = pref.wilson(same, repeated)
    alike = {"value": same / repeated if repeated else float("nan"), "lower": low, "upper": high}
    judged = main.assign(set=["|".join(sorted(shown.split("|"))) for shown in main["shown"]])
    units = [list(group) for _, group in judged.groupby(["prompt_id", "set"])["choice"]]
    alpha = pref.krippendorff(units)
    return [
        {"quantity": "first_place", "n": n, "p": pref.place_bias(places, options)} | bias,
        {"quantity": "consistency", "n": repeated} | alike,
        {"quantity": "agreement", "n": sum(len(u) > 1 for u in units), "value": alpha},
    ]
