"""Fig. 2a: how large the two parts of SDS's gradient are, single and averaged over noises.

A panel column a prior. Above, the norms of the runs of one guidance weight, with and without w(t),
against step and t; below, for every weight and CSD, the ratio of the parts and how much of the
direction the classifier part is.
"""

from typing import TYPE_CHECKING, Any

import numpy as np

from reports.gradient_norms import FLOOR, INK, RULE, TERMS

if TYPE_CHECKING:
    import pandas
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BINS = 8
PROBE_T = 500  # of 1,000: the t of the probes that stand among norms against the step
# (against, weighted, label of the ordinate)
NORMS = (
    ("step", False, "norm"),
    ("step", True, "norm × w(t)"),
    ("t", False, "norm"),
    ("t", True, "norm × w(t)"),
)
WEIGHTS = {
    "0": "#d9a01e",
    "7.5": "#7da33c",
    "20": "#23967f",
    "40": "#2466a8",
    "100": "#5a2d91",
    "csd": INK,
}


def caption(omega: str, noises: int) -> str:
    """What the lines and marks are."""
    run = "CSD" if omega == "csd" else f"SDS at omega = {omega}"
    return (
        "Figure 2a in the toy world. Rows 1 to 4: norms of the generative part e(y) - eps and the "
        f"classifier part e(y) - e(null) in the runs of {run}, without and with w(t), against "
        "step and against t. Lines: median over the single noisy samples in a bin, band their "
        f"middle half. Filled marks: norm of the mean over {noises} noises at a probe; hollow "
        "marks: root mean square norm of one sample there (rows 1 and 2 at t = "
        f"{PROBE_T}, rows 3 and 4 medians over probes). Values below {FLOOR:g} stand in the grey "
        "strip. Row 5: mean norm of the classifier part over that of the generative part, single "
        "samples, at every omega. Row 6: the same of means over noises, at the probes. Row 7: "
        "cosine of the method's direction with the classifier part, means over noises, absent "
        "where one of them vanishes. t falls over a run, so step and t are confounded in rows 1, "
        "2 and 5; the probes' t are fixed."
    )


def drawn(steps: "pandas.DataFrame", probes: "pandas.DataFrame", *, omega: str) -> "Figure":
    """Seven rows of panels, one column a prior; a row shares its ordinate."""
    from matplotlib.figure import Figure

    priors = list(dict.fromkeys(steps["prior"]))
    figure = Figure(figsize=(0.8 + 2.75 * len(priors), 13.2))
    axes = figure.subplots(7, len(priors), sharex="row", sharey="row", squeeze=False)
    for j, prior in enumerate(priors):
        by_step, by_probe = steps[steps["prior"] == prior], probes[probes["prior"] == prior]
        one_step, one_probe = (x[x["omega"] == omega] for x in (by_step, by_probe))
        for i, (against, weighted, _) in enumerate(NORMS):
            _norms(axes[i, j], one_step, one_probe, against, weighted=weighted)
        _ratios(axes[4, j], by_step)
        _at_probes(axes[5, j], by_probe, _mean_ratio)
        _at_probes(axes[6, j], by_probe, lambda rows: rows["cosine_direction_classifier"].mean())
        axes[5, j].set_yscale("log")
        axes[6, j].set_ylim(-1.05, 1.05)
        axes[0, j].set_title(prior, fontsize=9.5, fontweight="bold", loc="left")
        labels = [against for against, _, _ in NORMS] + ["step", "step + 1", "step + 1"]
        for i, label in enumerate(labels):
            axes[i, j].set_xlabel(label, labelpad=1)
    names = [label for _, _, label in NORMS] + [
        "|classifier| / |generative|",
        "the same, of means",
        "cos(direction, classifier)",
    ]
    for i, label in enumerate(names):
        axes[i, 0].set_ylabel(label)
    for row in axes[: len(NORMS)]:  # once all is drawn: setting one end fixes the other
        row[0].set_ylim(bottom=FLOOR / 2)
    _legends(figure, axes, omega)
    return figure


def binned(table: "pandas.DataFrame", against: str, values: "pandas.Series") -> "pandas.DataFrame":
    """centre, median, lower and upper quartile of `values` in BINS equal bins of `against`."""
    import pandas

    place = table[against].astype(float)
    edges = np.linspace(place.min(), place.max() + 1e-9, BINS + 1)
    index = np.clip(np.digitize(place, edges) - 1, 0, BINS - 1)
    groups, centre = values.groupby(index), place.groupby(index).mean()
    return pandas.DataFrame(
        {
            "centre": centre,
            "median": groups.median(),
            "lower": groups.quantile(0.25),
            "upper": groups.quantile(0.75),
        }
    )


def _norms(
    axes: "Axes",
    steps: "pandas.DataFrame",
    probes: "pandas.DataFrame",
    against: str,
    *,
    weighted: bool,
) -> None:
    axes.set_yscale("log")
    axes.axhspan(FLOOR / 2, FLOOR, color=RULE, linewidth=0, alpha=0.6)
    at = probes[probes["t"] == PROBE_T] if against == "step" else probes
    for part, marker in (("generative", "o"), ("classifier", "s")):
        colour, scale = TERMS[part][1], steps["weight"] if weighted else 1.0
        line = binned(steps, against, steps[part] * scale)
        axes.fill_between(
            line["centre"], _seen(line["lower"]), _seen(line["upper"]), color=colour, alpha=0.14
        )
        axes.plot(line["centre"], _seen(line["median"]), color=colour, linewidth=1.4)
        for kind, face in (("single", "white"), ("mean", colour)):
            value = at[f"{part}_{kind}"] * (at["weight"] if weighted else 1.0)
            marks = value.groupby(at[against]).median()
            style: Any = {"color": colour, "markerfacecolor": face, "markersize": 4.5}
            axes.plot(marks.index, _seen(marks), marker, linestyle="none", zorder=5, **style)


def _seen(values: "pandas.Series") -> "pandas.Series":
    """What lies below FLOOR stands in its strip."""
    return values.where(values >= FLOOR, 0.7 * FLOOR)


def _ratios(axes: "Axes", steps: "pandas.DataFrame") -> None:
    """Of sums over a bin: the mean norm of one part over that of the other."""
    axes.set_yscale("log")
    axes.axhline(1.0, color=INK, linewidth=0.6)
    edges = np.linspace(0, steps["step"].max() + 1, BINS + 1)
    for omega, colour in WEIGHTS.items():
        own = steps[steps["omega"] == omega]
        groups = own.groupby(np.digitize(own["step"], edges) - 1)
        ratio = groups["classifier"].sum() / groups["generative"].sum()
        axes.plot(groups["step"].mean(), _seen(ratio), color=colour, **_width(omega))


def _mean_ratio(rows: "pandas.DataFrame") -> float:
    return float(rows["classifier_mean"].sum() / rows["generative_mean"].sum())


def _at_probes(axes: "Axes", probes: "pandas.DataFrame", value: Any) -> None:
    """`value` of the rows of each probe's step, over prompts, seeds and t."""
    axes.set_xscale("log")
    for omega, colour in WEIGHTS.items():
        own = probes[probes["omega"] == omega]
        found = {step: value(rows) for step, rows in own.groupby("step")}
        place = np.array(list(found)) + 1
        heights = np.array(list(found.values()))
        if value is _mean_ratio:
            heights = np.maximum(heights, 0.7 * FLOOR)
        axes.plot(place, heights, marker=".", markersize=5, color=colour, **_width(omega))


def _width(omega: str) -> dict[str, Any]:
    """CSD is broad and pale below the others: at the largest weights they coincide."""
    return {"linewidth": 4.0, "alpha": 0.25} if omega == "csd" else {"linewidth": 1.3}


def _legends(figure: "Figure", axes: Any, omega: str) -> None:
    from matplotlib.lines import Line2D

    parts = [Line2D([], [], color=TERMS[p][1], label=TERMS[p][0]) for p in ("generative",)]
    parts += [Line2D([], [], color=TERMS["classifier"][1], label=TERMS["classifier"][0])]
    empty: Any = {"linestyle": "none", "color": INK}
    parts += [
        Line2D([], [], marker="o", label="mean over noises", **empty),
        Line2D([], [], marker="o", markerfacecolor="white", label="one sample", **empty),
    ]
    weights = [
        Line2D([], [], color=c, label="CSD" if w == "csd" else f"ω {w}", **_width(w))
        for w, c in WEIGHTS.items()
    ]
    figure.tight_layout(rect=(0, 0, 1, 0.955), w_pad=0.8, h_pad=0.6)
    title = "CSD" if omega == "csd" else f"rows 1–4: SDS at ω = {omega}"
    place: Any = {"loc": "upper left", "ncols": 2, "fontsize": 7.5, "alignment": "left"}
    figure.legend(handles=parts, bbox_to_anchor=(0.01, 0.998), title=title, **place)
    place |= {"loc": "upper right", "ncols": 3}
    figure.legend(
        handles=weights, bbox_to_anchor=(0.995, 0.998), title="rows 5–7: every weight", **place
    )
