"""A colour field written into a texture, and read back at points of the surface."""

from collections.abc import Callable

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from pipeline.meshes.mesh import Mesh
from pipeline.meshes.unwrap import Atlas, texels
from pipeline.raster.sampling import texture as lookup

Field = Callable[[Float[Tensor, "n 3"]], Float[Tensor, "n 3"]]


def bake(field: Field, mesh: Mesh, atlas: Atlas, *, chunk: int = 2**17) -> Float[Tensor, "h w 3"]:
    """Display rgb in [0, 1] of the field at every texel's centre; row 0 is where v = 0.

    `field` maps world positions (on the CPU, like the mesh) to rgb and is called on at most `chunk`
    of them. Texels outside the charts repeat their nearest neighbour inside one, so that no lookup
    meets an empty texel.
    """
    shown = texels(mesh, atlas)
    position = shown.position[shown.covered]
    with torch.no_grad():
        parts = [field(part).detach().to("cpu", torch.float32) for part in position.split(chunk)]
    image = torch.zeros(*atlas.size, 3)
    image[shown.covered] = torch.cat(parts) if parts else torch.zeros(0, 3)
    return dilated(image, shown.covered).clamp(0, 1)


def dilated(image: Float[Tensor, "h w c"], covered: Bool[Tensor, "h w"]) -> Float[Tensor, "h w c"]:
    """Every texel that is not covered has the value of the nearest covered one."""
    from scipy.ndimage import distance_transform_edt

    if not covered.any():
        return image
    index = distance_transform_edt(~covered.numpy(), return_distances=False, return_indices=True)
    row, column = torch.from_numpy(index)
    return image[row.long(), column.long()]


def at(image: Float[Tensor, "h w c"], uv: Float[Tensor, "n 2"]) -> Float[Tensor, "n c"]:
    """The texture at uv, bilinear, its border repeated."""
    return lookup(image[None], uv[None, None], "clamp")[0, 0]
