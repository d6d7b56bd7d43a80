"""CPU milliseconds of the radiance field on one thread: a step forward and backward, a picture.

    python -m benchmarks.nerf

The scene is fitted to a sphere first, so that its occupancy is that of an object. Every row stands
once with empty space skipped and once with every cell of the ball sampled: the difference is what
skipping pays. Times are median (best); CPU time, so that a busy machine says the same.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F

from pipeline import cameras
from pipeline.cameras import CameraRanges
from pipeline.scenes.nerf import Nerf, NerfSettings

RANGES = CameraRanges((-180, 180), (-10, 45), (2.8, 3.2), (40, 40))
SIZES = ((32, 40), (48, 40), (48, 64))  # (pixels, samples along a diameter)
HEADS: dict[str, dict[str, Any]] = {
    "sum": {"head": "sum", "density_scale": 10.0, "colour_scale": 4.0},
    "mlp": {"head": "mlp", "density_scale": 1.0, "colour_scale": 1.0},
}
THRESHOLDS = {"occupied cells": 0.01, "every cell": -1.0}


def scene(head: str, threshold: float, samples: int) -> Nerf:
    """A new field on dense levels of 8, 16 and 32 nodes a side."""
    settings = NerfSettings.from_mapping(
        {
            **HEADS[head],
            "grid": dict(levels=3, features=4, log2_entries=15, base_resolution=8, growth=2.0),
            "radius": 1.0,
            "half_width": 1.2,
            "samples": samples,
            "blob": dict(scale=10.0, radius=0.5, floor=-1.0, offset=-1.0),
            "occupancy": dict(resolution=32, threshold=threshold, decay=0.9, interval=16),
            "background": "given",
            "orientation": 0.0,
            "sparsity": 0.3,
            "opaque": 0.0,
        }
    )
    return Nerf(settings, torch.Generator().manual_seed(0))


def fit_sphere(nerf: Nerf, steps: int, generator: torch.Generator) -> None:
    """Train the density to the opacity of a ball of radius 0.5, by its silhouettes."""
    optimizer = torch.optim.Adam(nerf.parameter_groups({"grid": 0.03, "head": 0.02}), eps=1e-15)
    for step in range(steps):
        views = cameras.sample(generator, 2, RANGES, azimuths="opposite")
        origins, directions = cameras.rays(views, 32, 32)
        distance = torch.linalg.cross(origins, directions).norm(dim=-1)
        background = torch.zeros(2, 3)
        seen = nerf.render(views, height=32, width=32, generator=generator, background=background)
        optimizer.zero_grad()
        F.mse_loss(seen.alpha[:, 0], (distance < 0.5).float()).backward()
        optimizer.step()
        nerf.after_step(step, generator)


def milliseconds(calls: list[Callable[[], Any]], repeats: int) -> list[str]:
    """ "median (best)" of each of the calls, made one after the other, after a warm-up."""
    times: list[list[float]] = [[] for _ in calls]
    for repeat in range(repeats + 1):
        for call, column in zip(calls, times, strict=True):
            start = time.process_time()
            call()
            if repeat:
                column.append(1e3 * (time.process_time() - start))
    return [f"{statistics.median(column):7.2f} ({min(column):6.2f})" for column in times]


def print_steps(head: str, repeats: int) -> None:
    """One line per size and way of sampling: forward and backward of two views."""
    generator = torch.Generator().manual_seed(1)
    print(f"\n{head} head, two views, ms            forward           backward")
    for size, samples in SIZES:
        for name, threshold in THRESHOLDS.items():
            nerf = scene(head, threshold, samples)
            fit_sphere(nerf, 48, generator)
            losses: list[torch.Tensor] = []

            def forward(nerf: Nerf = nerf, size: int = size, losses: list = losses) -> None:
                seen = nerf.render(
                    cameras.sample(generator, 2, RANGES, azimuths="opposite"),
                    height=size,
                    width=size,
                    generator=generator,
                    background=torch.full((2, 3), 0.5),
                )
                losses[:] = [seen.rgb.sum() + sum(nerf.regularization(seen, 0).values())]

            def backward(losses: list = losses) -> None:
                losses[0].backward()

            cells = milliseconds([forward, backward], repeats)
            print(f"{size} px, {samples} samples, {name:14}  {cells[0]}  {cells[1]}")


def print_pictures(head: str, repeats: int) -> None:
    """One line per way of sampling: a view without gradients, without and with normals."""
    view = cameras.orbit(30.0, 15.0, 3.0, 40.0)
    generator = torch.Generator().manual_seed(2)
    print(f"\n{head} head, one picture, ms          colour           with normals")
    for name, threshold in THRESHOLDS.items():
        nerf = scene(head, threshold, 96)
        fit_sphere(nerf, 48, generator)
        with torch.no_grad():
            draw = partial(nerf.render, view, height=96, width=96, background=torch.ones(1, 3))
            cells = milliseconds([draw, partial(draw, normals=True)], repeats)
        print(f"96 px, 96 samples, {name:14}  {cells[0]}  {cells[1]}")


def main() -> None:
    """The program."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--heads", nargs="+", choices=sorted(HEADS), default=sorted(HEADS))
    parser.add_argument("--repeats", type=int, default=10)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    for head in arguments.heads:
        print_steps(head, arguments.repeats)
        print_pictures(head, max(arguments.repeats // 4, 1))


if __name__ == "__main__":
    main()
