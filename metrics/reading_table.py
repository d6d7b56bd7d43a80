"""The `protocols` table: every reading of every column, with its interval.

All means of a column come from one set of resamples of its prompts (and of seeds within them), so
that a thousand readings cost little more than one, and a further reading changes no number.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from metrics import resampling, statistics
from metrics.protocol import protocol_id
from metrics.reading_sources import Column, Group, Sources, protocol_of
from metrics.readings import Reading

if TYPE_CHECKING:
    import pandas

INTENT_TO_TREAT, COMPLETERS = "intent_to_treat", "completers"


@dataclass(frozen=True)
class Statistics:
    """How intervals are made."""

    level: float
    resamples: int
    seed: int


def table(
    columns: Mapping[Group, Column], sources: Sources, chosen: Statistics
) -> tuple["pandas.DataFrame", dict[str, dict[str, Any]]]:
    """The `protocols` table, and the protocol behind every id in it."""
    import pandas

    every = sources.readings() | sources.left_out()
    described = {reading: protocol_of(reading, sources) for reading in every}
    ids = {reading: protocol_id(protocol) for reading, protocol in described.items()}
    rows: list[dict[str, Any]] = []
    for group, column in columns.items():
        rows += _group_rows(group, column, sources, ids, chosen)
    frame = pandas.DataFrame(rows)
    same = ["preset", "stage", "column", "quantity", "unit", "prefix", "candidates", "ties"]
    spread = frame.groupby([*same, "population"])["value"]
    frame["background_spread"] = spread.transform("max") - spread.transform("min")
    return frame, dict(sorted((ids[r], described[r]) for r in ids))


def _group_rows(
    group: Group,
    column: Column,
    sources: Sources,
    ids: Mapping[Reading, str],
    chosen: Statistics,
) -> list[dict[str, Any]]:
    """Rows of one column; `completers` repeat the numbers when no run failed."""
    failed = np.array([run.failed for run in column.runs])
    counts = {"n_runs": failed.size, "n_failed": int(failed.sum()), "level": chosen.level}
    names = sources.readings()
    rows: list[dict[str, Any]] = []
    measured: dict[Reading, dict[str, Any]] = {}
    for population in (INTENT_TO_TREAT, COMPLETERS):
        if population == INTENT_TO_TREAT:
            measured = measure(column, chosen)
        elif failed.any():
            runs = [run for run in column.runs if not run.failed]
            part = {reading: found[~failed] for reading, found in column.values.items()}
            measured = measure(Column(runs, part), chosen)
        for reading, number in measured.items():
            rows.append(_row(group, reading, names[reading], ids) | counts | number)
            rows[-1]["population"] = population
    nothing = {**_EMPTY, "n_queries": 0, "n_prompts": 0}
    for reading, name in sources.left_out().items():
        why = f"not run: the prefix {reading.prefix!r} was not embedded"
        rows.append(_row(group, reading, name, ids) | counts | nothing)
        rows[-1] |= {"population": INTENT_TO_TREAT, "status": why}
    for row in rows:
        row["n_candidates"] = len(sources.pools.get(row["candidates"], []))
    return rows


_EMPTY = dict.fromkeys(("value", "lower", "upper"), float("nan")) | {"interval": "none"}


def _row(group: Group, reading: Reading, name: str, ids: Mapping[Reading, str]) -> dict[str, Any]:
    preset, stage, column = group
    known = {"preset": preset, "stage": stage, "column": column, "protocol": name}
    return known | vars(reading) | {"protocol_id": ids[reading], "status": "ok"}


def measure(column: Column, chosen: Statistics) -> dict[Reading, dict[str, Any]]:
    """Value, interval and counts of each reading over these runs."""
    runs, values = column.runs, column.values
    prompts = np.unique(column.prompt_ids, return_inverse=True)[1]
    n = int(prompts.max(initial=-1)) + 1
    sizes = {"n_prompts": n}
    if n == 0:
        return {r: {**_EMPTY, **sizes, "n_queries": 0} for r in values}
    rng = statistics.generator(chosen.seed, "resamples", *(f"{r.prompt_id}/{r.seed}" for r in runs))
    weights = resampling.resampled_weights(prompts, rng, resamples=chosen.resamples)
    means = [reading for reading in values if reading.quantity != "median_rank"]
    matrix = np.stack([values[reading].mean(axis=1) for reading in means], axis=1)
    bounds = resampling.mean_intervals(matrix, prompts, weights, level=chosen.level)
    kind = "nested BCa" if len(runs) > n else "BCa"
    found: dict[Reading, dict[str, Any]] = {}
    for i, reading in enumerate(means):
        number: dict[str, Any] = {"value": float(bounds.mean[i])}
        number |= {"lower": float(bounds.lower[i]), "upper": float(bounds.upper[i])}
        number["interval"] = kind if n > 1 else "none"
        every = matrix[:, i]
        if reading.is_hit and (np.all(every == 0.0) or np.all(every == 1.0)):
            # as everywhere: n of n is not certainty, and the prompts are the n
            wilson = statistics.hit_interval(np.full(n, every[0]), rng, level=chosen.level)
            number |= {"lower": wilson.lower, "upper": wilson.upper, "interval": "Wilson"}
        found[reading] = number
    for reading in values.keys() - found.keys():
        median, lower, upper = resampling.median_interval(
            values[reading], weights, level=chosen.level
        )
        number = {"value": median, "lower": lower, "upper": upper}
        found[reading] = {**number, "interval": "percentile" if n > 1 else "none"}
    return {r: {**found[r], **sizes, "n_queries": int(values[r].size)} for r in values}
