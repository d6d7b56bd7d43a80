"""Figure 6 as a table: what editing by words did to finished objects, against both truths.

    python -m metrics.fig6 --runs results/mini/figures/fig6/runs/colour/sds/seed0 ... \
        --sources RUN ... --truth results/mini/truth --out results/mini/figures/fig6

`--runs` are run folders <edit>/<column>/seed<k> of pipeline.edit with their views; `--sources`
are the runs that they began at. `fig6.csv` has a row a (edit, column, seed), and one of column
`source` for the scene before the edit, means over the four views:

- `iou_source`: silhouettes against the source scene's, how much of the shape was kept;
- `iou_target`, `psnr_target`: silhouettes and colour (dB) against the true target object;
- `iou_true_source`: silhouettes against the true source object;
- `psnr_stay`: colour against the source scene where both true objects are alike (a difference
  below STAY) inside the true source, none where they are hardly anywhere.

Every row is one object: its numbers have no interval.
"""

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from metrics.arguments import parser as arguments_of
from metrics.fig2 import write_csv
from metrics.fig7 import FEWEST, STAY
from metrics.runs import VIEWS, Run, read_run, read_runs, read_view
from metrics.truth import (
    GREY,
    LARGEST_PSNR,
    SILHOUETTE,
    Truth,
    World,
    intersection_over_union,
    premultiplied,
    psnr,
    read_truth,
    read_world,
)
from pipeline.artifacts import ArtifactError, exit_status, read_json

MEASURES = ("iou_source", "iou_target", "psnr_target", "iou_true_source", "psnr_stay")
STRAIGHT = 2  # of the truth's five offsets the one without a turn


def rows(folders: Sequence[Path], sources: Sequence[Run], world: World) -> Iterator[dict[str, Any]]:
    """The rows of every edit in `folders`, edits and columns sorted by name; of no other."""
    begun: set[tuple[str, int]] = set()
    for folder in sorted(folders):
        if not (folder / "run.json").is_file():
            raise ArtifactError(f"{folder}: no run; run python -m pipeline.edit first")
        run, edit = read_run(folder), folder.parents[1].name
        source = source_of(folder, sources)
        key = {"edit": edit, "source": source.prompt, "target": run.prompt}
        if (edit, run.seed) not in begun:
            begun.add((edit, run.seed))
            yield (
                key
                | {"column": "source", "seed": run.seed, "failed": False}
                | measured(source, source, run.prompt, world)
            )
        own = {"column": run.column, "seed": run.seed, "failed": run.failed}
        nothing = dict.fromkeys(MEASURES)
        yield key | own | (nothing if run.failed else measured(run, source, run.prompt, world))


def source_of(folder: Path, sources: Sequence[Run]) -> Run:
    """The run whose scene the one in `folder` began at, by its checksum. Raises ArtifactError."""
    began = read_json(folder / "run.json")["inputs"].get("init_from/scene.safetensors")
    for run in sources:
        if read_json(run.folder / "run.json")["outputs"]["scene.safetensors"] == began:
            return run
    raise ArtifactError(f"{folder}: began at none of the {len(sources)} source runs")


def measured(run: Run, source: Run, target: str, world: World) -> dict[str, float | None]:
    """Every one of MEASURES for one object."""
    shapes = {name: world.objects[caption] for name, caption in
              (("source", source.prompt), ("target", target))}  # fmt: skip
    truths = {name: read_truth(world, shape, at_most=None) for name, (shape, _) in shapes.items()}
    size = truths["target"].size
    found, before = (
        premultiplied(np.stack([read_view(one, view) for view in VIEWS]), size=size)
        for one in (run, source)
    )
    inside, outside = found[:, 3] >= SILHOUETTE, before[:, 3] >= SILHOUETTE
    colours = {name: world.colours[colour] for name, (_, colour) in shapes.items()}
    union = (inside | outside).sum(axis=(-2, -1))
    iou = (inside & outside).sum(axis=(-2, -1)) / np.maximum(union, 1)
    true = {name: intersection_over_union(inside, truth.silhouettes)
            for name, truth in truths.items()}  # fmt: skip
    return {
        "iou_source": float(iou.mean()),
        "iou_target": float(true["target"].mean()),
        "psnr_target": float(psnr(found, truths["target"], colours["target"]).mean()),
        "iou_true_source": float(true["source"].mean()),
        "psnr_stay": kept(found, before, staying(truths, colours)),
    }


def staying(truths: dict[str, Truth], colours: dict[str, Any]) -> np.ndarray:
    """Where the two true objects, seen straight, are alike, inside the source's outline."""
    seen = {name: truth.over_grey(colours[name])[0, STRAIGHT] for name, truth in truths.items()}
    alike = np.abs(seen["source"] - seen["target"]).max(axis=1) < STAY
    return (
        alike
        & truths["source"].silhouettes[0, STRAIGHT]
        & (truths["target"].silhouettes[0, STRAIGHT])
    )


def kept(found: np.ndarray, before: np.ndarray, stay: np.ndarray) -> float | None:
    """PSNR (dB) of two objects' views over grey where `stay`; None where hardly anything does."""
    if stay.sum() < FEWEST * len(VIEWS):
        return None
    over = [views[:, :3] + (1.0 - views[:, 3:]) * GREY for views in (found, before)]
    error = ((over[0] - over[1]) ** 2).mean(axis=1)[stay].mean()
    return min(LARGEST_PSNR, float(-10.0 * np.log10(max(float(error), 1e-12))))


def main(arguments: Sequence[str] | None = None) -> None:
    """Writes the table."""
    import pandas

    parser = arguments_of("metrics.fig6")
    parser.add_argument("--runs", type=Path, nargs="+", required=True, help="edited run folders")
    parser.add_argument("--sources", type=Path, nargs="+", required=True, help="run folders")
    parser.add_argument("--truth", type=Path, required=True, help="folder of truth files")
    parser.add_argument("--out", type=Path, required=True, help="folder of the table")
    given = parser.parse_args(arguments)
    sources, world = read_runs(given.sources), read_world(given.truth)
    table = pandas.DataFrame(list(rows(given.runs, sources, world)))
    write_csv(table, given.out / "fig6.csv")
    print(f"Figure 6 of {len(table)} objects in {given.out}")


if __name__ == "__main__":
    sys.exit(exit_status(main, ArtifactError))
