"""The gradient-norm figure: each term of the methods' directions against the step and against t.

Norms are those of one image at the guidance's input (`pipeline.trace`), each a single noisy sample;
a line is the median over everything that falls into a bin, its band the middle half. A term may
vanish (the classifier part does where the caption is certain): what is smaller than FLOOR stands at
the axis's lower end, marked so. The table beside the figure keeps the numbers as they are.
"""

import math
import re
from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING, Any

from reports.records import ReportError

if TYPE_CHECKING:
    import pandas
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FLOOR = 1e-3  # of norms between 1 and 1,000: what is less drives nothing
BINS = 8  # more, and a median would be that of a few draws
INK, RULE = "#1b1f24", "#d8dbe0"
# term: (what a reader calls it, colour, dashes); in the order drawn
TERMS: dict[str, tuple[str, str, tuple[float, ...]]] = {
    "generative": ("generative part  ε(y) − ε", "#b4531a", ()),
    "classifier": ("classifier part  ε(y) − ε(∅)", "#2466a8", ()),
    "negative": ("negative prompt  ε(neg) − ε(∅)", "#7a4b9e", (4, 1.5)),
    "particle_noise": ("particle  ε_φ − ε", "#1f7f5c", (4, 1.5)),
    "particle_text": ("particle  ε_φ − ε(y)", "#8a6a00", (1, 1.2)),
    "direction": ("direction, the method's own", INK, ()),
}
POSTERIOR = "posterior"
AGAINST = {"step": "optimisation step", "t": "noise level t"}
STYLE: Any = {
    "svg.hashsalt": "score-distillation-benchmark",
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.size": 8,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": RULE,
    "grid.linewidth": 0.5,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "ytick.minor.size": 0,
    "legend.frameon": False,
}


def binned(
    traces: "pandas.DataFrame", *, against: str, quantity: str, bins: int
) -> "pandas.DataFrame":
    """Median and quartiles of `quantity` per column, term and bin of `against`; null norms are left
    out.

    Columns: column, against, term, centre, median, lower, upper, n. Bins have equal width over the
    whole range of `against`; the centre is the mean of what fell in. Probes and losses are not
    norms of one image and do not appear.
    """
    import numpy as np
    import pandas

    known = traces[traces["term"].isin([*TERMS, POSTERIOR])]
    value = known[quantity].where(known["term"] != POSTERIOR, known["norm"])
    known = known.assign(value=value).dropna(subset=["value", against])
    if known.empty:
        raise ReportError("the trace holds no gradient norm; was trace.every larger than steps?")
    edges = np.linspace(known[against].min(), known[against].max() + 1e-9, bins + 1)
    index = np.clip(np.digitize(known[against], edges) - 1, 0, bins - 1)
    groups = known.assign(bin=index).groupby(["column", "term", "bin"], sort=True)
    table = pandas.DataFrame(
        {
            "centre": groups[against].mean(),
            "median": groups["value"].median(),
            "lower": groups["value"].quantile(0.25),
            "upper": groups["value"].quantile(0.75),
            "n": groups["value"].size(),
        }
    ).reset_index()
    return table.assign(against=against).drop(columns="bin")


def binned_norms(
    traces: "pandas.DataFrame", *, quantity: str = "norm", bins: int = BINS
) -> "pandas.DataFrame":
    """`binned` against step and against t, one below the other."""
    import pandas

    parts = [binned(traces, against=a, quantity=quantity, bins=bins) for a in AGAINST]
    names = ["column", "against", "term", "centre", "median", "lower", "upper", "n"]
    return pandas.concat(parts, ignore_index=True)[names]


def drawn(table: "pandas.DataFrame", *, columns: Sequence[str]) -> "Figure":
    """Panels: norm against step, against t, and q(y|x_t) against t where the prior knows it.

    Every norm panel has the same axis, every panel of a row the same abscissa.
    """
    from matplotlib.figure import Figure

    with_posterior = POSTERIOR in set(table["term"])
    heights = [1.0, 1.0, 0.45][: 2 + with_posterior]
    figure = Figure(figsize=(max(4.6, 2.55 * len(columns)), 0.9 + 2.3 * sum(heights)))
    axes = figure.subplots(
        len(heights),
        len(columns),
        sharex="row",
        sharey="row",
        squeeze=False,
        gridspec_kw={"height_ratios": heights},
    )
    top = 1.3 * float(table.loc[table["term"] != POSTERIOR, "upper"].max())
    for j, column in enumerate(columns):
        own = table[table["column"] == column]
        for i, against in enumerate(AGAINST):
            _norm_panel(axes[i, j], own[own["against"] == against], top)
        if with_posterior:
            _posterior_panel(axes[2, j], own[own["against"] == "t"])
        axes[0, j].set_title(column, fontsize=9.5, fontweight="bold", loc="left")
        for row, against in enumerate(["step", "t", "t"][: len(heights)]):
            axes[row, j].set_xlabel(AGAINST[against])
    for row in axes[:2]:
        row[0].set_ylabel("norm of one image")
    if with_posterior:
        axes[2, 0].set_ylabel("q(y | x_t)")
    _legend(figure, axes)
    return figure


def _legend(figure: "Figure", axes: Any) -> None:
    found = {
        label: handle
        for ax in axes.flat
        for handle, label in zip(*ax.get_legend_handles_labels(), strict=True)
    }
    handles = {label: found[label] for label, _, _ in TERMS.values() if label in found}
    wide = min(3, axes.shape[1] + 1)
    figure.legend(handles.values(), handles.keys(), loc="upper left", ncols=wide, fontsize=8)
    rows = -(-len(handles) // wide)
    figure.tight_layout(
        rect=(0, 0, 1, 1 - (0.12 + 0.18 * rows) / figure.get_figheight()), w_pad=1.2, h_pad=1.4
    )


def _norm_panel(axes: "Axes", table: "pandas.DataFrame", top: float) -> None:
    """Terms as lines over bands; what lies below FLOOR runs along a grey strip at the bottom."""
    bottom = FLOOR / 2.0
    axes.set_yscale("log")
    axes.set_ylim(bottom, max(top, 10 * FLOOR))
    axes.axhspan(bottom, FLOOR, color=RULE, linewidth=0, alpha=0.6)
    axes.yaxis.set_major_formatter(_decade)
    for place, (term, (label, colour, dashes)) in enumerate(TERMS.items()):
        own = table[table["term"] == term].sort_values("centre")
        if own.empty:
            continue
        lower, median, upper = (
            own[name].where(own[name] >= FLOOR, 0.7 * FLOOR)
            for name in ("lower", "median", "upper")
        )
        line: Any = {"linestyle": (0, dashes) if dashes else "-", "label": label}
        if term == "direction":  # broad and pale, below the terms that it coincides with
            axes.plot(own["centre"], median, color=colour, linewidth=4.5, alpha=0.22, **line)
            continue
        axes.fill_between(
            own["centre"], lower, upper, color=colour, alpha=0.13, linewidth=0, zorder=2
        )
        axes.plot(own["centre"], median, color=colour, linewidth=1.4, zorder=3 + place, **line)


def _decade(value: float, _: float) -> str:
    """A power of ten; FLOOR as what lies below it."""
    below = "< " if math.isclose(value, FLOOR) else ""
    return f"{below}$10^{{{round(math.log10(value))}}}$"


def _posterior_panel(axes: "Axes", table: "pandas.DataFrame") -> None:
    own = table[table["term"] == POSTERIOR].sort_values("centre")
    axes.fill_between(own["centre"], own["lower"], own["upper"], color=INK, alpha=0.12, linewidth=0)
    axes.plot(own["centre"], own["median"], color=INK, linewidth=1.2)
    axes.set_ylim(-0.05, 1.05)


def svg(figure: "Figure") -> str:
    """The figure as SVG text without date or random ids."""
    import io

    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None}, transparent=True)
    return buffer.getvalue()


def themed(text: str, *, label: str) -> str:
    """`svg`'s text for inlining into a page: its colours are the page's, its size the container's.

    Ink becomes currentColor, rules var(--rule), a term's colour var(--term-<name>).
    """
    body = text[text.index("<svg") :]
    body = re.sub(r"<metadata>.*?</metadata>", "", body, flags=re.DOTALL)
    head, _, rest = body.partition(">")
    box = head.split('viewBox="')[1].split('"')[0]
    colours = {INK: "currentColor", RULE: "var(--rule)"}
    colours = {c: f"var(--term-{term})" for term, (_, c, _) in TERMS.items()} | colours
    for colour, name in colours.items():
        rest = rest.replace(colour, name)
    return f'<svg viewBox="{box}" role="img" aria-label="{escape(label, quote=True)}">{rest}'


def draw_gradient_norms(
    traces: "pandas.DataFrame", *, columns: Sequence[str], quantity: str = "norm"
) -> tuple["pandas.DataFrame", str, bytes]:
    """(binned table, SVG text, PNG bytes) of the gradient-norm figure."""
    import io

    import matplotlib

    table = binned_norms(traces[traces["column"].isin(columns)], quantity=quantity)
    with matplotlib.rc_context(STYLE):
        figure = drawn(table, columns=columns)
        picture = io.BytesIO()
        text = svg(figure)
        figure.savefig(picture, format="png", dpi=180, metadata={"Software": ""}, facecolor="white")
    return table, text, picture.getvalue()
