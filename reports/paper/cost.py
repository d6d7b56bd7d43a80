"""Quality against denoiser evaluations: what each column costs, and who is on the frontier.

    python -m reports.paper.cost --runs results/mini/lists/geometry.txt --out DIR \
        --earlier results/mini/lists/geometry.nerf.txt --tables results/mini/tables/geometry

An evaluation is one image under one condition, of every kind and stage: VSD's second network with
its training counts. Columns whose evaluations differ by less than EQUAL are compared at equal cost,
by the paired tests of --tables; `preset=cost` has every method at two equal budgets.
"""

import argparse
from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Any

from reports.metric_names import METRICS
from reports.paper import tables
from reports.paper.files import (
    COLOURS,
    columns_of,
    listed_runs,
    made_from,
    not_run,
    styled,
    write_figure,
)
from reports.records import ReportError, Run, Tables, read_tables, reported, rows_of

if TYPE_CHECKING:
    import pandas
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

EQUAL = 0.02  # of the larger: a prompt more or less in Perp-Neg's or a ramp's favour
QUALITIES = ("truth_iou", "clip_score")
TITLE = "Quality against denoiser evaluations"
MEANING = (
    "Evaluations: one image under one condition each, all kinds and stages of a run, mean over "
    "runs. particle and particle_training are VSD's second network; a training evaluation has a "
    "backward pass besides. On the frontier: no column is as good or better (mean) for as many "
    "evaluations or fewer. Intervals are over prompts; means that differ by less than they say "
    "nothing."
)


def costs(runs: Sequence[Run], earlier: Sequence[Run], columns: Sequence[str]) -> dict[str, Any]:
    """column -> mean evaluations by kind and mean seconds of a run, earlier stages included."""
    before: dict[tuple[str, str, int], list[Run]] = {}
    for run in earlier:
        before.setdefault(run.key, []).append(run)
    found: dict[str, Any] = {}
    for column in columns:
        own = [run for run in runs if run.key[0] == column]
        kinds: dict[str, int] = {}
        seconds = 0.0
        for run in own:
            for stage in (run, *before.get(run.key, [])):
                seconds += stage.seconds or 0.0
                for kind, count in stage.record["evaluations"].items():
                    kinds[kind] = kinds.get(kind, 0) + count
        means = {kind: count / len(own) for kind, count in kinds.items()}
        every = sum(kinds.values()) / len(own)
        found[column] = {"kinds": means, "evaluations": every, "seconds": seconds / len(own)}
    return found


def frontier(evaluations: Mapping[str, float], quality: Mapping[str, float]) -> set[str]:
    """The columns that no other one beats: as cheap and better, or cheaper and as good."""

    def beaten(column: str) -> bool:
        own = evaluations[column], quality[column]
        return any(
            evaluations[other] <= own[0]
            and quality[other] >= own[1]
            and (evaluations[other], quality[other]) != own
            for other in quality
        )

    return {column for column in quality if not beaten(column)}


def assembled(found: Mapping[str, Any], summary: "pandas.DataFrame") -> "pandas.DataFrame":
    """One row a column and quality: its costs, mean and interval, and whether it is on the
    frontier. Raises ReportError where a quality is of several protocols.
    """
    import pandas

    own = summary[(summary["population"] == "intent_to_treat") & summary["column"].isin(found)]
    rows = []
    for metric in QUALITIES:
        chosen = own[own["metric"] == metric]
        if chosen.groupby("column").size().gt(1).any():
            raise ReportError(f"cost: {metric} is of several protocols or stages; keep one")
        means = dict(zip(chosen["column"], chosen["mean"], strict=True))
        first = frontier({c: found[c]["evaluations"] for c in means}, means)
        for row in rows_of(chosen):
            cost = found[row.column]
            rows.append(
                {"column": row.column, "metric": metric, "protocol_id": row.protocol_id}
                | {"mean": row.mean, "lower": row.lower, "upper": row.upper}
                | {"n_prompts": row.n_prompts, "n_failed": row.n_failed}
                | {"evaluations": cost["evaluations"], "seconds": cost["seconds"]}
                | {f"evaluations_{kind}": count for kind, count in cost["kinds"].items()}
                | {"frontier": row.column in first}
            )
    if not rows:
        raise ReportError(f"cost: the summary has none of {', '.join(QUALITIES)}")
    return pandas.DataFrame(rows)


def equal_pairs(found: Mapping[str, Any], pairs: "pandas.DataFrame") -> list[list[str]]:
    """Cells of every two columns of equal cost: pair, evaluations, metric, difference, verdict."""
    cells = []
    for a, b in combinations(found, 2):
        ours = found[a]["evaluations"], found[b]["evaluations"]
        if abs(ours[0] - ours[1]) > EQUAL * max(ours):
            continue
        for metric in QUALITIES:
            chosen = pairs[(pairs["metric"] == metric) & pairs["column_a"].isin([a, b])]
            for row in rows_of(chosen[chosen["column_b"].isin([a, b])]):
                shown = METRICS[metric]
                bounds = f"{shown.text(row.lower)} to {shown.text(row.upper)}"
                said = {"a above b": f"{row.column_a} above", "b above a": f"{row.column_b} above"}
                cells.append(
                    [
                        f"{row.column_a} − {row.column_b}",
                        f"{ours[0]:,.0f}, {ours[1]:,.0f}",
                        shown.label,
                        f"{shown.text(row.difference)}\n{bounds}",
                        f"{row.p_holm:.2g}",
                        said.get(row.verdict, row.verdict),
                    ]
                )
    return cells


def drawn(table: "pandas.DataFrame", columns: Sequence[str]) -> "Figure":
    """A panel a quality: columns as points with intervals, the frontier as steps."""
    from matplotlib.figure import Figure

    metrics = [metric for metric in QUALITIES if metric in set(table["metric"])]
    figure = Figure(figsize=(4.3 * len(metrics), 3.6))
    axes = figure.subplots(1, len(metrics), squeeze=False)[0]
    for ax, metric in zip(axes, metrics, strict=True):
        _panel(ax, table[table["metric"] == metric], columns)
        ax.set_ylabel(METRICS[metric].label)
        ax.set_xlabel("denoiser evaluations a run")
    figure.tight_layout()
    return figure


def _panel(ax: "Axes", own: "pandas.DataFrame", columns: Sequence[str]) -> None:
    ax.grid(True)
    best = own[own["frontier"]].sort_values("evaluations")
    ax.step(best["evaluations"], best["mean"], where="post", color="#687078", linewidth=0.9)
    for row in rows_of(own):
        colour = COLOURS[columns.index(row.column) % len(COLOURS)]
        bars = [[row.mean - row.lower], [row.upper - row.mean]]
        look: Any = {"color": colour, "marker": "o", "markersize": 5, "capsize": 2.5}
        ax.errorbar([row.evaluations], [row.mean], yerr=bars, linewidth=1.1, **look)
        away: Any = {"xytext": (5, 4), "textcoords": "offset points", "fontsize": 8}
        ax.annotate(row.column, (row.evaluations, row.mean), color=colour, **away)
    ax.margins(x=0.16)
    ax.set_xlim(left=0)


def cost_table(table: "pandas.DataFrame", found: Mapping[str, Any]) -> tables.Table:
    """A row a column: evaluations and of which kinds, seconds, qualities."""
    by_key = {(row.column, row.metric): row for row in rows_of(table)}
    rows = []
    for column, cost in found.items():
        kinds = ", ".join(f"{kind} {count:,.0f}" for kind, count in cost["kinds"].items())
        cells = [column, f"{cost['evaluations']:,.0f}", kinds, f"{cost['seconds']:,.0f}"]
        for metric in QUALITIES:
            row = by_key.get((column, metric))
            if row is None:
                cells.append("–")
                continue
            shown = METRICS[metric]
            star = " *" if row.frontier else ""
            bounds = f"{shown.text(row.lower)} – {shown.text(row.upper)}"
            bounds = bounds if row.lower == row.lower else "no interval"
            cells.append(f"{shown.text(row.mean)}{star}\n{bounds}")
        rows.append(cells)
    heads = ["column", "evaluations a run", "of which", "seconds"]
    heads += [METRICS[metric].label for metric in QUALITIES]
    return tables.Table("Costs and quality; * on the frontier", heads, rows, frozenset({0, 2}), 34)


def written(args: argparse.Namespace, runs: Sequence[Run], scored: Tables) -> None:
    """The figure and the table of the same name with `_table`."""
    runs = [run for run in runs if run.evaluations is not None]  # other systems' files tell nothing
    if not runs:
        not_run(args.out, "cost", "no run says how many evaluations it took")
    columns = columns_of(runs, args.columns)
    earlier = [run for path in args.earlier for run in listed_runs(path, task=args.task)]
    found = costs(runs, earlier, columns)
    table = assembled(found, scored.summary)
    notes = [MEANING, *made_from([*earlier, *runs]).splitlines()]
    with styled():
        caption = "\n".join([f"{TITLE}.", *notes])
        write_figure(drawn(table, columns), args.out, "cost", table=table, caption=caption)
    equal = equal_pairs(found, scored.pairs)
    heads = ["difference", "evaluations", "metric", "paired", "p after Holm", "verdict"]
    shown = [cost_table(table, found)]
    if equal:
        title = f"At equal cost: evaluations within {100 * EQUAL:.0f} %"
        shown.append(tables.Table(title, heads, equal, frozenset({0, 5}), wrap=30))
    else:
        notes.append("No two columns of this preset cost the same: see preset=cost.")
    tables.write(args.out, "cost_table", TITLE, shown, numbers=table, notes=notes)


def main(arguments: Sequence[str] | None = None) -> None:
    """cost.{png,svg,csv,txt} and cost_table.{csv,html,md,png,svg,txt}."""
    parser = argparse.ArgumentParser(prog="reports.paper.cost", description=__doc__)
    parser.add_argument("--runs", type=Path, help="list or folder of runs")
    parser.add_argument("--earlier", type=Path, nargs="*", default=[], help="their earlier stages")
    parser.add_argument("--task", default="geometry")
    parser.add_argument("--tables", type=Path, required=True, help="of metrics.score")
    parser.add_argument("--columns", nargs="+", help="in this order")
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args(arguments)
    if args.runs is None:
        not_run(args.out, "cost", f"this preset has no task {args.task!r}")
    runs = listed_runs(args.runs, task=args.task, columns=args.columns)
    written(args, runs, read_tables(args.tables))


if __name__ == "__main__":
    reported(main)
