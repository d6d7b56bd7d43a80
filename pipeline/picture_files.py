"""What a picture begins as, and what it leaves behind: `picture.png` and, last, `picture.json`.

The record holds how the picture ended (status ok or failed, reason, failed_step), the column's
name, the method, its texts, seed, prior and settings, what it cost, and the commit of the sources.
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
from pipeline.guidance.interface import Guidance
from pipeline.picture_loop import PictureFailure, Task, made
from pipeline.scenes.image import Image, ImageSettings

PLACEHOLDER = 0.5  # grey


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


def make(
    folder: Path,
    task: Task,
    guidance: Guidance,
    edited: Float[Tensor, "3 s s"] | None = None,
    *,
    column: str,
    prior: Mapping[str, Any],
    **more: Any,
) -> str:
    """`folder` holds the finished picture, which began at `edited`, and its record, which `more`
    joins; of a failed one a grey placeholder, and why. Returns how it ended, in words.
    """
    image, generator = begun(task.settings["size"], task.seed, edited)
    try:
        found = made(task, guidance, image, generator, source=edited)
    except PictureFailure as failure:
        ended = {"status": "failed", "reason": str(failure), "failed_step": failure.step}
        rgb, cost, words = torch.full_like(image.rgb.detach()[0], PLACEHOLDER), {}, str(failure)
    else:
        ended = {"status": "ok", "reason": None, "failed_step": None}
        cost = {"seconds": round(found.seconds, 3), "evaluations": dict(found.evaluations)}
        rgb, words = found.rgb, f"{found.seconds:.1f} s"
    write_picture(folder / "picture.png", rgb)
    described = {
        "schema_version": SCHEMA_VERSION,
        **ended,
        "placeholder": ended["status"] == "failed",
        "column": column,
        **asdict(task),
        "prior": dict(prior),
        **cost,
        **more,
        **record.source_state(),
        "versions": record.versions(),
    }
    write_json(folder / "picture.json", described)
    return words
