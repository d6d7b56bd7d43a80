"""What the mesh stage costs on one thread: a step by resolution and size, and the grid's memory.

    python -m benchmarks.mesh

A step is two views, rendered with normal consistency and backward to every parameter, without a
prior; "surface" is the part that finds the surface, forward. The scene is a bumpy ball that fills a
third of the picture. Times are median (best) of CPU time, so that a busy machine says the same.
Memory: the nodes' learned state with its gradient and Adam's two moments, and the table of all
tetrahedra (int32), which is not stored: those that cross the surface are found from the signs.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import torch

from pipeline import cameras
from pipeline.scenes.dmtet import ball
from pipeline.scenes.mesh import Mesh, MeshSettings
from pipeline.scenes.tetgrid import TetGrid

RESOLUTIONS = (32, 40, 48)
SIZES = (64, 96)
MEMORY_RESOLUTIONS = (48, 128, 256)
MEBIBYTE = 2**20


def scene(resolution: int) -> Mesh:
    """A ball of radius 0.6 with waves of 0.06."""
    grid = dict(levels=3, features=4, log2_entries=19, base_resolution=8, growth=2.0)
    settings = MeshSettings.from_mapping(
        {
            "head": "sum",
            "grid": grid,
            "half_width": 1.2,
            "colour_scale": 4.0,
            "background": "given",
            "radius": 1.0,
            "resolution": resolution,
            "threshold": "auto",
            "floaters": 0.0,
            "normal_consistency": [1.0, 1.0, 1],
            "laplacian": [0.0, 0.0, 1],
        }
    )
    mesh = Mesh(settings, torch.Generator().manual_seed(0))
    nodes = mesh.shape.nodes
    waves = 0.06 * torch.sin(7 * nodes).prod(1)
    mesh.shape.fill((ball(nodes, 0.6) + waves) / mesh.shape.grid.spacing)
    return mesh


def step(mesh: Mesh, size: int) -> None:
    """One forward and backward pass."""
    views = cameras.orbit([20.0, 200.0], 15.0, 3.0, 40.0)
    seen = mesh.render(views, height=size, width=size, background=torch.full((2, 3), 0.5))
    loss = seen.rgb.square().mean() + sum(mesh.regularization(seen, 0).values())
    mesh.zero_grad()
    loss.backward()


def milliseconds(call: Callable[[], Any], repeats: int) -> str:
    """ "median (best)" after a warm-up call."""
    times = []
    for _ in range(repeats + 1):
        start = time.process_time()
        call()
        times.append(1e3 * (time.process_time() - start))
    return f"{statistics.median(times[1:]):6.1f} ({min(times[1:]):5.1f})"


def print_memory(resolution: int) -> None:
    """One row."""
    grid = TetGrid(resolution, 1.0)
    tetrahedra = 12 * grid.cells**2 * (grid.cells - 1)
    state = 4 * 4 * 4 * grid.nodes / MEBIBYTE
    table = 16 * tetrahedra / MEBIBYTE
    print(f"{resolution:10} {grid.nodes:11,} {tetrahedra:12,} {state:12.1f} {table:12.1f}")


def main() -> None:
    """The program."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--repeats", type=int, default=10)
    repeats = parser.parse_args().repeats
    torch.set_num_threads(1)
    print("resolution  faces " + "".join(f"{name:>17}" for name in ("surface", *map(str, SIZES))))
    for resolution in RESOLUTIONS:
        mesh = scene(resolution)
        faces = len(mesh.shape.surface()[1])
        times = [milliseconds(mesh.shape.surface, repeats)]
        times += [milliseconds(partial(step, mesh, size), repeats) for size in SIZES]
        print(f"{resolution:10} {faces:6} " + "".join(f"{column:>17}" for column in times))
    print("\nresolution       nodes   tetrahedra  state (MiB)  table (MiB)")
    for resolution in MEMORY_RESOLUTIONS:
        print_memory(resolution)


if __name__ == "__main__":
    main()
