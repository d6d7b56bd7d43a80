"""The edges of a mesh: who shares them, and which of them are silhouettes in a view.

Corner k of a triangle stands for the edge opposite to it as well. n x 3 corners are also numbered
3 * triangle + k where one number is handier.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from pipeline.raster.visibility import TRIANGLES_AT_ONCE, columns, corners, edge_functions


@dataclass(frozen=True)
class Topology:
    """For the edge opposite each corner: its number, which way it runs, who is beyond it."""

    edge: Int[Tensor, "f 3"]
    upward: Bool[Tensor, "f 3"]  # from the vertex with the lower number to that with the higher
    beyond: Int[Tensor, "f 3"]  # the same edge in its only other triangle; -1 if not exactly one
    edges: int


def topology(tri: Int[Tensor, "f 3"]) -> Topology:
    """Edges are the same if they join the same two vertices, whichever way, however many share."""
    start, end = tri[:, [1, 2, 0]].long(), tri[:, [2, 0, 1]].long()
    vertices = int(tri.max()) + 1 if len(tri) else 0
    key = torch.minimum(start, end) * vertices + torch.maximum(start, end)
    _, edge, count = torch.unique(key, return_inverse=True, return_counts=True)
    own = torch.arange(edge.numel(), device=tri.device)
    # The other one of two numbers is their sum less the one.
    both = torch.zeros_like(count).index_add_(0, edge.view(-1), own)
    beyond = torch.where(count[edge] == 2, both[edge] - own.view(-1, 3), -1)
    return Topology(edge, start < end, beyond, len(count))


def facing(pos: Float[Tensor, "v 4"], tri: Int[Tensor, "f 3"]) -> Float[Tensor, " f"]:
    """The sign of det(p_0, p_1, p_2): which side of each triangle the eye is on; 0 if no area."""
    of, parts = columns(pos), tri.split(TRIANGLES_AT_ONCE)
    return torch.cat([edge_functions(corners(of, part))[1].sign() for part in parts])


def silhouettes(
    pos: Float[Tensor, "v 4"], tri: Int[Tensor, "f 3"], shared: Topology
) -> Bool[Tensor, "f 3"]:
    """Whether the edge opposite each corner has all its triangles on one side as seen.

    The plane through the eye and an edge has a triangle on its left or right according to the way
    that the triangle faces and runs along the edge; no division, so it holds behind the eye too.
    """
    side = facing(pos, tri)[:, None] * torch.where(shared.upward, 1.0, -1.0)
    both = torch.ones(shared.edges, dtype=torch.bool, device=tri.device)
    for sign in (1.0, -1.0):
        there = torch.zeros_like(both)
        there[shared.edge[side == sign]] = True
        both &= there
    return ~both[shared.edge]
