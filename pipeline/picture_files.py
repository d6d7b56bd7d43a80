"""What a picture begins as, and what it leaves behind: `picture.png` and, last, `picture.json`.

The record holds the column's name, the method, its texts, seed, prior and
settings, what it cost, and the commit of the sources.
"""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from pipeline import record
from pipeline.artifacts import SCHEMA_VERSION, write_json, write_png
from pipeline.picture_loop import Made, Task
from pipeline.scenes.image import Image, ImageSettings


def begun(
    size: int, seed: int, start: Float[Tensor, "3 s s"] | None = None
) -> tuple[Image, torch.Generator]:
    """(the picture before its first step, `start` or grey noise; the generator of what follows)."""
    generator = torch.Generator().manual_seed(seed)
    image = Image(ImageSettings(size), generator)
    if start is not None:
        image.load_picture(start)
    return image, generator


def write_picture(path: Path, rgb: Float[Tensor, "3 h w"]) -> None:
    """`path` holds the picture, rgb in [0, 1], as PNG."""
    write_png(path, rgb.permute(1, 2, 0).numpy().astype(np.float32))


def write_made(
    folder: Path, task: Task, found: Made, *, column: str, prior: Mapping[str, Any], **more: Any
) -> None:
    """`folder` holds the picture and its record; `more` joins the record."""
    write_picture(folder / "picture.png", found.rgb)
    described = {
        "schema_version": SCHEMA_VERSION,
        "column": column,
        **asdict(task),
        "prior": dict(prior),
        "seconds": round(found.seconds, 3),
        "evaluations": dict(found.evaluations),
        **more,
        **record.source_state(),
        "versions": record.versions(),
    }
    write_json(folder / "picture.json", described)
