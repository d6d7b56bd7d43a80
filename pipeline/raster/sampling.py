"""Values at the pixels: vertex attributes on the triangles seen, texels at coordinates."""

from collections.abc import Callable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor


def interpolate(
    attr: Float[Tensor, "b|1 v a"], rast: Float[Tensor, "b h w 4"], tri: Int[Tensor, "f 3"]
) -> Float[Tensor, "b h w a"]:
    """Vertex attributes at the pixels, 0 where nothing is seen.

    Raises ValueError unless `attr` holds one set of values or one for each view.
    """
    views, height, width, _ = rast.shape
    if attr.ndim != 3 or attr.shape[0] not in (1, views):
        raise ValueError(f"attr {tuple(attr.shape)} must be (1 or {views} views, vertices, values)")
    flat = rast.reshape(-1, 4)
    number = flat[:, 3].detach()
    pixel = (number > 0).nonzero()[:, 0]
    vertex = tri.long().index_select(0, number.index_select(0, pixel).long() - 1)
    if attr.shape[0] > 1:
        vertex = vertex + (pixel // (height * width) * attr.shape[1])[:, None]
    u, v, _, _ = flat.index_select(0, pixel).unbind(1)
    rows = attr.reshape(-1, attr.shape[2])
    value = sum(
        weight[:, None] * rows.index_select(0, vertex[:, corner])
        for corner, weight in enumerate((u, v, 1 - u - v))
    )
    assert isinstance(value, Tensor)
    out = torch.zeros(len(flat), attr.shape[2], dtype=attr.dtype, device=attr.device)
    return out.index_copy(0, pixel, value).view(views, height, width, -1)


def _wrap(index: Tensor, size: int) -> tuple[Tensor, None]:
    return index.remainder(size), None


def _clamp(index: Tensor, size: int) -> tuple[Tensor, None]:
    return index.clamp(0, size - 1), None


def _zero(index: Tensor, size: int) -> tuple[Tensor, Tensor]:
    return index.clamp(0, size - 1), (index >= 0) & (index < size)


# Which texel stands at an index that may lie outside, and whether it counts.
Boundary = Callable[[Tensor, int], tuple[Int[Tensor, " n"], Bool[Tensor, " n"] | None]]
BOUNDARIES: dict[str, Boundary] = {"wrap": _wrap, "clamp": _clamp, "zero": _zero}


def _two_texels(
    coordinate: Float[Tensor, " n"], size: int, boundary: Boundary
) -> list[tuple[Int[Tensor, " n"], Float[Tensor, " n"]]]:
    """Along one axis the two texels around a coordinate, with their weights."""
    place = coordinate * size - 0.5
    below = place.detach().floor()
    upper = place - below
    found = []
    for offset, weight in ((0, 1 - upper), (1, upper)):
        index, counts = boundary(below.long() + offset, size)
        found.append((index, weight if counts is None else weight * counts))
    return found


def texture(
    tex: Float[Tensor, "b|1 ht wt c"], uv: Float[Tensor, "b h w 2"], boundary: str = "wrap"
) -> Float[Tensor, "b h w c"]:
    """Bilinear texels at uv; row 0 of `tex` is where v = 0, its centre at v = 1/(2 ht).

    Raises ValueError for an unknown boundary or a number of textures that fits no view.
    """
    if boundary not in BOUNDARIES:
        raise ValueError(f"unknown boundary {boundary!r}; known: {', '.join(BOUNDARIES)}")
    views, height, width, _ = uv.shape
    if tex.ndim != 4 or tex.shape[0] not in (1, views):
        raise ValueError(f"tex {tuple(tex.shape)} must be (1 or {views} views, rows, columns, c)")
    _, rows, columns, channels = tex.shape
    horizontal = _two_texels(uv[..., 0].reshape(-1), columns, BOUNDARIES[boundary])
    vertical = _two_texels(uv[..., 1].reshape(-1), rows, BOUNDARIES[boundary])
    base = torch.arange(views, device=uv.device).repeat_interleave(height * width)
    base = base * (rows * columns if tex.shape[0] > 1 else 0)
    texels = tex.reshape(-1, channels)
    value: Tensor | float = 0.0
    for row, row_weight in vertical:
        for column, column_weight in horizontal:
            texel = texels.index_select(0, base + row * columns + column)
            value = value + (row_weight * column_weight)[:, None] * texel
    assert isinstance(value, Tensor)
    return value.view(views, height, width, channels)
