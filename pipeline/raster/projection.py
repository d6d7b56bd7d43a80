"""From the world to clip space, for the project's cameras and the way up of its images."""

import torch
from jaxtyping import Float
from torch import Tensor

from pipeline.cameras import Cameras

NEAR = 0.05  # objects fill the unit ball and cameras stand outside it
FAR = 50.0


def clip_positions(
    vertices: Float[Tensor, "v 3"],
    cameras: Cameras,
    aspect: float,
    *,
    near: float = NEAR,
    far: float = FAR,
) -> Float[Tensor, "b v 4"]:
    """Clip-space positions in every view; aspect is width / height. w is the depth along the axis.

    y grows downwards here, against OpenGL: the rasterizer's row 0, its bottom, is then the top of
    the picture, as in every image of this project. Nothing else turns pictures over. The centre of
    pixel (row, column) sees what `cameras.rays` meets there between the planes at `near` and `far`.
    """
    rotation, position = cameras.c2w[:, :3, :3], cameras.c2w[:, :3, 3]
    local = (vertices - position[:, None]) @ rotation
    focal = 1 / torch.tan(cameras.fovy / 2)[:, None]
    x, y, z = local.unbind(-1)
    depth = ((far + near) * -z - 2 * far * near) / (far - near)
    return torch.stack([x * focal / aspect, -y * focal, depth, -z], -1)
