"""Scores run folders and writes the tables that the pages show.

    python -m metrics.score --runs DIR ... --model MODEL --texts OUT/texts.npz \
        --candidates toy81 --strict-views front side back --strict-extra toy_blobs \
        --truth DIR --out OUT

Reads `run.json`, `views/`, `trace.parquet` and `embeddings.npz` of every run, and the captions'
embeddings (both from metrics.embed; --model must be the one they were made with). Writes to --out,
as parquet and csv: `scores` (one number a run, view and metric), `summary`, `pairs`
(metrics.tables), `traces` (the runs' traces under one another), and `protocols.json`, which spells
out every protocol_id.

Over --other-backgrounds only clip_score and r_at_1 are computed, as `<metric>@<background>`, to
show how much the number depends on it. Without --truth there are no truth metrics; captions that
the toy world does not know have them as `not applicable`. `seam` is there where runs made textures.
A column's runs are of one stage; columns may end in different ones.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from metrics import candidates, janus, measure, protocol, tables
from metrics.arguments import parser as arguments_of
from metrics.clip_score import cosines
from metrics.embeddings import BACKGROUNDS, EMBEDDINGS, Captions, read_captions, read_embeddings
from metrics.image_stats import STATISTICS
from metrics.r_precision import TIES
from metrics.runs import (
    ELEVATION,
    VIEWS,
    Run,
    counted,
    own_cameras,
    read_runs,
    read_view,
    seam_definition,
    seam_ratio,
    view_size,
)
from pipeline.artifacts import ArtifactError, exit_status, read_table, write_json, write_table
from prompts.load import PromptError
from prompts.views import with_view

if TYPE_CHECKING:
    import pandas

SENSITIVE = ("clip_score", "r_at_1")  # metrics repeated over the other backgrounds
CAMERAS = {"azimuth_deg": VIEWS, "elevation_deg": ELEVATION}


@dataclass(frozen=True)
class Reference:
    """What runs are compared with: captions among which to retrieve, and true objects if known."""

    captions: Captions
    truths: measure.Truths | None
    background: str
    other_backgrounds: tuple[str, ...]
    ties: str
    with_front: frozenset[str]
    textured: bool = False  # whether some run has a texture, whose seams are judged

    def has_front(self, prompt: str) -> bool:
        """Whether the prompt's object has a front: the world knows, else the prompt's tag says."""
        if self.truths is not None and self.truths.knows(prompt):
            return self.truths.has_front(prompt)
        return prompt in self.with_front

    def janus(self, prompt: str) -> list[str]:
        """The Janus numbers that can be had: of fronts only with the embedded view words."""
        worded = [with_view(prompt, word) for word in janus.WORDS]
        known = all(text in self.captions.embedding for text in worded)
        return ["back_front", *(["front_count"] if known else [])]


def clip_values(run: Run, reference: Reference) -> measure.Values:
    """Retrieval numbers of a run, and the sensitive ones over the other backgrounds."""
    captions, ties = reference.captions, reference.ties
    embedded = read_embeddings(run, captions)
    needed = (reference.background, *reference.other_backgrounds)
    absent = [name for name in needed if name not in embedded]
    if absent:
        raise ArtifactError(
            f"{run.folder / EMBEDDINGS}: lacks background {', '.join(absent)}; embed with it"
        )
    target, texts = captions.plain.index(run.prompt), captions.rows(captions.plain)
    own = embedded[reference.background]
    values = measure.retrieved(cosines(own, texts), target, ties=ties)
    for name in reference.other_backgrounds:
        there = measure.retrieved(cosines(embedded[name], texts), target, ties=ties)
        values |= {(v, f"{m}@{name}"): x for (v, m), x in there.items() if m in SENSITIVE}
    if captions.strict:
        strict = cosines(own, captions.rows(captions.strict))
        values |= measure.strictly_retrieved(strict, run.prompt, captions.strict, ties=ties)
    if reference.has_front(run.prompt):
        found = janus.measured(own, run.prompt, captions.embedding)
        values |= {("object", name): float(value) for name, value in found.items()}
    return values


def run_values(run: Run, reference: Reference) -> measure.Values:
    """Every number of a run that worked."""
    views = np.stack([read_view(run, view) for view in VIEWS])
    values = clip_values(run, reference) | measure.looked_at(views)
    if reference.truths is not None and reference.truths.knows(run.prompt):
        values |= measure.compared_with_truth(views, run.prompt, reference.truths)
    if (seam := seam_ratio(run)) is not None:
        values["object", measure.SEAM] = seam
    return values


def failed_values(run: Run, reference: Reference) -> measure.Values:
    """The same keys as `run_values`, with the worst value of each."""
    captions, truths = reference.captions, reference.truths
    metrics = [*measure.RETRIEVAL, *(measure.STRICT if captions.strict else ())]
    metrics += [f"{m}@{name}" for name in reference.other_backgrounds for m in SENSITIVE]
    keys = [(view, metric) for view in measure.EVERYWHERE for metric in metrics]
    keys += [(view, metric) for view in VIEWS for metric in STATISTICS]
    if reference.has_front(run.prompt):
        keys += [("object", metric) for metric in reference.janus(run.prompt)]
    if truths is not None and truths.knows(run.prompt):
        keys += [(view, metric) for view in measure.EVERYWHERE for metric in measure.TRUTH]
        keys.append(("object", "front_back"))
    if reference.textured:
        keys.append(("object", measure.SEAM))
    counts = {"candidates": len(captions.plain), "strict_candidates": len(captions.strict)}
    return {(view, metric): measure.worst(metric, **counts) for view, metric in keys}


def run_rows(run: Run, reference: Reference) -> list[dict[str, Any]]:
    """The run's rows of `scores`, without protocol_id."""
    truths = reference.truths
    values = (failed_values if run.failed else run_values)(run, reference)
    floors: measure.Values = {}
    inapplicable: list[str] = []
    if truths is not None and truths.knows(run.prompt):
        floors = truths.floors[truths.world.objects[run.prompt][0]]
        if not truths.has_front(run.prompt):
            del values["object", "front_back"]
            inapplicable = ["front_back"]
    elif truths is not None:
        inapplicable = [*measure.TRUTH, *measure.FLOORS, "front_back"]
    if not reference.has_front(run.prompt):
        inapplicable += reference.janus(run.prompt)
    if reference.textured and ("object", measure.SEAM) not in values:
        inapplicable.append(measure.SEAM)

    def rows(found: measure.Values, status: str) -> list[dict[str, Any]]:
        return [
            {**run.key, "view": view, "metric": metric, "value": value, "status": status}
            for (view, metric), value in found.items()
        ]

    nothing = {("object", metric): float("nan") for metric in inapplicable}
    measured = rows(values, "failed" if run.failed else "ok")
    return measured + rows(floors, "ok") + rows(nothing, "not applicable")


def scores(
    runs: Sequence[Run], reference: Reference, setup: protocol.Setup
) -> tuple["pandas.DataFrame", dict[str, dict[str, Any]]]:
    """The `scores` table, and the protocol behind every id in it.

    Raises ArtifactError for a prompt that is not among the candidates: it has no rank.
    """
    import pandas

    strays = sorted({run.prompt for run in runs} - set(reference.captions.plain))
    if strays:
        raise ArtifactError(f"prompts that are not among the candidates have no rank: {strays}")
    rows: list[dict[str, Any]] = []
    protocols: dict[str, dict[str, Any]] = {}
    seams = [found for run in runs if (found := seam_definition(run)) is not None]
    for run in runs:
        own = own_cameras(run)  # then other protocols, and no truth, which is seen from ours
        known = reference if own is None else replace(reference, truths=None)
        seen = setup if own is None else replace(setup, cameras={"declared": own})
        # A run without seams has no definition of its own; it stands beside the first that has.
        measured = seam_definition(run)
        seen = replace(seen, seam=next(iter(seams), None) if measured is None else measured)
        for row in run_rows(run, known):
            described = protocol.describe(row["metric"], row["view"], seen)
            row["protocol_id"] = protocol.protocol_id(described)
            protocols[row["protocol_id"]] = described
            rows.append(row)
    return pandas.DataFrame(rows), dict(sorted(protocols.items()))


def traces(runs: Sequence[Run]) -> "pandas.DataFrame":
    """The runs' traces under one another; a failed run may have none, another system's has none."""
    import pandas

    parts = []
    for run in runs:
        path = run.folder / "trace.parquet"
        if path.is_file() or not (run.failed or run.external):
            parts.append(read_table(path, "trace").assign(**run.key))
    columns = ["preset", "column", "stage", "prompt_id", "seed"]
    columns += ["step", "t", "term", "norm", "weighted_norm"]
    return pandas.concat(parts, ignore_index=True) if parts else pandas.DataFrame(columns=columns)


def parser() -> argparse.ArgumentParser:
    """The command line."""
    found = arguments_of("metrics.score")
    found.add_argument("--runs", required=True, nargs="+", type=Path, help="run folders")
    found.add_argument("--model", required=True, help="the encoder the embeddings were made with")
    found.add_argument("--texts", required=True, type=Path, help="the captions' embeddings")
    found.add_argument("--candidates", required=True, help="prompt set that retrieval ranks")
    found.add_argument("--strict-views", nargs="*", default=[], help="view words")
    found.add_argument("--strict-extra", nargs="*", default=[], help="further prompt sets")
    found.add_argument("--truth", type=Path, help="folder of truth files and world.json")
    found.add_argument("--background", choices=BACKGROUNDS, default="grey")
    found.add_argument("--other-backgrounds", nargs="*", choices=BACKGROUNDS, default=[])
    found.add_argument("--ties", choices=TIES, default="expected")
    found.add_argument(
        "--cameras", type=json.loads, default=CAMERAS, help="JSON: the four cameras, for the id"
    )
    found.add_argument("--level", type=float, default=0.95, help="of the intervals")
    found.add_argument("--seed", type=int, default=0, help="of bootstrap and permutations")
    found.add_argument("--out", required=True, type=Path, help="folder of the tables")
    return found


def main(arguments: Sequence[str] | None = None) -> None:
    """Reads, measures, writes the tables."""
    chosen = parser().parse_args(arguments)
    runs = counted(read_runs(chosen.runs))
    plain = candidates.plain(chosen.candidates)
    strict = candidates.strict(
        chosen.candidates, view_words=chosen.strict_views, extra=chosen.strict_extra
    )
    captions = read_captions(chosen.texts, plain, strict, model=chosen.model)
    size = view_size(runs)
    truths = None
    if chosen.truth is not None:
        prompts = [run.prompt for run in runs]
        truths = measure.read_truths(chosen.truth, prompts, at_most=min(size) if size else None)
    others = tuple(name for name in chosen.other_backgrounds if name != chosen.background)
    reference = Reference(
        captions=captions,
        truths=truths,
        background=chosen.background,
        other_backgrounds=others,
        ties=chosen.ties,
        with_front=candidates.with_front(chosen.candidates),
        textured=any(seam_ratio(run) is not None for run in runs if not run.failed),
    )
    setup = protocol.Setup(
        cameras=chosen.cameras,
        size=size,
        model_sha256=captions.identity["model_sha256"],
        preprocessing=captions.identity["preprocessing"],
        background=chosen.background,
        ties=chosen.ties,
        candidates=captions.plain,
        strict_candidates=captions.strict,
        truth={} if truths is None else truths.identity,
    )
    table, protocols = scores(runs, reference, setup)
    write_table(table, chosen.out / "scores", "scores")
    options = {"level": chosen.level, "seed": chosen.seed}
    write_table(tables.summary(table, **options), chosen.out / "summary", "summary")
    write_table(tables.pairs(table, **options), chosen.out / "pairs", "pairs")
    write_table(traces(runs), chosen.out / "traces", "traces")
    write_json(chosen.out / "protocols.json", protocols)
    failed = sum(run.failed for run in runs)
    print(f"scored {len(runs)} runs ({failed} failed): {len(table)} numbers in {chosen.out}")


if __name__ == "__main__":
    sys.exit(exit_status(main, PromptError))
