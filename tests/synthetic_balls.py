"""Ray-traced balls: the objects of synthetic runs, as pictures and as a GLB."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

PALETTE = np.array(
    [
        *([0.8, 0.15, 0.12], [0.95, 0.8, 0.1], [0.15, 0.3, 0.8]),
        *([0.2, 0.6, 0.25], [0.95, 0.5, 0.1], [0.55, 0.2, 0.6]),
    ]
)


@dataclass(frozen=True)
class Balls:
    """Coloured spheres inside the unit ball: centres (n, 3), radii (n), colours (n, 3)."""

    centres: np.ndarray
    radii: np.ndarray
    colours: np.ndarray


def balls(index: int, distortion: float, generator: np.random.Generator) -> Balls:
    """A body, a head and a red nose in front (+x); `distortion` moves and recolours them."""
    colour = PALETTE[index % len(PALETTE)]
    tall = 0.1 * (index % 3)
    centres = np.array([[0, 0, -0.3], [0.1, 0, 0.3 + tall], [0.42, 0, 0.3 + tall]], dtype=float)
    centres = np.concatenate([centres, [[0, 0.45, -0.2], [0, -0.45, -0.2]]])
    radii = np.array([0.45 - tall / 2, 0.3, 0.1, 0.17, 0.17])
    colours = np.stack([colour, colour * 0.9 + 0.1, [0.9, 0.35, 0.1], colour * 0.6, colour * 0.6])
    centres = centres + distortion * generator.normal(size=centres.shape)
    colours = np.clip(colours + distortion * 2 * generator.normal(size=colours.shape), 0, 1)
    return Balls(centres, radii, colours)


def picture(scene: Balls, azimuth: float, size: int) -> tuple[np.ndarray, np.ndarray]:
    """(rgba, normal map rgba), each (size, size, 4) in [0, 1], seen orthographically from `azimuth`
    degrees.
    """
    a, e = math.radians(azimuth), math.radians(15)
    toward = np.array([math.cos(e) * math.cos(a), math.cos(e) * math.sin(a), math.sin(e)])
    right = np.array([-math.sin(a), math.cos(a), 0.0])
    up = np.cross(toward, right)
    pixels = (np.arange(2 * size) + 0.5) / size - 1
    u, v = np.meshgrid(pixels, -pixels)
    best = np.full(u.shape, -np.inf)
    colour, normals = np.zeros((*u.shape, 3)), np.zeros((*u.shape, 3))
    for centre, radius, paint in zip(scene.centres, scene.radii, scene.colours, strict=True):
        du, dv = u - centre @ right, v - centre @ up
        inside = radius**2 - du**2 - dv**2
        depth = np.where(inside > 0, centre @ toward + np.sqrt(np.maximum(inside, 0)), -np.inf)
        front = depth > best
        best = np.where(front, depth, best)
        local = np.stack([du, dv, np.sqrt(np.maximum(inside, 0))], -1) / radius
        light = 0.35 + 0.65 * np.clip(local @ np.array([0.4, 0.6, 0.7]), 0, 1)
        colour[front] = (paint * light[..., None])[front]
        normals[front] = (local * 0.5 + 0.5)[front]
    alpha = np.isfinite(best).astype(float)
    return _area(colour, alpha), _area(normals, alpha)


def _area(image: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    premultiplied = np.dstack([image * alpha[..., None], alpha])
    h, w = alpha.shape
    small = premultiplied.reshape(h // 2, 2, w // 2, 2, 4).mean((1, 3))
    rgb = small[..., :3] / np.maximum(small[..., 3:], 1e-6)
    return np.dstack([rgb, small[..., 3]])


def sheet(scene: Balls, frames: int, columns: int, size: int) -> np.ndarray:
    rows = -(-frames // columns)
    sheet = np.zeros((rows * size, columns * size, 4))
    for i in range(frames):
        y, x = divmod(i, columns)
        rgba, _ = picture(scene, 360 * i / frames, size)
        sheet[y * size : (y + 1) * size, x * size : (x + 1) * size] = rgba
    return sheet


def save(path: Path, image: np.ndarray) -> None:
    """Plainly, without the disk flush of an atomic write: a fixture writes hundreds of pictures."""
    from PIL import Image

    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray((image * 255 + 0.5).astype(np.uint8)).save(path)


def model(scene: Balls, *, smoothness: int = 1) -> tuple[bytes, dict[str, Any]]:
    """(GLB of the balls with a colour at each vertex, what views.json says of it)."""
    import torch
    import trimesh

    from pipeline.meshes.export_glb import coloured_glb
    from pipeline.meshes.mesh import Mesh

    ball = trimesh.creation.icosphere(subdivisions=smoothness)
    n = len(scene.radii)
    points = scene.centres[:, None] + scene.radii[:, None, None] * ball.vertices
    faces = ball.faces + len(ball.vertices) * np.arange(n)[:, None, None]
    colours = np.repeat(scene.colours, len(ball.vertices), 0)
    mesh = Mesh(
        torch.tensor(points.reshape(-1, 3), dtype=torch.float32),
        torch.tensor(faces.reshape(-1, 3)),
    )
    said = {"vertices": len(mesh.vertices), "faces": len(mesh.faces), "colours": "vertex"}
    return coloured_glb(mesh, torch.tensor(colours, dtype=torch.float32)), said | {"seam": None}
