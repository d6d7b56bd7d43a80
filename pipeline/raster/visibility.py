"""Which triangle each pixel centre sees: a z-buffer over homogeneous edge functions.

Write p_i = (x, y, w) for the vertices of a triangle in clip space and f = (f_x, f_y, 1) for a pixel
centre in normalised device coordinates. With the edge functions

    e_0 = p_1 x p_2,  e_1 = p_2 x p_0,  e_2 = p_0 x p_1   (times the sign of det(p_0, p_1, p_2))

the pixel sees the triangle in front of the eye exactly where all e_i.f >= 0, at the point with the
barycentric coordinates b_i = e_i.f / sum_k e_k.f (Olano and Greer 1997). That holds for vertices
behind the eye as well, so no triangle is ever cut up: z/w, which is linear in f, is compared with
the near and far planes pixel by pixel, and cutting only narrows the box of pixels that are tried.

All of it is float64, where products of float32 are exact: the edge function of two neighbours is
the same number with opposite signs, and no pixel falls between them. A centre on an edge belongs to
both triangles; the nearer one wins, to 2^-37 in z/w, then the one with the lower number.
Tensors come coordinates first; f is the number of triangles.
"""

import functools
import importlib.util
from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

CANDIDATES_AT_ONCE = 2**20  # pixels tried together; about 150 bytes each
TRIANGLES_AT_ONCE = 2**17  # about 600 bytes each
THINNEST = 1e-12  # |det| against its terms; float64 leaves 1e-16 of a triangle without area
DEPTH_SLACK = 1e-9  # what lies on the near or far plane is seen
BOX_SLACK = 1e-3  # pixels; the box may be too large but not too small
ID_BITS = 24
DEPTH_STEPS = 2.0**37  # (z/w + 1) * DEPTH_STEPS <= 2^38 leaves the sign bit of 38 + 24 bits alone
NOTHING = torch.iinfo(torch.int64).max


@dataclass(frozen=True)
class Prepared:
    """Triangles that may be seen: edge functions (coordinate, edge, f), z/w as a linear function
    of f (3, f), boxes of pixels (first and past-last column, first and past-last row; f), numbers.
    """

    edge: Float[Tensor, "3 3 f"]
    depth: Float[Tensor, "3 f"]
    box: Int[Tensor, "4 f"]
    triangle: Int[Tensor, " f"]


Fill = Callable[[Int[Tensor, " hw"], Prepared, int, int], None]


def centres(count: int, device: torch.device) -> Float[Tensor, " n"]:
    """Normalised device coordinates of the pixel centres along one axis."""
    steps = torch.arange(count, dtype=torch.float64, device=device)
    return (2 * steps + 1) / count - 1


def take(table: Tensor, index: Int[Tensor, " k"]) -> Tensor:
    """Those entries of the last axis; on a CPU several times faster than index_select there."""
    return table.gather(-1, index.expand(*table.shape[:-1], -1))


def columns(pos: Float[Tensor, "v 4"]) -> Float[Tensor, "4 v"]:
    """x, y, z, w of all vertices in float64."""
    return pos.t().double().contiguous()


def corners(of: Float[Tensor, "4 v"], vertex: Int[Tensor, "n 3"]) -> Float[Tensor, "4 3 n"]:
    """x, y, z, w of the three vertices of each of n triangles, from all vertices' columns."""
    return take(of, vertex.t().reshape(-1)).view(4, 3, len(vertex))


def edge_functions(
    points: Float[Tensor, "4 3 n"],
) -> tuple[Float[Tensor, "3 3 n"], Float[Tensor, " n"]]:
    """p_j x p_k of each edge (coordinate, edge, n), and det; det is 0 where there is no area."""
    x, y, _, w = points
    first, second = [1, 2, 0], [2, 0, 1]
    x1, y1, w1, x2, y2, w2 = x[first], y[first], w[first], x[second], y[second], w[second]
    edge = torch.stack([y1 * w2 - w1 * y2, w1 * x2 - x1 * w2, x1 * y2 - y1 * x2])
    terms = edge[:, 0] * torch.stack([x[0], y[0], w[0]])
    det = terms.sum(0)
    det = torch.where(det.abs() > THINNEST * terms.abs().sum(0), det, 0.0)
    return edge, det


def _extent(points: Tensor, kept: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Least and greatest x/w and y/w, (2, n) each, over the points that are kept."""
    flat = points[:2] / points[3]
    if kept is None:
        return flat.amin(1), flat.amax(1)
    low = torch.where(kept, flat, torch.inf).amin(1)
    return low, torch.where(kept, flat, -torch.inf).amax(1)


def _cut_extent(points: Float[Tensor, "4 3 n"]) -> tuple[Tensor, Tensor]:
    """The extent of what is in front of the near plane z = -w; the whole image if w <= 0 there."""
    near = points[2] + points[3]
    inside = near >= 0
    following = [1, 2, 0]
    crossing = inside != inside[following]
    fraction = torch.where(crossing, near / (near - near[following]), 0.0)
    cut = torch.lerp(points, points[:, following], fraction[None])
    polygon, kept = torch.cat([points, cut], 1), torch.cat([inside, crossing])
    low, high = _extent(polygon, kept)
    endless = (kept & ~(polygon[3] > 0)).any(0)
    return torch.where(endless, -1.0, low), torch.where(endless, 1.0, high)


def boxes(points: Float[Tensor, "4 3 n"], height: int, width: int) -> Int[Tensor, "4 n"]:
    """Pixels that the triangle may cover; none if it lies outside or is not finite."""
    inside = points[2] + points[3] >= 0
    whole = inside.all(0) & (points[3] > 0).all(0)
    low, high = _extent(points)
    partly = (inside.any(0) & ~whole).nonzero()[:, 0]
    if len(partly):
        cut_low, cut_high = _cut_extent(take(points, partly))
        low, high = low.index_copy(1, partly, cut_low), high.index_copy(1, partly, cut_high)
    seen = inside.any(0) & points.sum((0, 1)).isfinite()
    low = torch.where(seen, low.clamp(-2, 2), 2.0)
    high = torch.where(seen, high.clamp(-2, 2), -2.0)
    size = torch.tensor([[width], [height]], dtype=torch.float64, device=points.device)
    first = ((low + 1) * size / 2 - 0.5 - BOX_SLACK).ceil().clamp_min(0)
    past = ((high + 1) * size / 2 + 0.5 + BOX_SLACK).floor().minimum(size)
    return torch.stack([first[0], past[0], first[1], past[1]]).long()


def prepare(
    of: Float[Tensor, "4 v"], tri: Int[Tensor, "f 3"], start: int, height: int, width: int
) -> Prepared:
    """What is needed of those triangles that can cover a pixel; numbers begin at `start`."""
    points = corners(of, tri)
    box = boxes(points, height, width)
    kept = ((box[1] > box[0]) & (box[3] > box[2])).nonzero()[:, 0]
    points, box = take(points, kept), take(box, kept)
    edge, det = edge_functions(points)
    depth = (edge * points[2]).sum(1) / det
    edge = edge * det.sign()
    if not bool((det != 0).all()):
        good = det.nonzero()[:, 0]
        edge, depth, box, kept = (take(table, good) for table in (edge, depth, box, kept))
    return Prepared(edge, depth, box, kept + start)


def fill_torch(keys: Int[Tensor, " hw"], prepared: Prepared, height: int, width: int) -> None:
    """Lowers `keys` to the least (depth, triangle) of every pixel; tries whole boxes."""
    box = prepared.box
    widths = box[1] - box[0]
    counts = widths * (box[3] - box[2])
    past = counts.cumsum(0)
    first = past - counts
    total = int(past[-1]) if len(past) else 0
    for start in range(0, total, CANDIDATES_AT_ONCE):
        stop = min(start + CANDIDATES_AT_ONCE, total)
        here = past.clamp(start, stop) - first.clamp(start, stop)
        chosen = torch.repeat_interleave(here)
        step = torch.arange(start, stop, device=keys.device) - first.index_select(0, chosen)
        row = step // widths.index_select(0, chosen)
        column = step - row * widths.index_select(0, chosen) + box[0].index_select(0, chosen)
        row = row + box[2].index_select(0, chosen)
        _try_pixels(keys, prepared, chosen, row, column, (height, width))


def _try_pixels(
    keys: Tensor,
    prepared: Prepared,
    chosen: Int[Tensor, " n"],
    row: Int[Tensor, " n"],
    column: Int[Tensor, " n"],
    size: tuple[int, int],
) -> None:
    """Lowers `keys` where the chosen triangles cover these pixels."""
    x = centres(size[1], keys.device).index_select(0, column)
    y = centres(size[0], keys.device).index_select(0, row)

    def linear(function: Tensor) -> Tensor:
        a, b, c = function
        across = a.index_select(0, chosen) * x + b.index_select(0, chosen) * y
        return across + c.index_select(0, chosen)

    inside = linear(prepared.edge[:, 0]) >= 0
    for edge in (1, 2):
        inside &= linear(prepared.edge[:, edge]) >= 0
    hit = inside.nonzero()[:, 0]
    chosen, x, y = chosen[hit], x[hit], y[hit]
    depth = linear(prepared.depth)
    seen = depth.abs() <= 1 + DEPTH_SLACK
    steps = ((depth.clamp(-1, 1) + 1) * DEPTH_STEPS + 0.5).long()
    key = (steps << ID_BITS) + prepared.triangle.index_select(0, chosen)
    key = torch.where(seen, key, NOTHING)
    keys.scatter_reduce_(0, row[hit] * size[1] + column[hit], key, "amin")


@functools.cache
def _compiled() -> Fill | None:
    """The numba twin of `fill_torch`, if numba is installed."""
    if importlib.util.find_spec("numba") is None:
        return None
    from pipeline.raster.visibility_numba import fill_numba

    return fill_numba


def fastest_fill(device: torch.device) -> Fill:
    """The fastest way to the same answer: numba's where it is installed, on a CPU."""
    return (_compiled() if device.type == "cpu" else None) or fill_torch


@torch.no_grad()
def visible_triangles(
    pos: Float[Tensor, "v 4"],
    tri: Int[Tensor, "f 3"],
    resolution: tuple[int, int],
    fill: Fill | None = None,
) -> Int[Tensor, " hw"]:
    """The number of the triangle that each pixel sees, row by row, -1 where it sees none."""
    height, width = resolution
    fill = fill or fastest_fill(pos.device)
    keys = torch.full((height * width,), NOTHING, dtype=torch.int64, device=pos.device)
    of = columns(pos)
    for start in range(0, len(tri), TRIANGLES_AT_ONCE):
        some = tri[start : start + TRIANGLES_AT_ONCE]
        fill(keys, prepare(of, some, start, height, width), height, width)
    return torch.where(keys == NOTHING, -1, keys & (2**ID_BITS - 1))
