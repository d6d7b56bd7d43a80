"""Marching tetrahedra: the zero surface of values at the nodes of a tetrahedral grid.

A node is inside where its value is negative (a signed distance; DMTet's code has the opposite
sign). Along an edge the value is taken to be linear, so that the surface crosses it at

    p = v_a + s_a / (s_a - s_b) (v_b - v_a),    s_a < 0 <= s_b,

which is differentiable in values and nodes (Shen et al. 2021, DMTet, section 3). One node apart
from the other three gives a triangle, two and two give a quadrangle, cut into two triangles. Faces
run counter-clockwise seen from outside.
"""

import functools
import itertools

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from pipeline.scenes.failure import SceneFailure
from pipeline.scenes.shading import length
from pipeline.scenes.tetgrid import TetGrid

MARGIN = 0.01  # spacings: the surface moves by about as much
FURTHEST = 2.0  # spacings: the length of the longest edge
EDGES = ((0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3))  # of a tetrahedron, by its nodes


def _even(order: tuple[int, ...]) -> bool:
    swaps = sum(a > b for a, b in itertools.combinations(order, 2))
    return swaps % 2 == 0


def _triangles(pattern: int) -> list[tuple[int, int, int]]:
    """The edges that each triangle joins, where bit k of the pattern says that node k is inside.

    In a tetrahedron of positive determinant i, j, k, l in an even order: seen from opposite i, the
    edges ij, ik, il run counter-clockwise; so do ik, il, jl, jk seen from the side of k and l.
    """
    inside = [node for node in range(4) if pattern >> node & 1]
    outside = [node for node in range(4) if not pattern >> node & 1]
    if not inside or not outside:
        return []
    few, many = (inside, outside) if len(inside) <= 2 else (outside, inside)
    if not _even((*few, *many)):
        many = [many[1], many[0], *many[2:]]

    def edge(a: int, b: int) -> int:
        return EDGES.index((min(a, b), max(a, b)))

    if len(few) == 1:
        a, b, c = (edge(few[0], node) for node in many)
        return [(a, b, c) if few is inside else (a, c, b)]
    (i, j), (k, m) = few, many
    ring = [edge(i, k), edge(i, m), edge(j, m), edge(j, k)]
    return [(ring[0], ring[1], ring[2]), (ring[0], ring[2], ring[3])]


# The two triangles of each sign pattern by their edges, -1 where there is none.
TRIANGLES = torch.tensor(
    [[*found, *[(-1, -1, -1)] * (2 - len(found))] for found in map(_triangles, range(16))]
)


@functools.cache
def _tables(device: torch.device) -> tuple[Int[Tensor, "6 2"], Int[Tensor, "16 2 3"]]:
    """EDGES and TRIANGLES there."""
    return torch.tensor(EDGES, device=device), TRIANGLES.to(device)


def marching_tetrahedra(
    vertices: Float[Tensor, "v 3"], sdf: Float[Tensor, " v"], tets: Int[Tensor, "t 4"]
) -> tuple[Float[Tensor, "p 3"], Int[Tensor, "f 3"]]:
    """The points and faces of the surface; tetrahedra without a change of sign add nothing.

    The tetrahedra have positive determinants. Points are in the order of their edges' nodes (lower,
    then higher number), faces in that of their tetrahedra. Where the surface meets no border of
    what the tetrahedra fill it is closed: every edge has two faces, every point one fan of faces.
    """
    tets = tets.long()
    inside = (sdf < 0)[tets]
    edges, triangles = _tables(tets.device)
    ends = tets[:, edges].sort(-1).values  # (t, 6, 2)
    crossed = inside[:, edges[:, 0]] != inside[:, edges[:, 1]]
    keys, number = torch.unique(
        ends[crossed][:, 0] * len(sdf) + ends[crossed][:, 1], return_inverse=True
    )
    point = torch.full_like(ends[..., 0], -1)
    point[crossed] = number
    pattern = (inside * (1 << torch.arange(4, device=tets.device))).sum(1)
    table = triangles[pattern]  # (t, 2, 3)
    faces = point.gather(1, table.clamp_min(0).flatten(1)).view(-1, 3)
    faces = faces[(table.view(-1, 3) >= 0).all(1)]
    return _crossings(vertices, sdf, keys // len(sdf), keys % len(sdf)), faces


def _crossings(
    vertices: Float[Tensor, "v 3"],
    sdf: Float[Tensor, " v"],
    one: Int[Tensor, " p"],
    other: Int[Tensor, " p"],
) -> Float[Tensor, "p 3"]:
    """Where the value is 0 between each two nodes; the signs differ, so nothing is divided by 0."""
    from_value, to_value = sdf.index_select(0, one), sdf.index_select(0, other)
    share = from_value / (from_value - to_value)
    start, end = vertices.index_select(0, one), vertices.index_select(0, other)
    return start + share[:, None] * (end - start)


class DeformableGrid(nn.Module):
    """Values in units of the grid's spacing at nodes that can move; a module's learned state.

    Every node moves by less than half a spacing, in any direction, and those of the border do not
    move: no tetrahedron is thinner than one spacing, so that none turns over, and the surface
    cannot run through itself. The border counts as outside whatever its values.
    """

    nodes: Tensor
    border: Tensor

    def __init__(self, grid: TetGrid) -> None:
        super().__init__()
        self.grid = grid
        self.register_buffer("nodes", grid.vertices(), persistent=False)
        self.register_buffer("border", grid.border(), persistent=False)
        self.sdf = nn.Parameter(torch.ones(grid.nodes))
        self.deformation = nn.Parameter(torch.zeros(grid.nodes, 3))

    def values(self) -> Float[Tensor, " v"]:
        """The signed distances, positive on the border, and a little further from 0 than learned.

        A surface that runs through a node would have all its points there in one place, triangles
        without area and vertices without a normal.
        """
        apart = self.sdf + torch.where(self.sdf.detach() < 0, -MARGIN, MARGIN)
        return torch.where(self.border, self.sdf.detach().abs() + MARGIN, apart)

    def positions(self) -> Float[Tensor, "v 3"]:
        """Where the nodes have moved to: by tanh |d| along d, times half a spacing."""
        size = length(self.deformation.t())
        share = torch.where(self.border, 0.0, torch.tanh(size) / size)
        return self.nodes + (self.grid.spacing / 2) * share[:, None] * self.deformation

    def surface(self) -> tuple[Float[Tensor, "p 3"], Int[Tensor, "f 3"]]:
        """Points and faces. Raises SceneFailure where there is no surface, or a NaN."""
        named = dict(self.named_parameters())
        finite = torch.stack([value.isfinite().all() for value in named.values()]).tolist()
        for name, good in zip(named, finite, strict=True):
            if not good:
                raise SceneFailure(f"the mesh's {name} is not finite")
        values = self.values()
        inside = values.detach() < 0
        tets = self.grid.crossing(inside)
        if not len(tets):
            raise SceneFailure("the mesh is empty: no node of its grid lies inside")
        return marching_tetrahedra(self.positions(), values, tets)

    @torch.no_grad()
    def fill(self, sdf: Float[Tensor, " v"]) -> None:
        """Start from these values, in spacings, cut at +-2, with all nodes in their places.

        No edge is longer than 2, so the surface of a distance stays; what lies further off need
        not first be optimised away.
        """
        self.sdf.copy_(sdf.clamp(-FURTHEST, FURTHEST))
        self.deformation.zero_()


def ball(nodes: Float[Tensor, "v 3"], radius: float) -> Float[Tensor, " v"]:
    """The signed distance to a sphere about the origin."""
    return length(nodes.t()) - radius
