"""GLB files as another program reads and shows them: trimesh and embree."""

import io

import numpy as np
import torch
import trimesh

from pipeline.cameras import Cameras, rays
from pipeline.meshes.colours import display_from_linear


def loaded(data: bytes) -> trimesh.Trimesh:
    (shape,) = trimesh.load_scene(
        io.BytesIO(data), file_type="glb", process=False
    ).geometry.values()
    return shape


def other_render(data: bytes, cameras: Cameras, size: int) -> tuple[np.ndarray, np.ndarray]:
    """(rgb, covered) of a GLB as another program shows it: embree's rays, a lookup of its own.

    Display rgb (b, h, w, 3) from its texture or its vertices' colours.
    """
    shape = loaded(data)
    origins, directions = (
        r.reshape(-1, 3).numpy()[:, [1, 2, 0]] for r in rays(cameras, size, size)
    )
    point, ray, face = shape.ray.intersects_location(origins, directions, multiple_hits=False)
    share = trimesh.triangles.points_to_barycentric(shape.triangles[face], point)
    corners = shape.faces[face]
    if "color" in shape.visual.vertex_attributes:
        light = (share[:, :, None] * shape.visual.vertex_attributes["color"][corners]).sum(1)
        rgb = display_from_linear(torch.tensor(light)).numpy()
    else:
        rgb = looked_up(shape, (share[:, :, None] * shape.visual.uv[corners]).sum(1))
    image, covered = np.zeros((len(origins), 3)), np.zeros(len(origins), bool)
    image[ray], covered[ray] = rgb, True
    shaped = (len(cameras), size, size)
    return image.reshape(*shaped, 3), covered.reshape(shaped)


def looked_up(shape: trimesh.Trimesh, uv: np.ndarray) -> np.ndarray:
    """The texture between its four nearest texels."""
    texture = np.asarray(shape.visual.material.baseColorTexture) / 255.0
    rows, columns, _ = texture.shape
    x, y = uv[:, 0] * columns - 0.5, (1 - uv[:, 1]) * rows - 0.5
    rgb = np.zeros((len(uv), 3))
    for i in (0, 1):
        for j in (0, 1):
            column, row = np.floor(x).astype(int) + i, np.floor(y).astype(int) + j
            weight = (1 - abs(x - column)) * (1 - abs(y - row))
            texel = texture[row.clip(0, rows - 1), column.clip(0, columns - 1)]
            rgb += weight[:, None] * texel
    return rgb
