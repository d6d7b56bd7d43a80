"""One check of a statement on one recorded table: what it found, and what so many objects allow.

A check is corrected for what is read beside it. The tables of columns, of speed and of pictures
beside objects bring p by Holm; here intervals are widened and p multiplied by the number of the
statement's checks (Bonferroni), which asks more than a statement needs that must pass every one.

A check decides nothing where even the most extreme outcome could not have passed: the smallest
two-sided p of a paired test of n objects is 2 / 2^n, whatever an interval of a bootstrap says of
six of them.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from statistics import NormalDist
from typing import TYPE_CHECKING

import numpy as np

from metrics.statistics import generator, sign_flip_p, smallest_p
from reports.claims import Check
from reports.metric_names import METRICS
from reports.records import ReportError

if TYPE_CHECKING:
    import pandas

HOLDS, FAILS, UNDECIDED = "holds", "fails", "undecided"
ALPHA = 0.05  # two-sided; the tables' intervals are at 95 %
NOT_SEPARATED = "not separated"
Bounds = tuple[float, float, float]  # a value, the lower and the upper end of its interval
# of a table with a row an object: what is an object, and which columns tell its rows apart
UNITS = {
    "fig2b": ("prompts", "prompt_id", "omega"),
    "fig6": ("edits", "edit", "column"),
    "fig7": ("edits", "edit", "column"),
}
CALLED = {
    "iou_floor": "best wrong shape's",
    "iou_ball": "the ball's",
    "r_at_1_object": "R@1 of objects",
    "strict_hit_object": "strict hits of objects",
    "truth_iou": "IoU",
    "to_render": "distance to a render",
    "outside": "beside the object",
    "clipped": "clipped pixels",
}


@dataclass(frozen=True)
class Table:
    """A recorded table and where a reader finds it."""

    frame: "pandas.DataFrame"
    record: str


@dataclass(frozen=True)
class Found:
    """What one check found: `short` for a cell, `number`, `value` and `p` for a row; `n` of
    `units`; `points` is the sign of what was found, `why` says what kept it from deciding.
    """

    verdict: str
    number: str
    short: str
    value: str
    p: str
    n: int
    units: str
    points: int
    why: str = ""


def judged(check: Check, tables: Mapping[str, Table], *, tests: int) -> Found | None:
    """What the check found, beside the statement's other `tests` - 1; None where its table or its
    rows were not run.
    """
    if check.table not in tables:
        return None
    return KINDS[check.kind](check, tables[check.table].frame, tests)


def _sole(rows: "pandas.DataFrame", what: str) -> "pandas.Series | None":
    if len(rows) > 1:
        raise ReportError(f"{what}: {len(rows)} rows of several protocols or stages; keep one")
    return rows.iloc[0] if len(rows) else None


def _tested(
    name: str, between: Bounds, p: float, n: int, tests: int, *,
    units: str = "prompts", decided: bool | None = None, label: str = "",
) -> Found:  # fmt: skip
    """Of a difference with its interval and a p that is corrected for all `tests`; `decided` is
    what the table itself says.
    """
    value, lower, upper = between
    few = smallest_p(n) * tests > ALPHA
    passed = (p <= ALPHA if decided is None else decided) and not few
    points = int(np.sign(value))
    verdict = UNDECIDED if not passed or not points else HOLDS if points > 0 else FAILS
    why = too_few(n, tests, units) if few else "" if passed else NOT_SEPARATED
    return Found(
        verdict, name, f"{label or name}: {signed(value)}",
        f"{signed(value)} ({signed(lower)} to {signed(upper)})", f"{p:.2g}", n, units, points, why,
    )  # fmt: skip


def too_few(n: int, tests: int, units: str = "prompts") -> str:
    """Why `n` decide nothing, and how many could."""
    enough = next((k for k in range(n, 1000) if smallest_p(k) * tests <= ALPHA), None)
    could = f"{enough} could decide" if enough else f"no number could, among {tests} comparisons"
    return f"{n} {units} are too few, {could}"


def signed(value: float) -> str:
    """Three digits behind a sign."""
    return f"{value:+.3g}".replace("-", "−")


def called(metric: str) -> str:
    """A metric as a reader knows it."""
    return CALLED.get(metric) or (METRICS[metric].label if metric in METRICS else metric)


def _pair(check: Check, table: "pandas.DataFrame", tests: int) -> Found | None:
    columns = {check.a, check.b}
    chosen = table[table["metric"] == check.metric]
    beside = [{a, b} == columns for a, b in zip(chosen.column_a, chosen.column_b, strict=True)]
    row = _sole(chosen[beside], f"{check.metric} of {check.a} and {check.b}")
    if row is None:
        return None
    value, *ends = (float(row[name]) for name in ("difference", "lower", "upper"))
    if row["column_a"] != check.a:
        value, ends = -value, [-end for end in reversed(ends)]
    family = chosen[chosen["protocol_id"] == row["protocol_id"]]
    name = f"`{check.a}` − `{check.b}`, {called(check.metric)}"
    return _tested(
        name, (value, ends[0], ends[1]), float(row["p_holm"]), int(row["n_prompts"]), len(family),
        decided=row["verdict"] in ("a above b", "b above a"), label=called(check.metric),
    )  # fmt: skip


def _mean(check: Check, table: "pandas.DataFrame", tests: int) -> Found | None:
    """Of a floor the whole interval counts: the tables have none of the difference by prompt."""
    rows = table[(table["population"] == "intent_to_treat") & (table["column"] == check.a)]
    own = _sole(rows[rows["metric"] == check.metric], f"{check.metric} of {check.a}")
    bound: Bounds | None = (float(check.b),) * 3 if check.kind == "share" else None
    if bound is None:
        floor = _sole(rows[rows["metric"] == check.b], f"{check.b} of {check.a}")
        bound = None if floor is None else _bounds(floor, "mean")
    if own is None or bound is None:
        return None
    against = "" if check.kind == "share" else f"{called(str(check.b))} "
    units = "meshes" if check.table == "texture" else "prompts"
    many = (int(own["n_prompts"]), tests, units)
    return _placed(called(check.metric), _bounds(own, "mean"), bound, against, many)


def _norm(check: Check, table: "pandas.DataFrame", tests: int) -> Found | None:
    quantity, third = check.metric.split()
    rows = table[(table["column"] == check.a) & (table["quantity"] == quantity)]
    row = _sole(rows[rows["third"] == third], f"{check.metric} of {check.a}")
    if row is None:
        return None
    name, many = f"{quantity}, {third} third", (int(row["n_prompts"]), tests, "prompts")
    return _placed(name, _bounds(row, "value"), (float(check.b),) * 3, "", many)


def _bounds(row: "pandas.Series", value: str) -> Bounds:
    return float(row[value]), float(row["lower"]), float(row["upper"])


def _widened(of: Bounds, tests: int) -> Bounds:
    """From 95 % to what `tests` together ask, as of a normal mean; ends without end as they are."""
    z = NormalDist().inv_cdf
    factor = z(1.0 - ALPHA / 2.0 / tests) / z(1.0 - ALPHA / 2.0)
    middle, *ends = of
    lower, upper = (
        middle + factor * (end - middle) if np.isfinite([middle, end]).all() else end
        for end in ends
    )
    return middle, lower, upper


def _placed(
    name: str, own: Bounds, bound: Bounds, against: str, many: tuple[int, int, str]
) -> Found:
    """Of an interval against a bound, or against another interval. `many`: n, tests, units."""
    n, tests, units = many
    few = smallest_p(n) * tests > ALPHA
    wide, other = _widened(own, tests), _widened(bound, tests)
    above, below = wide[1] > other[2], wide[2] < other[1]
    verdict = UNDECIDED if few else HOLDS if above else FAILS if below else UNDECIDED
    why = too_few(n, tests, units) if few else "" if above or below else NOT_SEPARATED
    value = f"{own[0]:.3g} ({own[1]:.3g} to {own[2]:.3g}) against {against}{bound[0]:.3g}"
    if bound[1] < bound[2]:
        value += f" ({bound[1]:.3g} to {bound[2]:.3g})"
    short = f"{name}: {own[0]:.3g}, {against or 'bound '}{bound[0]:.3g}"
    points = int(np.sign(own[0] - bound[0]))
    return Found(verdict, name, short, value, "", n, units, points, why)


def _speed(check: Check, table: "pandas.DataFrame", tests: int) -> Found | None:
    """A row's difference is in steps, negative where `a` is faster."""
    rows = table[(table["kind"] == "shared") & (table["reference"] == check.b)]
    rows = rows[rows["metric"] == check.metric]
    family = int((rows["column"] != check.b).sum())
    row = _sole(rows[rows["column"] == check.a], f"steps of {check.a} by {check.metric}")
    if row is None or check.a == check.b:
        return None
    value, upper, lower = (
        -float(row[name]) for name in ("difference", "difference_lower", "difference_upper")
    )
    name = f"steps saved by {called(check.metric)}"
    if row["n_not_reached"]:
        name += f" ({row['n_not_reached']:g} of {row['n_runs']:g} never there)"
    return _tested(name, (value, lower, upper), float(row["p_holm"]), int(row["n_pairs"]), family,
                   decided=row["verdict"] in ("faster", "slower"))  # fmt: skip


def _beside(check: Check, table: "pandas.DataFrame", tests: int) -> Found | None:
    rows = table[(table["column"] == check.a) & (table["measure"] == check.metric)]
    row = _sole(rows, f"{check.metric} of {check.a}")
    if row is None:
        return None
    between = (float(row["difference"]), float(row["low"]), float(row["high"]))
    decided = row["verdict"] in ("2d above 3d", "3d above 2d")
    return _tested(called(check.metric), between, float(row["p_holm"]), int(row["prompts"]),
                   len(table), decided=decided)  # fmt: skip


def _units(check: Check, table: "pandas.DataFrame", tests: int) -> Found | None:
    """Of objects that have both numbers, with the extremes for an interval; rows of one object
    (seeds, diversities) are averaged.
    """
    units, unit, key = UNITS[check.table]
    known = table.astype({key: str})
    first, second = (_side(part, known, unit, key) for part in (check.a, check.b))
    difference = (first - second).dropna().to_numpy()
    if not len(difference):
        return None
    p = min(1.0, sign_flip_p(difference, generator(0, check.table, check.metric)) * tests)
    between = (difference.mean(), difference.min(), difference.max())
    return _tested(check.metric, between, p, len(difference), tests, units=units)


def _side(part: str | float, table: "pandas.DataFrame", unit: str, key: str) -> "pandas.Series":
    """The mean of a measure by object, or a number for each of them; empty without its rows."""
    import pandas

    if not isinstance(part, str):
        return pandas.Series(float(part), index=table[unit].unique())
    column, measure = part.split()
    rows = table[table[key] == column]
    return rows.astype({measure: float}).groupby(unit)[measure].mean()


KINDS: dict[str, Callable[[Check, "pandas.DataFrame", int], Found | None]] = {
    "pair": _pair,
    "floor": _mean,
    "share": _mean,
    "norm": _norm,
    "speed": _speed,
    "beside": _beside,
    "units": _units,
}
