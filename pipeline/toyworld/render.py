"""Images of parts: the nearest surface along each ray, lit by a light that is fixed to the object.

Shading depends on the surface and not on the camera, so that a scene of plain colours can reproduce
every view. A pixel splits into what the caption's colour decides and what it does not:

    premultiplied rgb = base + tint * colour,     0 <= base, tint;  base + tint <= alpha

Rays are cast for the rectangle that each part covers in each image, in one flat list per part over
all images of a chunk: rows of the list are (image, pixel) pairs.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from pipeline.cameras import Cameras
from pipeline.controls import nearness
from pipeline.toyworld.parts import Part
from pipeline.toyworld.primitives import SOLIDS, Vector

CHUNK = 48  # images at once: the working set stays in a few MB of cache


@dataclass(frozen=True)
class Light:
    """Shade = ambient + sky * (1 + n_z) / 2 + key * (1 + n.direction) / 2, weights summing to 1."""

    weights: Float[Tensor, "n 3"]
    direction: Float[Tensor, "n 3"]

    def __getitem__(self, index: Tensor) -> "Light":
        return Light(self.weights[index], self.direction[index])


@dataclass(frozen=True)
class Layers:
    """Premultiplied base rgb, tint and coverage of n images, all in [0, 1]."""

    base: Float[Tensor, "n 3 s s"]
    tint: Float[Tensor, "n 1 s s"]
    alpha: Float[Tensor, "n 1 s s"]


def light(count: int, diversity: float, generator: torch.Generator) -> Light:
    """A light from above the front left; at diversity 1 its direction and its contrast differ."""
    wobble = 2 * torch.rand(count, 3, generator=generator) - 1
    direction = torch.tensor([0.70, 0.45, 0.55]) + 0.6 * diversity * wobble
    direction = direction / direction.norm(dim=-1, keepdim=True)
    spread = 0.5 * diversity * (2 * torch.rand(count, 1, generator=generator) - 1)
    bright = torch.cat([0.48 * (1 - spread), 0.20 * (1 + spread), 0.32 * (1 + spread)], -1)
    return Light(bright / bright.sum(-1, keepdim=True), direction)


def compose(layers: Layers, colour: Float[Tensor, "n 3"]) -> Float[Tensor, "n 4 s s"]:
    """Premultiplied rgba of the layers with the main colour filled in."""
    return torch.cat([layers.base + layers.tint * colour[:, :, None, None], layers.alpha], 1)


def over(
    rgba: Float[Tensor, "n 4 s s"], background: Float[Tensor, "n 3"]
) -> Float[Tensor, "n 3 s s"]:
    """Premultiplied rgba on a plain background."""
    return rgba[:, :3] + (1 - rgba[:, 3:]) * background[:, :, None, None]


def render(
    parts: Sequence[Part], lights: Light, cameras: Cameras, size: int, *, supersample: int = 2
) -> Layers:
    """Layers of image i = instance i of the parts seen by camera i, averaged over subpixels."""
    chunks = []
    for start in range(0, len(cameras), CHUNK):
        index = torch.arange(start, min(start + CHUNK, len(cameras)))
        chunk = cameras[start : start + CHUNK]
        chunks.append(
            _render_chunk([p[index] for p in parts], lights[index], chunk, size, supersample)
        )
    return Layers(*(torch.cat(planes) for planes in zip(*chunks, strict=True)))


def _render_chunk(
    parts: Sequence[Part], lights: Light, cameras: Cameras, size: int, supersample: int
) -> tuple[Tensor, Tensor, Tensor]:
    fine = size * supersample
    count = len(cameras)
    c2w, plane = cameras.c2w, _plane(cameras)
    depth = torch.full((count * fine * fine,), torch.inf)
    colour = torch.zeros(4, count * fine * fine)  # base rgb, tint
    for p in parts:
        for hit in _nearer(p, c2w[:, :3, 3], plane, fine, depth):
            _paint(p, lights, hit, colour)
    covered = torch.isfinite(depth).float()[None]
    planes = torch.cat([colour, covered]).reshape(5, count, fine, fine).transpose(0, 1)
    small = torch.nn.functional.avg_pool2d(planes, supersample)
    return small[:, :3], small[:, 3:4], small[:, 4:]


def geometry(
    parts: Sequence[Part], cameras: Cameras, size: int, *, supersample: int = 2
) -> tuple[Float[Tensor, "n 3 s s"], Float[Tensor, "n 1 s s"], Float[Tensor, "n 1 s s"]]:
    """(normal, depth, alpha): world unit normals, nearness in [0, 1] of each image, coverage.

    Normal and nearness are means over a pixel's covered subpixels and 0 outside the object;
    nearness is 1 at the image's nearest covered pixel and 0 at its farthest.
    """
    chunks = []
    for start in range(0, len(cameras), CHUNK):
        index = torch.arange(start, min(start + CHUNK, len(cameras)))
        chunk = cameras[start : start + CHUNK]
        chunks.append(_geometry_chunk([p[index] for p in parts], chunk, size, supersample))
    normal, depth, alpha = (torch.cat(planes) for planes in zip(*chunks, strict=True))
    return normal, depth, alpha


def _geometry_chunk(
    parts: Sequence[Part], cameras: Cameras, size: int, supersample: int
) -> tuple[Tensor, Tensor, Tensor]:
    fine, count = size * supersample, len(cameras)
    depth = torch.full((count * fine * fine,), torch.inf)
    facing = torch.zeros(3, count * fine * fine)
    for p in parts:
        for hit in _nearer(p, cameras.c2w[:, :3, 3], _plane(cameras), fine, depth):
            facing[:, hit.pixel] = hit.facing
    covered = torch.isfinite(depth).float()[None]
    planes = torch.cat([facing, torch.where(covered > 0, depth, 0.0), covered])
    planes = planes.reshape(5, count, fine, fine).transpose(0, 1)
    small = torch.nn.functional.avg_pool2d(planes, supersample)
    alpha = small[:, 4:]
    normal = torch.nn.functional.normalize(small[:, :3], dim=1)
    z = small[:, 3:4] / alpha.clamp_min(1e-6)
    return normal, nearness(z, alpha), alpha


def _plane(cameras: Cameras) -> Float[Tensor, "n 3 3"]:
    """Columns map (u, v, 1), u right and v up on the image plane in [-1, 1], to world directions.

    The third is a unit vector, so that a ray's parameter is the depth along the camera's axis.
    """
    half, c2w = torch.tan(cameras.fovy / 2)[:, None], cameras.c2w
    return torch.stack([c2w[:, :3, 0] * half, c2w[:, :3, 1] * half, -c2w[:, :3, 2]], -1)


def _rectangles(
    p: Part, eye: Tensor, plane: Tensor, fine: int
) -> tuple[Int[Tensor, " n"], Int[Tensor, " n"], Int[Tensor, " n"], Int[Tensor, " n"]]:
    """First column, first row, width, height of the pixels that the part's cube can cover."""
    signs = torch.cartesian_prod(*[torch.tensor([-1.0, 1.0])] * 3)
    corners = (signs * p.half[:, None]) @ p.rotation.T + p.centre[:, None] - eye[:, None]
    image = torch.linalg.solve(plane[:, None], corners[..., None])[..., 0]
    u, v = image[..., 0] / image[..., 2], image[..., 1] / image[..., 2]
    column, row = (u + 1) * (fine / 2) - 0.5, (1 - v) * (fine / 2) - 0.5
    first_column = column.amin(1).ceil().clamp(0, fine).long()
    last_column = column.amax(1).floor().clamp(-1, fine - 1).long()
    first_row = row.amin(1).ceil().clamp(0, fine).long()
    last_row = row.amax(1).floor().clamp(-1, fine - 1).long()
    width = (last_column - first_column + 1).clamp_min(0) * p.present
    height = (last_row - first_row + 1).clamp_min(0)
    return first_column, first_row, width, height


@dataclass(frozen=True)
class _Hit:
    """The m subpixels at which a part is nearest so far: image and pixel numbers, unit normals."""

    image: Int[Tensor, " m"]
    pixel: Int[Tensor, " m"]
    facing: Float[Tensor, "3 m"]


def _nearer(p: Part, eye: Tensor, plane: Tensor, fine: int, depth: Tensor) -> list[_Hit]:
    """Where the part is nearer than `depth`, which is then overwritten; empty where it is not."""
    first_column, first_row, width, height = _rectangles(p, eye, plane, fine)
    area = width * height
    total = int(area.sum())
    if total == 0:
        return []
    image = torch.repeat_interleave(torch.arange(len(area)), area)
    offset = torch.arange(total) - (area.cumsum(0) - area)[image]
    across = width[image]
    down = offset // across
    column = first_column[image] + offset - down * across
    row = first_row[image] + down
    pixel = (image * fine + row) * fine + column
    u = (column.float() + 0.5) * (2 / fine) - 1
    v = 1 - (row.float() + 0.5) * (2 / fine)

    to_local = p.rotation.T / p.half[:, :, None]  # (n, 3, 3)
    origin = (to_local @ (eye - p.centre)[..., None])[..., 0].T[:, image]
    matrix = (to_local @ plane).reshape(-1, 9).T[:, image]
    o: Vector = (origin[0], origin[1], origin[2])
    d: Vector = tuple(
        matrix[3 * k] * u + matrix[3 * k + 1] * v + matrix[3 * k + 2] for k in range(3)
    )  # type: ignore[assignment]
    enter, normal = SOLIDS[p.kind]
    t = enter(o, d, p.shape)
    hit = torch.nonzero(t < depth[pixel])[:, 0]
    if len(hit) == 0:
        return []
    t, image, pixel = t[hit], image[hit], pixel[hit]
    point: Vector = tuple(o[k][hit] + t * d[k][hit] for k in range(3))  # type: ignore[assignment]
    across_local = torch.stack(normal(point, p.shape))  # (3, m)
    facing = torch.einsum("kim,km->im", to_local.permute(1, 2, 0)[:, :, image], across_local)
    depth[pixel] = t
    return [_Hit(image, pixel, facing / facing.norm(dim=0).clamp_min(1e-9))]


def _paint(p: Part, lights: Light, hit: _Hit, colour: Tensor) -> None:
    """Overwrites base and tint where the part was hit."""
    weights, key = lights.weights.T[:, hit.image], lights.direction.T[:, hit.image]
    towards = (hit.facing * key).sum(0)
    shade = (
        weights[0] + weights[1] * (1 + hit.facing[2]) / 2 + weights[2] * (1 + towards) / 2
    ).clamp(0, 1)
    if p.colour is None:
        colour[:3, hit.pixel] = 0.0
        colour[3, hit.pixel] = shade * p.factor
    else:
        colour[:3, hit.pixel] = shade * torch.tensor(p.colour)[:, None]
        colour[3, hit.pixel] = 0.0
