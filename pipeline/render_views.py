"""What a finished run looks like: four views with normals and depth, turntable, poster, mesh.

    python -m pipeline.render_views --run results/mini/runs/geometry/csd/ID/seed0/nerf --settings
    JSON

views/<view>.png is RGBA with straight alpha, views/<view>_normal.png the world normal as n/2 + 1/2
with the same alpha, views/<view>_depth.png 16 bits of distance over `depth_scale`. turntable.webp
is one sheet of frames, row by row, from azimuth 0 counter-clockwise. mesh.glb is the surface with
its colours (`surfaces.py`); a scene without one has none. views/views.json, written last, says all
this in numbers. For a failed run every picture is empty, there is no mesh.glb and views.json says
`placeholder`.
"""

import argparse
import io
import json
import math
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pipeline.artifacts import (
    SCHEMA_VERSION,
    exit_status,
    read_json,
    sha256,
    write_bytes,
    write_json,
    write_png,
)
from pipeline.cameras import FOUR_VIEWS, Cameras, four_views, turntable
from pipeline.scenes.load import load_scene
from pipeline.surfaces import surface

CHUNK = 4  # cameras a call, which bounds memory


@dataclass(frozen=True)
class Picture:
    """One view: rgba and normal (h, w, 4) in [0, 1] with straight alpha, depth (h, w) in units.

    normal is None where it was not asked for.
    """

    rgba: np.ndarray
    normal: np.ndarray | None
    depth: np.ndarray


Render = Callable[[Cameras, bool], list[Picture]]  # bool: whether normals are wanted


def straight(premultiplied: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """rgb with straight alpha, (h, w, 4); black where nothing is."""
    colour = premultiplied / np.maximum(alpha, 1e-6)
    return np.concatenate([np.clip(colour, 0.0, 1.0) * (alpha > 0), alpha], axis=-1)


def scene_renderer(run: Path, record: Mapping[str, Any], size: int, samples: int) -> Render:
    """Renders the run's scene, without jitter. Raises ArtifactError for a missing file."""
    scene = load_scene(record["settings"], torch.Generator(), run, samples=samples)

    @torch.no_grad()
    def render(cameras: Cameras, normals: bool) -> list[Picture]:
        pictures = []
        for first in range(0, len(cameras), CHUNK):
            part = cameras[first : first + CHUNK]
            black = torch.zeros(len(part), 3)
            found = scene.render(part, height=size, width=size, background=black, normals=normals)
            for i in range(len(part)):
                alpha = _image(found.alpha[i])
                rgba = straight(_image(found.rgb[i]), alpha)
                normal = None
                if found.normal is not None:
                    shaded = 0.5 + 0.5 * _image(found.normal[i])
                    normal = np.concatenate([shaded * (alpha > 0), alpha], axis=-1)
                pictures.append(Picture(rgba, normal, _image(found.depth[i])[..., 0]))
        return pictures

    return render


def empty_renderer(size: int) -> Render:
    """Renders nothing: the pictures of a run that failed."""
    empty = np.zeros((size, size, 4), dtype=np.float32)
    return lambda cameras, normals: [Picture(empty, empty, empty[..., 0])] * len(cameras)


def _image(channels_first: torch.Tensor) -> np.ndarray:
    return channels_first.permute(1, 2, 0).numpy().astype(np.float32)


def sheet(frames: list[np.ndarray]) -> tuple[np.ndarray, int]:
    """(the frames in a near-square grid, row by row; its number of columns)."""
    columns = math.ceil(math.sqrt(len(frames)))
    rows = math.ceil(len(frames) / columns)
    height, width, channels = frames[0].shape
    grid = np.zeros((rows * height, columns * width, channels), dtype=np.float32)
    for i, frame in enumerate(frames):
        y, x = divmod(i, columns)
        grid[y * height : (y + 1) * height, x * width : (x + 1) * width] = frame
    return grid, columns


def write_surface(
    run: Path, record: Mapping[str, Any], mesh: Path | None = None
) -> dict[str, Any] | None:
    """The record of the surface in the run folder's mesh.glb; None, and no file, without one."""
    found = None
    if record["status"] == "ok":
        scene = load_scene(record["settings"], torch.Generator(), run)
        found = surface(record["settings"]["scene"]["kind"], scene, mesh)
    if found is None:
        (run / "mesh.glb").unlink(missing_ok=True)
        return None
    write_bytes(run / "mesh.glb", found.glb)
    return found.record


def write_pictures(run: Path, settings: Mapping[str, Any], mesh: Path | None = None) -> None:
    """The run folder holds its pictures and its mesh; views/views.json describes them.

    `mesh`: the folder of the mesh that a texture is on, as for `surfaces.surface`. Raises
    ArtifactError for a missing file.
    """
    from PIL import Image

    record = read_json(run / "run.json")
    size, elevation = settings["size"], settings["elevation"]
    distance, fovy = settings["distance"], settings["fovy"]
    failed = record["status"] != "ok"
    render = (
        empty_renderer(size) if failed else scene_renderer(run, record, size, settings["samples"])
    )
    depth_scale = 2.0 * distance
    pictures = render(four_views(distance, fovy, elevation_deg=elevation), True)
    for name, picture in zip(FOUR_VIEWS, pictures, strict=True):
        write_png(run / "views" / f"{name}.png", picture.rgba)
        assert picture.normal is not None
        write_png(run / "views" / f"{name}_normal.png", picture.normal)
        depth = np.clip(picture.depth / depth_scale, 0.0, 1.0) * 65535.0
        write_png(run / "views" / f"{name}_depth.png", depth.astype(np.uint16))
    write_png(run / "poster.png", pictures[0].rgba)

    frames = settings["turntable_frames"]
    ring = turntable(frames, distance, fovy, elevation_deg=elevation)
    grid, columns = sheet([picture.rgba for picture in render(ring, False)])
    buffer = io.BytesIO()
    image = Image.fromarray((grid * 255.0 + 0.5).astype(np.uint8))
    image.save(buffer, format="WEBP", quality=90, method=4)
    write_bytes(run / "turntable.webp", buffer.getvalue())
    kinds = ("", "_normal", "_depth")
    files = [run / "views" / f"{name}{kind}.png" for name in FOUR_VIEWS for kind in kinds]
    files += [run / "poster.png", run / "turntable.webp"]
    shown = write_surface(run, record, mesh)
    if shown is not None:
        files.append(run / "mesh.glb")
    write_json(
        run / "views" / "views.json",
        {
            "schema_version": SCHEMA_VERSION,
            "placeholder": failed,
            **{key: settings[key] for key in ("size", "elevation", "distance", "fovy")},
            "azimuths_of_views": FOUR_VIEWS,
            "depth_scale": depth_scale,
            "frames": frames,
            "columns": columns,
            "azimuths": [round(float(a), 4) for a in ring.azimuth_deg],
            "surface": shown,
            "scene_sha256": sha256(run / "scene.safetensors"),
            "outputs": {str(path.relative_to(run)): sha256(path) for path in files},
        },
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """The program."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--run", type=Path, required=True, help="the run folder")
    parser.add_argument("--settings", required=True, help="the preset's views, as JSON")
    parser.add_argument("--mesh", type=Path, help="the folder of a texture's mesh, for its atlas")
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args(arguments)
    torch.set_num_threads(given.threads)
    write_pictures(given.run, json.loads(given.settings), given.mesh)


if __name__ == "__main__":
    sys.exit(exit_status(main, json.JSONDecodeError))
