"""Figure 5 of the paper with one's own runs: CSD under schedules of the negative prompt's weight.

    python -m reports.paper.fig5 --runs results/fig5/lists/geometry.txt \
        --tables results/fig5/tables/geometry --out results/fig5/figures/fig5

A row a prompt, a column a schedule of omega_2 (eq. 10): front and left view of the first seed.
`fig5.csv` has each column's metrics with their intervals, from the preset's summary, and
`fig5_pairs.csv` those of every two columns, paired by prompt.
"""

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.artifacts import write_text
from reports.contact_sheet import tile
from reports.metric_names import METRICS
from reports.paper.files import listed_runs, made_from, prompts_of, styled, write_figure
from reports.paper.grid import Cell, drawn
from reports.paper.pictures import GREY
from reports.records import ReportError, Run, read_tables, reported

if TYPE_CHECKING:
    import pandas

VIEWS, SIZE = ("front", "left"), 144
SCHEDULES = ("none", "constant", "annealed")
SHOWN = (
    "truth_iou", "truth_psnr", "clip_score", "r_at_1", "strict_hit", "front_back", "chroma",
    "clipped", "sharpness",
)  # fmt: skip
CAPTION = (
    "Figure 5 in the toy world: the direction text - uncond - omega_2 (neg - uncond) under "
    "different weights omega_2 of the negative prompt; w: first -> last over the first k steps. "
    "Front and left views of the first seed. Below each: IoU with the true object, colour PSNR to "
    "it, and share of clipped pixels, means of four views."
)


def schedule(record: Mapping[str, Any]) -> str | None:
    """What a column does with omega_2: one of SCHEDULES; None for other methods."""
    if record["method"] == "csd":
        return "none"
    if record["method"] != "csd_neg":
        return None
    first, last = record["method_settings"]["omega_2"][-3:-1]
    return "none" if first == last == 0 else "constant" if first == last else "annealed"


def heading(record: Mapping[str, Any]) -> str:
    """The schedule in words and numbers."""
    kind = schedule(record)
    if kind == "none":
        return "none: ω₂ = 0"
    first, last, end = record["method_settings"]["omega_2"][-3:]
    if kind == "constant":
        return f"constant: ω₂ = {first:g}"
    return f"annealed: ω₂ {first:g} → {last:g}, step {end:g}"


def chosen(runs: Sequence[Run]) -> list[Run]:
    """The runs of CSD with and without a negative prompt. Raises ReportError unless every one of
    SCHEDULES is among them.
    """
    found = [run for run in runs if schedule(run.record) is not None]
    met = {schedule(run.record) for run in found}
    if lacks := [one for one in SCHEDULES if one not in met]:
        raise ReportError(
            f"fig5 compares csd and csd_neg with omega_2 {', '.join(SCHEDULES)}; these runs lack "
            f"{', '.join(lacks)}: use preset=fig5"
        )
    return found


def cell(run: Run, scores: "pandas.DataFrame") -> Cell:
    """Two views of one object with its numbers."""
    picture = tile(run, views=VIEWS, size=SIZE, background=GREY)
    if run.failed:
        return Cell(picture, ("",), "failed")
    column, prompt_id, seed = run.key
    own = scores[(scores["column"] == column) & (scores["prompt_id"] == prompt_id)]
    own = own[own["seed"] == seed]

    def mean(metric: str) -> str:
        values = own.loc[own["metric"] == metric, ["view", "value"]]
        whole = values[values["view"] == "object"]
        return METRICS[metric].text(float((values if whole.empty else whole)["value"].mean()))

    text = f"IoU {mean('truth_iou')}, {mean('truth_psnr')} dB, clipped {mean('clipped')}"
    return Cell(picture, (text + METRICS["clipped"].unit,))


def table(summary: "pandas.DataFrame", runs: Sequence[Run]) -> "pandas.DataFrame":
    """One row a column and metric: its schedule, mean, interval and n. Failed runs count as the
    summary counts them.
    """
    heads = {run.key[0]: heading(run.record) for run in runs}
    own = summary[summary["column"].isin(heads) & summary["metric"].isin(SHOWN)]
    own = own.assign(schedule=own["column"].map(heads))
    places: dict[str, list[str]] = {"column": list(heads), "metric": list(SHOWN)}
    names = ["column", "schedule", "metric", "population", "mean", "lower", "upper", "level"]
    return own[[*names, "n_prompts", "n_runs", "n_failed"]].sort_values(
        ["metric", "column"],
        kind="stable",
        key=lambda values: values.map(places[str(values.name)].index),
    )


def pairs(compared: "pandas.DataFrame", runs: Sequence[Run]) -> "pandas.DataFrame":
    """The rows of the preset's pairs that compare two of the schedules by a metric shown. Holm's
    correction stays the preset's, over all of its columns.
    """
    columns = {run.key[0] for run in runs}
    own = compared[compared["column_a"].isin(columns) & compared["column_b"].isin(columns)]
    return own[own["metric"].isin(SHOWN)]


def main(arguments: Sequence[str] | None = None) -> None:
    """fig5.png, .svg, .csv and .txt, and fig5_pairs.csv."""
    parser = argparse.ArgumentParser(prog="reports.paper.fig5", description=__doc__)
    parser.add_argument("--runs", type=Path, required=True, help="list or folder of runs")
    parser.add_argument("--tables", type=Path, required=True, help="the runs' tables")
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args(arguments)
    runs, tables = chosen(listed_runs(args.runs, task="geometry")), read_tables(args.tables)
    first: dict[tuple[str, str], Run] = {}
    for run in runs:
        first.setdefault(run.key[:2], run)
    heads = {run.key[0]: heading(run.record) for run in runs}
    rows = [
        (
            text,
            [
                cell(first[column, prompt_id], tables.scores) if (column, prompt_id) in first
                else None
                for column in heads
            ],
        )
        for prompt_id, text in prompts_of(runs).items()
    ]  # fmt: skip
    negative = sorted({str(run.record["settings"]["negative_prompt"]) for run in runs})
    text = f"{CAPTION}\nNegative prompt: {'; '.join(negative)}.\n{made_from(runs)}"
    text += "\nSo few prompts order nothing; fig5.csv has every mean with its interval."
    with styled():
        figure = drawn(rows, list(heads.values()), inches=0.74, label=0.95)
        summary = table(tables.summary, runs)
        write_figure(figure, args.out, "fig5", table=summary, caption=text)
    compared = pairs(tables.pairs, runs).to_csv(index=False, lineterminator="\n")
    write_text(args.out / "fig5_pairs.csv", compared)


if __name__ == "__main__":
    reported(main)
