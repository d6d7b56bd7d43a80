"""Normals of a mesh whose edges may be sharp: smooth across blunt edges, broken at sharp ones.

One normal per vertex would round a box off and leave a ControlNet's edge picture without its edges;
one per face would draw the facets of a ball.
"""

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor

SHARP = 30.0  # degrees between faces; the toy world's coarsest round parts have 22.5
MOST_FACES = 512  # that meet at a vertex; at busier ones normals are the faces' own


def corner_normals(
    vertices: Float[Tensor, "v 3"], faces: Int[Tensor, "f 3"], *, sharp: float = SHARP
) -> Float[Tensor, "f 3 3"]:
    """Unit normals, one for each face's corner: the mean, by area, of the faces that meet there and
    are turned against this one by less than `sharp` degrees. 0 where the face has no area.
    """
    a, b, c = vertices[faces].double().unbind(1)
    cross = torch.linalg.cross(b - a, c - a)
    own = torch.nn.functional.normalize(cross, dim=-1, eps=1e-30)
    vertex = faces.reshape(-1)
    count = torch.bincount(vertex, minlength=len(vertices))
    sorted_corners, first = vertex.argsort(stable=True), count.cumsum(0) - count
    face = torch.arange(len(vertex), device=faces.device) // 3
    total = torch.zeros(len(vertex), 3, dtype=cross.dtype, device=cross.device)
    busy = count[vertex] > MOST_FACES
    total[busy] = own[face[busy]]
    for k in range(min(int(count.max()), MOST_FACES) if len(vertex) else 0):
        corner = ((count[vertex] > k) & ~busy).nonzero()[:, 0]
        other = sorted_corners[first[vertex[corner]] + k] // 3
        blunt = (own[face[corner]] * own[other]).sum(1) > math.cos(math.radians(sharp))
        total.index_add_(0, corner, cross[other] * blunt[:, None])
    return torch.nn.functional.normalize(total, dim=-1, eps=1e-30).to(vertices).view(-1, 3, 3)
