"""Figure 7 as a table: what DDS and its parts made of a source picture, against both truths.

    python -m metrics.fig7 --bank results/mini/bank --out results/mini/figures/fig7 \
        --pictures results/mini/figures/fig7/pictures/mixture/colour/dds/seed0 ...

`--pictures` are folders <prior>/<edit>/<column>/seed<k> of pipeline.edit_image.
`fig7_pictures.csv` has a row a (prior, edit, column, seed), and as columns `source` and `target`
the picture begun at and the world's render of the target from the same camera:

- `psnr_target`, `psnr_source`: PSNR (dB) to those two; `psnr_stay`: to the source where the two
  are alike (a difference below STAY) inside the source's outline, none where too few pixels are;
- `to_target`, `to_source`: root mean square difference to the nearest render of either caption, in
  any pose; `edited`: 1 where the target's is nearer;
- `chroma`, `clipped`, `sharpness`, `outside`: bank_renders.shown, outlined by the nearest render of
  the target.

A failed picture has a row without numbers. `fig7.csv`: means over the seeds that worked, with the
extremes, n and how many failed. Two seeds have no interval.
"""

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from metrics.arguments import parser as arguments_of
from metrics.bank_renders import Renders, channels_first, nearest, psnr, read_renders, shown
from metrics.fig2 import write_csv
from metrics.truth import SILHOUETTE, World, read_world
from pipeline.artifacts import ArtifactError, exit_status, read_json, read_png

if TYPE_CHECKING:
    import pandas

STAY = 0.02  # of 1, a channel; the world's 8-bit renders repeat to 0.004
FEWEST = 10  # pixels that should stay, below which their PSNR says nothing
KEY = ("prior", "edit", "source", "target", "column", "seed", "status")
MEASURES = (
    "psnr_target", "psnr_source", "psnr_stay", "to_target", "to_source", "edited", "chroma",
    "clipped", "sharpness", "outside",
)  # fmt: skip


def rows(folders: Sequence[Path], world: World) -> Iterator[dict[str, Any]]:
    """The rows of the pictures in `folders`, edit by edit, columns sorted by name; of no other.

    Raises ArtifactError for a folder without a picture.
    """
    edits: dict[Path, list[Path]] = {}
    for folder in folders:
        if not (folder / "picture.json").is_file():
            raise ArtifactError(f"{folder}: no picture; run python -m pipeline.edit_image first")
        edits.setdefault(folder.parents[1], []).append(folder)
    for edit, own in edits.items():
        record = read_json(own[0] / "picture.json")
        pair = {name: picture_in(edit / f"{name}.png") for name in ("source", "target")}
        known = {name: read_renders(world, record[name]) for name in ("source", "target")}
        key = {"prior": record["prior"]["name"], "edit": edit.name}
        key |= {name: record[name] for name in ("source", "target")}
        for name, picture in pair.items():
            ends = {"column": name, "seed": None, "status": "ok"}
            yield key | ends | measured(picture, pair, known)
        for folder in sorted(own):
            one = read_json(folder / "picture.json")
            made = {"column": one["column"], "seed": one["seed"], "status": one["status"]}
            if one["status"] == "failed":
                yield key | made | dict.fromkeys(MEASURES)
            else:
                picture = picture_in(folder / "picture.png")
                yield key | made | measured(picture, pair, known)


def picture_in(path: Path) -> np.ndarray:
    """The picture in `path` as (3, h, w)."""
    return channels_first(read_png(path))


def measured(
    picture: np.ndarray, pair: dict[str, np.ndarray], known: dict[str, Renders]
) -> dict[str, float | None]:
    """Every one of MEASURES for one picture."""
    source, target = pair["source"], pair["target"]
    to_target, to_source = (nearest(picture, known[name]) for name in ("target", "source"))
    outline = nearest(source, known["source"]).alpha >= SILHOUETTE
    stay = (np.abs(source - target).max(axis=0) < STAY) & outline
    return {
        "psnr_target": psnr(picture, target),
        "psnr_source": psnr(picture, source),
        "psnr_stay": psnr(picture, source, stay) if stay.sum() >= FEWEST else None,
        "to_target": to_target.rmse,
        "to_source": to_source.rmse,
        "edited": float(to_target.rmse < to_source.rmse),
        **shown(picture, to_target.alpha),
    }


def summary(table: "pandas.DataFrame") -> "pandas.DataFrame":
    """One row a (prior, edit, column, measure): mean over the seeds that worked, extremes, n, and
    how many failed; none where nothing was measured and nothing failed.
    """
    known = ["prior", "edit", "column"]
    marked = table.assign(failed=table["status"] == "failed")
    long = marked.melt([*known, "failed"], list(MEASURES), var_name="measure")
    groups = long.astype({"value": float}).groupby([*known, "measure"], sort=False)
    found = groups.agg(
        value=("value", "mean"), lowest=("value", "min"), highest=("value", "max"),
        n=("value", "count"), failed=("failed", "sum"),
    )  # fmt: skip
    return found[(found["n"] > 0) | (found["failed"] > 0)].reset_index()


def main(arguments: Sequence[str] | None = None) -> None:
    """Writes both tables."""
    import pandas

    parser = arguments_of("metrics.fig7")
    parser.add_argument("--pictures", type=Path, nargs="+", required=True, help="their folders")
    parser.add_argument("--bank", type=Path, required=True, help="the world's renders")
    parser.add_argument("--out", type=Path, required=True, help="folder of the tables")
    given = parser.parse_args(arguments)
    world = read_world(given.bank)
    table = pandas.DataFrame(list(rows(given.pictures, world)))
    table["seed"] = table["seed"].astype("Int64")
    write_csv(table[[*KEY, *MEASURES]], given.out / "fig7_pictures.csv")
    write_csv(summary(table), given.out / "fig7.csv")
    print(f"Figure 7 of {len(table)} pictures in {given.out}")


if __name__ == "__main__":
    sys.exit(exit_status(main, ArtifactError))
