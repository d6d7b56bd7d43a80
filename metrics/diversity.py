"""How different the objects of several seeds are, and how many true instances they reach.

    python -m metrics.diversity --model MODEL --texts OUT/texts.npz --candidates toy81 \
        [--truth DIR] [--background grey] --out OUT --runs DIR ...

Writes `diversity` to --out, one row a (column, prompt): `distance` is the mean over pairs of
finished seeds of 1 - cosine of the same view's embeddings, averaged over the four views; with
--truth, `found` is how many instances of the shape are the nearest one of some seed, of `possible`
(the number of instances or of finished seeds, whichever is smaller). Of one seed nothing can be
said: its rows hold no number. Prints each column's mean over prompts with its interval.
"""

import sys
from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float

from metrics import candidates, measure, statistics, truth
from metrics.arguments import parser as arguments_of
from metrics.clip_score import unit
from metrics.embeddings import BACKGROUNDS, read_captions, read_embeddings
from metrics.protocol import protocol_id
from metrics.runs import (
    VIEWS,
    Run,
    counted,
    from_evaluated,
    read_runs,
    read_view,
    view_size,
)
from pipeline.artifacts import TABLES, ArtifactError, exit_status, write_table
from prompts.load import PromptError

if TYPE_CHECKING:
    import pandas


def mean_distance(seeds: Sequence[Float[np.ndarray, "views d"]]) -> float:
    """Mean of 1 - cosine over pairs of seeds and views; nan for fewer than two seeds.

    0 for equal pictures; independent random embeddings have 1.
    """
    rows = [unit(views) for views in seeds]
    pairs = [1.0 - (a * b).sum(axis=1).mean() for a, b in combinations(rows, 2)]
    return float(np.mean(pairs)) if pairs else float("nan")


def instance(run: Run, truths: measure.Truths) -> int:
    """The true instance that the run's views are nearest to."""
    shape, colour = truths.world.objects[run.prompt]
    known = truths.of_shape[shape]
    views = np.stack([read_view(run, view) for view in VIEWS])
    found = truth.premultiplied(views, size=known.size)
    return truth.nearest_instance(found, known, truths.world.colours[colour])


def rows(
    runs: Sequence[Run],
    embedded: Mapping[Path, Float[np.ndarray, "views d"]],
    truths: measure.Truths | None,
    identifier: str,
) -> "pandas.DataFrame":
    """The `diversity` table."""
    import pandas

    groups: dict[tuple[str, str, str, str], list[Run]] = {}
    for run in sorted(runs, key=lambda run: run.seed):
        groups.setdefault((run.preset, run.column, run.stage, run.prompt_id), []).append(run)
    found = []
    for key, group in sorted(groups.items()):
        finished = [run for run in group if not run.failed]
        row: dict[str, Any] = dict(zip(TABLES["diversity"], key, strict=False))
        row |= {"protocol_id": identifier, "n_seeds": len(finished)}
        row["distance"] = mean_distance([embedded[run.folder] for run in finished])
        row |= {"found": float("nan"), "possible": float("nan")}
        if truths is not None and truths.knows(group[0].prompt) and len(finished) > 1:
            shape = truths.world.objects[group[0].prompt][0]
            instances = len(truths.of_shape[shape].base)
            row["found"] = float(len({instance(run, truths) for run in finished}))
            row["possible"] = float(min(instances, len(finished)))
        found.append(row)
    return pandas.DataFrame(found, columns=list(TABLES["diversity"]))


def summary(table: "pandas.DataFrame", *, level: float, seed: int) -> list[str]:
    """One line a column: mean distance over prompts with its interval, and coverage."""
    lines = []
    for key, group in table.groupby(["preset", "stage", "column"]):
        names = [str(name) for name in key]
        known = group["distance"].dropna().to_numpy()
        if not known.size:
            lines.append(f"{' '.join(names)}: not run, no prompt has two finished seeds")
            continue
        rng = statistics.generator(seed, "diversity", *names)
        mean = statistics.mean_interval(known, rng, level=level)
        line = f"{' '.join(names)}: distance {mean.mean:.3f}"
        line += f" ({mean.lower:.3f} to {mean.upper:.3f}), {known.size} prompts"
        counted = group.dropna(subset=["possible"])
        if len(counted):
            line += f"; {counted['found'].sum():.0f} of {counted['possible'].sum():.0f} instances"
        lines.append(line)
    return lines


def main(arguments: Sequence[str] | None = None) -> None:
    """Reads, measures, writes."""
    parser = arguments_of("metrics.diversity")
    parser.add_argument("--runs", required=True, nargs="+", type=Path, help="run folders")
    parser.add_argument("--model", required=True, help="the encoder the embeddings were made with")
    parser.add_argument("--texts", required=True, type=Path, help="the captions' embeddings")
    parser.add_argument("--candidates", required=True, help="prompt set of the captions")
    parser.add_argument("--truth", type=Path, help="folder of truth files and world.json")
    parser.add_argument("--background", choices=BACKGROUNDS, default="grey")
    parser.add_argument("--level", type=float, default=0.95, help="of the intervals")
    parser.add_argument("--seed", type=int, default=0, help="of the resamples")
    parser.add_argument("--out", required=True, type=Path, help="folder of the table")
    chosen = parser.parse_args(arguments)
    runs = from_evaluated(counted(read_runs(chosen.runs)))
    plain = candidates.plain(chosen.candidates)
    captions = read_captions(chosen.texts, plain, [], model=chosen.model)
    embedded = {}
    for run in (run for run in runs if not run.failed):
        views = read_embeddings(run, captions)
        if chosen.background not in views:
            raise ArtifactError(f"{run.folder}: lacks background {chosen.background}; embed again")
        embedded[run.folder] = views[chosen.background]
    size, truths = view_size(runs), None
    if chosen.truth is not None:
        named = [run.prompt for run in runs]
        truths = measure.read_truths(chosen.truth, named, at_most=min(size) if size else None)
    protocol = {"metric": "diversity", "size": size, "background": chosen.background}
    protocol |= captions.identity | dict(truths.identity if truths else {})
    table = rows(runs, embedded, truths, protocol_id(protocol))
    write_table(table, chosen.out / "diversity", "diversity")
    print("\n".join(summary(table, level=chosen.level, seed=chosen.seed)))


if __name__ == "__main__":
    sys.exit(exit_status(main, PromptError))
