"""Figures 3 and 4 of the paper: the columns side by side, a block a prompt, a row a view.

    python -m reports.paper.comparison fig3 --runs results/mini/lists/geometry.txt --out DIR
    python -m reports.paper.comparison fig4 --runs results/mini/lists/texture.txt --out DIR

fig3 compares text-to-3D; fig4 textures, whose first column is the bare mesh. Without --runs (a
preset without that task) the figure is recorded as not run and the program fails.
"""

import argparse
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from reports.paper.files import (
    NOTHING_ORDERED,
    columns_of,
    listed_runs,
    made_from,
    not_run,
    prompts_of,
    styled,
    write_figure,
)
from reports.paper.pictures import MUTED, bare, picture, show, shown_table, state
from reports.records import VIEWS, Run, reported

if TYPE_CHECKING:
    from matplotlib.figure import Figure

BARE = "bare mesh"
INCHES = 0.86  # a side of a picture


@dataclass(frozen=True)
class Kind:
    """What a figure compares."""

    task: str
    title: str
    bare: bool


KINDS = {
    "fig3": Kind("geometry", "Figure 3: text-to-3D by every column", False),
    "fig4": Kind("texture", "Figure 4: textures on the same meshes by every column", True),
}


def first_of(runs: Sequence[Run]) -> dict[tuple[str, str], Run]:
    """(column, prompt_id) -> the run of its first seed."""
    found: dict[tuple[str, str], Run] = {}
    for run in sorted(runs, key=lambda run: run.key[2]):
        found.setdefault(run.key[:2], run)
    return found


def shape_of(prompt: str, shown: dict[tuple[str, str], Run]) -> Run | None:
    """A run of the prompt that worked: any column's shows the mesh."""
    own = [run for (_, prompt_id), run in shown.items() if prompt_id == prompt]
    return next((run for run in own if not run.failed), None)


def drawn(
    shown: dict[tuple[str, str], Run],
    *,
    columns: Sequence[str],
    prompts: dict[str, str],
    views: Sequence[str],
    with_bare: bool,
    size: int,
) -> "Figure":
    """Blocks of views x columns, two blocks a row where five columns or fewer are compared."""
    from matplotlib.figure import Figure

    heads = [*([BARE] if with_bare else []), *columns]
    across = 2 if len(heads) <= 5 and len(prompts) > 1 else 1
    block = (len(heads) * INCHES + 0.35, len(views) * INCHES + 0.62)
    down = -(-len(prompts) // across)
    width, height = across * block[0], down * block[1]
    figure = Figure(figsize=(width, height))
    for i, (prompt_id, text) in enumerate(prompts.items()):
        x, top = (i % across) * block[0] + 0.18, height - (i // across) * block[1]
        title = textwrap.shorten(text, int(len(heads) * 15), placeholder=" …")
        words: Any = {"fontsize": 9.5, "fontweight": "bold", "va": "top"}
        figure.text(x / width, (top - 0.08) / height, title, **words)
        for j, head in enumerate(heads):
            run = shape_of(prompt_id, shown) if head == BARE else shown.get((head, prompt_id))
            middle = (x + (j + 0.5) * INCHES) / width
            label: Any = {"fontsize": 8, "ha": "center", "va": "top"}
            figure.text(middle, (top - 0.3) / height, head, **label)
            for k, view in enumerate(views):
                corner = (x + j * INCHES, top - 0.46 - (k + 1) * INCHES)
                side = (0.97 * INCHES / width, 0.97 * INCHES / height)
                axes = figure.add_axes((corner[0] / width, corner[1] / height, *side))
                image = (bare if head == BARE else picture)(run, view, size=size)
                show(axes, image, state(run) if k == 0 else "")
                if j == 0:
                    beside: Any = {"rotation": 90, "ha": "right", "va": "center", "color": MUTED}
                    axes.text(-0.03, 0.5, view, beside, fontsize=7, transform=axes.transAxes)
    return figure


def _which(shown: int, every: int) -> str:
    """How many prompts are shown, in words."""
    if shown < every:
        return f"The first {shown} of {every} prompts"
    return "Every prompt" if every > 1 else "The only prompt"


def caption(kind: Kind, runs: Sequence[Run], prompts: dict[str, str], views: Sequence[str]) -> str:
    """What is compared, and of what it was made."""
    every = len({run.key[1] for run in runs})
    lines = [
        f"{kind.title}; views {', '.join(views)}, the first seed of each run.",
        f"{_which(len(prompts), every)}, in the preset's order.",
    ]
    if kind.bare:
        lines.append("Bare mesh: its world normals under one light, as rendered with its texture.")
    return "\n".join([*lines, made_from(runs), NOTHING_ORDERED])


def main(arguments: Sequence[str] | None = None) -> None:
    """fig3 or fig4: .png, .svg, .csv and .txt."""
    parser = argparse.ArgumentParser(prog="reports.paper.comparison", description=__doc__)
    parser.add_argument("figure", choices=list(KINDS))
    parser.add_argument("--runs", type=Path, help="list or folder of runs")
    parser.add_argument("--columns", nargs="+", help="in this order")
    parser.add_argument("--views", nargs="+", choices=VIEWS, default=["front", "left", "back"])
    parser.add_argument("--limit", type=int, default=6, help="prompts")
    parser.add_argument("--size", type=int, default=192, help="pixels a side of a picture")
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args(arguments)
    kind = KINDS[args.figure]
    if args.runs is None:
        not_run(args.out, args.figure, f"this preset has no task {kind.task!r}")
    runs = listed_runs(args.runs, task=kind.task, columns=args.columns)
    columns = columns_of(runs, args.columns)
    prompts = prompts_of(runs, args.limit)
    shown = {key: run for key, run in first_of(runs).items() if key[1] in prompts}
    with styled():
        figure = drawn(
            shown,
            columns=columns,
            prompts=prompts,
            views=args.views,
            with_bare=kind.bare,
            size=args.size,
        )
        kinds = ["", "normal"] if kind.bare else [""]
        table = shown_table(list(shown.values()), args.views, kinds)
        text = caption(kind, runs, prompts, args.views)
        write_figure(figure, args.out, args.figure, table=table, caption=text)


if __name__ == "__main__":
    reported(main)
