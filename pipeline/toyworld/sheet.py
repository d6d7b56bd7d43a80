"""Write a contact sheet of the toy world, to be judged by eye.

    python -m pipeline.toyworld.sheet --out sheet.png [--size 96] [--diversity 0] [--fakes]

One row a shape, each in another colour: front, front left, left, back left, back, right, from above
and from below. With `--fakes` rows of what a metric must reject follow.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from pipeline.artifacts import exit_status, write_png
from pipeline.cameras import orbit
from pipeline.toyworld.render import compose, over
from pipeline.toyworld.vocabulary import COLOURS, SHAPES
from pipeline.toyworld.world import INSTANCES, drawn, instances, main_colour

AZIMUTHS = (0.0, 35.0, 90.0, 145.0, 180.0, 270.0, -30.0, 200.0)
ELEVATIONS = (15.0, 15.0, 15.0, 15.0, 15.0, 15.0, 45.0, -10.0)


def shape_row(shape: str, colour: str, size: int, *, seed: int, diversity: float) -> Tensor:
    """Eight views (8,3,s,s) on mid grey; at diversity > 0 each of another instance."""
    objects = instances(shape, seed=seed, diversity=diversity)
    index = torch.arange(len(AZIMUTHS)) % min(len(objects), INSTANCES)
    layers, shade = drawn(objects, index, orbit(AZIMUTHS, ELEVATIONS, 3.0, 40.0), size)
    rgba = compose(layers, main_colour(colour, shade))
    return over(rgba, torch.full((len(rgba), 3), 0.5)).clamp(0, 1)


def fake_rows(size: int, *, seed: int) -> list[Tensor]:
    """Eight pictures of every kind of fake, resized to `size`."""
    from pipeline.toyworld.clip_eval import KINDS, fakes

    return [
        torch.nn.functional.interpolate(
            fakes(kind, len(AZIMUTHS), seed=seed).images, (size, size), mode="area"
        )
        for kind in KINDS
    ]


def grid(rows: Sequence[Float[Tensor, "n 3 s s"]]) -> Float[Tensor, "h w 3"]:
    """Rows of pictures side by side, below each other."""
    return torch.cat([torch.cat(list(row), 2) for row in rows], 1).permute(1, 2, 0)


def main(arguments: Sequence[str] | None = None) -> None:
    """Writes the sheet as the module's docstring says."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--size", type=int, default=96)
    parser.add_argument("--diversity", type=float, default=0.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--fakes", action="store_true")
    options = parser.parse_args(arguments)
    world = {"seed": options.seed, "diversity": options.diversity}
    pairs = zip(SHAPES, COLOURS, strict=True)
    rows = [shape_row(shape, colour, options.size, **world) for shape, colour in pairs]
    rows += fake_rows(options.size, seed=options.seed) if options.fakes else []
    write_png(options.out, grid(rows).numpy())


if __name__ == "__main__":
    sys.exit(exit_status(main, ValueError))
