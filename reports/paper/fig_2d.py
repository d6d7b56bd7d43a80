"""The limitation "artefacts in 2D, not in 3D": a method's plain pictures beside its objects' views.

    python -m reports.paper.fig_2d --tables results/mini/figures/fig_2d \
        --pictures results/mini/figures/fig_2d/pictures \
        --runs results/mini/lists/geometry.nerf.txt --out results/mini/figures/fig_2d

Tables are metrics.fig_2d's. A row a prompt, of one view; for each column the picture and the same
view of its object. """

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.artifacts import read_json
from reports.contact_sheet import composited
from reports.paper.fig7 import read_csv
from reports.paper.files import commits, listed_runs, made_from, styled, write_figure
from reports.paper.grid import Cell, Image, drawn, enlarged
from reports.paper.pictures import GREY
from reports.records import ReportError, Run, reported

if TYPE_CHECKING:
    import pandas

SIZE, VIEW, LIMIT = 128, "left", 3
CAPTION = (
    "Artefacts in 2D and in 3D, in the toy world. Left of each pair a plain picture of the caption "
    "under the view's word, its pixels optimised by the method; right, the same view of the "
    "method's own object, in front of the picture's grey. Prior, t, w(t), normalisation, steps and "
    "negative prompt are the same; a picture has no opacity, so that it must paint its background, "
    "and no regulariser. Below each pair, picture / view: root mean square difference (channels in "
    "[0, 1]) to the nearest render of the caption; share of clipped pixels on the object; "
    "difference from grey beside it."
)
BELOW = {"to_render": "to render", "clipped": "clipped", "outside": "beside"}


def pair(pictures: Path, run: Run, view: str) -> Image:
    """The plain picture and the object's view side by side."""
    column, prompt_id, seed = run.key
    path = pictures / column / prompt_id / f"seed{seed}" / view / "picture.png"
    if not path.is_file():
        raise ReportError(f"{path}: no such picture; run python -m pipeline.optimize_image first")
    solid, flat = run.picture(view), enlarged(path, SIZE)
    if solid is None:
        raise ReportError(f"{run.folder}: has no {view} view; run pipeline.render_views on it")
    size = flat.shape[0]
    gap = np.full((size, 4, 3), int(GREY * 255), dtype=np.uint8)
    return np.concatenate([flat, gap, composited(solid, size=size, background=0.5)], axis=1)


def records_of(pictures: Path, table: "pandas.DataFrame") -> list[dict[str, Any]]:
    """The record of every picture that the table speaks of."""
    own = table[table["medium"] == "2d"]
    places = zip(own["column"], own["prompt_id"], own["seed"], own["view"], strict=True)
    return [
        read_json(pictures / column / prompt_id / f"seed{seed}" / view / "picture.json")
        for column, prompt_id, seed, view in places
    ]


def numbers(rows: "pandas.DataFrame") -> tuple[str, ...]:
    """picture / view, a line a measure; of one pair, or means of several. A word if none worked."""
    rows = rows[rows["status"] == "ok"]
    if rows.empty:
        return ("picture failed", *[""] * (len(BELOW) - 1))
    flat, solid = (rows[rows["medium"] == medium] for medium in ("2d", "3d"))
    return tuple(
        f"{label} {float(flat[name].mean()):.2f} / {float(solid[name].mean()):.2f}"
        for name, label in BELOW.items()
    )


def verdict(summary: "pandas.DataFrame") -> str:
    """A line a column: the difference 2D - 3D of each measure with its interval."""
    lines = []
    for column in dict.fromkeys(summary["column"]):
        own = summary[summary["column"] == column]
        parts = [
            f"{row.measure} {row.difference:+.3f} [{row.low:+.3f}, {row.high:+.3f}]"
            for row in own.itertuples()
        ]
        lines.append(f"{column}, 2D minus 3D: {', '.join(parts)}.")
    first = summary.iloc[0]
    said = {
        word: "all" if len(own) == len(summary) else ", ".join(own["column"] + " " + own["measure"])
        for word, own in summary.groupby("verdict", sort=False)
    }
    lines.append(
        f"Intervals: {100 * first['level']:.0f} %, bootstrap over {first['prompts']} prompts. "
        f"Paired permutation p, Holm over all {len(summary)} rows: the smallest is "
        f"{summary['p_holm'].min():.2g}. Verdicts: "
        + "; ".join(f"{names}: {word!s}" for word, names in said.items())
        + "."
    )
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> None:
    """fig_2d.png, .svg, .csv and .txt."""
    parser = argparse.ArgumentParser(prog="reports.paper.fig_2d", description=__doc__)
    parser.add_argument("--tables", type=Path, required=True, help="folder of metrics.fig_2d's")
    parser.add_argument("--pictures", type=Path, required=True, help="of pipeline.optimize_image")
    parser.add_argument("--runs", type=Path, required=True, help="list or folder of runs")
    parser.add_argument("--view", default=VIEW, help="which is drawn")
    parser.add_argument("--limit", type=int, default=LIMIT, help="prompts that are drawn")
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args(arguments)
    table, summary = (read_csv(args.tables / f"{n}.csv") for n in ("fig_2d_pictures", "fig_2d"))
    columns = list(dict.fromkeys(table["column"]))
    runs = listed_runs(args.runs, task="geometry", columns=columns)
    rows = []
    for prompt_id in list(dict.fromkeys(table["prompt_id"]))[: args.limit]:
        cells: list[Cell | None] = []
        for column in columns:
            run = next((r for r in runs if r.key[:2] == (column, prompt_id) and not r.failed), None)
            own = table[(table["column"] == column) & (table["prompt_id"] == prompt_id)]
            own = own[(own["view"] == args.view) & (own["seed"] == (run.key[2] if run else -1))]
            cells.append(Cell(pair(args.pictures, run, args.view), numbers(own)) if run else None)
        prompt = table.loc[table["prompt_id"] == prompt_id, "prompt"].iloc[0]
        rows.append((str(prompt), cells))
    views = ", ".join(dict.fromkeys(table["view"]))
    records = records_of(args.pictures, table)
    failed = sum(one["status"] == "failed" for one in records)
    out = " and left out with their views" if failed else ""
    text = (
        f"{CAPTION}\nDrawn: the {args.view} view of the first {len(rows)} prompts; the table has "
        f"{table['prompt_id'].nunique()} prompts, views {views}.\n{verdict(summary)}\n"
        f"{len(records)} pictures, {failed} failed{out}. "
        f"{commits(records, 'picture')}\nThe objects: {made_from(runs)}"
    )
    with styled():
        figure = drawn(rows, [f"{column}: 2D | 3D" for column in columns], inches=0.88, label=0.95)
        write_figure(figure, args.out, "fig_2d", table=summary, caption=text)


if __name__ == "__main__":
    reported(main)
