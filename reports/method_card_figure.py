"""What a method card draws: directions at two fixed pictures against t, and the card as a picture.

Norms are of the mean over K noises and of the spread about it, one image at the prior's input,
before w(t). A mean of K noises keeps spread / sqrt(K) of noise: what lies below that is none.
"""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from reports.contact_sheet import tile
from reports.gradient_norms import INK, RULE, STYLE, TERMS, svg, themed
from reports.records import VIEWS, Run

if TYPE_CHECKING:
    import pandas
    from matplotlib.axes import Axes
    from matplotlib.figure import FigureBase

FLOOR = 1e-2  # of norms between 1 and 1,000
PICTURES = {"start": "at the start", "goal": "at the goal"}
OTHERS = (TERMS["negative"][1], TERMS["particle_noise"][1])  # colours of the methods beside
COSINES = ("generative", "classifier")
Directions = Mapping[str, "pandas.DataFrame"]


def series(table: "pandas.DataFrame", picture: str, term: str) -> tuple[list[float], list[float]]:
    """(t, value) of one term at one picture, by t; a cosine with what vanishes is left out."""
    own = table[(table["picture"] == picture) & (table["term"] == f"probe/{term}")]
    own = own.sort_values("t")
    return own["t"].tolist(), own["norm"].tolist()


def draw_directions(
    figure: "FigureBase", directions: Directions, pictures: Mapping[str, Path], noises: int
) -> None:
    """Two rows: the picture, norm of the mean, spread, cosines of the mean; the first is the
    method.
    """
    import matplotlib.image

    axes = figure.subplots(2, 4, gridspec_kw={"width_ratios": [0.62, 1, 1, 1]})
    found = [v for t in directions.values() for v in t["norm"] if v is not None and v > 1]
    top = 1.6 * max(found)
    for row, (picture, words) in zip(axes, PICTURES.items(), strict=True):
        row[0].imshow(matplotlib.image.imread(pictures[picture]), interpolation="nearest")
        row[0].set_axis_off()
        row[0].set_title(words, fontsize=9, fontweight="bold", loc="left")
        for place, (name, table) in enumerate(directions.items()):
            colour, width = (INK, 2.0) if place == 0 else (OTHERS[place - 1], 1.1)
            for ax, term in ((row[1], "mean"), (row[2], "spread")):
                t, norms = series(table, picture, f"direction/{term}")
                line = [max(value, 0.7 * FLOOR) for value in norms]
                ax.plot(t, line, color=colour, linewidth=width, label=name, zorder=4 - place)
        method = next(iter(directions.values()))
        t, spreads = series(method, picture, "direction/spread")
        left = [max(spread / math.sqrt(noises), 0.7 * FLOOR) for spread in spreads]
        words = f"noise left in it, K = {noises}"
        row[1].plot(t, left, color=INK, linewidth=0.9, linestyle=(0, (1, 1.6)), label=words)
        for ax in row[1:3]:
            _norms(ax, top)
        _cosines(row[3], method, picture)
    titles = ("norm of the mean", "spread", "cosine of the mean with")
    for ax, title in zip(axes[0, 1:], titles, strict=True):
        ax.set_title(title, fontsize=9, fontweight="bold", loc="left")
    for ax in axes[1, 1:]:
        ax.set_xlabel("noise level t")
    handles, labels = axes[0, 1].get_legend_handles_labels()
    axes[0, 2].legend(handles, labels, fontsize=7, loc="lower left", handlelength=1.6)
    axes[0, 3].legend(fontsize=7, loc="lower left", handlelength=1.6)


def _norms(axes: "Axes", top: float) -> None:
    axes.set_yscale("log")
    axes.set_ylim(FLOOR / 2, top)
    axes.set_xlim(0, 1000)
    axes.axhspan(FLOOR / 2, FLOOR, color=RULE, linewidth=0, alpha=0.6)


def _cosines(axes: "Axes", table: "pandas.DataFrame", picture: str) -> None:
    """The mean's cosine with the two parts of SDS; none where one of both means vanishes."""
    size = dict(zip(*series(table, picture, "direction/mean"), strict=True))
    for part in COSINES:
        _, colour, _ = TERMS[part]
        norm = dict(zip(*series(table, picture, f"{part}/mean"), strict=True))
        t, values = series(table, picture, f"cosine/direction/{part}")
        shown = [
            value if min(size[at], norm[at]) >= FLOOR else math.nan
            for at, value in zip(t, values, strict=True)
        ]
        axes.plot(t, shown, color=colour, linewidth=1.5, marker=".", label=f"{part} part")
    axes.set_ylim(-1.08, 1.08)
    axes.set_xlim(0, 1000)


def directions_svg(directions: Directions, pictures: Mapping[str, Path], noises: int) -> str:
    """`draw_directions` for inlining into a page."""
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(9.2, 4.1), layout="constrained")
        draw_directions(figure, directions, pictures, noises)
        label = "The direction at two fixed pictures: norm of its mean, spread, cosines, against t"
        return themed(svg(figure), label=label)


def draw_objects(
    figure: "FigureBase",
    runs: Mapping[str, Sequence[Run]],
    captions: Mapping[tuple[str, str], str],
) -> None:
    """A row a prompt, a column a method: the four views and, below them, the numbers."""
    columns = list(runs)
    prompts = {run.key[1]: str(run.record["prompt"]) for run in next(iter(runs.values()))}
    axes = figure.subplots(len(prompts), len(columns), squeeze=False)
    for row, (prompt_id, prompt) in zip(axes, prompts.items(), strict=True):
        for ax, column in zip(row, columns, strict=True):
            run = next(run for run in runs[column] if run.key[1] == prompt_id)
            ax.imshow(tile(run, views=VIEWS, size=96, background=0.92), interpolation="bilinear")
            ax.set_axis_off()
            ax.set_title(f"{prompt}: {captions[column, prompt_id]}", fontsize=7, loc="left", pad=2)
            if prompt_id == next(iter(prompts)):
                ax.text(0, -34, column, fontsize=9.5, fontweight="bold")


def draw_table(figure: "FigureBase", title: str, line: str, table: Sequence[Sequence[str]]) -> None:
    """Title, a line, and the table, whose first row is its heading; all as text."""
    places = [0.012, *(0.31 + 0.112 * column for column in range(len(table[0]) - 1))]
    figure.text(0.012, 0.97, title, fontsize=17, fontweight="bold", va="top")
    figure.text(0.012, 0.74, line, fontsize=8.5, va="top")
    for row, words in enumerate(table):
        weight = "bold" if row == 1 else "normal"
        for column, (place, word) in enumerate(zip(places, words, strict=True)):
            side = "left" if column == 0 else "right"
            at: Any = {"fontsize": 8.5, "fontweight": weight, "ha": side, "va": "top"}
            figure.text(place, 0.56 - 0.135 * row, word, **at)


def draw_card(
    heading: tuple[str, str],
    table: Sequence[Sequence[str]],
    directions: Directions,
    pictures: Mapping[str, Path],
    noises: int,
    runs: Mapping[str, Sequence[Run]],
    captions: Mapping[tuple[str, str], str],
) -> bytes:
    """The whole card as one PNG: title and line, `table`, directions, objects."""
    import io

    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(10, 9.3), layout="constrained")
        parts: Any = figure.subfigures(3, 1, height_ratios=[1.5, 4.0, 3.7])
        text, middle, bottom = parts
        draw_table(text, *heading, table)
        draw_directions(middle, directions, pictures, noises)
        draw_objects(bottom, runs, captions)
        picture = io.BytesIO()
        options: Any = {"metadata": {"Software": ""}, "facecolor": "white", "dpi": 130}
        figure.savefig(picture, format="png", **options)
    return picture.getvalue()
