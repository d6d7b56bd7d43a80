"""The rasterizer by nvdiffrast, for CUDA tensors; `interface.py` says what it promises.

nvdiffrast is licensed for research and evaluation only and is not on PyPI: it is installed by hand,
and this module can be imported only where it is. Written from nvdiffrast's documentation and not
yet run on a GPU: the tests marked requires_cuda compare it with `cpu.py`.
"""

import functools
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

try:
    import nvdiffrast.torch as nvdiffrast
except ImportError as error:
    raise ImportError(
        "rasterizing on a CUDA device needs nvdiffrast 0.4.0 (research licence), built by the CUDA "
        "toolkit of your torch: pip install setuptools wheel ninja && pip install "
        '--no-build-isolation "git+https://github.com/NVlabs/nvdiffrast.git@253ac4f"'
    ) from error


@functools.cache
def _context(device: torch.device) -> Any:
    return nvdiffrast.RasterizeCudaContext(device=device)


def _indices(tri: Tensor) -> Tensor:
    return tri.to(torch.int32).contiguous()


def rasterize(
    pos: Float[Tensor, "b v 4"], tri: Int[Tensor, "f 3"], resolution: tuple[int, int]
) -> Float[Tensor, "b h w 4"]:
    """The nearest triangle of every pixel and the place on it; resolution is (h, w)."""
    rast, _ = nvdiffrast.rasterize(
        _context(pos.device), pos.contiguous(), _indices(tri), resolution, grad_db=False
    )
    return rast


def interpolate(
    attr: Float[Tensor, "b|1 v a"], rast: Float[Tensor, "b h w 4"], tri: Int[Tensor, "f 3"]
) -> Float[Tensor, "b h w a"]:
    """Vertex attributes at the pixels, 0 where nothing is seen."""
    values, _ = nvdiffrast.interpolate(attr.contiguous(), rast.contiguous(), _indices(tri))
    return values


def texture(
    tex: Float[Tensor, "b|1 ht wt c"], uv: Float[Tensor, "b h w 2"], boundary: str = "wrap"
) -> Float[Tensor, "b h w c"]:
    """Bilinear texels at uv; boundary is "wrap", "clamp" or "zero"."""
    return nvdiffrast.texture(
        tex.contiguous(), uv.contiguous(), filter_mode="linear", boundary_mode=boundary
    )


def topology(tri: Int[Tensor, "f 3"]) -> Any:
    """nvdiffrast's table of shared edges."""
    return nvdiffrast.antialias_construct_topology_hash(_indices(tri))


def antialias(
    color: Float[Tensor, "b h w c"],
    rast: Float[Tensor, "b h w 4"],
    pos: Float[Tensor, "b v 4"],
    tri: Int[Tensor, "f 3"],
    topology: Any = None,
) -> Float[Tensor, "b h w c"]:
    """The image with neighbouring pixels blended where a silhouette passes between them."""
    arguments = (color.contiguous(), rast.contiguous(), pos.contiguous(), _indices(tri))
    return nvdiffrast.antialias(*arguments, topology_hash=topology)
