"""Figure 6 of the paper in the toy world: finished objects edited by words, with controls.

    python -m reports.paper.fig6 --tables results/mini/figures/fig6 \
        --runs results/mini/figures/fig6/runs --sources RUN ... --out results/mini/figures/fig6

`fig6.csv` in --tables is metrics.fig6's. A row an edit: the scene before it and what each column
made of it, front and left view; of several seeds the first is drawn.
"""

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from reports.contact_sheet import tile
from reports.metric_names import METRICS
from reports.paper.fig7 import read_csv
from reports.paper.files import made_from, styled, write_figure
from reports.paper.grid import Cell, drawn
from reports.paper.pictures import GREY
from reports.records import ReportError, Run, read_run, reported

if TYPE_CHECKING:
    import pandas

VIEWS, SIZE = ("front", "left"), 144
HEADINGS = {
    "source": "before",
    "csd_edit": "CSD, ω₂ = 0.5 (eq. 11)",
    "csd_edit_sparse": "the same, sparsity on",
    "csd": "CSD, ω₂ = 0",
    "sds": "SDS",
}
CAPTION = (
    "Figure 6 in the toy world. Finished objects edited by words: direction text - uncond - "
    "omega_2 (neg - uncond), eq. 11, with the words to remove as neg; omega_2 = 0 removes nothing; "
    "SDS from the same scene. Adam begins anew, t_max is below 1, the sparsity of the beginning is "
    "off unless said. Front and left views. Below each, means of four views: IoU with the scene "
    "before, IoU and colour PSNR to the true target, and PSNR of what should stay (where both true "
    "objects are alike; none where they are hardly anywhere)."
)


def cell(run: Run, row: "pandas.Series") -> Cell:
    """Two views of one object with its numbers."""
    picture = tile(run, views=VIEWS, size=SIZE, background=GREY)
    if run.failed:
        return Cell(picture, ("", ""), "failed")
    iou = [METRICS["truth_iou"].text(row[name]) for name in ("iou_source", "iou_target")]
    decibel = [METRICS["truth_psnr"].text(row[name]) for name in ("psnr_target", "psnr_stay")]
    return Cell(
        picture,
        (f"IoU: before {iou[0]}, target {iou[1]}", f"dB: target {decibel[0]}, stay {decibel[1]}"),
    )


def runs_of(
    table: "pandas.DataFrame", runs: Path, sources: Mapping[tuple[str, int], Run]
) -> dict[tuple[str, str], Run]:
    """(edit, column) -> the run of the first seed. Raises ReportError for one that is missing."""
    found: dict[tuple[str, str], Run] = {}
    for row in table.itertuples():
        seed = int(row.seed)  # type: ignore[arg-type]
        if (row.edit, row.column) in found:
            continue
        if row.column == "source":
            if (str(row.source), seed) not in sources:
                raise ReportError(f"fig6.csv: no run of {row.source!r}, seed {seed} in --sources")
            found[str(row.edit), "source"] = sources[str(row.source), seed]
        else:
            folder = runs / str(row.edit) / str(row.column) / f"seed{seed}"
            found[str(row.edit), str(row.column)] = read_run(folder)
    return found


def main(arguments: Sequence[str] | None = None) -> None:
    """fig6.png, .svg, .csv and .txt."""
    parser = argparse.ArgumentParser(prog="reports.paper.fig6", description=__doc__)
    parser.add_argument("--tables", type=Path, required=True, help="folder of metrics.fig6's")
    parser.add_argument("--runs", type=Path, required=True, help="<edit>/<column>/seed<k>/ below")
    parser.add_argument("--sources", type=Path, nargs="+", required=True, help="run folders")
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args(arguments)
    table = read_csv(args.tables / "fig6.csv")
    sources = [read_run(folder) for folder in args.sources]
    shown = runs_of(table, args.runs, {(str(r.record["prompt"]), r.key[2]): r for r in sources})
    met = list(dict.fromkeys(table["column"]))
    columns = [*(c for c in HEADINGS if c in met), *(c for c in met if c not in HEADINGS)]
    rows = []
    for edit, own in table.groupby("edit", sort=False):
        first = own.drop_duplicates("column").set_index("column")
        label = f"{edit}\n\n{first['source'].iloc[0]}\n→ {first['target'].iloc[0]}"
        cells = [
            cell(shown[str(edit), column], first.loc[column]) if column in first.index else None
            for column in columns
        ]
        rows.append((label, cells))
    edited = [run for (_, column), run in shown.items() if column != "source"]
    began = {run.record["prompt"]: run.key[0] for run in sources}
    before = ", ".join(f"{prompt} ({column})" for prompt, column in began.items())
    removed = {r.record["prompt"]: r.record["settings"]["negative_prompt"] for r in edited}
    words = "; ".join(f"towards {prompt}: {gone!r}" for prompt, gone in removed.items())
    text = f"{CAPTION}\nBegun at finished runs of {before}. Removed: {words}.\n{made_from(edited)}"
    with styled():
        figure = drawn(rows, [HEADINGS.get(c, c) for c in columns], inches=0.78, label=1.15)
        write_figure(figure, args.out, "fig6", table=table, caption=text)


if __name__ == "__main__":
    reported(main)
