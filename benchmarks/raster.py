"""CPU milliseconds of rasterizing a bumpy ball on one thread, beside casting rays by embree.

    python -m benchmarks.raster

A step is rasterize, interpolate three values a vertex, and backward to attributes and positions;
"smooth" adds antialias, its topology and its backward. The two ways of filling the z-buffer give
the same picture. Embree (trimesh with embreex) only finds triangles: "cast" from a finished tree,
"built" with the tree made anew, as for a mesh that moves. Median (best) of CPU time, so that a busy
machine says the same.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
import trimesh
from trimesh.ray.ray_pyembree import RayMeshIntersector

from pipeline import cameras
from pipeline.raster import cpu, visibility
from pipeline.raster.projection import clip_positions

VIEW = cameras.orbit(30.0, 15.0, 3.0, 40.0)
MESHES = {5_120: 4, 20_480: 5}  # triangles -> subdivisions of an icosahedron
SIZES = (64, 128, 256)


def bumpy_ball(subdivisions: int) -> trimesh.Trimesh:
    """A ball that fills about a third of the picture, with bumps."""
    mesh = trimesh.creation.icosphere(subdivisions)
    x, y, _ = mesh.vertices.T
    mesh.vertices = mesh.vertices * (0.7 + 0.1 * np.sin(5 * x) * np.cos(4 * y))[:, None]
    return mesh


def fills() -> dict[str, visibility.Fill | None]:
    """The ways of filling by name; None where numba is not installed."""
    fastest = visibility.fastest_fill(torch.device("cpu"))
    return {
        "torch": visibility.fill_torch,
        "numba": None if fastest is visibility.fill_torch else fastest,
    }


def step(
    fill: visibility.Fill,
    pos: torch.Tensor,
    attr: torch.Tensor,
    tri: torch.Tensor,
    size: int,
    *,
    smooth: bool,
) -> None:
    """One forward and backward pass."""
    rast = cpu.rasterize_with(fill, pos, tri, (size, size))
    image = cpu.interpolate(attr, rast, tri)
    if smooth:
        image = cpu.antialias(image, rast, pos, tri)
    torch.autograd.grad(image, (pos, attr), image.detach())


def cast(mesh: trimesh.Trimesh, size: int, tree: RayMeshIntersector | None = None) -> None:
    """The triangles seen, by embree; the rays' set-up is part of it."""
    rays = [value.reshape(-1, 3).numpy() for value in cameras.rays(VIEW, size, size)]
    (tree or RayMeshIntersector(mesh)).intersects_first(*rays)


def milliseconds(call: Callable[[], Any], repeats: int) -> str:
    """ "median (best)" after two warm-up calls."""
    times = []
    for _ in range(repeats + 2):
        start = time.process_time()
        call()
        times.append(1e3 * (time.process_time() - start))
    return f"{statistics.median(times[2:]):6.1f} ({min(times[2:]):5.1f})"


def main() -> None:
    """The program."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--repeats", type=int, default=15)
    repeats = parser.parse_args().repeats
    torch.set_num_threads(1)
    names = ("step, torch", "step, numba", "smooth, torch", "smooth, numba", "cast", "built")
    print("triangles  px  seen" + "".join(f"{name:>16}" for name in names))
    for triangles, subdivisions in MESHES.items():
        mesh = bumpy_ball(subdivisions)
        vertices = torch.tensor(np.asarray(mesh.vertices), dtype=torch.float32)
        tri = torch.tensor(np.asarray(mesh.faces), dtype=torch.int32)
        pos = clip_positions(vertices, VIEW, 1.0).requires_grad_()
        attr = vertices[None].clone().requires_grad_()
        tree = RayMeshIntersector(mesh)
        for size in SIZES:
            seen = (cpu.rasterize(pos, tri, (size, size))[..., 3] > 0).float().mean()
            calls = [
                partial(step, fill, pos, attr, tri, size, smooth=smooth) if fill else None
                for smooth in (False, True)
                for fill in fills().values()
            ]
            calls += [partial(cast, mesh, size, tree), partial(cast, mesh, size)]
            cells = [milliseconds(call, repeats) if call else "not installed" for call in calls]
            row = "".join(f"{cell:>16}" for cell in cells)
            print(f"{triangles:9} {size:3}  {seen:4.0%}{row}")


if __name__ == "__main__":
    main()
