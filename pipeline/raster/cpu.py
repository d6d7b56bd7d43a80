"""The rasterizer in plain torch; `interface.py` says what it promises.

The nearest triangle is found without gradients (`visibility.py`); u, v are then evaluated again on
it, with their derivative in closed form. Runs on CUDA tensors too. On a CPU the same input gives
the same bits, forward and backward.
"""

from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from pipeline.raster import visibility
from pipeline.raster.edges import topology
from pipeline.raster.interface import LARGEST_TRIANGLE
from pipeline.raster.sampling import interpolate, texture
from pipeline.raster.silhouettes import antialias

__all__ = ["antialias", "interpolate", "rasterize", "texture", "topology"]


class _Barycentrics(torch.autograd.Function):
    """u, v, z/w, triangle + 1 of the pixels, given the triangle that each sees (-1: none).

    With q = sum_j b_j dp_j, E_i = e_i / det and B = sum_i E_i the coordinates change by
    db_i = b_i (B.q) - E_i.q: from sum_i b_i p_i = w f, where f stands still and sum_i db_i = 0.
    """

    @staticmethod
    def forward(ctx: Any, pos: Tensor, tri: Tensor, seen: Tensor) -> Tensor:
        views, vertices, _ = pos.shape
        _, height, width = seen.shape
        pixel = (seen.view(-1) >= 0).nonzero()[:, 0]
        triangle = seen.view(-1).index_select(0, pixel)
        row = pixel // width
        view = row // height
        vertex = tri.index_select(0, triangle) + (view * vertices)[:, None]
        points = visibility.corners(visibility.columns(pos.reshape(-1, 4)), vertex)
        edge, det = visibility.edge_functions(points)
        x = visibility.centres(width, pos.device).index_select(0, pixel - row * width)
        y = visibility.centres(height, pos.device).index_select(0, row - view * height)
        share = edge[0] * x + edge[1] * y + edge[2]
        depth = ((share * points[2]).sum(0) / det).clamp(-1, 1)
        share = share / share.sum(0)
        values = torch.stack([share[0], share[1], depth, (triangle + 1).double()], 1)
        rast = torch.zeros(views * height * width, 4, dtype=pos.dtype, device=pos.device)
        rast.index_copy_(0, pixel, values.to(pos.dtype))
        ctx.save_for_backward(edge / det, share, vertex, pixel)
        ctx.size = (views, vertices, pos.dtype)
        return rast.view(views, height, width, 4)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:  # type: ignore[override]
        edge, share, vertex, pixel = ctx.saved_tensors
        views, vertices, dtype = ctx.size
        wanted = grad.reshape(-1, 4).index_select(0, pixel)[:, :2].double().t()
        common = (wanted * share[:2]).sum(0)
        toward = torch.stack([common - wanted[0], common - wanted[1], common])
        pull = (edge * toward).sum(1)  # what moving the point of the triangle would do, (3, n)
        index = vertex.t().reshape(-1)
        total = torch.zeros(4, views * vertices, dtype=torch.float64, device=grad.device)
        for coordinate, force in zip((0, 1, 3), pull, strict=True):
            total[coordinate].index_add_(0, index, (share * force).view(-1))
        return total.t().to(dtype).reshape(views, vertices, 4), None, None


def check_mesh(pos: Tensor, tri: Tensor) -> None:
    """Raises ValueError where pos and tri are no instanced mesh."""
    if pos.ndim != 3 or pos.shape[-1] != 4 or not pos.is_floating_point():
        raise ValueError(f"pos must be floating, (views, vertices, 4), not {tuple(pos.shape)}")
    if tri.ndim != 2 or tri.shape[-1] != 3 or tri.is_floating_point():
        raise ValueError(f"tri must be integer, (triangles, 3), not {tuple(tri.shape)}")
    if len(tri) > LARGEST_TRIANGLE:
        raise ValueError(f"{len(tri)} triangles; float32 can number {LARGEST_TRIANGLE}")
    if len(tri) and not 0 <= int(tri.min()) <= int(tri.max()) < pos.shape[1]:
        span = f"{int(tri.min())} to {int(tri.max())}"
        raise ValueError(f"tri names the vertices {span}; pos has {pos.shape[1]}")


def rasterize_with(
    fill: visibility.Fill | None,
    pos: Float[Tensor, "b v 4"],
    tri: Int[Tensor, "f 3"],
    resolution: tuple[int, int],
) -> Float[Tensor, "b h w 4"]:
    """`rasterize` with a named way of filling the z-buffer; None is the fastest."""
    check_mesh(pos, tri)
    tri = tri.long()
    views = [visibility.visible_triangles(p, tri, resolution, fill) for p in pos.detach()]
    if not views:
        return pos.new_zeros(0, *resolution, 4)
    seen = torch.stack(views).view(-1, *resolution)
    return _Barycentrics.apply(pos, tri, seen)


def rasterize(
    pos: Float[Tensor, "b v 4"], tri: Int[Tensor, "f 3"], resolution: tuple[int, int]
) -> Float[Tensor, "b h w 4"]:
    """The nearest triangle of every pixel and the place on it; resolution is (h, w).

    Raises ValueError for wrong shapes, vertex numbers that do not exist, too many triangles.
    """
    return rasterize_with(None, pos, tri, resolution)
