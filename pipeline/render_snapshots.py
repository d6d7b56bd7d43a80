"""The four views of every snapshot of many runs, as those of the finished runs are taken.

    python -m pipeline.render_snapshots --runs @results/mini/lists/geometry.nerf.txt \
        --out results/mini/figures/speed/snapshots.json

Writes views/{front,left,back,right}.png into each snapshot's folder (pipeline.snapshots), and to
--out, last, what was rendered. Runs without snapshots are an error that names the key.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from pipeline.artifacts import (
    SCHEMA_VERSION,
    ArtifactError,
    exit_status,
    read_json,
    sha256,
    write_json,
    write_png,
)
from pipeline.cameras import FOUR_VIEWS, four_views
from pipeline.render_views import scene_renderer
from pipeline.snapshots import folder_of, kept


def render(run: Path) -> list[dict[str, Any]]:
    """Every snapshot of the run folder has its four views; a row a snapshot that says so."""
    record = read_json(run / "run.json")
    settings = record["settings"]["views"]
    rows = []
    for step in kept(record):
        folder = folder_of(run, step)
        cameras = four_views(
            settings["distance"], settings["fovy"], elevation_deg=settings["elevation"]
        )
        pictures = scene_renderer(folder, record, settings["size"], settings["samples"])(
            cameras, False
        )
        for name, picture in zip(FOUR_VIEWS, pictures, strict=True):
            write_png(folder / "views" / f"{name}.png", picture.rgba)
        scene = sha256(folder / "scene.safetensors")
        rows.append({"folder": str(folder), "step": step, "scene_sha256": scene})
    return rows


def main(arguments: Sequence[str] | None = None) -> None:
    """The program."""
    parser = argparse.ArgumentParser(
        description=(__doc__ or "").splitlines()[0], fromfile_prefix_chars="@"
    )
    parser.add_argument("--runs", type=Path, nargs="+", required=True, help="run folders")
    parser.add_argument("--out", type=Path, required=True, help="a JSON file")
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args(arguments)
    torch.set_num_threads(given.threads)
    rows = [row for run in given.runs for row in render(run)]
    if not rows:
        raise ArtifactError(
            f"{given.runs[0]} and {len(given.runs) - 1} others keep no snapshots; list steps under "
            "the stage's key `snapshots` and run again"
        )
    write_json(given.out, {"schema_version": SCHEMA_VERSION, "snapshots": rows})
    print(f"rendered {len(rows)} snapshots of {len(given.runs)} runs")


if __name__ == "__main__":
    sys.exit(exit_status(main))
