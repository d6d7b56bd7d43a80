"""Write the true objects' own renders, against which optimised objects are compared.

    python -m pipeline.toyworld.truth --shapes car duck --size 96 --seed 0 --diversity 0 --out DIR

Writes DIR/<shape>.safetensors. A file's layout is the bank's with more leading axes, `base` uint8
(instances, offsets, views, 4, S, S) and `tint` uint8 (instances, offsets, views, 1, S, S), and
`shade` (instances, 3). Offsets turn the camera around the object by a few degrees, so that a
reconstruction that is right but slightly turned can be recognised. The metadata (seed, diversity,
version of the world's code) with the cameras say what made a file, and name it in protocols.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from pipeline.artifacts import exit_status, save_safetensors
from pipeline.cameras import FOUR_VIEWS, FOUR_VIEWS_ELEVATION, orbit
from pipeline.toyworld.vocabulary import SHAPES
from pipeline.toyworld.world import VERSION, drawn, instances, packed

OFFSETS: tuple[float, ...] = (-10.0, -5.0, 0.0, 5.0, 10.0)  # degrees of azimuth


def truth_images(
    shape: str,
    size: int,
    *,
    seed: int,
    diversity: float,
    elevation: float = FOUR_VIEWS_ELEVATION,
    distance: float = 3.0,
    fovy: float = 40.0,
) -> dict[str, Tensor]:
    """The tensors of one shape's truth file; views in the order of cameras.FOUR_VIEWS."""
    objects = instances(shape, seed=seed, diversity=diversity)
    offsets, views = torch.tensor(OFFSETS), torch.tensor(list(FOUR_VIEWS.values()))
    azimuth = (offsets[:, None] + views).reshape(-1)
    leading = (len(objects), len(offsets), len(views))
    cameras = orbit(azimuth.repeat(len(objects)), elevation, distance, fovy)
    index = torch.arange(len(objects)).repeat_interleave(len(azimuth))
    layers, _ = drawn(objects, index, cameras, size)
    tensors = packed(layers, objects.shade)
    return {
        "base": tensors["base"].unflatten(0, leading),
        "tint": tensors["tint"].unflatten(0, leading),
        "shade": tensors["shade"],
        "offset_deg": offsets,
        "azimuth_deg": views,
        "elevation_deg": torch.tensor(elevation),
        "distance": torch.tensor(distance),
        "fovy_deg": torch.tensor(fovy),
    }


def made_by(*, seed: int, **measures: float) -> dict[str, str]:
    """A truth file's metadata: the options of `truth_images` and the world's version, in words."""
    described = {name: str(float(value)) for name, value in measures.items()}
    return {"seed": str(seed), **described, "version": str(VERSION)}


def main(arguments: Sequence[str] | None = None) -> None:
    """Writes the files as the module's docstring says."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shapes", choices=SHAPES, nargs="+", required=True)
    parser.add_argument("--size", type=int, required=True, help="pixels a side of the run's views")
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--diversity", type=float, required=True)
    parser.add_argument("--elevation", type=float, default=FOUR_VIEWS_ELEVATION)
    parser.add_argument("--distance", type=float, default=3.0)
    parser.add_argument("--fovy", type=float, default=40.0)
    parser.add_argument("--out", type=Path, required=True)
    options = vars(parser.parse_args(arguments))
    torch.set_num_threads(1)
    out, size, shapes = (options.pop(name) for name in ("out", "size", "shapes"))
    for shape in shapes:
        tensors = truth_images(shape, size, **options)
        save_safetensors(out / f"{shape}.safetensors", tensors, made_by(**options))


if __name__ == "__main__":
    sys.exit(exit_status(main, ValueError))
