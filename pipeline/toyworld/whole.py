"""A whole procedural world in one call: image bank and true objects, as the workflow's rules write
them.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pipeline.artifacts import digest, read_json, save_safetensors, write_json
from pipeline.toyworld.bank import degraded_images, shape_images, world_description
from pipeline.toyworld.truth import made_by, truth_images
from pipeline.toyworld.vocabulary import SHAPES
from pipeline.toyworld.world import VERSION, ranges_of


def write_world(
    out: Path,
    world: Mapping[str, Any],
    *,
    cameras: Mapping[str, Any],
    views: Mapping[str, Any],
    prompts: Sequence[str],
) -> bool:
    """`out` holds `bank` and `truth`; False when they were there, made from the same settings.

    `world`, `cameras` (of the optimisation) and `views` (of the truth) are as in presets; the
    shapes that `prompts` name have `world.count` renders, the others `world.count_others`.
    """
    named = {word for text in prompts for word in text.split()}
    counts = {s: world["count" if s in named else "count_others"] for s in SHAPES}
    evaluated = {key: views[key] for key in ("elevation", "distance", "fovy")}
    key = digest([VERSION, dict(world), dict(cameras), evaluated, counts])
    listing = out / "made_from.json"
    if listing.exists() and read_json(listing) == {"digest": key}:
        return False
    shared = {"seed": world["seed"], "diversity": world["diversity"]}
    ranges = ranges_of(dict(cameras))
    for shape in SHAPES:
        images = shape_images(shape, counts[shape], world["size"], ranges, **shared)
        save_safetensors(out / "bank" / f"{shape}.safetensors", images, {"shape": shape})
        true = truth_images(shape, world["truth_size"], **shared, **evaluated)
        made = made_by(**shared, **evaluated)
        save_safetensors(out / "truth" / f"{shape}.safetensors", true, made)
    faulty = degraded_images(world["count_degraded"], world["size"], ranges, **shared)
    save_safetensors(out / "bank" / "degraded.safetensors", faulty, {"shape": "degraded"})
    counts["degraded"] = world["count_degraded"]
    seen = {key: cameras[key] for key in ("azimuth", "elevation", "distance", "fovy")}
    for folder in ("bank", "truth"):
        described = world_description(counts, world["size"], seen, **shared)
        write_json(out / folder / "world.json", json.loads(json.dumps(described)))
    write_json(listing, {"digest": key})
    return True
