"""Whether a run is as good as a committed baseline, prompt by prompt; the exit status is the gate.

    python -m metrics.regression --tables results/smoke/tables/geometry \
        --baseline baselines/smoke/geometry [--update]

Reads `scores` and `traces` of --tables (metrics.score) and the baseline: `scores.csv`, one number a
(column, prompt, seed, view, metric) with its protocol_id; `traces.csv`, mean norms of every logged
term by third of the run; `baseline.json`, the limits by metric, or by "column metric" where that is
there. --update writes these three files instead.

Quality, by column and metric, differences paired by prompt, worse being negative:

- five prompts or more: the mean difference must be non-inferior, which a one-sided sign-flip test
  of (difference + margin) at 5 % shows. Not shown is not passed.
- fewer, where no test can show anything: no view of any prompt may be worse by more than the band.
  Hits, which fall from 1 to 0 or not at all, may fall by the band in all numbers of a column.

A run that has failed since, a number that is gone and a changed protocol do not pass either; nor
does a truth that is another one, which its floors tell.

Traces: each mean norm must lie within a share `trace_band` of the baseline's, small ones within
that share of a tenth of the term's largest. A mean norm outside is another optimisation, better or
worse: if it is meant, update the baseline in the same commit and say why.

With --goldens the metric code is tried first, on pictures whose embeddings, retrieval numbers and
image statistics are known (metrics.goldens).
"""

import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from metrics import goldens, statistics, tables
from metrics.arguments import parser as arguments_of
from metrics.encoders import EncoderError
from metrics.norms import THIRDS
from pipeline.artifacts import (
    SCHEMA_VERSION,
    ArtifactError,
    check_schema,
    exit_status,
    read_json,
    read_table,
    write_json,
    write_text,
)

if TYPE_CHECKING:
    import pandas

# metric -> (margin of the mean over prompts, band of one view of one prompt), in its own unit; of
# HITS the band is what all numbers of a column may fall by together. What a reader would see.
LIMITS: dict[str, tuple[float, float]] = {
    "clip_score": (2.0, 2.0),  # 250 cos: 0.008 of a cosine
    "r_at_1": (0.05, 1.0),
    "strict_hit": (0.05, 1.0),
    "truth_iou": (0.02, 0.03),
    "truth_psnr": (0.5, 0.75),  # dB
    "front_back": (0.05, 0.5),
    "seam": (0.1, 0.2),
    "iou_floor": (0.01, 0.01),  # of the truth alone: up or down, it is another one
    "iou_ball": (0.01, 0.01),
}
HITS = ("r_at_1", "strict_hit")
TRACE_BAND = 0.1
SMALL = 0.1  # of a term's largest mean norm: smaller ones are judged by the share of this
ALPHA = 0.05
ROUNDING = 1e-9  # of sums of shares, where captions tie
PLACE = ["column", "prompt_id", "seed"]
NUMBER = [*PLACE, "view", "metric"]
SCORES = [*NUMBER, "protocol_id", "value", "status"]
NORMS = [*PLACE, "term", "third"]


@dataclass(frozen=True)
class Finding:
    """One line of the report, and whether the gate lets it pass."""

    passes: bool
    text: str


@dataclass(frozen=True)
class Baseline:
    """What is compared with: numbers, mean norms, and the limits of both."""

    scores: "pandas.DataFrame"
    norms: "pandas.DataFrame"
    limits: Mapping[str, Sequence[float]]
    trace_band: float


def judged(scores: "pandas.DataFrame") -> "pandas.DataFrame":
    """The rows of `scores` that the gate compares: each number once, in a fixed order."""
    rows = tables.measured(scores)
    rows = rows[rows["metric"].map(tables.base).isin(LIMITS) & ~rows["metric"].str.contains("@")]
    return rows[SCORES].sort_values(NUMBER, ignore_index=True)


def mean_norms(traces: "pandas.DataFrame") -> "pandas.DataFrame":
    """Rows column, prompt_id, seed, term, third, norm, weighted_norm: means over steps and views.

    Probes are left out: they repeat the terms with other noises.
    """
    rows = traces[~traces["term"].str.startswith("probe/")].dropna(subset=["norm"])
    steps = rows.groupby(PLACE)["step"].transform("max") + 1
    third = np.array(THIRDS)[(rows["step"] * 3 // steps).to_numpy(dtype=np.int64)]
    grouped = rows.assign(third=third).groupby(NORMS)[["norm", "weighted_norm"]]
    return grouped.mean().reset_index()


def compared(scores: "pandas.DataFrame", baseline: Baseline) -> Iterator[Finding]:
    """A finding for every column and metric of the baseline, and for what is gone or has failed."""
    both = baseline.scores.merge(scores, how="left", on=NUMBER, suffixes=("", "_now"))
    gone = both[both["value_now"].isna() & both["value"].notna() & (both["status_now"] != "failed")]
    for (column, prompt), rows in gone.groupby(["column", "prompt_id"]):
        metrics = ", ".join(sorted(set(rows["metric"])))
        yield Finding(False, f"{column} of {prompt}: no {metrics} any more")
    failed = both[(both["status_now"] == "failed") & (both["status"] == "ok")]
    for (column, prompt, seed), _ in failed.groupby(PLACE):
        yield Finding(False, f"{column} of {prompt}, seed {seed}: failed, and worked before")
    other = both[both["protocol_id_now"].notna() & (both["protocol_id"] != both["protocol_id_now"])]
    for metric, rows in other.groupby("metric"):
        now = ", ".join(sorted(set(rows["protocol_id_now"])))
        yield Finding(False, f"{metric}: measured under protocol {now}, the baseline is not")
    kept = both[both["value_now"].notna() & (both["protocol_id"] == both["protocol_id_now"])]
    for key, rows in kept.dropna(subset=["value"]).groupby(["column", "metric"]):
        column, metric = map(str, key)
        rows = rows.assign(difference=_change(rows, metric))
        own = baseline.limits.get(f"{column} {tables.base(metric)}")
        margin, band = own or baseline.limits[tables.base(metric)]
        prompts = rows["prompt_id"].nunique()
        enough = statistics.smallest_p(prompts) / 2.0 <= ALPHA
        held = _counted if tables.base(metric) in HITS else _banded
        finding = _tested(rows, margin) if enough else held(rows, band)
        yield Finding(finding.passes, f"{column} {metric}: {finding.text}")


def _change(rows: "pandas.DataFrame", metric: str) -> "pandas.Series[float]":
    """How much better each number is than the baseline's; floors count how far they moved."""
    change = rows["value_now"] - rows["value"]
    if tables.base(metric) in tables.REFERENCES:
        return -change.abs()
    return -change if tables.base(metric) in tables.LOWER_IS_BETTER else change


def _tested(rows: "pandas.DataFrame", margin: float) -> Finding:
    """Whether the mean difference is not worse than -margin, and the prompts below that."""
    by_prompt = rows.groupby("prompt_id")["difference"].mean().sort_values()
    p = statistics.non_inferiority_p(by_prompt.to_numpy(), margin)
    shown = "" if p <= ALPHA else "not shown to be as good, "
    text = f"mean difference {_signed(by_prompt.mean())} over {len(by_prompt)} prompts, "
    text += f"margin {margin:g}, {shown}p {p:.2g}"
    lost = [f"{prompt} {_signed(value)}" for prompt, value in by_prompt.items() if value < -margin]
    return Finding(p <= ALPHA, text + _named(lost))


def _banded(rows: "pandas.DataFrame", band: float) -> Finding:
    """Whether no number is worse than -band, and those that are."""
    lost = _worse(rows, band)
    worst = _signed(rows["difference"].min())
    return Finding(not lost, f"worst {worst} of {len(rows)} numbers, band {band:g}{_named(lost)}")


def _counted(rows: "pandas.DataFrame", band: float) -> Finding:
    """Whether all numbers together fell by no more than `band`, whatever others gained."""
    fallen = float(rows["difference"].clip(upper=0.0).sum())
    text = f"{_signed(fallen)} in all falls of {len(rows)} numbers, band {band:g}"
    return Finding(fallen >= -band - ROUNDING, text + _named(_worse(rows, 0.0)))


def _worse(rows: "pandas.DataFrame", band: float) -> list[str]:
    """The numbers that are worse than -band, the worst first."""
    return [
        f"{row['prompt_id']} {row['view']} {_signed(row['difference'])}"
        for row in rows.sort_values("difference").to_dict("records")
        if row["difference"] < -band
    ]


def _named(lost: Sequence[str]) -> str:
    return f"; worse: {', '.join(lost)}" if lost else ""


def _signed(value: float) -> str:
    return f"{round(float(value), 4) + 0.0:+.4f}"  # + 0.0: no minus before a zero


def strayed(norms: "pandas.DataFrame", baseline: Baseline) -> Iterator[Finding]:
    """A finding for every column whose norms are other ones, or one that says none is."""
    both = baseline.norms.merge(norms, how="left", on=NORMS, suffixes=("", "_now"))
    outside = 0
    for kind in ("norm", "weighted_norm"):
        known = both.dropna(subset=[kind])
        largest = known.groupby([*PLACE, "term"])[kind].transform("max")
        room = baseline.trace_band * known[kind].clip(lower=SMALL * largest)
        out = known[~((known[f"{kind}_now"] - known[kind]).abs() <= room)]
        outside += len(out)
        for (column, term), rows in out.groupby(["column", "term"]):
            worst = rows.assign(ratio=rows[f"{kind}_now"] / rows[kind])
            parts = [
                f"{row['prompt_id']} {row['third']} third x {row['ratio']:.3g}"
                for row in worst.to_dict("records")
            ]
            yield Finding(False, f"{column} trace, {kind} of {term}: {', '.join(parts)}")
    if not outside:
        text = f"{len(both)} mean norms within {100 * baseline.trace_band:g} % of the baseline's"
        yield Finding(True, text)


def read_baseline(folder: Path) -> Baseline:
    """The baseline in `folder`. Raises ArtifactError where there is none or half of one."""
    import pandas

    described = read_json(folder / "baseline.json")
    check_schema(described.get("schema_version"), folder / "baseline.json")
    frames = {}
    for name, columns in (("scores", SCORES), ("traces", NORMS)):
        path = folder / f"{name}.csv"
        if not path.is_file():
            raise ArtifactError(f"{path}: no such file; write the baseline anew with --update")
        frames[name] = pandas.read_csv(path)
        lacking = set(columns) - set(frames[name].columns)
        if lacking:
            raise ArtifactError(f"{path}: lacks {', '.join(sorted(lacking))}; write it anew")
    limits, band = described["limits"], float(described["trace_band"])
    known, metrics = set(frames["scores"]["column"]), frames["scores"]["metric"].map(tables.base)
    if unknown := set(metrics) - set(limits):
        raise ArtifactError(f"{folder / 'baseline.json'}: no limit for {', '.join(unknown)}")
    own = [name.split(" ") for name in limits if " " in name]
    if strays := [f"{c} {m}" for c, m in own if c not in known or m not in LIMITS]:
        raise ArtifactError(f"{folder / 'baseline.json'}: limits of nothing, {', '.join(strays)}")
    return Baseline(frames["scores"], frames["traces"], limits, band)


def write_baseline(
    scores: "pandas.DataFrame", norms: "pandas.DataFrame", folder: Path, *, trace_band: float | None
) -> None:
    """`folder` holds these numbers; limits that it already has are kept, metric by metric.

    trace_band: None keeps the folder's, TRACE_BAND in a new one. Raises ArtifactError where the
    folder's limits are of a format that this code does not read.
    """
    path = folder / "baseline.json"
    known: dict[str, Any] = read_json(path) if path.is_file() else {}
    if known:
        check_schema(known.get("schema_version"), path)
    limits = {name: list(pair) for name, pair in LIMITS.items()} | known.get("limits", {})
    band = known.get("trace_band", TRACE_BAND) if trace_band is None else trace_band
    content = {**known, "schema_version": SCHEMA_VERSION, "limits": limits, "trace_band": band}
    for name, frame in (("scores", scores), ("traces", norms)):
        text = frame.to_csv(index=False, float_format="%.10g", lineterminator="\n")
        write_text(folder / f"{name}.csv", text)
    write_json(path, content)


def tried(folder: Path) -> list[Finding]:
    """What the metric code no longer gives of the goldens in `folder`, or that it gives all."""
    broken = [Finding(False, f"metric code: {problem}") for problem in goldens.problems(folder)]
    return broken or [Finding(True, "the metric code gives the known numbers")]


def report(findings: Sequence[Finding]) -> str:
    """What does not pass, then what does, one line each."""
    lines = [f"{'ok  ' if f.passes else 'FAIL'} {f.text}" for f in findings]
    return "\n".join(sorted(lines, key=lambda line: line.startswith("ok")))


def main(arguments: Sequence[str] | None = None) -> int:
    """Compares, or writes a baseline; 1 when something does not pass."""
    parser = arguments_of("metrics.regression")
    parser.add_argument("--tables", required=True, type=Path, help="of metrics.score")
    parser.add_argument("--baseline", required=True, type=Path, help="folder of the baseline")
    parser.add_argument("--goldens", type=Path, help="folder of metrics.goldens, tried first")
    parser.add_argument("--update", action="store_true", help="write the baseline")
    parser.add_argument("--trace-band", type=float, help="written with --update")
    parser.add_argument("--out", type=Path, help="text file of the report")
    chosen = parser.parse_args(arguments)
    scores = judged(read_table(chosen.tables / "scores", "scores"))
    norms = mean_norms(read_table(chosen.tables / "traces", "traces"))
    if chosen.update:
        write_baseline(scores, norms, chosen.baseline, trace_band=chosen.trace_band)
        print(f"{len(scores)} numbers and {len(norms)} mean norms in {chosen.baseline}")
        return 0
    findings = [] if chosen.goldens is None else tried(chosen.goldens)
    baseline = read_baseline(chosen.baseline)
    findings += [*compared(scores, baseline), *strayed(norms, baseline)]
    text = report(findings)
    if chosen.out is not None:
        write_text(chosen.out, text + "\n")
    print(text)
    return int(not all(finding.passes for finding in findings))


if __name__ == "__main__":
    sys.exit(exit_status(main, EncoderError))
