"""From a rasterized surface's shaded points to a picture: colour, coverage, distance, normal.

Eight layers, each times coverage: rgb, 1, distance from the camera, normal. They are antialiased as
one image, so that all of them fade alike at silhouettes.
"""

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from pipeline.cameras import Cameras
from pipeline.raster.interface import backend
from pipeline.scenes.interface import Rendering


def covered_pixels(rast: Float[Tensor, "b h w 4"]) -> Int[Tensor, " m"]:
    """Numbers of the pixels that show a triangle, in an image laid flat."""
    return (rast[..., 3].reshape(-1) > 0).nonzero()[:, 0]


def layers(
    rast: Float[Tensor, "b h w 4"],
    pos: Float[Tensor, "b v 4"],
    faces: Int[Tensor, "f 3"],
    cameras: Cameras,
    place: Float[Tensor, "3 m"],
    colour: Float[Tensor, "3 m"],
    normal: Float[Tensor, "3 m"] | None,
) -> Float[Tensor, "b h w 8"]:
    """The antialiased layers of the points `place` at the covered pixels; normals 0 for None."""
    pixel, (height, width) = covered_pixels(rast), rast.shape[1:3]
    eye = cameras.c2w[:, :3, 3].index_select(0, pixel // (height * width)).t()
    distance = (place.detach() - eye).square().sum(0, keepdim=True).sqrt()
    parts = [colour, torch.ones_like(distance), distance]
    parts.append(torch.zeros_like(place) if normal is None else normal)
    flat = torch.zeros(rast[..., 0].numel(), 8, device=rast.device)
    image = flat.index_copy(0, pixel, torch.cat(parts).t()).view(*rast.shape[:3], 8)
    return _at_most_covered(backend(rast.device).antialias(image, rast, pos, faces))


def rendering(
    layers: Float[Tensor, "b h w 8"],
    behind: Float[Tensor, "b 3 h w"],
    *,
    normals: bool,
    terms: Mapping[str, Tensor] | None = None,
) -> Rendering:
    """The layers over what lies behind them."""
    colour, alpha, distance, normal = layers.permute(0, 3, 1, 2).split([3, 1, 1, 3], 1)
    return Rendering(
        rgb=colour + (1 - alpha) * behind,
        alpha=alpha,
        depth=(distance / alpha.clamp_min(1e-6)).detach(),
        normal=F.normalize(normal, dim=1, eps=1e-6) if normals else None,
        background=behind,
        terms=terms or {},
    )


def _at_most_covered(layers: Float[Tensor, "b h w 8"]) -> Float[Tensor, "b h w 8"]:
    """All layers scaled so that coverage, the fourth, is from 0 to 1.

    Antialiasing blends a pixel with up to four neighbours, one by one: where a part is thinner than
    a pixel their shares can add up to more than there is.
    """
    alpha = layers[..., 3:4].detach()
    scale = torch.where(alpha > 1, 1 / alpha, torch.where(alpha < 0, 0.0, 1.0))
    return layers * scale
