"""The limitation "artefacts in 2D, not in 3D" as a table: plain pictures beside views of objects.

    python -m metrics.fig_2d --pictures results/mini/figures/fig_2d/pictures \
        --runs @results/mini/lists/geometry.nerf.txt --bank results/mini/bank \
        --views front left --out results/mini/figures/fig_2d

A picture is compared with the same view of the run of the same column, prompt and seed, both at the
bank's size in front of mid-grey. `fig_2d_pictures.csv` has a row a (column, prompt, seed, view,
medium): medium `2d`, `3d`, or `render`, the render nearest to the picture, as what a faultless one
would have. Measures: `to_render`, root mean square difference to the nearest render of the caption;
`chroma`, `clipped`, `sharpness` (Laplacian energy) where that render's object is, and `outside`,
root mean square difference from mid-grey where it is not.

`fig_2d.csv`: of each column and measure the mean of either medium, the mean difference 2d - 3d with
its bootstrap interval over prompts, the paired permutation p, that p by Holm's correction over all
rows of the table, the verdict, and n. A failed run counts nowhere; a failed picture has a row of
medium `2d` without numbers, its view no other, and `failed` counts such views of the column.
"""

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from metrics.arguments import parser as arguments_of
from metrics.bank_renders import channels_first, nearest, read_renders, shown
from metrics.fig2 import write_csv
from metrics.runs import VIEWS, Run, read_runs, read_view
from metrics.statistics import generator, holm, mean_interval, sign_flip_p, verdict
from metrics.truth import World, read_world
from pipeline.artifacts import ArtifactError, exit_status, read_json, read_png

if TYPE_CHECKING:
    import pandas

KEY = ("column", "prompt", "prompt_id", "seed", "view", "medium", "status")
MEASURES = ("to_render", "chroma", "clipped", "sharpness", "outside")


def rows(
    pictures: Path, runs: Sequence[Run], world: World, views: Sequence[str]
) -> Iterator[dict[str, Any]]:
    """The rows of every run that worked and its pictures of `views`. Raises ArtifactError when one
    lacks a picture, or the picture is not of the run's method and prompt.
    """
    known = {run.prompt: read_renders(world, run.prompt) for run in runs}
    for run in (run for run in runs if not run.failed):
        place = pictures / run.column / run.prompt_id / f"seed{run.seed}"
        for view in views:
            status = checked(place / view / "picture.json", run)["status"]
            key: dict[str, Any] = {"column": run.column, "prompt": run.prompt, "status": status}
            key |= {"prompt_id": run.prompt_id, "seed": run.seed, "view": view}
            if status == "failed":
                yield key | {"medium": "2d"} | dict.fromkeys(MEASURES)
                continue
            flat = channels_first(read_png(place / view / "picture.png"))
            solid = channels_first(read_view(run, view))
            for medium, image in {"2d": flat, "3d": solid}.items():
                render = nearest(image, known[run.prompt])
                own = {"medium": medium, "to_render": render.rmse}
                yield key | own | shown(image, render.alpha)
            render = nearest(flat, known[run.prompt])
            yield key | {"medium": "render", "to_render": 0.0} | shown(render.rgb, render.alpha)


def checked(path: Path, run: Run) -> dict[str, Any]:
    """The picture's record, if it is of the run's method, prior and text."""
    if not path.is_file():
        raise ArtifactError(f"{path}: no picture; run python -m pipeline.optimize_image first")
    picture, record = read_json(path), read_json(run.folder / "run.json")
    own = ("method", "method_settings", "prompt")
    differ = [name for name in own if picture[name] != record[name]]
    if picture["prior"]["name"] != record["prior"]["name"]:
        differ.append("prior")
    if differ:
        raise ArtifactError(
            f"{path}: differs from {run.folder} in {', '.join(differ)}; make the pictures again"
        )
    return dict(picture)


def summary(table: "pandas.DataFrame", *, level: float = 0.95) -> "pandas.DataFrame":
    """One row a (column, measure); prompts are the units, views and seeds are averaged first. All
    rows are read together, and corrected for that.
    """
    import pandas

    found: list[dict[str, Any]] = []
    for column in dict.fromkeys(table["column"]):
        own = table[table["column"] == column]
        failed = int((own["status"] == "failed").sum())
        worked = own[own["status"] == "ok"].astype(dict.fromkeys(MEASURES, float))
        means = worked.groupby(["medium", "prompt_id"], sort=False)[list(MEASURES)].mean()
        for measure in MEASURES:
            wide = means[measure].unstack("medium").reindex(columns=["2d", "3d", "render"])
            flat, solid, render = (wide[medium] for medium in wide)
            difference = (flat - solid).to_numpy()
            interval = mean_interval(difference, generator(0, column, measure), level=level)
            row = {"column": column, "measure": measure, "2d": flat.mean(), "3d": solid.mean()}
            row |= {"render": render.mean(), "difference": interval.mean}
            row |= {"low": interval.lower, "high": interval.upper}
            p = sign_flip_p(difference, generator(0, "p", column, measure))
            row |= {"p": p, "level": level, "prompts": len(difference), "failed": failed}
            found.append(row)
    corrected = holm(np.array([row["p"] for row in found]))
    for row, p_holm in zip(found, corrected, strict=True):
        test = {"prompts": row["prompts"], "tests": len(found), "level": level}
        said = verdict(row["difference"], float(p_holm), **test)
        said = {"a above b": "2d above 3d", "b above a": "3d above 2d"}.get(said, said)
        row |= {"p_holm": float(p_holm), "verdict": said}
    return pandas.DataFrame(found)


def main(arguments: Sequence[str] | None = None) -> None:
    """Writes both tables."""
    import pandas

    parser = arguments_of("metrics.fig_2d")
    parser.add_argument("--pictures", type=Path, required=True, help="of pipeline.optimize_image")
    parser.add_argument("--runs", type=Path, nargs="+", required=True, help="run folders")
    parser.add_argument("--views", nargs="+", choices=list(VIEWS), required=True)
    parser.add_argument("--bank", type=Path, required=True, help="the world's renders")
    parser.add_argument("--level", type=float, default=0.95, help="of the intervals")
    parser.add_argument("--out", type=Path, required=True, help="folder of the tables")
    given = parser.parse_args(arguments)
    runs = read_runs(given.runs)
    table = pandas.DataFrame(list(rows(given.pictures, runs, read_world(given.bank), given.views)))
    if table.empty:
        raise ArtifactError("fig_2d: every run failed; there is nothing to compare")
    write_csv(table[[*KEY, *MEASURES]], given.out / "fig_2d_pictures.csv")
    write_csv(summary(table, level=given.level), given.out / "fig_2d.csv")
    print(f"fig_2d of {len(runs)} runs and {np.sum(table['medium'] == '2d')} pictures")


if __name__ == "__main__":
    sys.exit(exit_status(main, ArtifactError))
