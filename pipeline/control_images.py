"""The pictures that a prior's ControlNets want of a rendered view, at the network's own size.

depth  nearness of the depth along the camera's axis
canny  edges of the normal map 0.5 n + 0.5 over black

Both as the networks saw them in training: coverage, normals and depth are averaged over a pixel's
area first. Nothing has a gradient: the geometry is given.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from pipeline.cameras import Cameras, rays
from pipeline.controls import canny, nearness
from pipeline.scenes.interface import Rendering


@torch.no_grad()
def control_images(
    rendering: Rendering, cameras: Cameras, nets: Sequence[Mapping[str, Any]], size: int
) -> dict[str, Float[Tensor, "b 1 s s"]]:
    """View.control for the preset's `controlnets`; of several of one kind the last decides.

    Raises ValueError when the scene showed no normals, or for an image of another name.
    """
    found = {}
    for net in nets:
        if net["image"] not in IMAGES:
            known = ", ".join(IMAGES)
            raise ValueError(f"no control image {net['image']!r}; there are {known}")
        found[net["image"]] = IMAGES[net["image"]](rendering, cameras, net, size)
    return found


def axial_depth(distance: Float[Tensor, "b 1 h w"], cameras: Cameras) -> Float[Tensor, "b 1 h w"]:
    """Depth along the camera's axis, given distances along the rays through the pixel centres."""
    _, directions = rays(cameras, *distance.shape[-2:])
    return distance * -(directions * cameras.c2w[:, None, None, :3, 2]).sum(-1)[:, None]


def _depth(
    rendering: Rendering, cameras: Cameras, net: Mapping[str, Any], size: int
) -> Float[Tensor, "b 1 s s"]:
    alpha = rendering.alpha
    depth, coverage = (
        _averaged(image, size) for image in (axial_depth(rendering.depth, cameras) * alpha, alpha)
    )
    return nearness(depth / coverage.clamp_min(1e-6), coverage)


def _canny(
    rendering: Rendering, cameras: Cameras, net: Mapping[str, Any], size: int
) -> Float[Tensor, "b 1 s s"]:
    if rendering.normal is None:
        raise ValueError("a canny ControlNet needs normals, which this scene did not render")
    alpha = rendering.alpha
    normal, coverage = (_averaged(image, size) for image in (rendering.normal * alpha, alpha))
    normal = torch.nn.functional.normalize(normal, dim=1)
    return canny((0.5 * normal + 0.5) * coverage, **net["edges"])


def _averaged(image: Float[Tensor, "b c h w"], size: int) -> Float[Tensor, "b c s s"]:
    return torch.nn.functional.adaptive_avg_pool2d(image, size)


IMAGES: dict[str, Callable[[Rendering, Cameras, Mapping[str, Any], int], Tensor]] = {
    "depth": _depth,
    "canny": _canny,
}
