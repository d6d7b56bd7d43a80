"""Views of runs as arrays, and grids of them drawn with their labels.

A failed run is a placeholder with the word on it, a run that is missing an empty field: neither is
left out, since leaving it out would flatter its column.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import UInt8

from pipeline.artifacts import sha256
from reports.contact_sheet import composited, placeholder
from reports.records import VIEWS, Run

if TYPE_CHECKING:
    import pandas
    from matplotlib.axes import Axes

GREY = 0.92  # behind the pictures: nearly paper, yet white objects show
MUTED = "#687078"
Image = UInt8[np.ndarray, "h w 3"]


def picture(run: Run | None, view: str, *, kind: str = "", size: int) -> Image:
    """One view over GREY, `kind` "normal" for its normals; a placeholder where there is none."""
    path = None if run is None or run.failed else run.picture(view, kind)
    if path is None:
        return placeholder(size, GREY)
    return composited(path, size=size, background=GREY)


def bare(run: Run | None, view: str, *, size: int) -> Image:
    """The run's shape without its colours: its world normals under one light from the front
    above.
    """
    from PIL import Image as Pillow

    path = None if run is None or run.failed else run.picture(view, "normal")
    if path is None:
        return placeholder(size, GREY)
    with Pillow.open(path) as file:
        pixels = np.asarray(file.convert("RGBA"), dtype=np.float32) / 255
    normal, alpha = 2.0 * pixels[..., :3] - 1.0, pixels[..., 3:]
    angle = np.deg2rad(VIEWS.index(view) * 90.0 + 25.0)  # beside the camera, turning with it
    light = np.array([np.cos(angle), np.sin(angle), 0.9], dtype=np.float32)
    shade = 0.3 + 0.55 * np.clip(normal @ (light / np.linalg.norm(light)), 0.0, 1.0)
    flat = np.repeat(shade[..., None], 3, -1) * alpha + GREY * (1.0 - alpha)
    image = Pillow.fromarray((flat * 255 + 0.5).astype(np.uint8))
    return np.asarray(image.resize((size, size), Pillow.Resampling.BICUBIC))


def state(run: Run | None) -> str:
    """What is written on a picture that shows nothing."""
    if run is None:
        return "not run"
    return "not scored" if run.refused else "failed" if run.failed else ""


def show(axes: "Axes", image: Image, text: str = "") -> None:
    """`image` fills the axes, without ticks or frame; `text` stands in its middle."""
    axes.imshow(image, interpolation="bilinear", aspect="equal")
    axes.set_axis_off()
    if text:
        middle: Any = {"ha": "center", "va": "center", "transform": axes.transAxes}
        axes.text(0.5, 0.5, text, color=MUTED, fontsize=8, **middle)


def shown_table(
    runs: Sequence[Run], views: Sequence[str], kinds: Sequence[str]
) -> "pandas.DataFrame":
    """One row a picture: whose it is, and its file's sha256 ("" where there is none)."""
    import pandas

    names = ("column", "stage", "prompt_id", "prompt", "seed", "status")
    rows = [
        {name: run.record[name] for name in names}
        | {"view": view, "kind": kind or "colour", "sha256": sha256(path) if path else ""}
        for run in runs
        for view in views
        for kind in kinds
        for path in [run.picture(view, kind)]
    ]
    return pandas.DataFrame(rows)
