"""What the rasterizers promise, and which one serves a device.

The conventions are those that nvdiffrast documents (Laine et al. 2020, "Modular Primitives for
High-Performance Differentiable Rendering"), so that one scene runs on either backend.

Positions are clip space as in OpenGL: -w <= x, y, z <= w is seen, smaller z/w is nearer. Pixel
centre (column i, row j) of an image of W x H lies at x/w = (2 i + 1)/W - 1, y/w = (2 j + 1)/H - 1:
row 0 is the bottom. `projection.clip_positions` turns y around, and there alone, so that what it
projects comes out with row 0 at the top. Triangles show both sides; parts outside the frustum are
cut away exactly, vertices behind the camera included. Nothing is drawn of a triangle that has no
area or a vertex that is not finite.

A rasterized image is (b, h, w, 4): u, v, z/w, triangle + 1; all four are 0 where nothing is seen.
u, v are perspective-correct: a vertex attribute a has the value u a_0 + v a_1 + (1 - u - v) a_2.

What has a gradient:
  rasterize    u, v with respect to x, y, w of the triangle's vertices. z/w, the triangle and the
               coverage have none.
  interpolate  the value with respect to the attributes and to u, v.
  texture      the value with respect to the texels and to the coordinates.
  antialias    the image with respect to the colours and to x, y, w of silhouette vertices: this is
               the only gradient of visibility.
"""

import importlib
import warnings
from typing import Any, Protocol, cast

import torch
from jaxtyping import Float, Int
from torch import Tensor

LARGEST_TRIANGLE = 2**24 - 1  # the last integer that float32 counts to


class Rasterizer(Protocol):
    """The five functions of a backend; tensors of one call are on one device."""

    def rasterize(
        self, pos: Float[Tensor, "b v 4"], tri: Int[Tensor, "f 3"], resolution: tuple[int, int]
    ) -> Float[Tensor, "b h w 4"]:
        """The nearest triangle of every pixel and the place on it; resolution is (h, w)."""
        ...

    def interpolate(
        self,
        attr: Float[Tensor, "b|1 v a"],
        rast: Float[Tensor, "b h w 4"],
        tri: Int[Tensor, "f 3"],
    ) -> Float[Tensor, "b h w a"]:
        """Vertex attributes at the pixels, 0 where nothing is seen."""
        ...

    def texture(
        self, tex: Float[Tensor, "b|1 ht wt c"], uv: Float[Tensor, "b h w 2"], boundary: str
    ) -> Float[Tensor, "b h w c"]:
        """Bilinear texels at uv; texel (column i, row j) is centred at ((i+.5)/wt, (j+.5)/ht).

        boundary: "wrap" repeats the texture, "clamp" repeats its border, "zero" surrounds it by 0.
        """
        ...

    def topology(self, tri: Int[Tensor, "f 3"]) -> Any:
        """Which triangles share edges, for `antialias`; worth keeping while `tri` is the same."""
        ...

    def antialias(
        self,
        color: Float[Tensor, "b h w c"],
        rast: Float[Tensor, "b h w 4"],
        pos: Float[Tensor, "b v 4"],
        tri: Int[Tensor, "f 3"],
        topology: Any = None,
    ) -> Float[Tensor, "b h w c"]:
        """The image with neighbouring pixels blended where a silhouette passes between them.

        Where two neighbours show different triangles and a silhouette edge of the nearer triangle
        crosses between their centres at a fraction s of the way from the nearer triangle's pixel,
        its colour covers s - 1/2 of the other pixel or, if that is negative, lacks 1/2 - s of its
        own. An edge is a silhouette if it has one triangle, or if all its triangles lie on one side
        of it as seen. Edges are shared by vertex indices: weld the vertices first. Where smaller
        triangles lie between that pixel's centre and the silhouette, nvdiffrast leaves the pair
        alone and the plain backend follows the surface to it (`silhouettes.py`).
        """
        ...


BACKENDS: dict[str, str] = {"cpu": "pipeline.raster.cpu", "cuda": "pipeline.raster.cuda"}


def backend(device: torch.device | str) -> Rasterizer:
    """The rasterizer for tensors on `device`: plain torch for "cpu", nvdiffrast for "cuda".

    Where nvdiffrast is absent the plain one works on CUDA tensors too, only slower: a warning says
    so, once, with the line that installs it. Raises ValueError for other kinds of device.
    """
    kind = torch.device(device).type
    if kind not in BACKENDS:
        raise ValueError(f"no rasterizer for device {kind!r}; known: {', '.join(BACKENDS)}")
    try:
        found = importlib.import_module(BACKENDS[kind])
    except ImportError as error:
        warnings.warn(f"the plain rasterizer, slower, in its place: {error}", stacklevel=2)
        found = importlib.import_module(BACKENDS["cpu"])
    return cast(Rasterizer, found)
