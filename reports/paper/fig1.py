"""Figure 1 of the paper with one's own results: objects with their normals, textured meshes.

    python -m reports.paper.fig1 --geometry results/mini/lists/geometry.txt \
        --texture results/mini/lists/texture.txt --out results/mini/figures/fig1

Of each task the first prompts of the preset, in its order, of one column: the method of the paper
(annealed negative prompt, else plain CSD). Nothing is picked by its looks.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from reports.paper.files import listed_runs, made_from, prompts_of, styled, write_figure
from reports.paper.pictures import picture, show, shown_table, state
from reports.records import VIEWS, ReportError, Run, reported

if TYPE_CHECKING:
    from matplotlib.figure import Figure

OWN = ("csd_neg", "csd")  # methods of the paper, the full one first
# (view, kind) of the four pictures of an object, by task
TILE = {
    "geometry": (("front", ""), ("front", "normal"), ("back", ""), ("back", "normal")),
    "texture": tuple((view, "") for view in VIEWS),
}
TITLES = {"geometry": "Text to 3D", "texture": "Textures on given meshes"}
INCHES = 0.95  # a side of a picture


def own_runs(runs: Sequence[Run], *, column: str | None, limit: int) -> list[Run]:
    """The first seed's runs of the paper's own method, or of `column`. Raises ReportError where
    there is neither.
    """
    met = {run.key[0]: str(run.record.get("method")) for run in runs}
    ranked = [name for method in OWN for name, its in met.items() if its == method]
    chosen = column or (ranked[0] if ranked else None)
    if chosen not in met:
        raise ReportError(
            f"fig1 shows a column of {' or '.join(OWN)}, and there is {', '.join(met)}; "
            "name one with --column"
        )
    kept: dict[str, Run] = {}
    for run in runs:
        if run.key[0] == chosen:
            kept.setdefault(run.key[1], run)
    return [kept[prompt] for prompt in prompts_of(list(kept.values()), limit)]


def drawn(tasks: dict[str, list[Run]], *, size: int) -> "Figure":
    """A section a task, two objects a row, each with its four pictures and its prompt."""
    from matplotlib.figure import Figure

    rows = {task: -(-len(runs) // 2) for task, runs in tasks.items()}
    step, head = INCHES + 0.3, 0.34  # of a row with its prompt; of a section's title
    height = sum(count * step + head for count in rows.values())
    width = 8 * INCHES + 0.5
    figure = Figure(figsize=(width, height))
    y = height
    for task, runs in tasks.items():
        place: Any = {"fontsize": 11, "fontweight": "bold", "va": "top"}
        figure.text(0.06 / width, (y - 0.06) / height, TITLES[task], **place)
        y -= head
        for i, run in enumerate(runs):
            x0, top = (i % 2) * (4 * INCHES + 0.3) + 0.1, y - (i // 2) * step
            for j, (view, kind) in enumerate(TILE[task]):
                box = (x0 + j * INCHES, top - INCHES, INCHES * 0.97, INCHES)
                where = (box[0] / width, box[1] / height, box[2] / width, box[3] / height)
                axes = figure.add_axes(where)
                show(axes, picture(run, view, kind=kind, size=size), state(run) if j == 0 else "")
            words = {"ha": "center", "va": "top", "fontsize": 8.5, "style": "italic"}
            middle = (x0 + 2 * INCHES) / width
            figure.text(middle, (top - INCHES - 0.03) / height, str(run.record["prompt"]), words)
        y -= rows[task] * step
    return figure


def caption(tasks: dict[str, list[Run]]) -> str:
    """What is shown and of what it was made."""
    lines = ["Figure 1, own results."]
    for task, runs in tasks.items():
        column = runs[0].key[0]
        what = {
            "geometry": "front and back, each in colour and as world normals",
            "texture": "front, left, back and right",
        }[task]
        lines += [
            f"{TITLES[task]}: {what}; column {column}, the first {len(runs)} prompts in the "
            "preset's order, first seed.",
            made_from(runs),
        ]
    missing = [TITLES[task] for task in TILE if task not in tasks]
    lines += [f"{name}: not run, this preset has no such task." for name in missing]
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> None:
    """fig1.png, .svg, .csv and .txt."""
    import pandas

    parser = argparse.ArgumentParser(prog="reports.paper.fig1", description=__doc__)
    parser.add_argument("--geometry", type=Path, help="list or folder of runs")
    parser.add_argument("--texture", type=Path, help="list or folder of runs")
    parser.add_argument("--column", help="instead of the paper's own method")
    parser.add_argument("--limit", type=int, default=12, help="objects a task")
    parser.add_argument("--size", type=int, default=192, help="pixels a side of a picture")
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args(arguments)
    given = {task: getattr(args, task) for task in TILE if getattr(args, task)}
    if not given:
        raise ReportError("fig1 needs --geometry or --texture")
    tasks = {
        task: own_runs(listed_runs(path, task=task), column=args.column, limit=args.limit)
        for task, path in given.items()
    }
    tables = [
        shown_table([run], [view], [kind])
        for task, runs in tasks.items()
        for run in runs
        for view, kind in TILE[task]
    ]
    with styled():
        write_figure(
            drawn(tasks, size=args.size),
            args.out,
            "fig1",
            table=pandas.concat(tables, ignore_index=True),
            caption=caption(tasks),
        )


if __name__ == "__main__":
    reported(main)
