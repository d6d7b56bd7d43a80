"""Figures as PNG, SVG and CSV: the same input gives the same bytes of SVG and CSV.

    python -m reports.figures gradient_norms --trace trace.parquet --out DIR
    python -m reports.figures gradient_norms --trace tables/traces.parquet --columns csd --out DIR
    python -m reports.figures sweep --runs results/mini/runs --columns sds-omega-0 --out DIR

Norms are those of one image at the guidance's input (`pipeline.trace`), each a single noisy sample;
a line is the median over everything that falls into a bin, its band the middle half.
"""

import argparse
import re
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.artifacts import ArtifactError, read_table, sha256, write_bytes, write_png, write_text
from reports import contact_sheet
from reports.records import ReportError, reported

if TYPE_CHECKING:
    import pandas
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK, RULE = "#1b1f24", "#d8dbe0"
# term: (what a reader calls it, colour, dashes); in the order drawn
TERMS: dict[str, tuple[str, str, tuple[float, ...]]] = {
    "generative": ("generative part  ε(y) − ε", "#b4531a", ()),
    "classifier": ("classifier part  ε(y) − ε(∅)", "#2466a8", ()),
    "negative": ("negative prompt  ε(neg) − ε(∅)", "#7a4b9e", (4, 1.5)),
    "particle_noise": ("particle  ε_φ − ε", "#1f7f5c", (4, 1.5)),
    "particle_text": ("particle  ε_φ − ε(y)", "#8a6a00", (1, 1.2)),
    "direction": ("direction, the method's own", INK, (6, 2)),
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


def read_traces(paths: Sequence[Path]) -> "pandas.DataFrame":
    """One table with a `column`: of a `traces` table as it stands, of run traces the run's column.

    Raises ArtifactError for a file that is neither.
    """
    import pandas

    frames = []
    for path in paths:
        frame = read_table(path, "trace")
        if "column" not in frame:
            frame = frame.assign(column=_column_of(path))
        frames.append(frame)
    return pandas.concat(frames, ignore_index=True)


def _column_of(path: Path) -> str:
    from reports.records import read_run

    try:
        return str(read_run(path.parent).record["column"])
    except ArtifactError:
        return path.stem


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
    traces: "pandas.DataFrame", *, quantity: str = "norm", bins: int = 24
) -> "pandas.DataFrame":
    """`binned` against step and against t, one below the other."""
    import pandas

    parts = [binned(traces, against=a, quantity=quantity, bins=bins) for a in AGAINST]
    names = ["column", "against", "term", "centre", "median", "lower", "upper", "n"]
    return pandas.concat(parts, ignore_index=True)[names]


def gradient_norms(table: "pandas.DataFrame", *, columns: Sequence[str]) -> "Figure":
    """Panels: norm against step, against t, and q(y|x_t) against t where the prior knows it."""
    from matplotlib.figure import Figure

    with_posterior = POSTERIOR in set(table["term"])
    rows = 2 + with_posterior
    heights = [1.0, 1.0, 0.55][:rows]
    figure = Figure(figsize=(max(4.6, 2.55 * len(columns)), 0.9 + 1.75 * sum(heights)))
    axes = figure.subplots(
        rows, len(columns), sharey="row", squeeze=False, gridspec_kw={"height_ratios": heights}
    )
    for j, column in enumerate(columns):
        own = table[table["column"] == column]
        for i, against in enumerate(AGAINST):
            _norm_panel(axes[i, j], own[own["against"] == against])
            axes[i, j].set_xlabel(AGAINST[against])
        if with_posterior:
            _posterior_panel(axes[2, j], own[own["against"] == "t"])
        axes[0, j].set_title(column, fontsize=9, fontweight="bold", loc="left")
    for i in range(2):
        axes[i, 0].set_ylabel("norm per image")
    found = {
        label: handle
        for ax in axes.flat
        for handle, label in zip(*ax.get_legend_handles_labels(), strict=True)
    }
    handles = {label: found[label] for label, _, _ in TERMS.values() if label in found}
    figure.legend(
        handles.values(),
        handles.keys(),
        loc="upper left",
        ncols=min(4, len(columns) + 1),
        fontsize=7.5,
    )
    legend_rows = -(-len(handles) // min(4, len(columns) + 1))
    top = 1 - (0.12 + 0.17 * legend_rows) / figure.get_figheight()
    figure.tight_layout(rect=(0, 0, 1, top), w_pad=1.2)
    return figure


def _norm_panel(axes: "Axes", table: "pandas.DataFrame") -> None:
    for term, (label, colour, dashes) in TERMS.items():
        own = table[table["term"] == term].sort_values("centre")
        if own.empty:
            continue
        style: Any = (0, dashes) if dashes else "-"
        axes.fill_between(
            own["centre"], own["lower"], own["upper"], color=colour, alpha=0.14, linewidth=0
        )
        axes.plot(
            own["centre"], own["median"], color=colour, linestyle=style, linewidth=1.3, label=label
        )
    axes.set_yscale("log")


def _posterior_panel(axes: "Axes", table: "pandas.DataFrame") -> None:
    own = table[table["term"] == POSTERIOR].sort_values("centre")
    axes.fill_between(own["centre"], own["lower"], own["upper"], color=INK, alpha=0.12, linewidth=0)
    axes.plot(own["centre"], own["median"], color=INK, linewidth=1.2)
    axes.set_ylim(-0.05, 1.05)
    axes.set_xlabel(AGAINST["t"])
    if axes.get_subplotspec().is_first_col():  # type: ignore[union-attr]
        axes.set_ylabel("q(y | x_t)")


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
        figure = gradient_norms(table, columns=columns)
        picture = io.BytesIO()
        text = svg(figure)
        figure.savefig(picture, format="png", dpi=180, metadata={"Software": ""}, facecolor="white")
    return table, text, picture.getvalue()


def write_gradient_norms(args: argparse.Namespace) -> None:
    """gradient_norms.{png,svg,csv} in the folder asked for."""
    traces = read_traces(args.trace)
    columns = args.columns or list(dict.fromkeys(traces["column"]))
    table, text, picture = draw_gradient_norms(traces, columns=columns, quantity=args.quantity)
    write_text(args.out / "gradient_norms.csv", table.to_csv(index=False, lineterminator="\n"))
    write_text(args.out / "gradient_norms.svg", text)
    write_bytes(args.out / "gradient_norms.png", picture)


def write_sweep(args: argparse.Namespace) -> None:
    """sweep.png, one row per prompt and one column per swept value, and sweep.csv naming each
    image.
    """
    import pandas

    runs = contact_sheet.select(
        args.runs,
        task=args.task,
        columns=args.columns,
        prompt_ids=args.prompt_ids,
        stage=args.stage,
    )
    columns = args.columns or list(dict.fromkeys(run.key[0] for run in runs))
    sheet = contact_sheet.labelled(
        runs, columns=columns, views=args.views, size=args.size, background=args.background
    )
    names = ("column", "stage", "prompt_id", "prompt", "seed", "status")
    rows = [
        {**{name: run.record[name] for name in names}, "view": view, "image": str(path)}
        | {"sha256": sha256(path) if path else ""}
        for run in runs
        for view in args.views
        for path in [run.picture(view) or ""]
    ]
    write_png(args.out / "sweep.png", sheet)
    text = pandas.DataFrame(rows).to_csv(index=False, lineterminator="\n")
    write_text(args.out / "sweep.csv", text)


def main(arguments: Sequence[str] | None = None) -> None:
    """Write one figure's files."""
    parser = argparse.ArgumentParser(prog="reports.figures", description=__doc__)
    programs = parser.add_subparsers(required=True)
    norms = programs.add_parser("gradient_norms")
    norms.add_argument("--trace", type=Path, nargs="+", required=True)
    norms.add_argument("--columns", nargs="+")
    norms.add_argument("--quantity", choices=("norm", "weighted_norm"), default="norm")
    norms.add_argument("--out", type=Path, required=True)
    norms.set_defaults(write=write_gradient_norms)
    sweep = programs.add_parser("sweep")
    contact_sheet.add_selection(sweep)
    sweep.add_argument("--out", type=Path, required=True)
    sweep.set_defaults(write=write_sweep)
    args = parser.parse_args(arguments)
    args.write(args)


if __name__ == "__main__":
    reported(main)
