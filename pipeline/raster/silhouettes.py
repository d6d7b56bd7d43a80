"""Antialiasing of silhouettes, after Laine et al. 2020, section 3.5; the gradient of visibility.

Two neighbouring pixels p and q show different triangles. The nearer of the two, T, is seen at p.
Where a silhouette edge of T crosses the line between the centres at a fraction s of the way from p,
T is taken to cover s pixels beyond p's centre:

    s > 1/2:  q becomes  q + (s - 1/2) (p - q)         s < 1/2:  p becomes  p + (1/2 - s) (q - p)

so that the derivative with respect to s is p - q on either side. An edge counts for the pairs of
the axis that it is steeper to (in pixels; at 45 degrees for the horizontal ones): summed over the
pairs along an edge this is then the area it sweeps when it moves, once.

nvdiffrast looks at the edges of T alone and so misses the silhouette wherever another triangle lies
between it and p's centre: at one triangle to two pixels nine in ten are missed, and most of the
gradient. Here the surface is followed from T towards q, at most `FOLLOWED` triangles; following
none is what nvdiffrast does. Where triangles are larger than pixels the two agree.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from pipeline.raster.edges import Topology, silhouettes, topology
from pipeline.raster.visibility import centres, columns, corners, take

FOLLOWED = 32  # 20,000 triangles at 64 pixels need as many at a flat rim, at 128 pixels 8
ROUNDING = 1e-6  # pixels; a centre on an edge may come out on its far side
_topology_of = topology


@dataclass(frozen=True)
class Pairs:
    """Neighbouring pixels that show different triangles, by their place in the whole batch."""

    own: Int[Tensor, " m"]  # shows the nearer triangle
    other: Int[Tensor, " m"]
    vertical: Bool[Tensor, " m"]

    def select(self, index: Int[Tensor, " k"]) -> "Pairs":
        return Pairs(self.own[index], self.other[index], self.vertical[index])

    @classmethod
    def joined(cls, parts: "list[Pairs]") -> "Pairs":
        names = ("own", "other", "vertical")
        return cls(*(torch.cat([getattr(part, name) for part in parts]) for name in names))


@dataclass(frozen=True)
class Lines:
    """Edges by their two ends (first axis), in the frame of a pair of pixels.

    Along the line of centres from `own` to `other` and across it, in pixels times w; and w.
    """

    along: Float[Tensor, "2 *n m"]
    across: Float[Tensor, "2 *n m"]
    w: Float[Tensor, "2 *n m"]

    def fraction(self) -> Float[Tensor, "*n m"]:
        """Where they meet the line of centres, in pixels from `own`."""
        meet = self.along[0] * self.across[1] - self.along[1] * self.across[0]
        return meet / (self.w[0] * self.across[1] - self.w[1] * self.across[0])

    def meet_between(self) -> Bool[Tensor, "*n m"]:
        """Whether they meet the line in front of the eye, between the centres."""
        ends_apart = (self.across[0] <= 0) != (self.across[1] <= 0)
        w = self.w[0] * self.across[1] - self.w[1] * self.across[0]
        in_front = w / (self.across[1] - self.across[0]) > 0
        fraction = self.fraction()
        return ends_apart & in_front & (fraction >= -ROUNDING) & (fraction <= 1 + ROUNDING)

    def steeper(self, vertical: Bool[Tensor, " m"]) -> Bool[Tensor, "*n m"]:
        """Whether they run across the line of centres rather than along it."""
        across = (self.across[0] * self.w[1] - self.w[0] * self.across[1]).abs()
        along = (self.along[0] * self.w[1] - self.w[0] * self.along[1]).abs()
        return torch.where(vertical, across > along, across >= along)


def lines_of(points: Float[Tensor, "4 2 *n m"], pairs: Pairs, resolution: tuple[int, int]) -> Lines:
    """The edges between points given by x, y, z, w."""
    height, width = resolution
    row = pairs.own // width
    column_centre = take(centres(width, points.device), pairs.own - row * width)
    row_centre = take(centres(height, points.device), row % height)
    x = (points[0] - column_centre * points[3]) * (width / 2)
    y = (points[1] - row_centre * points[3]) * (height / 2)
    along, across = torch.where(pairs.vertical, y, x), torch.where(pairs.vertical, x, y)
    return Lines(torch.where(pairs.other < pairs.own, -along, along), across, points[3])


def differing_pairs(rast: Float[Tensor, "b h w 4"]) -> Pairs:
    """All horizontal and vertical neighbours with different triangles, the nearer one's first."""
    number, depth = rast[..., 3].contiguous(), rast[..., 2].reshape(-1)
    place = torch.arange(number.numel(), device=rast.device).view(number.shape)
    beside = place[:, :, :-1][number[:, :, :-1] != number[:, :, 1:]]
    below = place[:, :-1][number[:, :-1] != number[:, 1:]]
    first = torch.cat([beside, below])
    second = torch.cat([beside + 1, below + number.shape[2]])
    number = number.view(-1)
    hidden = (number[second] > 0) & (depth[second] < depth[first])
    swap = (number[first] == 0) | hidden
    vertical = torch.arange(len(first), device=rast.device) >= len(beside)
    return Pairs(torch.where(swap, second, first), torch.where(swap, first, second), vertical)


def _apart(number: Int[Tensor, " p"], pairs: Pairs, tri: Int[Tensor, "f 3"]) -> Tensor:
    """Whether the two triangles of a pair have no vertex in common; so if `other` is empty."""
    beyond = take(number, pairs.other)
    own = tri.index_select(0, take(number, pairs.own))
    other = tri.index_select(0, beyond.clamp_min(0))
    touch = (own[:, :, None] == other[:, None, :]).flatten(1).any(1)
    return ~touch | (beyond < 0)


def _exits(
    lines: Lines, entry: Int[Tensor, " m"], contour: Bool[Tensor, "3 m"], vertical: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """By which edge the line of centres leaves each triangle; whether at a silhouette; if to blend.

    `lines` are a triangle's edges (3, m); entry is the one that the line came in by, or -1. The
    edge is -1 where the triangle reaches `other`, or is met by no line at all.
    """
    corner = torch.arange(3, device=entry.device)[:, None]
    left = lines.meet_between() & (corner != entry)
    # Of two that meet in a corner, the silhouette.
    score = torch.where(left, lines.fraction() + ROUNDING * contour, -1.0)
    best, chosen = score.max(0)

    def at_exit(table: Tensor) -> Tensor:
        return table.gather(0, chosen[None])[0]

    leaves = best >= -ROUNDING
    silhouette = leaves & at_exit(contour)
    blend = silhouette & at_exit(lines.steeper(vertical))
    return torch.where(leaves, chosen, -1), silhouette, blend


@torch.no_grad()
def crossing_edges(
    rast: Float[Tensor, "b h w 4"],
    pos: Float[Tensor, "b v 4"],
    tri: Int[Tensor, "f 3"],
    shared: Topology,
    followed: int,
) -> tuple[Pairs, Int[Tensor, "2 m"]]:
    """The pairs that a silhouette edge passes between, and the edge's ends in all views' vertices.

    The surface is followed from the triangle at `own` over at most that many neighbours, unless
    the triangle at `other` touches it.
    """
    _, height, width, _ = rast.shape
    contour = torch.stack([silhouettes(view, tri, shared) for view in pos]).view(-1, 3)
    number = rast[..., 3].reshape(-1).long() - 1
    pairs = differing_pairs(rast)
    triangle, view = take(number, pairs.own), pairs.own // (height * width)
    promising = contour.any(1)[view * len(tri) + triangle]
    if followed:
        promising |= _apart(number, pairs, tri)
    on = promising.nonzero()[:, 0]
    triangle, entry = triangle[on], torch.full_like(on, -1)
    of, found, ends = columns(pos.reshape(-1, 4)), [], []
    for _ in range(followed + 1):
        pairs, view = pairs.select(on), view[on]
        vertex = tri.index_select(0, triangle) + (view * pos.shape[1])[:, None]
        points = corners(of, vertex)
        edges = torch.stack([points[:, [1, 2, 0]], points[:, [2, 0, 1]]], 1)
        lines = lines_of(edges, pairs, (height, width))
        there = contour.index_select(0, view * len(tri) + triangle).t()
        corner, silhouette, blend = _exits(lines, entry, there, pairs.vertical)
        done = blend.nonzero()[:, 0]
        found.append(pairs.select(done))
        ends.append(torch.stack([vertex[done, (corner[done] + k) % 3] for k in (1, 2)]))
        beyond = shared.beyond[triangle, corner]
        on = ((corner >= 0) & ~silhouette & (beyond >= 0)).nonzero()[:, 0]
        if not len(on):
            break
        triangle, entry = beyond[on] // 3, beyond[on] % 3
    return Pairs.joined(found), torch.cat(ends, 1)


def antialias(
    color: Float[Tensor, "b h w c"],
    rast: Float[Tensor, "b h w 4"],
    pos: Float[Tensor, "b v 4"],
    tri: Int[Tensor, "f 3"],
    topology: Topology | None = None,
    *,
    followed: int = FOLLOWED,
) -> Float[Tensor, "b h w c"]:
    """The image with neighbouring pixels blended where a silhouette passes between them."""
    if not len(tri) or not len(pos):
        return color
    tri = tri.long()
    shared = topology or _topology_of(tri)
    pairs, ends = crossing_edges(rast.detach(), pos, tri, shared, followed)
    points = pos.reshape(-1, 4).index_select(0, ends.view(-1)).double()
    points = points.t().reshape(4, 2, len(pairs.own))
    _, height, width, _ = rast.shape
    fraction = lines_of(points, pairs, (height, width)).fraction().clamp(0, 1)
    cover = (fraction - 0.5).to(color.dtype)[:, None]
    flat = color.reshape(-1, color.shape[-1])
    change = flat.index_select(0, pairs.own) - flat.index_select(0, pairs.other)
    target = torch.where(fraction > 0.5, pairs.other, pairs.own)
    return flat.index_add(0, target, cover * change).view_as(color)
