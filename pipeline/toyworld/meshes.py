"""Write a toy object's shape as one triangle mesh.

    python -m pipeline.toyworld.meshes --shape car --out car.glb

The mesh is the surfaces of all parts side by side, each closed and wound outwards; parts run into
one another as they do in the renderer. Round parts are polygons of SEGMENTS corners, fewer where
they are small. The GLB has glTF's axes (the world's (x, y, z) as (y, z, x)) and no colours.
"""

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import cast

import torch
from jaxtyping import Float, Int
from torch import Tensor

from pipeline.artifacts import exit_status, write_bytes
from pipeline.toyworld.parts import Part
from pipeline.toyworld.primitives import Shape
from pipeline.toyworld.vocabulary import SHAPES
from pipeline.toyworld.world import instances

SEGMENTS = 32
SMALL = 0.12  # half a part's width below which half as many corners do

Solid = tuple[Float[Tensor, "v 3"], Int[Tensor, "f 3"]]


def box(shape: Shape, segments: int) -> Solid:
    """The tapered box of `primitives`; four corners meet where a taper is 0."""
    del segments
    corners = [
        (x * (shape[0] if z > 0 else 1), y * (shape[1] if z > 0 else 1), z)
        for z in (-1.0, 1.0)
        for y in (-1.0, 1.0)
        for x in (-1.0, 1.0)
    ]
    sides = [(0, 2, 3, 1), (4, 5, 7, 6), (0, 1, 5, 4), (2, 6, 7, 3), (0, 4, 6, 2), (1, 3, 7, 5)]
    faces = [half for a, b, c, d in sides for half in ((a, b, c), (a, c, d))]
    return torch.tensor(corners), torch.tensor(faces)


def lathe(profile: Float[Tensor, "k 2"], segments: int) -> Solid:
    """A closed surface of revolution: (radius, height) from the lower pole to the upper."""
    angle = torch.arange(segments) * (2 * torch.pi / segments)
    circle = torch.stack([angle.cos(), angle.sin()], -1)
    rings = profile[1:-1]
    points = torch.cat(
        [
            (circle[None] * rings[:, None, :1]).reshape(-1, 2),
            torch.zeros(2, 2),
        ]
    )
    heights = torch.cat([rings[:, 1].repeat_interleave(segments), profile[[0, -1], 1]])
    vertices = torch.cat([points, heights[:, None]], 1)
    here = torch.arange(segments)
    there = (here + 1) % segments
    low, high = len(vertices) - 2, len(vertices) - 1
    faces = [torch.stack([there, here, torch.full_like(here, low)], 1)]
    for ring in range(len(rings) - 1):
        a, b = here + ring * segments, there + ring * segments
        c, d = a + segments, b + segments
        faces += [torch.stack([a, b, d], 1), torch.stack([a, d, c], 1)]
    last = (len(rings) - 1) * segments
    faces.append(torch.stack([here + last, there + last, torch.full_like(here, high)], 1))
    return vertices, torch.cat(faces)


def frustum(shape: Shape, segments: int) -> Solid:
    """The frustum of `primitives`, its two caps fans around their centres."""
    return lathe(torch.tensor([[0, -1], [1, -1], [shape[0], 1], [0, 1.0]]), segments)


def ellipsoid(shape: Shape, segments: int) -> Solid:
    """The unit ball above the plane z = cut, in rings of equal angle."""
    start = torch.asin(torch.tensor(max(shape[2], -1.0)))
    latitude = torch.linspace(float(start), torch.pi / 2, segments // 2 + 1)
    profile = torch.stack([latitude.cos(), latitude.sin()], -1)
    profile[-1, 0] = 0.0
    if shape[2] <= -1:
        profile[0, 0] = 0.0
    else:
        profile = torch.cat([torch.tensor([[0.0, shape[2]]]), profile])
    return lathe(profile, segments)


TESSELLATIONS: dict[str, Callable[[Shape, int], Solid]] = {
    "box": box,
    "frustum": frustum,
    "ellipsoid": ellipsoid,
}


def part_mesh(p: Part, index: int) -> Solid:
    """The part of one instance in the world, without the triangles that a taper of 0 closes up."""
    half = p.half[index]
    segments = SEGMENTS if half.max() >= SMALL else SEGMENTS // 2
    local, faces = TESSELLATIONS[p.kind](p.shape, segments)
    a, b, c = local[faces].unbind(1)
    faces = faces[torch.linalg.cross(b - a, c - a).norm(dim=1) > 1e-6]
    return (local * half) @ p.rotation.T + p.centre[index], faces


def mesh(parts: Sequence[Part], index: int = 0) -> Solid:
    """(vertices, faces) of one instance: the parts that it has, in the world."""
    solids = [part_mesh(p, index) for p in parts if bool(p.present[index])]
    starts = torch.tensor([0] + [len(vertices) for vertices, _ in solids]).cumsum(0).tolist()
    faces = [own + start for (_, own), start in zip(solids, starts, strict=False)]
    return torch.cat([vertices for vertices, _ in solids]), torch.cat(faces)


def glb(vertices: Float[Tensor, "v 3"], faces: Int[Tensor, "f 3"]) -> bytes:
    """A GLB file of the shape alone."""
    import trimesh

    shape = trimesh.Trimesh(vertices[:, [1, 2, 0]].numpy(), faces.numpy(), process=False)
    return cast(bytes, shape.export(file_type="glb"))


def main(arguments: Sequence[str] | None = None) -> None:
    """Writes one file as the module's docstring says."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--shape", choices=SHAPES, required=True)
    parser.add_argument("--seed", type=int, default=0, help="of the world, at diversity > 0")
    parser.add_argument("--diversity", type=float, default=0.0)
    parser.add_argument("--instance", type=int, default=0, help="which of the world's")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args(arguments)
    world = instances(options.shape, seed=options.seed, diversity=options.diversity)
    if not 0 <= options.instance < len(world):
        raise ValueError(f"instance {options.instance}: the world has {len(world)} of a shape")
    write_bytes(options.out, glb(*mesh(world.parts, options.instance)))


if __name__ == "__main__":
    sys.exit(exit_status(main, ValueError))
