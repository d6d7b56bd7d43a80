"""The images that control networks are shown, made from a render's normals and depth.

As in the code of CSD for ControlNet 1.1's canny and depth networks, except that depth is normalised
for each image and not over the batch, so that a picture's control does not depend on its company.
"""

from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor


def nearness(
    depth: Float[Tensor, "b 1 h w"], alpha: Float[Tensor, "b 1 h w"]
) -> Float[Tensor, "b 1 h w"]:
    """1 at each image's nearest covered pixel, 0 at its farthest and where nothing is covered.

    `depth` is along the camera's axis, in world units; `alpha` > 0 says where it counts.
    """
    inside = alpha > 0
    near = torch.where(inside, depth, torch.inf).amin((2, 3), keepdim=True)
    far = torch.where(inside, depth, -torch.inf).amax((2, 3), keepdim=True)
    share = (far - depth) / (far - near).clamp_min(1e-6)
    return torch.where(inside, share, 0.0)


def canny(
    normal: Float[Tensor, "b 3 h w"], *, blur: int = 5, low: float = 50.0, high: float = 100.0
) -> Float[Tensor, "b 1 h w"]:
    """1 on the edges of a normal map in [0, 1]: OpenCV's Canny after a box blur of `blur` pixels.

    The defaults are CSD's, for 512 x 512 pixels; `low` and `high` are gradients of 8-bit values.
    Raises ValueError when `blur` is not odd and positive.
    """
    if blur < 1 or blur % 2 == 0:
        raise ValueError(f"canny: blur must be odd and positive, not {blur}")
    import cv2

    pictures = (normal.detach().clamp(0, 1) * 255 + 0.5).to(torch.uint8)
    rows = pictures.permute(0, 2, 3, 1).cpu().numpy()
    edges = [_edges(cv2, np.ascontiguousarray(row), blur, low, high) for row in rows]
    return torch.from_numpy(np.stack(edges))[:, None].to(normal)


def _edges(cv2: Any, picture: np.ndarray, blur: int, low: float, high: float) -> np.ndarray:
    return (cv2.Canny(cv2.blur(picture, (blur, blur)), low, high) > 0).astype(np.float32)
