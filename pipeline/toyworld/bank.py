"""Write the images that the exact mixture prior is made of.

    python -m pipeline.toyworld.bank car duck degraded world --size 32 --seed 0 --diversity 0 \
        --counts '{"car": 3200, "duck": 400, "degraded": 1620}' \
        --camera '{"azimuth": [-180, 180], "elevation": [-10, 45], "distance": [2.8, 3.2],
                   "fovy": [40, 40]}' --out DIR

Writes those parts that are named, so that one start of the program serves many small files:
DIR/<shape>.safetensors, DIR/degraded.safetensors, DIR/world.json.

One file a shape serves all nine colours: `base` uint8 (n,4,s,s) is the premultiplied rgb of the
parts of fixed colour, and coverage; `tint` uint8 (n,1,s,s) the premultiplied shade of the
main-colour parts; an image is base + tint * clamp(colour + shade, 0, 1). Degraded images are not
linear in the colour: they are stored as float16 rgba with their `shape`, `colour` and `kind`,
indices into world.json's lists.
"""

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from pipeline.artifacts import SCHEMA_VERSION, exit_status, save_safetensors, write_json
from pipeline.cameras import CameraRanges
from pipeline.toyworld.degrade import DEGRADE
from pipeline.toyworld.render import compose
from pipeline.toyworld.vocabulary import COLOURS, DEGRADATIONS, DIRECTIONAL, SHAPES, VIEWS
from pipeline.toyworld.world import (
    camera_arrays,
    chosen_cameras,
    covering_cameras,
    drawn,
    instances,
    packed,
    ranges_of,
    seeded,
)

DEGRADED, WORLD = "degraded", "world"  # parts of a bank beside its shapes


def shape_images(
    shape: str, count: int, size: int, ranges: CameraRanges, *, seed: int, diversity: float
) -> dict[str, Tensor]:
    """The tensors of one shape's bank file; instances take turns."""
    objects = instances(shape, seed=seed, diversity=diversity)
    cameras = covering_cameras(count, ranges, seeded("bank", seed, shape))
    index = torch.arange(count) % len(objects)
    layers, shade = drawn(objects, index, cameras, size)
    return {**packed(layers, shade), **camera_arrays(cameras), "instance": index.int()}


def degraded_images(
    count: int, size: int, ranges: CameraRanges, *, seed: int, diversity: float
) -> dict[str, Tensor]:
    """The tensors of the degraded bank: each (shape, colour, kind) as often, to within one."""
    generator = seeded("degraded", seed)
    cases = torch.cartesian_prod(*map(torch.arange, (len(SHAPES), len(COLOURS), len(DEGRADE))))
    order = torch.randperm(len(cases), generator=generator)
    shape, colour, kind = cases[order[torch.arange(count) % len(cases)]].T
    cameras = covering_cameras(count, ranges, generator)
    index = torch.randint(1 << 30, (count,), generator=generator)
    rgba = torch.zeros(count, 4, size, size)
    for s, name in enumerate(SHAPES):
        objects = instances(name, seed=seed, diversity=diversity)
        index = torch.where(shape == s, index % len(objects), index)
        chosen = torch.nonzero(shape == s)[:, 0]
        layers, shade = drawn(objects, index[chosen], chosen_cameras(cameras, chosen), size)
        named = torch.tensor(list(COLOURS.values()))[colour[chosen]]
        rgba[chosen] = compose(layers, (named + shade).clamp(0, 1))
    for k, name in enumerate(DEGRADE):
        chosen = torch.nonzero(kind == k)[:, 0]
        rgba[chosen] = DEGRADE[name](rgba[chosen], generator)
    numbers = {"shape": shape.int(), "colour": colour.int(), "kind": kind.int()}
    return {
        "rgba": rgba.half(),
        **numbers,
        **camera_arrays(cameras),
        "instance": index.int(),
    }


def world_description(
    counts: Mapping[str, int],
    size: int,
    camera: Mapping[str, Sequence[float]],
    *,
    seed: int,
    diversity: float,
) -> dict[str, object]:
    """What a reader of the bank must know: words, colours, thresholds, counts, settings."""
    ranges = ranges_of(dict(camera))
    return {
        "schema_version": SCHEMA_VERSION,
        "shapes": list(SHAPES),
        "directional": list(DIRECTIONAL),
        "colours": {name: list(rgb) for name, rgb in COLOURS.items()},
        "degradations": list(DEGRADATIONS),
        "views": list(VIEWS),
        "view_thresholds_deg": {"front": 45, "back": 45, "overhead": 60},
        "size": size,
        "counts": dict(counts),
        "seed": seed,
        "diversity": diversity,
        "camera": {
            name: list(getattr(ranges, name))
            for name in ("azimuth", "elevation", "distance", "fovy")
        },
    }


def _arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("parts", choices=(*SHAPES, DEGRADED, WORLD), nargs="+", metavar="PART")
    parser.add_argument("--counts", type=json.loads, required=True, help="JSON: images in a file")
    parser.add_argument("--size", type=int, required=True)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--diversity", type=float, required=True)
    parser.add_argument("--camera", type=json.loads, required=True, help="JSON ranges")
    parser.add_argument("--out", type=Path, required=True, help="a folder")
    return parser


def main(arguments: Sequence[str] | None = None) -> None:
    """Writes the files as the module's docstring says."""
    parser = _arguments()
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    world = {"seed": options.seed, "diversity": options.diversity}
    ranges = ranges_of(options.camera)
    for part in options.parts:
        if part == WORLD:
            told = world_description(options.counts, options.size, options.camera, **world)
            write_json(options.out / f"{WORLD}.json", told)
            continue
        count = options.counts.get(part, 0)
        if count < 1:
            parser.error(f"--counts must hold at least 1 for {part}")
        if part == DEGRADED:
            tensors = degraded_images(count, options.size, ranges, **world)
        else:
            tensors = shape_images(part, count, options.size, ranges, **world)
        described = {"shape": part, "camera": json.dumps(options.camera)}
        described |= {name: str(value) for name, value in world.items()}
        save_safetensors(options.out / f"{part}.safetensors", tensors, described)


if __name__ == "__main__":
    sys.exit(exit_status(main, ValueError))
