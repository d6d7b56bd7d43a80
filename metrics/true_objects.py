"""Compares finished runs with the true objects of the toy world alone: no encoder, no tables.

    python -m metrics.true_objects --runs DIR ... --truth results/cards/truth --out truth.json

A list with one entry a run: `truth_iou` and `truth_psnr` (dB), means over the four views at the
best pose; `front_back` (1 or 0) where the object has a front; and what ignoring the prompt gives,
`iou_floor` (the best wrong shape) and `iou_ball`. A failed run counts as 0. For a first look at a
method; `metrics.score` has the same numbers with their protocol and intervals.
"""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from metrics import measure
from metrics.arguments import parser as arguments_of
from metrics.runs import VIEWS, Run, read_runs, read_view, view_size
from pipeline.artifacts import ArtifactError, exit_status, write_json

SHOWN = (*measure.TRUTH, "front_back")


def compared(run: Run, truths: measure.Truths) -> dict[str, Any]:
    """The entry of one run. Raises ArtifactError for a prompt the world does not know."""
    if not truths.knows(run.prompt):
        folder = truths.world.folder
        raise ArtifactError(f"{run.folder}: {run.prompt!r} names no object of {folder}")
    floors = truths.floors[truths.world.objects[run.prompt][0]]
    if run.failed:
        found = {("object", name): 0.0 for name in SHOWN}
    else:
        views = np.stack([read_view(run, view) for view in VIEWS])
        found = measure.compared_with_truth(views, run.prompt, truths)
    if not truths.has_front(run.prompt):
        found["object", "front_back"] = float("nan")
    values = {name: found["object", name] for name in SHOWN}
    values |= {name: floors["object", name] for name in measure.FLOORS}
    known = {name: None if np.isnan(value) else round(value, 4) for name, value in values.items()}
    return {**run.key, "prompt": run.prompt, "failed": run.failed, **known}


def main(arguments: Sequence[str] | None = None) -> None:
    """Reads the runs, writes the list."""
    options = arguments_of("metrics.true_objects")
    options.add_argument("--runs", required=True, nargs="+", type=Path, help="run folders")
    options.add_argument("--truth", required=True, type=Path, help="truth files and world.json")
    options.add_argument("--out", required=True, type=Path)
    chosen = options.parse_args(arguments)
    runs = read_runs(chosen.runs)
    size = view_size(runs)
    truths = measure.read_truths(
        chosen.truth, [run.prompt for run in runs], at_most=min(size) if size else None
    )
    write_json(chosen.out, [compared(run, truths) for run in runs])


if __name__ == "__main__":
    sys.exit(exit_status(main))
