"""The study's figure: who was preferred to whom, and the strengths that explain it.

Left, one line a comparison: the share with Wilson's or Goodman's interval (thin) and that of a
bootstrap over participants and prompts (thick). Right, log strengths with the same bootstrap.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from reports.records import rows_of
from reports.study.results import KEPT
from reports.study.texts import PAIRS

if TYPE_CHECKING:
    import pandas
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK, MUTED, RULE = "#1b1f24", "#5a616c", "#d8dbe0"
COLOURS = ("#1d5c9e", "#b4531a")  # one a question
STYLE: Any = {
    "svg.hashsalt": "score-distillation-benchmark",
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.size": 8,
    "axes.edgecolor": INK,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.spines.left": False,
    "text.color": INK,
    "axes.labelcolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "ytick.major.size": 0,
    "legend.frameon": False,
}


def shown(table: "pandas.DataFrame") -> "pandas.DataFrame":
    """The rows that the figure draws: shares and strengths after the exclusions."""
    drawn = table["quantity"].isin(["preferred", "share", "strength"])
    return table[drawn & (table["population"] == KEPT)]


def preferences(
    table: "pandas.DataFrame", study: Mapping[str, Any], key: Mapping[str, Any]
) -> "Figure":
    """The figure; without answers it says so."""
    from matplotlib.figure import Figure

    rows = shown(table)
    columns = key["columns"]
    pairs = study["reading"] == PAIRS
    lines = len(columns) * (len(columns) - 1) // 2 if pairs else len(columns)
    figure = Figure(figsize=(7.2, 1.15 + 0.3 * max(lines, len(columns))))
    if rows.empty:
        figure.text(0.5, 0.5, "User study: not run", ha="center", va="center", fontsize=11)
        return figure
    left, right = figure.subplots(1, 2, gridspec_kw={"width_ratios": [1.25, 1]})
    quantity = "preferred" if pairs else "share"
    for q, question in enumerate(study["questions"]):
        own = rows[rows["question"] == question["id"]]
        look = {"colour": COLOURS[q], "label": question["short"], "shift": q * 0.26}
        _dots(left, own[own["quantity"] == quantity], scale=100, **look)
        _dots(right, own[own["quantity"] == "strength"], scale=1, **look)
    first = rows[rows["question"] == study["questions"][0]["id"]]
    _labels(left, first[first["quantity"] == quantity], pairs)
    _labels(right, first[first["quantity"] == "strength"], False)
    left.set_xlim(0, 100)
    left.axvline(50 if pairs else 100 / len(columns), color=MUTED, linewidth=0.6, zorder=0)
    left.set_xlabel("% of decided answers for the first" if pairs else "% of answers")
    right.axvline(0, color=MUTED, linewidth=0.6, zorder=0)
    right.set_xlabel("log strength, mean zero")
    if len(study["questions"]) > 1:
        handles, labels = left.get_legend_handles_labels()
        figure.legend(handles, labels, loc="upper left", ncols=2, fontsize=8)
    top = 1 - (0.3 if len(study["questions"]) > 1 else 0.05) / figure.get_figheight()
    figure.tight_layout(rect=(0, 0, 1, top), w_pad=2)
    return figure


def _dots(
    axes: "Axes", rows: "pandas.DataFrame", *, scale: float, colour: str, label: str, shift: float
) -> None:
    for i, row in enumerate(rows_of(rows)):
        y = i + shift
        for low, high, width in (
            (row.lower, row.upper, 0.9),
            (row.both_lower, row.both_upper, 3.2),
        ):
            axes.plot(
                [low * scale, high * scale],  # nan draws nothing
                [y, y],
                color=colour,
                linewidth=width,
                alpha=1 if width < 1 else 0.35,
                solid_capstyle="butt",
            )
        axes.plot(row.value * scale, y, "o", color=colour, markersize=4, label="_" if i else label)


def _labels(axes: "Axes", rows: "pandas.DataFrame", pairs: bool) -> None:
    names = [
        f"{row.column_a} over {row.column_b}" if pairs else row.column_a for row in rows_of(rows)
    ]
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.4, -0.5)
    axes.grid(axis="x", color=RULE, linewidth=0.5)
    axes.set_axisbelow(True)
