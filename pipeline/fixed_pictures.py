"""What a method's direction is at two fixed pictures, and what its row of coefficients is.

The pictures are of one prompt, from about the front over mid-grey: `start`, where every run begins,
and `goal`, a render that the prior is made of, where the direction ought to vanish on average. A
particle (VSD) is first trained on that picture.
"""

import inspect
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from methods import distill
from methods.weights import WEIGHTS
from pipeline import trace
from pipeline.artifacts import load_safetensors, write_png
from pipeline.cameras import Cameras, orbit
from pipeline.config import Job
from pipeline.distillation import problem_of, start_run, train_particle
from pipeline.guidance.interface import Guidance, View
from pipeline.predictions import Seen
from pipeline.probe import drawn_terms, repeated
from pipeline.toyworld.render import over
from pipeline.toyworld.world import composed

LEVELS = range(50, 1000, 100)  # t
UPDATES = 100  # of a particle on a fixed picture, after which its loss no longer falls
GREY = torch.full((1, 3), 0.5)


def goal(one: Job, bank: Path) -> tuple[Tensor, Cameras]:
    """The prior's own render of the prompt's object that is nearest to the front, over mid-grey,
    (1, 3, s, s) in [0, 1], and the camera that sees it.
    """
    colour, shape = one.prompt.split()[-2:]
    tensors, _ = load_safetensors(bank / f"{shape}.safetensors")
    elevation = one.settings["views"]["elevation"]
    away = tensors["azimuth_deg"].square() + (tensors["elevation_deg"] - elevation).square()
    nearest = {name: tensor[away.argmin()][None] for name, tensor in tensors.items()}
    names = ("azimuth_deg", "elevation_deg", "distance", "fovy_deg")
    return over(composed(nearest, colour), GREY), orbit(*(nearest[name] for name in names))


def directions(one: Job, guidance: Guidance, bank: Path, folder: Path) -> list[dict[str, Any]]:
    """The probe's rows at both pictures, with `picture`; the pictures lie in `folder` as PNG."""
    problem = problem_of(one, guidance)
    weights = WEIGHTS[one.settings["weight"]](guidance.alphas_cumprod, torch.tensor([*LEVELS]))
    rows, step = [], one.settings["steps"] // 2
    render, cameras = goal(one, bank)
    for name in ("start", "goal"):
        run = start_run(problem, "cpu", None)
        with torch.no_grad():
            size = render.shape[-1]
            start = run.scene.render(cameras, height=size, width=size, background=GREY).rgb
        rgb = {"start": start, "goal": render}[name]
        write_png(folder / f"{name}.png", rgb[0].permute(1, 2, 0).numpy())
        x, seen = (
            guidance.encode(rgb),
            Seen(guidance, problem.conditions, cameras, View(GREY, cameras.c2w)),
        )
        for _ in range(UPDATES if run.particle is not None else 0):
            train_particle(run, x, seen)
        many = repeated(seen, one.settings["trace"]["probe_noises"])
        generator = torch.Generator().manual_seed(one.seed)  # the same noises for every method
        for level, weight in zip(LEVELS, weights.tolist(), strict=True):
            terms = drawn_terms(
                step, level, x[0], many, run.particle, problem.coefficients, generator
            )
            found = trace.probe_rows(step, level, weight, terms, lambda mean: 0.0)
            kept = [row for row in found if not row["term"].endswith("/parameters")]
            rows += [{"picture": name, **row} for row in kept]
    return rows


def described(one: Job) -> dict[str, Any]:
    """What the card says of the method itself: its row, its sum, what it was tried with."""
    method, steps = distill.METHODS[one.method], one.settings["steps"]
    coefficients = method.make(**one.method_settings)
    every = torch.arange(1000)
    sums = [torch.stack([*coefficients(step, every).values()]).sum(0) for step in range(steps)]
    return {
        "name": method.name,
        "version": method.version,
        "equation": method.equation,
        "says": (inspect.getdoc(method.make) or "").split("\n\n")[0].replace("\n", " "),
        "centred": method.centred,
        "largest_sum": max(float(total.abs().max()) for total in sums),
        "settings": one.method_settings,
        "rows": [
            {"step": step, "t": t, **{k: float(v) for k, v in row.items()}}
            for step in (0, steps // 2, steps - 1)
            for t in (100, 500, 900)
            for row in [coefficients(step, torch.tensor([t]))]
        ],
        "steps": steps,
        "batch": one.settings["batch"],
        "weight": one.settings["weight"],
        "noises": one.settings["trace"]["probe_noises"],
        "particle_updates": UPDATES,
        "prompt": one.prompt,
        "null_prompt": one.prior["null_prompt"],
    }
