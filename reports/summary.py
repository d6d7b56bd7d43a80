"""The tables of a page: one row per column of the comparison, one cell per number, each with its
protocol.

Readings of one metric under different protocols are different numbers and never share a table
column. A reading is per object when its scores stand under view "object", else per view.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from reports.metric_names import (
    COSTS,
    FLOORS,
    GROUPS,
    HIDDEN,
    METRICS,
    OTHER,
    RETRIEVAL,
    STRICT,
    Metric,
)
from reports.records import Run, Tables, rows_of

INTENT_TO_TREAT, COMPLETERS = "intent_to_treat", "completers"
TOO_SMALL = "n too small to rank"


@dataclass(frozen=True)
class Reading:
    """One table column: a metric under one protocol, per view or per object.

    `name` is the summary's, `metric` that of the scores: `r_at_1_object@white` is a reading of
    `r_at_1`. `index` is its place among the readings, `note` numbers its protocol on the page.
    """

    name: str
    metric: str
    protocol_id: str
    level: str
    shown: Metric
    index: int = 0
    note: int = 0
    protocol: Mapping[str, Any] = field(default_factory=dict)

    @property
    def variant(self) -> str:
        """What the name says of the protocol: another background; else empty."""
        return self.name.partition("@")[2]

    @property
    def group(self) -> str:
        """The heading above the label; what is measured both ways says which."""
        if self.variant:
            return f"Over {self.variant}"
        told = self.shown.group == RETRIEVAL
        return f"{RETRIEVAL}, per {self.level}" if told else self.shown.group

    @property
    def label(self) -> str:
        """The metric's label; it names the level where the heading does not."""
        told = self.shown.group == STRICT or self.variant
        return f"{self.level} {self.shown.label}" if told else self.shown.label


def readings(tables: Tables) -> list[Reading]:
    """The readings that the summary holds, by group and then in METRICS' order."""
    names = tables.summary[["metric", "protocol_id"]].drop_duplicates()
    per_view = set(tables.scores.loc[tables.scores["view"] != "object", "metric"])
    known = []
    for row in rows_of(names):
        plain = row.metric.partition("@")[0]
        metric = plain.removesuffix("_object")
        if metric in HIDDEN:
            continue
        level = "view" if plain == metric and metric in per_view else "object"
        shown = METRICS.get(metric, Metric(OTHER, metric, metric, decimals=3))
        known.append(Reading(row.metric, metric, row.protocol_id, level, shown))
    known.sort(key=_place)
    notes = {name: i + 1 for i, name in enumerate(dict.fromkeys(r.protocol_id for r in known))}
    return [
        replace(
            r,
            index=i,
            note=notes[r.protocol_id],
            protocol=tables.protocols.get(r.protocol_id, {}),
        )
        for i, r in enumerate(known)
    ]


def numbered(parts: Sequence[Sequence[Reading]]) -> list[list[Reading]]:
    """The readings of several stages with one numbering of protocols across them all."""
    known = [reading.protocol_id for part in parts for reading in part]
    notes = {name: i + 1 for i, name in enumerate(dict.fromkeys(known))}
    return [[replace(r, note=notes[r.protocol_id]) for r in part] for part in parts]


def protocols(parts: Sequence[Sequence[Reading]]) -> list[list[Reading]]:
    """The readings by protocol, in the order of its number; each label once."""
    found: dict[int, dict[str, Reading]] = {}
    for reading in (reading for part in parts for reading in part):
        found.setdefault(reading.note, {}).setdefault(reading.name, reading)
    return [list(found[note].values()) for note in sorted(found)]


def grouped(shown: Sequence[Reading]) -> list[dict[str, Any]]:
    """The page's tables of numbers: title, groups of readings, costs or not, folded or not."""
    main = [r for r in shown if not r.variant]
    parts = (
        ("Retrieval", [r for r in main if r.shown.group in (RETRIEVAL, STRICT)]),
        (
            "Truth, appearance and cost",
            [r for r in main if r.shown.group not in (RETRIEVAL, STRICT)],
        ),
        ("The same views over other backgrounds", [r for r in shown if r.variant]),
    )
    tables = []
    for i, (title, members) in enumerate(parts):
        groups: dict[str, list[Reading]] = {}
        for reading in members:
            groups.setdefault(reading.group, []).append(reading)
        if groups or i == 1:
            table = {"title": title, "groups": list(groups.items())}
            tables.append({**table, "costs": i == 1, "folded": i == 2})
    return tables


def _place(reading: Reading) -> tuple[str, int, bool, int, str]:
    metrics = list(METRICS)
    metric = metrics.index(reading.metric) if reading.metric in METRICS else len(metrics)
    both = reading.shown.group in (RETRIEVAL, STRICT)
    group = GROUPS.index(reading.shown.group)
    return reading.variant, group, both and reading.level == "object", metric, reading.name


@dataclass(frozen=True)
class Number:
    """A number with its interval as text, and both as positions 0-100 within the table column."""

    text: str
    interval: str = ""
    position: float | None = None
    lower: float | None = None
    upper: float | None = None
    floors: Mapping[str, tuple[str, float | None]] = field(default_factory=dict)


def metrics_table(
    tables: Tables, shown: Sequence[Reading], *, columns: Sequence[str], population: str
) -> dict[str, list[Number]]:
    """column -> one Number per reading, for one population; absent numbers are en dashes.

    What has no intent-to-treat value (appearance: a missing picture has no sharpness) stands for
    the finished runs in either population.
    """
    order = {population: 1, COMPLETERS: 0}
    chosen = tables.summary[tables.summary["population"].isin(list(order))]
    ranked = sorted(rows_of(chosen), key=lambda r: order[r.population])
    by_key = {(r.column, r.metric, r.protocol_id): r for r in ranked}
    floors = {(r.column, r.metric): r.mean for r in ranked}
    result: dict[str, list[Number]] = {column: [] for column in columns}
    for reading in shown:
        rows = [by_key.get((column, reading.name, reading.protocol_id)) for column in columns]
        below = [
            {
                name: floors[column, metric]
                for name, metric in names.items()
                if (column, metric) in floors
            }
            for names in [FLOORS.get(reading.metric, {})]
            for column in columns
        ]
        ends = [v for r in rows if r is not None for v in (r.mean, r.lower, r.upper)]
        ends += [v for named in below for v in named.values()]
        span = _span([v for v in ends if math.isfinite(v)])
        for column, row, named in zip(columns, rows, below, strict=True):
            result[column].append(_number(row, reading.shown, span, named))
    return result


def _span(values: Sequence[float]) -> tuple[float, float]:
    low, high = (min(values), max(values)) if values else (0.0, 1.0)
    return (low, high) if high > low else (low - 0.5, high + 0.5)


def _number(
    row: Any, shown: Metric, span: tuple[float, float], floors: Mapping[str, float]
) -> Number:
    if row is None:
        return Number("–")

    def place(value: float) -> float | None:
        if not math.isfinite(value):
            return None
        return round(4 + 92 * (value - span[0]) / (span[1] - span[0]), 1)

    finite = math.isfinite(row.lower) and math.isfinite(row.upper)
    return Number(
        shown.text(row.mean),
        f"{shown.text(row.lower)} – {shown.text(row.upper)}" if finite else "no interval",
        place(row.mean),
        place(row.lower),
        place(row.upper),
        {name: (shown.text(value), place(value)) for name, value in floors.items()},
    )


def costs(runs: Sequence[Run], columns: Sequence[str]) -> dict[str, list[Number]]:
    """column -> mean and range over its runs of seconds and of denoiser evaluations."""
    result: dict[str, list[Number]] = {}
    for column in columns:
        own = [run for run in runs if run.key[0] == column]
        kinds = ([run.seconds for run in own], [run.evaluations for run in own])
        result[column] = [
            _range([v for v in values if v is not None], shown)
            for values, shown in zip(kinds, COSTS.values(), strict=True)
        ]
    return result


def _range(values: Sequence[float], shown: Metric) -> Number:
    if not values:
        return Number("–")
    mean, low, high = sum(values) / len(values), shown.text(min(values)), shown.text(max(values))
    return Number(f"{mean:,.0f}", f"{low} – {high}" if low != high else "each run")


def counts(tables: Tables, columns: Sequence[str]) -> dict[str, dict[str, int]]:
    """column -> n_prompts, n_runs, n_failed of the intent-to-treat population; zeros if it has
    none.
    """
    chosen = tables.summary[tables.summary["population"] == INTENT_TO_TREAT]
    names = ("n_prompts", "n_runs", "n_failed")
    result = {}
    for column in columns:
        rows = chosen[chosen["column"] == column]
        result[column] = {name: int(rows[name].max()) if len(rows) else 0 for name in names}
    return result


def verdicts(
    tables: Tables, shown: Sequence[Reading], *, columns: Sequence[str]
) -> dict[str, Any] | None:
    """The pairwise comparisons as rows (reading) x pairs, and one sentence on what n allows; or
    None.
    """
    pairs = tables.pairs
    pairs = pairs[pairs["column_a"].isin(columns) & pairs["column_b"].isin(columns)]
    if pairs.empty:
        return None
    names = list(dict.fromkeys(zip(pairs["column_a"], pairs["column_b"], strict=True)))
    by_key = {(r.metric, r.protocol_id, r.column_a, r.column_b): r for r in rows_of(pairs)}
    rows = []
    for reading in [r for r in shown if not r.variant]:
        cells = [by_key.get((reading.name, reading.protocol_id, *name)) for name in names]
        if any(cell is not None for cell in cells):
            rows.append((reading, [_verdict(cell, reading.shown) for cell in cells]))
    smallest = float(pairs["smallest_p"].min())
    n = int(pairs["n_prompts"].max())
    small = int((pairs["verdict"] == TOO_SMALL).sum())
    return {"pairs": names, "rows": rows, "smallest_p": f"{smallest:.2g}", "n": n} | {
        "all_small": small == len(pairs),
        "any_small": small > 0,
        "holm": f"{min(1.0, smallest * len(names)):.2g}",
    }


def _verdict(row: Any, shown: Metric) -> dict[str, str] | None:
    if row is None:
        return None
    words = {"a above b": f"{row.column_a} above", "b above a": f"{row.column_b} above"}
    words |= {TOO_SMALL: "too small to rank", "not separated": "not separated"}
    kind = {"a above b": "separated", "b above a": "separated", TOO_SMALL: "small"}
    return {
        "difference": ("+" if row.difference > 0 else "") + shown.text(row.difference),
        "interval": f"{shown.text(row.lower)} to {shown.text(row.upper)}"
        if math.isfinite(row.lower) and math.isfinite(row.upper)
        else "no interval",
        "p": f"p {row.p:.2g}, {row.p_holm:.2g} after Holm",
        "verdict": words.get(row.verdict, row.verdict),
        "kind": kind.get(row.verdict, "none"),
    }
