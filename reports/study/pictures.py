"""What a participant sees of a run: its four views on one grey, in one square, without a name.

Every picture is composed anew from pixels, so that size, background and file format are the same
for all and nothing of the original file remains.
"""

import io

import numpy as np
from jaxtyping import UInt8

from reports.contact_sheet import composited, placeholder
from reports.records import VIEWS, ReportError, Run

Image = UInt8[np.ndarray, "h w 3"]
TILES = 8  # a side of a view; a scrambled view is cut into as many
NOISE = 0.08  # standard deviation, of 1, that a scrambled picture gets: no tile stays clean


def square(run: Run, *, size: int, background: float) -> Image:
    """The four views as two rows of two: front, left; back, right. (2 size + gap) pixels a side.

    A view that a failed run lacks is a crossed grey square; one that a finished run lacks is a
    ReportError.
    """
    images = []
    for view in VIEWS:
        path = run.picture(view)
        if path is None and not run.failed:
            raise ReportError(f"{run.folder}: no {view} view; render the run's views first")
        shown = composited(path, size=size, background=background) if path else None
        images.append(placeholder(size, background) if shown is None else shown)
    gap = max(2, size // 64)
    side = 2 * size + gap
    canvas = np.full((side, side, 3), int(background * 255 * 0.9), dtype=np.uint8)
    for i, image in enumerate(images):
        y, x = (i // 2) * (size + gap), (i % 2) * (size + gap)
        canvas[y : y + size, x : x + size] = image
    return canvas


def scrambled(image: Image, rng: np.random.Generator) -> Image:
    """`image` cut into tiles that are shuffled and made noisy: of no use to anyone who looks."""
    tile = image.shape[0] // (2 * TILES)
    n = 2 * TILES
    cut = image[: n * tile, : n * tile].reshape(n, tile, n, tile, 3).swapaxes(1, 2)
    mixed = cut.reshape(n * n, tile, tile, 3)[rng.permutation(n * n)]
    whole = mixed.reshape(n, n, tile, tile, 3).swapaxes(1, 2).reshape(n * tile, n * tile, 3)
    canvas = image.copy()
    canvas[: n * tile, : n * tile] = whole
    noisy = canvas / 255.0 + rng.normal(0, NOISE, canvas.shape)
    return (np.clip(noisy, 0, 1) * 255 + 0.5).astype(np.uint8)


def png(image: Image) -> bytes:
    """`image` as a PNG file's bytes, without metadata."""
    from PIL import Image as Pillow

    buffer = io.BytesIO()
    Pillow.fromarray(image).save(buffer, format="PNG")
    return buffer.getvalue()
