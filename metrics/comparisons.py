"""The `comparisons` table: every two columns under every reading, paired by prompt.

Views and seeds of a prompt are averaged before anything else, so that a prompt changes sides as a
whole. Only means are compared: a median of ranks is not a mean over prompts. Holm's correction is
over the pairs of one reading.
"""

from collections.abc import Mapping
from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float

from metrics import power, resampling, statistics
from metrics.protocol import protocol_id
from metrics.reading_sources import Column, Group, Sources, protocol_of
from metrics.reading_table import Statistics
from metrics.readings import Reading
from metrics.tables import pair_stage
from pipeline.artifacts import TABLES

if TYPE_CHECKING:
    import pandas

_NO_TEST = {"a_only": float("nan"), "b_only": float("nan"), "p_mcnemar": float("nan")}


def comparisons(
    columns: Mapping[Group, Column], sources: Sources, chosen: Statistics
) -> "pandas.DataFrame":
    """Under intent to treat, between the columns of one preset."""
    import pandas

    names = {r: name for r, name in sources.readings().items() if r.quantity != "median_rank"}
    ids = {reading: protocol_id(protocol_of(reading, sources)) for reading in names}
    rows: list[dict[str, Any]] = []
    for preset in dict.fromkeys(group[0] for group in columns):
        here = {g[2]: column for g, column in columns.items() if g[0] == preset}
        stages = {column: stage for known, stage, column in columns if known == preset}
        pairs = list(combinations(here, 2))
        found = [_compared(here[a], here[b], list(names), chosen, len(pairs)) for a, b in pairs]
        for reading, name in names.items():
            known = {"preset": preset, "protocol": name, **vars(reading)}
            family = [
                {
                    **known,
                    "stage": pair_stage(stages[a], stages[b]),
                    "protocol_id": ids[reading],
                    "column_a": a,
                    "column_b": b,
                    **rest[reading],
                }
                for (a, b), rest in zip(pairs, found, strict=True)
            ]
            rows += _judged(family, level=chosen.level)
    return pandas.DataFrame(rows, columns=list(TABLES["comparisons"]))


def _judged(family: list[dict[str, Any]], *, level: float) -> list[dict[str, Any]]:
    """The pairs of one reading, with corrected p and verdict."""
    corrected = statistics.holm(np.array([row["p"] for row in family]))
    for row, p_holm in zip(family, corrected, strict=True):
        row["p_holm"] = float(p_holm)
        row["verdict"] = statistics.verdict(
            row["difference"],
            row["p_holm"],
            prompts=row["n_prompts"],
            tests=len(family),
            level=level,
        )
    return family


def _compared(
    a: Column, b: Column, readings: list[Reading], chosen: Statistics, tests: int
) -> dict[Reading, dict[str, Any]]:
    """Each reading's mean difference a - b over the prompts that both columns have."""
    prompts = sorted(set(a.prompt_ids) & set(b.prompt_ids))
    left, right = (_prompt_means(column, prompts, readings) for column in (a, b))
    differences = left - right
    n, rng = len(prompts), statistics.generator(chosen.seed, "pairs", *prompts)
    alpha = (1.0 - chosen.level) / tests
    unit = power.minimum_detectable(sd=1.0, prompts=n, alpha=alpha)
    sds = differences.std(axis=0, ddof=1) if n > 1 else np.full(len(readings), np.nan)
    nothing = np.full(len(readings), np.nan)
    interval = resampling.Intervals(nothing, nothing, nothing)
    if n:
        weights = resampling.resampled_weights(np.arange(n), rng, resamples=chosen.resamples)
        interval = resampling.mean_intervals(differences, np.arange(n), weights, level=chosen.level)
    p = resampling.sign_flip_ps(differences, rng, resamples=statistics.PERMUTATIONS)
    single = a.one_seed and b.one_seed
    return {
        reading: {
            "difference": float(interval.mean[i]),
            "lower": float(interval.lower[i]),
            "upper": float(interval.upper[i]),
            "p": float(p[i]),
            "smallest_p": statistics.smallest_p(n),
            # without any spread in the data nothing can be said of what would be noticed
            "minimum_detectable": float(unit * sds[i]) if sds[i] > 0.0 else float("nan"),
            "n_prompts": n,
            **(_mcnemar(reading, left[:, i], right[:, i]) if single else _NO_TEST),
        }
        for i, reading in enumerate(readings)
    }


def _mcnemar(
    reading: Reading, a: Float[np.ndarray, " prompts"], b: Float[np.ndarray, " prompts"]
) -> dict[str, float]:
    """Of hits of whole objects; nan for views, which are not independent, and for shared ties."""
    whole = reading.is_hit and reading.unit in ("object", "majority")
    if not whole or not np.isin([a, b], (0.0, 1.0)).all():
        return _NO_TEST
    found = statistics.mcnemar(a, b)
    return {"a_only": found.a_only, "b_only": found.b_only, "p_mcnemar": found.p}


def _prompt_means(
    column: Column, prompts: list[str], readings: list[Reading]
) -> Float[np.ndarray, "prompts readings"]:
    place = {prompt: number for number, prompt in enumerate(prompts)}
    kept = [i for i, prompt in enumerate(column.prompt_ids) if prompt in place]
    values = np.stack([column.values[reading].mean(axis=1) for reading in readings], axis=1)
    numbers = np.array([place[column.prompt_ids[i]] for i in kept], dtype=np.int64)
    if not kept:
        return np.empty((0, len(readings)))
    return resampling.prompt_means(values[kept], numbers)
