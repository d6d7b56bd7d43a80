"""Figure 2 of the paper as tables: the two parts of SDS's gradient, and what guidance weights make.

    python -m metrics.fig2 --runs @results/fig2/runs.txt \
        --scores results/fig2/tables/scores.parquet --out results/fig2/figures/fig2

Of the runs it takes those of SDS at each weight of OMEGAS and of plain CSD, prior by prior; `omega`
is the weight as text, or `csd`. Writes, every row with its prior, null, omega, prompt and seed:

- `fig2a_steps.csv`: norms of e(y) - eps (generative), e(y) - e(null) (classifier) and of the
  direction, one noisy sample each, as logged; `weight` is w(t), of which weighted norms are a
  multiple; `posterior` q(y | x_t) where the prior knows it;
- `fig2a_probes.csv`: over K noises at fixed t, the norm of the mean (`_mean`) and the root mean
  square norm of one sample (`_single`) of both parts, and cosines between the means, none where
  one of them vanishes;
- `fig2a_summary.csv`: `summary` of both;
- `fig2b.csv`: the scores of each object, and how near it comes to CSD's under the same prior.
"""

import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from metrics.arguments import parser as arguments_of
from metrics.runs import VIEWS, Run, composited, read_runs, read_view
from metrics.truth import GREY, LARGEST_PSNR, SILHOUETTE
from pipeline.artifacts import ArtifactError, exit_status, read_json, read_table, write_text

if TYPE_CHECKING:
    import pandas

OMEGAS = ("0", "7.5", "20", "40", "100")
CSD = "csd"
ROLES = (*OMEGAS, CSD)
PARTS = ("generative", "classifier")
THIRDS = ("first", "middle", "last")
UNDIRECTED = 1e-6  # norm of a mean below which rounding decides where it points
KEY = ["prior", "null", "omega", "prompt", "prompt_id", "seed"]
# of the object as a whole, and means over its views
OBJECT = ("truth_iou", "iou_floor", "iou_ball", "truth_psnr", "front_back")
VIEW_MEANS = ("clip_score", "r_at_1", "strict_hit", "chroma", "clipped")


class Fig2Error(RuntimeError):
    """Runs that do not make the figure; the message says what lacks and which presets have it."""


@dataclass(frozen=True)
class Cell:
    """One run and its place in the figure."""

    run: Run
    prior: str
    null: str
    omega: str

    @property
    def key(self) -> dict[str, Any]:
        """The columns that name it in every table."""
        own = {"prior": self.prior, "null": self.null, "omega": self.omega}
        return own | {name: getattr(self.run, name) for name in KEY[3:]}


def role(method: str, settings: Mapping[str, Any]) -> str | None:
    """The weight, or `csd`, that a column stands for; None for what the figure does not show."""
    if method == CSD:
        return CSD
    if method != "sds":
        return None
    return next((text for text in OMEGAS if float(text) == float(settings["omega"])), None)


def check(found: Iterable[tuple[str, str]], where: str) -> None:
    """Returns if every prior has each of ROLES once. `found`: (prior, role) a column.

    Raises Fig2Error.
    """
    priors: dict[str, list[str]] = {}
    for prior, one in found:
        priors.setdefault(prior, []).append(one)
    needs = f"{where}: Figure 2 needs SDS at omega {', '.join(OMEGAS)} and CSD under each prior; "
    remedy = "use preset=fig2 or preset=fig2_diverse"
    if not priors:
        raise Fig2Error(f"{needs}there is none of them; {remedy}")
    for prior, roles in priors.items():
        lacks = [one for one in ROLES if one not in roles]
        if lacks:
            raise Fig2Error(f"{needs}under {prior} there is no {', '.join(lacks)}; {remedy}")
        if len(roles) > len(ROLES):
            raise Fig2Error(f"{needs}under {prior} some stand in several columns; {remedy}")


def cells(runs: Sequence[Run]) -> list[Cell]:
    """The runs of the figure in its order: prompts and priors as met, then ROLES. Raises
    Fig2Error.
    """
    found = []
    for run in runs:
        described = read_json(run.folder / "run.json")
        one = role(described["method"], described["method_settings"])
        if one is not None:
            prior = described["prior"]
            null = prior.get("null_prompt", "network")
            found.append((run.column, Cell(run, prior["name"], null, one)))
    check({name: (cell.prior, cell.omega) for name, cell in found}.values(), runs[0].preset)
    priors = list(dict.fromkeys(cell.prior for _, cell in found))
    prompts = list(dict.fromkeys(cell.run.prompt_id for _, cell in found))
    places = (prompts, priors, ROLES)
    return sorted(
        (cell for _, cell in found),
        key=lambda c: (
            *(p.index(x) for p, x in zip(places, (c.run.prompt_id, c.prior, c.omega), strict=True)),
            c.run.seed,
        ),
    )


def traces(chosen: Sequence[Cell]) -> "pandas.DataFrame":
    """The cells' traces under one another, with their keys; a failed run may have none."""
    import pandas

    parts = [
        read_table(path, "trace").assign(**cell.key)
        for cell in chosen
        for path in [cell.run.folder / "trace.parquet"]
        if path.is_file() or not cell.run.failed
    ]
    if not parts:
        raise Fig2Error("no run of Figure 2 has a trace: all failed; see the runs' run.json")
    return pandas.concat(parts, ignore_index=True)


def steps(traced: "pandas.DataFrame") -> "pandas.DataFrame":
    """One row a logged step and view: step, t, weight, norms and posterior."""
    terms = [*PARTS, "direction", "posterior"]
    rows = traced[traced["term"].isin(terms)]
    view = rows.groupby([*KEY, "step", "term"]).cumcount()
    rows = rows.assign(view=view)
    place: dict[str, Any] = {"index": [*KEY, "step", "view", "t"], "columns": "term"}
    table = rows.pivot(**place, values="norm").reindex(columns=terms)
    parts = list(PARTS)
    if table[parts].isna().to_numpy().any():
        raise Fig2Error(
            "some logged steps lack a part of the gradient: the stage's trace.extra_every must be "
            "a multiple of trace.every, as in presets/fig2.yaml"
        )
    # w(t) of any term that has a norm; a sum bears a part that is exactly zero
    weighted = rows.pivot(**place, values="weighted_norm")[parts].sum(axis="columns")
    table["weight"] = weighted / table[parts].sum(axis="columns")
    return _in_order(table.reset_index(), traced, ["step", "view"])


def probes(traced: "pandas.DataFrame") -> "pandas.DataFrame":
    """One row a probe and t: norms of means over K noises, of single samples, cosines, w(t)."""
    rows = traced[traced["term"].str.startswith("probe/")]
    wide = rows.pivot(index=[*KEY, "step", "t"], columns="term", values=["norm", "weighted_norm"])
    norm, found = wide["norm"], {}
    for part in PARTS:
        mean, spread = norm[f"probe/{part}/mean"], norm[f"probe/{part}/spread"]
        found[f"{part}_mean"], found[f"{part}_single"] = mean, np.hypot(mean, spread)
    for a, b in (("direction", PARTS[0]), ("direction", PARTS[1]), PARTS):
        least = np.minimum(norm[f"probe/{a}/mean"], norm[f"probe/{b}/mean"])
        found[f"cosine_{a}_{b}"] = norm[f"probe/cosine/{a}/{b}"].where(least >= UNDIRECTED)
    term = f"probe/{PARTS[0]}/spread"
    table = norm.assign(**found, weight=wide["weighted_norm"][term] / norm[term])
    return _in_order(table[[*found, "weight"]].reset_index(), traced, ["step", "t"])


def summary(by_step: "pandas.DataFrame", by_probe: "pandas.DataFrame") -> "pandas.DataFrame":
    """One row a (prior, omega, quantity, when): the mean over prompts and seeds, its extremes, n.

    `ratio`: mean norm of the classifier part over that of the generative one, single samples, of a
    third of the run; `ratio_weighted` with w(t). `posterior`: its mean there. At a probe's step,
    over its t: `mean_ratio`, the same of means over noises; `kept_*`, what averaging leaves of a
    part's norm; `cosine_*`, mean cosines.
    """
    import pandas

    total = by_step.groupby("prompt_id")["step"].transform("max") + 1
    third = np.array(THIRDS)[(by_step["step"] * 3 // total).to_numpy()]
    weighted = {f"{part}_w": by_step[part] * by_step["weight"] for part in PARTS}
    means = _means(by_step.assign(**weighted, when=third))
    cls, gen = PARTS[1], PARTS[0]
    found = {
        "ratio": means[cls] / means[gen],
        "ratio_weighted": means[f"{cls}_w"] / means[f"{gen}_w"],
        "posterior": means["posterior"],
    }
    at = _means(by_probe.assign(when="step " + by_probe["step"].astype(str)))
    found["mean_ratio"] = at[f"{cls}_mean"] / at[f"{gen}_mean"]
    found |= {f"kept_{part}": at[f"{part}_mean"] / at[f"{part}_single"] for part in PARTS}
    found |= {name: at[name] for name in map(str, at) if name.startswith("cosine_")}
    long = pandas.concat(
        [values.rename("value").reset_index().assign(quantity=q) for q, values in found.items()]
    ).dropna(subset=["value"])
    groups = long.groupby(["prior", "null", "omega", "quantity", "when"], sort=False)["value"]
    table = groups.agg(value="mean", lowest="min", highest="max", n="size")
    return _in_order(table.reset_index(), by_step, [])


def _means(table: "pandas.DataFrame") -> "pandas.DataFrame":
    """Of each run and `when`, which `table` holds."""
    return table.groupby([*KEY, "when"], sort=False).mean(numeric_only=True).drop(columns="step")


def objects(chosen: Sequence[Cell], scores: "pandas.DataFrame") -> "pandas.DataFrame":
    """One row a run: its scores, and `psnr_to_csd` (dB over grey) and `iou_to_csd` (silhouettes),
    means over the four views; none for CSD itself and beside a failed run.
    """
    import pandas

    named = scores.set_index(["column", "prompt_id", "seed", "metric", "view"])["value"]
    reference = {(c.prior, c.run.prompt_id, c.run.seed): c for c in chosen if c.omega == CSD}
    rows = []
    for cell in chosen:
        own = (cell.run.column, cell.run.prompt_id, cell.run.seed)
        row = cell.key | {"column": cell.run.column, "failed": cell.run.failed}
        row |= {m: named.get((*own, m, "object")) for m in OBJECT}
        for metric in VIEW_MEANS:
            found = [named.get((*own, metric, view)) for view in VIEWS]
            values = [float(value) for value in found if value is not None]
            row[metric] = float(np.mean(values)) if len(values) == len(VIEWS) else None
        other = reference.get((cell.prior, *own[1:]))
        row |= _likeness(cell, other)
        rows.append(row)
    return pandas.DataFrame(rows)


def _likeness(cell: Cell, other: Cell | None) -> dict[str, float | None]:
    if other is None or cell.omega == CSD or cell.run.failed or other.run.failed:
        return {"psnr_to_csd": None, "iou_to_csd": None}
    psnr, iou = [], []
    for view in VIEWS:
        a, b = read_view(cell.run, view), read_view(other.run, view)
        error = float(np.mean((composited(a, GREY) - composited(b, GREY)) ** 2))
        psnr.append(min(LARGEST_PSNR, -10 * np.log10(max(error, 1e-12))))
        inside, outside = a[..., 3] >= SILHOUETTE, b[..., 3] >= SILHOUETTE
        union = (inside | outside).sum()
        iou.append(float((inside & outside).sum() / union) if union else 1.0)
    return {"psnr_to_csd": float(np.mean(psnr)), "iou_to_csd": float(np.mean(iou))}


def _in_order(
    table: "pandas.DataFrame", like: "pandas.DataFrame", then: list[str]
) -> "pandas.DataFrame":
    """Rows by prior and prompt as `like` has them, ROLES, seed, then `then`."""
    known = {name: dict.fromkeys(like[name]) for name in ("prior", "prompt_id")}
    known["omega"] = dict.fromkeys(ROLES)
    places = {name: {one: i for i, one in enumerate(found)} for name, found in known.items()}
    keys = [name for name in ("prior", "prompt_id", "omega", "seed", *then) if name in table]
    return table.sort_values(
        keys, kind="stable", key=lambda s: s.map(places[s.name]) if s.name in places else s
    ).reset_index(drop=True)


def write_csv(table: "pandas.DataFrame", path: Path) -> None:
    """`path` holds `table`, numbers to five digits."""
    write_text(path, table.to_csv(index=False, float_format="%.5g", lineterminator="\n"))


def main(arguments: Sequence[str] | None = None) -> None:
    """Reads run folders and scores, writes the four tables."""
    parser = arguments_of("metrics.fig2")
    parser.add_argument("--runs", required=True, nargs="+", type=Path, help="run folders")
    parser.add_argument("--scores", required=True, type=Path, help="tables/scores.parquet")
    parser.add_argument("--out", required=True, type=Path, help="folder of the tables")
    given = parser.parse_args(arguments)
    chosen = cells(read_runs(given.runs))
    traced = traces(chosen)
    by_step, by_probe = steps(traced), probes(traced)
    write_csv(by_step, given.out / "fig2a_steps.csv")
    write_csv(by_probe, given.out / "fig2a_probes.csv")
    write_csv(summary(by_step, by_probe), given.out / "fig2a_summary.csv")
    write_csv(objects(chosen, read_table(given.scores, "scores")), given.out / "fig2b.csv")
    print(f"Figure 2 of {len(chosen)} runs in {given.out}")


if __name__ == "__main__":
    sys.exit(exit_status(main, Fig2Error, ArtifactError))
