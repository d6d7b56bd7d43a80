"""What a step draws at random besides noise and t, always from the run's own generator."""

from collections.abc import Mapping
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from pipeline.cameras import CameraRanges, Cameras, sample


def draw_cameras(
    step: int, spec: Mapping[str, Any], batch: int, generator: torch.Generator
) -> Cameras:
    """Cameras from the preset's ranges; only fronts and backs before `front_back_until`."""
    ranges = {name: spec[name] for name in ("azimuth", "elevation", "distance", "fovy")}
    return sample(
        generator,
        batch,
        CameraRanges.from_mapping(ranges),
        azimuths="front_back" if step < spec["front_back_until"] else spec["pattern"],
        sphere_probability=spec["sphere_probability"],
    )


def draw_background(
    spec: Mapping[str, float], batch: int, generator: torch.Generator
) -> Float[Tensor, "b 3"] | None:
    """One grey level per view, uniform between `low` and `high`.

    None, the scene's own learned background, when a coin of `probability` says so; a probability of
    1 tosses no coin.
    """
    if spec["probability"] < 1.0:
        coin = float(torch.rand(1, generator=generator))
        if coin >= spec["probability"]:
            return None
    grey = spec["low"] + (spec["high"] - spec["low"]) * torch.rand(batch, generator=generator)
    return grey[:, None].expand(-1, 3)


def draw_shading(step: int, spec: Mapping[str, Any], generator: torch.Generator) -> str:
    """ "normal" with the given probability once the normal-map phase has begun, else "albedo".

    Draws from the generator only within that phase.
    """
    start = spec["normal_from"]
    if start is None or step < start:
        return "albedo"
    coin = float(torch.rand(1, generator=generator))
    return "normal" if coin < spec["normal_probability"] else "albedo"
