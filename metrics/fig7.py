"""Figure 7 as a table: what DDS and its parts made of a source picture, against both truths.

    python -m metrics.fig7 --pictures results/mini/figures/fig7/pictures/mixture ... \
        --bank results/mini/bank --out results/mini/figures/fig7

`fig7_pictures.csv` has a row a (prior, edit, column, seed), and as columns `source` and `target`
the picture begun at and the world's render of the target from the same camera:

- `psnr_target`, `psnr_source`: PSNR (dB) to those two; `psnr_stay`: to the source where the two
  are alike (a difference below STAY) inside the source's outline, none where too few pixels are;
- `to_target`, `to_source`: root mean square difference to the nearest render of either caption, in
  any pose; `edited`: 1 where the target's is nearer;
- `chroma`, `clipped`, `sharpness`, `outside`: bank_renders.shown, outlined by the nearest render of
  the target.

`fig7.csv`: their means over seeds with the extremes and n. Two seeds have no interval.
"""

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from metrics.bank_renders import Renders, channels_first, nearest, psnr, read_renders, shown
from metrics.fig2 import write_csv
from metrics.truth import SILHOUETTE, World, read_world
from pipeline.artifacts import ArtifactError, exit_status, read_json, read_png

if TYPE_CHECKING:
    import pandas

STAY = 0.02  # of 1, a channel; the world's 8-bit renders repeat to 0.004
FEWEST = 10  # pixels that should stay, below which their PSNR says nothing
KEY = ("prior", "edit", "source", "target", "column", "seed")
MEASURES = (
    "psnr_target", "psnr_source", "psnr_stay", "to_target", "to_source", "edited", "chroma",
    "clipped", "sharpness", "outside",
)  # fmt: skip


def rows(folder: Path, world: World) -> Iterator[dict[str, Any]]:
    """The rows of one prior's folder, edits and columns sorted by name."""
    found = sorted(folder.glob("*/*/seed*/picture.json"))
    if not found:
        raise ArtifactError(f"{folder}: no pictures; run python -m pipeline.edit_image first")
    edits: dict[str, list[Path]] = {}
    for path in found:
        edits.setdefault(path.parents[2].name, []).append(path)
    for edit, paths in edits.items():
        record = read_json(paths[0])
        source, target = record["source"], record["target"]
        pair = {name: picture_in(folder / edit / f"{name}.png") for name in ("source", "target")}
        known = {name: read_renders(world, record[name]) for name in ("source", "target")}
        key = {"prior": record["prior"]["name"], "edit": edit, "source": source, "target": target}
        for name, picture in pair.items():
            yield key | {"column": name, "seed": None} | measured(picture, pair, known)
        for path in paths:
            one = read_json(path)
            picture = picture_in(path.parent / "picture.png")
            own = {"column": one["column"], "seed": one["seed"]}
            yield key | own | measured(picture, pair, known)


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
    """One row a (prior, edit, column, measure): mean over seeds, lowest, highest, n."""
    long = table.melt(
        id_vars=["prior", "edit", "column"], value_vars=list(MEASURES), var_name="measure"
    ).dropna(subset=["value"])
    groups = long.groupby(["prior", "edit", "column", "measure"], sort=False)["value"]
    return groups.agg(value="mean", lowest="min", highest="max", n="size").reset_index()


def main(arguments: Sequence[str] | None = None) -> None:
    """Writes both tables."""
    import pandas

    parser = argparse.ArgumentParser(prog="python -m metrics.fig7", description=__doc__)
    parser.add_argument("--pictures", type=Path, nargs="+", required=True, help="a folder a prior")
    parser.add_argument("--bank", type=Path, required=True, help="the world's renders")
    parser.add_argument("--out", type=Path, required=True, help="folder of the tables")
    given = parser.parse_args(arguments)
    world = read_world(given.bank)
    table = pandas.DataFrame([row for folder in given.pictures for row in rows(folder, world)])
    table["seed"] = table["seed"].astype("Int64")
    write_csv(table[[*KEY, *MEASURES]], given.out / "fig7_pictures.csv")
    write_csv(summary(table), given.out / "fig7.csv")
    print(f"Figure 7 of {len(table)} pictures in {given.out}")


if __name__ == "__main__":
    sys.exit(exit_status(main, ArtifactError))
