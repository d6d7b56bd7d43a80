"""Edits plain pictures of toy objects by rows that compare with a source picture (DDS, Fig. 7).

    python -m pipeline.edit_image --plan presets/figures/fig7.yaml --prior JSON \\
        --bank results/mini/bank --out results/mini/figures/fig7/mixture

A plan (YAML) holds `seeds`, `edits` {name: {source, target, azimuth}}, `columns` {name: {method,
settings}} and `settings` (picture_loop.Task's). JSON: a prior as in a preset. The source picture is
the world's own render of `source`; every column begins there. Writes <edit>/{source,target}.png,
the world's renders of both captions from the same camera, and <edit>/<column>/seed<k>/
{picture.png, picture.json}. A picture that fails is a record that says so, and the next is made.
"""

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
import yaml
from jaxtyping import Float
from torch import Tensor

from pipeline.artifacts import ArtifactError, exit_status, read_json
from pipeline.cameras import orbit
from pipeline.config import located
from pipeline.guidance.captions import VocabularyError, load_world, parse
from pipeline.guidance.load import load_guidance
from pipeline.picture_files import make, write_picture
from pipeline.picture_loop import Task, known_methods
from pipeline.toyworld.world import composed, drawn, instances, packed
from prompts.views import view_word, with_view

KEYS = {"description", "seeds", "edits", "columns", "settings"}


class PlanError(ValueError):
    """A plan that cannot be carried out; the message names the file and the key."""


def read_plan(path: Path) -> dict[str, Any]:
    """The plan in `path`. Raises PlanError unless its keys are KEYS and its methods are known."""
    if not path.is_file():
        raise PlanError(f"{path}: no such plan")
    plan = yaml.safe_load(path.read_text(encoding="utf-8"))
    if not isinstance(plan, dict) or set(plan) != KEYS:
        raise PlanError(f"{path}: needs exactly the keys {', '.join(sorted(KEYS))}")
    for name, column in plan["columns"].items():
        if column["method"] not in known_methods():
            known = ", ".join(known_methods())
            raise PlanError(
                f"{path}: column {name}: no method {column['method']!r}; known: {known}"
            )
    for name, edit in plan["edits"].items():
        if set(edit) != {"source", "target", "azimuth"}:
            raise PlanError(f"{path}: edit {name}: needs exactly source, target, azimuth")
    return plan


def toy_picture(
    bank: Path, caption: str, camera: Mapping[str, float], *, size: int, grey: float
) -> Float[Tensor, "3 s s"]:
    """The world's first object that `caption` names, in front of a grey, rgb in [0, 1].

    Raises VocabularyError unless the caption names a shape and a colour of the bank's world.
    """
    path = bank / "world.json"
    described, world = read_json(path), load_world(path)
    found = parse(caption, world)
    if found.shape is None or found.colour is None:
        raise VocabularyError(f"{caption!r} names no object: a picture needs a colour and a shape")
    shape, colour = world.shapes[found.shape], world.colours[found.colour]
    objects = instances(shape, seed=described["seed"], diversity=described["diversity"])
    seen = orbit(camera["azimuth"], camera["elevation"], camera["distance"], camera["fovy"])
    rgba = composed(packed(*drawn(objects, torch.tensor([0]), seen, size)), colour)[0]
    return rgba[:3] + (1.0 - rgba[3:]) * grey


def edit(
    name: str, plan: Mapping[str, Any], prior: Mapping[str, Any], bank: Path, texts: Path | None,
    out: Path,
) -> None:  # fmt: skip
    """The folder of one edit holds every column's pictures."""
    spec, settings = plan["edits"][name], dict(plan["settings"])
    camera = {**settings["camera"], "azimuth": spec["azimuth"]}
    settings["camera"] = camera
    look = {"size": settings["size"], "grey": settings["background"]}
    source, target = (toy_picture(bank, spec[key], camera, **look) for key in ("source", "target"))
    write_picture(out / name / "source.png", source)
    write_picture(out / name / "target.png", target)
    word = view_word(camera["azimuth"], camera["elevation"])
    # both captions: a source that has fewer renders than the target is not what its picture shows
    asked = [spec["source"], spec["target"]]
    guidance = load_guidance(
        located(prior), bank=bank, prompt=asked, device="cpu", text_cache=texts
    )
    for column, row in plan["columns"].items():
        for seed in plan["seeds"]:
            task = Task(
                method=row["method"],
                method_settings=row["settings"],
                text=with_view(spec["target"], word),
                source_text=with_view(spec["source"], word),
                seed=seed,
                settings=settings,
            )
            folder = out / name / column / f"seed{seed}"
            about = {"edit": name, "source": spec["source"], "target": spec["target"]}
            ended = make(folder, task, guidance, source, column=column, prior=prior, **about)
            print(f"{name} {column} seed{seed}: {ended}", file=sys.stderr, flush=True)


def main(arguments: Sequence[str] | None = None) -> None:
    """Makes every edit of the plan, or those named."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--plan", type=Path, required=True)
    parser.add_argument("--prior", required=True, help="its settings as in a preset, as JSON")
    parser.add_argument("--bank", type=Path, required=True, help="the world's bank")
    parser.add_argument("--texts", type=Path, help="the folder of a learned prior's embedded texts")
    parser.add_argument("--edits", nargs="+", help="of the plan; all unless given")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args(arguments)
    torch.set_num_threads(given.threads)
    plan, prior = read_plan(given.plan), json.loads(given.prior)
    for name in given.edits or plan["edits"]:
        if name not in plan["edits"]:
            known = ", ".join(plan["edits"])
            raise PlanError(f"{given.plan}: no edit {name!r}; there are {known}")
        edit(name, plan, prior, given.bank, given.texts, given.out)


if __name__ == "__main__":
    sys.exit(exit_status(main, PlanError, ArtifactError, VocabularyError))
