"""Normals of a triangle mesh, and what its regularisers add up: one number an edge or a vertex."""

from collections.abc import Callable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from pipeline.scenes.mesh_clean import half_edges
from pipeline.scenes.shading import unit


def vertex_normals(
    vertices: Float[Tensor, "v 3"], faces: Int[Tensor, "f 3"]
) -> Float[Tensor, "v 3"]:
    """Unit vectors outwards: the faces' normals, by area; 0 where all areas are."""
    first, second, third = (vertices.index_select(0, faces[:, k]) for k in range(3))
    normal = torch.linalg.cross(second - first, third - first)
    total = torch.zeros_like(vertices).index_add(0, faces.t().reshape(-1), normal.repeat(3, 1))
    scale = total.detach().abs().amax().clamp_min(1e-20)  # areas near 1e-6 would drown in `unit`
    return unit((total / scale).t()).t()


def closed_edges(faces: Int[Tensor, "f 3"]) -> Int[Tensor, "e 2"]:
    """Every edge of a closed mesh once: of its two half edges that from the lower vertex."""
    edges = half_edges(faces)
    return edges[edges[:, 0] < edges[:, 1]]


def normal_consistency(
    vertices: Float[Tensor, "v 3"], faces: Int[Tensor, "f 3"]
) -> Float[Tensor, " e"]:
    """Per edge 1 - cos of the normals at its two ends (threestudio's form)."""
    normals = vertex_normals(vertices, faces)
    one, other = closed_edges(faces).unbind(1)
    return 1 - (normals.index_select(0, one) * normals.index_select(0, other)).sum(1)


def laplacian(vertices: Float[Tensor, "v 3"], faces: Int[Tensor, "f 3"]) -> Float[Tensor, " v"]:
    """Per vertex the length of the sum of the vectors to its neighbours (threestudio's form)."""
    one, other = closed_edges(faces).unbind(1)
    along = vertices.index_select(0, other) - vertices.index_select(0, one)
    total = torch.zeros_like(vertices).index_add(0, one, along).index_add(0, other, -along)
    return (total.square().sum(1) + 1e-12).sqrt()


# Regularisers by name; their means are what the weights multiply.
MESH_TERMS: dict[str, Callable[[Float[Tensor, "v 3"], Int[Tensor, "f 3"]], Float[Tensor, " n"]]] = {
    "normal_consistency": normal_consistency,
    "laplacian": laplacian,
}
