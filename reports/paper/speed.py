"""Score against steps and against denoiser evaluations, and when nine tenths of the way are done.

    python -m reports.paper.speed --tables DIR --runs results/mini/lists/geometry.nerf.txt --out DIR

Reads the tables of `metrics.speed`. Without --tables (no run keeps its scene on the way) the figure
is recorded as not run and the program fails. The paper's statement is that negative prompts
accelerate.
"""

import argparse
from collections.abc import Sequence
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
from reports.records import ReportError, reported, rows_of

if TYPE_CHECKING:
    import pandas
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

AGAINST = {"step": "optimisation step", "evaluations": "denoiser evaluations until then"}
LABELS = {"truth_iou": "IoU with the true object", "clip_score": "CLIP score"}
KINDS = {"own": "to its own end", "shared": "to where {reference} ends"}
MEANING = (
    "A score's way is counted from its start to its end; the table has the step at which a run has "
    "first come nine tenths of it, straight between the steps at which its scene was kept, mean "
    "over prompts with its interval. To its own end: how a run spends its steps; a column that "
    "ends low gets there early. To where {reference} ends: who is faster to the same place; a run "
    "that never gets there counts with all its steps, a lower bound. Differences are paired by "
    "prompt, Holm-corrected over the columns of a block."
)


def read_csv(folder: Path, name: str) -> "pandas.DataFrame":
    """A table of metrics.speed. Raises ReportError."""
    import pandas

    path = folder / f"{name}.csv"
    if not path.is_file():
        raise ReportError(f"{path}: no such table; run python -m metrics.speed first")
    return pandas.read_csv(path)


def drawn(curves: "pandas.DataFrame", columns: Sequence[str]) -> "Figure":
    """A row a metric; on the left against steps, on the right against evaluations."""
    from matplotlib.figure import Figure

    metrics = [metric for metric in LABELS if metric in set(curves["metric"])]
    figure = Figure(figsize=(8.2, 0.75 + 2.5 * len(metrics)))
    axes = figure.subplots(len(metrics), 2, squeeze=False, sharey="row", sharex="col")
    for row, metric in zip(axes, metrics, strict=True):
        for ax, against in zip(row, AGAINST, strict=True):
            _panel(ax, curves[curves["metric"] == metric], columns, against)
        row[0].set_ylabel(LABELS[metric])
    for ax, label in zip(axes[-1], AGAINST.values(), strict=True):
        ax.set_xlabel(label)
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="upper left", ncols=len(labels), fontsize=8.5)
    figure.tight_layout(rect=(0, 0, 1, 1 - 0.34 / figure.get_figheight()))
    return figure


def _panel(ax: "Axes", curves: "pandas.DataFrame", columns: Sequence[str], against: str) -> None:
    ax.grid(True, axis="y")
    for i, column in enumerate(columns):
        own = curves[curves["column"] == column].sort_values("step")
        colour = COLOURS[i % len(COLOURS)]
        x = own[against]
        ax.fill_between(x, own["lower"], own["upper"], color=colour, alpha=0.10, linewidth=0)
        ax.plot(x, own["mean"], color=colour, linewidth=1.5, marker="o", markersize=3, label=column)


def times(summary: "pandas.DataFrame", columns: Sequence[str]) -> list[tables.Table]:
    """A table a metric and kind of way."""
    found = []
    for (metric, kind), own in summary.groupby(["metric", "kind"], sort=False):
        reference = str(own["reference"].iloc[0])
        by_column = {row.column: row for row in rows_of(own)}
        cells = [_cells(by_column[column], reference) for column in columns if column in by_column]
        way = KINDS[str(kind)].format(reference=reference)
        title = f"{METRICS[str(metric)].label}, {way}: step at nine tenths of the way"
        heads = ["column", "step", "runs", "never there", f"less {reference}", "verdict"]
        found.append(tables.Table(title, heads, cells, frozenset({0, 5}), wrap=24))
    return found


def _cells(row: Any, reference: str) -> list[str]:
    difference = "–"
    if row.column != reference and row.n_pairs:
        difference = f"{row.difference:+.0f}" + _bounds(
            row.difference_lower, row.difference_upper, "+.0f"
        )
    runs = f"{row.n_runs - row.n_no_way} of {row.n_runs}"
    step = "–" if row.steps != row.steps else f"{row.steps:.0f}{_bounds(row.lower, row.upper)}"
    said = "" if row.column == reference else str(row.verdict)
    return [row.column, step, runs, str(row.n_not_reached), difference.replace("-", "−"), said]


def _bounds(lower: float, upper: float, form: str = ".0f") -> str:
    if lower != lower or upper != upper:
        return "\nno interval"
    return f"\n{lower:{form}} to {upper:{form}}"


def main(arguments: Sequence[str] | None = None) -> None:
    """speed.{png,svg,csv,txt} and speed_times.{csv,html,md,png,svg,txt}."""
    parser = argparse.ArgumentParser(prog="reports.paper.speed", description=__doc__)
    parser.add_argument("--tables", type=Path, help="of metrics.speed")
    parser.add_argument("--runs", type=Path, help="list or folder of runs")
    parser.add_argument("--columns", nargs="+", help="in this order")
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args(arguments)
    if args.tables is None or args.runs is None:
        not_run(args.out, "speed", "no stage of this preset lists steps under `snapshots`")
    runs = listed_runs(args.runs, task="geometry", columns=args.columns)
    columns = columns_of(runs, args.columns)
    curves, summary = (read_csv(args.tables, f"speed_{name}") for name in ("curves", "summary"))
    title = "Score against steps and evaluations"
    bands = (
        "Means over prompts with their intervals; the left panels against steps, the right ones "
        "against denoiser evaluations of every kind, VSD's second network included. Learning rate "
        "and timesteps are those of the whole run: a shorter run would have other ones (see cost)."
    )
    made = made_from(runs)
    with styled():
        caption = f"{title}.\n{bands}\n{made}"
        write_figure(drawn(curves, columns), args.out, "speed", table=curves, caption=caption)
    meaning = MEANING.format(reference=summary["reference"].iloc[0])
    tables.write(
        args.out,
        "speed_times",
        "Steps to nine tenths of the way",
        times(summary, columns),
        numbers=summary,
        notes=[meaning, *made.splitlines()],
    )


if __name__ == "__main__":
    reported(main)
