"""A grid of pictures with headings above, labels to the left and lines below each picture."""

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import UInt8

from reports.contact_sheet import composited
from reports.paper.pictures import GREY

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Image = UInt8[np.ndarray, "h w 3"]
EDGE, HEAD, LINE = 0.06, 0.32, 0.13  # inches
MUTED = "#4a525c"


@dataclass(frozen=True)
class Cell:
    """One field: a picture, the lines below it, and a word on it where it shows nothing."""

    image: Image
    below: tuple[str, ...] = ()
    on: str = ""


def enlarged(path: Path, size: int) -> Image:
    """The small picture in `path` at about `size` pixels, every pixel a square of its own."""
    from PIL import Image as Pillow

    with Pillow.open(path) as file:
        own = max(file.size)
    times = max(1, size // own)
    image = composited(path, size=own, background=GREY)
    return np.repeat(np.repeat(image, times, axis=0), times, axis=1)


def drawn(
    rows: Sequence[tuple[str, Sequence[Cell | None]]],
    headings: Sequence[str],
    *,
    inches: float = 1.05,
    label: float = 1.0,
) -> "Figure":
    """One picture is `inches` high, and as wide as its own shape asks; `label` inches hold the
    rows' labels. All pictures of the grid have one shape.
    """
    from matplotlib.figure import Figure

    cells = [cell for _, row in rows for cell in row if cell is not None]
    ratio = max(cell.image.shape[1] / cell.image.shape[0] for cell in cells)
    lines = max(len(cell.below) for cell in cells)
    step = (inches * ratio + EDGE, inches + LINE * lines + 0.05)
    width = label + len(headings) * step[0] + EDGE
    height = HEAD + len(rows) * step[1] + EDGE
    figure = Figure(figsize=(width, height))

    def text(x: float, y: float, words: str, **style: Any) -> None:
        figure.text(x / width, 1.0 - y / height, words, **style)

    for j, heading in enumerate(headings):
        middle = label + j * step[0] + inches * ratio / 2
        text(middle, HEAD - 0.06, heading, ha="center", va="bottom", fontsize=8.5)
    for i, (name, row) in enumerate(rows):
        y = HEAD + i * step[1]
        wide = [textwrap.fill(line, int(label / 0.085)) for line in name.split("\n")]
        text(EDGE, y + 0.04, "\n".join(wide), ha="left", va="top", fontsize=8.5)
        for j, cell in enumerate(row):
            if cell is None:
                continue
            x = label + j * step[0]
            box = (x / width, 1.0 - (y + inches) / height)
            axes = figure.add_axes((*box, inches * ratio / width, inches / height))
            axes.imshow(cell.image, interpolation="nearest", aspect="equal")
            axes.set_axis_off()
            axes.text(0.5, 0.5, cell.on, ha="center", va="center", transform=axes.transAxes)
            for k, line in enumerate(cell.below):
                place: Any = {"ha": "center", "va": "top", "fontsize": 6.5, "color": MUTED}
                text(x + inches * ratio / 2, y + inches + 0.03 + k * LINE, line, **place)
    return figure
