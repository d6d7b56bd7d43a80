"""Scores of the scenes that runs kept on their way, and how many steps nine tenths of it took.

    python -m metrics.speed --listing results/mini/figures/speed/snapshots.json \
        --tables results/mini/tables/geometry.nerf --texts results/mini/tables/texts.npz \
        --model MODEL --candidates toy81 --truth DIR --out results/mini/figures/speed --runs DIR ...

Measures the snapshots' views (pipeline.render_snapshots) as metrics.score measures the finished
runs', whose numbers are taken from --tables; a number whose protocol differs from theirs is an
error. Writes to --out: `speed_scores.csv` (one number a run, step and metric), `speed_curves.csv`
(means over prompts), `speed_runs.csv` (a run's step at nine tenths) and `speed_summary.csv`
(metrics.curves says what they mean). Columns are compared with plain CSD's, else with that of CSD
with a negative prompt, else with the first; --reference names another.
"""

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from metrics import candidates, curves, encoders, measure, protocol
from metrics.arguments import parser as arguments_of
from metrics.embed import embed_runs
from metrics.embeddings import BACKGROUNDS, read_captions
from metrics.r_precision import TIES
from metrics.runs import Run, read_run, read_runs, view_size
from metrics.score import CAMERAS, Reference, scores
from pipeline.artifacts import (
    ArtifactError,
    check_schema,
    exit_status,
    read_json,
    read_table,
    write_text,
)
from prompts.load import PromptError

if TYPE_CHECKING:
    import pandas

METRICS = ("truth_iou", "clip_score")  # of the whole object
REFERENCES = ("csd", "csd_neg")  # methods whose column the others are compared with
_KEY = ["column", "prompt_id", "seed"]


def read_snapshots(listing: Path) -> dict[int, list[Run]]:
    """step -> the snapshots' run folders, of those that the listing names."""
    found = read_json(listing)
    check_schema(found.get("schema_version"), listing)
    by_step: dict[int, list[Run]] = {}
    for row in found["snapshots"]:
        by_step.setdefault(int(row["step"]), []).append(read_run(Path(row["folder"])))
    return dict(sorted(by_step.items()))


def spent(folder: Path) -> dict[str, float]:
    """Evaluations of every kind together, and seconds of steps, that a run.json tells."""
    record = read_json(folder / "run.json")
    seconds = record["seconds"]["steps"]
    return {
        "evaluations": float(sum(record["evaluations"].values())),
        "seconds": float("nan") if seconds is None else float(seconds),
    }


def of_object(table: "pandas.DataFrame") -> "pandas.DataFrame":
    """The rows of METRICS for whole objects."""
    chosen = (table["view"] == "object") & table["metric"].isin(METRICS)
    return table.loc[
        chosen & (table["status"] != "not applicable"),
        [*_KEY, "metric", "protocol_id", "value"],
    ]


def measured(
    steps: Mapping[int, Sequence[Run]], reference: Reference, setup: protocol.Setup
) -> "pandas.DataFrame":
    """The objects' numbers after every step at which scenes were kept."""
    import pandas

    parts = []
    for step, runs in steps.items():
        costs = pandas.DataFrame([{**run.key, **spent(run.folder)} for run in runs])
        own = of_object(scores(runs, reference, setup)[0])
        kept = costs[[*_KEY, "evaluations", "seconds"]]
        parts.append(own.merge(kept, on=_KEY).assign(step=step))
    return pandas.concat(parts, ignore_index=True)


def finished(runs: Sequence[Run], tables: Path) -> "pandas.DataFrame":
    """The objects' numbers at the end of every run, from the table of scores."""
    import pandas

    ends = []
    for run in runs:
        record = read_json(run.folder / "run.json")
        ends.append({**run.key, "step": record["settings"]["steps"], **spent(run.folder)})
    own = of_object(read_table(tables / "scores", "scores"))
    last = pandas.DataFrame(ends)[[*_KEY, "step", "evaluations", "seconds"]]
    return own.merge(last, on=_KEY)


def same_protocol(way: "pandas.DataFrame", ends: "pandas.DataFrame") -> None:
    """Returns if the numbers on the way are of the protocol of the final ones; else
    ArtifactError.
    """
    for metric, rows in way.groupby("metric"):
        ours, theirs = (
            set(rows["protocol_id"]),
            set(ends.loc[ends["metric"] == metric, "protocol_id"]),
        )
        if ours != theirs:
            raise ArtifactError(
                f"{metric} of the snapshots is of protocol {sorted(ours)}, of the finished runs "
                f"{sorted(theirs)}: score both with the same options"
            )


def reference_column(runs: Sequence[Run], asked: str | None) -> str:
    """The column to compare with: the one asked for, or the first of REFERENCES' methods, or the
    first column. Raises ArtifactError where there is none of the name asked for.
    """
    methods = {run.column: read_json(run.folder / "run.json")["method"] for run in runs}
    if asked is not None and asked not in methods:
        raise ArtifactError(f"no column {asked} among {', '.join(methods)}: --reference names one")
    ranked = [column for wanted in REFERENCES for column, its in methods.items() if its == wanted]
    return asked or [*ranked, *methods][0]


def main(arguments: Sequence[str] | None = None) -> None:
    """Embeds, measures, writes the four tables."""
    import pandas

    chosen = _parser().parse_args(arguments)
    runs, steps = read_runs(chosen.runs), read_snapshots(chosen.listing)
    every = [run for kept in steps.values() for run in kept]
    encoder = encoders.load(chosen.model, device=chosen.device)
    embed_runs(encoder, every, backgrounds=[chosen.background])
    reference, setup = _reference(chosen, every)
    way, ends = measured(steps, reference, setup), finished(runs, chosen.tables)
    same_protocol(way, ends)
    table = pandas.concat([way, ends], ignore_index=True).sort_values(["metric", *_KEY, "step"])
    column = reference_column(runs, chosen.reference)
    times = curves.times(table, reference=column)
    found = {
        "speed_scores": table,
        "speed_curves": curves.curves(table, level=chosen.level),
        "speed_runs": times,
        "speed_summary": curves.time_summary(times, reference=column, level=chosen.level).assign(
            reference=column
        ),
    }
    for name, frame in found.items():
        write_text(chosen.out / f"{name}.csv", frame.to_csv(index=False, lineterminator="\n"))
    print(f"measured {len(every)} snapshots of {len(runs)} runs in {chosen.out}")


def _reference(chosen: Any, runs: Sequence[Run]) -> tuple[Reference, protocol.Setup]:
    """What snapshots are compared with, as metrics.score sets it up; no strict retrieval."""
    captions = read_captions(
        chosen.texts, candidates.plain(chosen.candidates), [], model=chosen.model
    )
    size, truths = view_size(runs), None
    if chosen.truth is not None:
        prompts = [run.prompt for run in runs]
        truths = measure.read_truths(chosen.truth, prompts, at_most=min(size) if size else None)
    reference = Reference(
        captions=captions,
        truths=truths,
        background=chosen.background,
        other_backgrounds=(),
        ties=chosen.ties,
        with_front=frozenset(),
    )
    setup = protocol.Setup(
        cameras=chosen.cameras,
        size=size,
        model_sha256=captions.identity["model_sha256"],
        preprocessing=captions.identity["preprocessing"],
        background=chosen.background,
        ties=chosen.ties,
        candidates=captions.plain,
        strict_candidates=[],
        truth={} if truths is None else truths.identity,
    )
    return reference, setup


def _parser() -> Any:
    parser = arguments_of("metrics.speed")
    parser.add_argument("--runs", required=True, nargs="+", type=Path, help="finished run folders")
    parser.add_argument("--listing", required=True, type=Path, help="of the rendered snapshots")
    parser.add_argument("--tables", required=True, type=Path, help="with the runs' scores")
    parser.add_argument("--model", required=True, help="the encoder the captions were made with")
    parser.add_argument("--texts", required=True, type=Path, help="the captions' embeddings")
    parser.add_argument("--candidates", required=True, help="prompt set that retrieval ranks")
    parser.add_argument("--truth", type=Path, help="folder of truth files and world.json")
    parser.add_argument("--background", choices=BACKGROUNDS, default="grey")
    parser.add_argument("--ties", choices=TIES, default="expected")
    parser.add_argument("--cameras", type=json.loads, default=CAMERAS, help="JSON, for the id")
    parser.add_argument("--reference", help="column to compare with")
    parser.add_argument("--level", type=float, default=0.95, help="of the intervals")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--out", required=True, type=Path, help="folder of the tables")
    return parser


if __name__ == "__main__":
    sys.exit(exit_status(main, encoders.EncoderError, PromptError))
