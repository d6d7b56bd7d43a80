"""What a triangle mesh is made of, whether it is closed, and the mesh without its floaters.

Faces run counter-clockwise seen from outside. Everything follows from vertex numbers: weld first.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor


@dataclass(frozen=True)
class ColouredMesh:
    """Triangles with a colour in [0, 1] at each vertex; world units and axes."""

    vertices: Float[Tensor, "v 3"]
    faces: Int[Tensor, "f 3"]
    colours: Float[Tensor, "v 3"]


def components(edges: Int[Tensor, "e 2"], nodes: int) -> Int[Tensor, " n"]:
    """The lowest number of a node that each node is connected with.

    Every round joins what touches and then follows all chains to their ends, so that the rounds
    grow with the logarithm of the longest path, not with its length.
    """
    label = torch.arange(nodes, device=edges.device)
    one, other = edges.long().unbind(1)
    while True:
        first, second = label[one], label[other]
        apart = first != second
        if not bool(apart.any()):
            return label
        low, high = torch.minimum(first, second)[apart], torch.maximum(first, second)[apart]
        label = label.scatter_reduce(0, high, low, "amin")
        while True:
            further = label[label]
            if torch.equal(further, label):
                break
            label = further


def half_edges(faces: Int[Tensor, "f 3"]) -> Int[Tensor, "h 2"]:
    """The three edges of each face, in the way they run around it."""
    return torch.stack([faces, faces.roll(-1, 1)], -1).view(-1, 2)


def is_watertight(faces: Int[Tensor, "f 3"]) -> bool:
    """Whether every edge has two faces that run along it in opposite ways.

    Closed, then, and of consistent winding. False for no faces at all.
    """
    if not len(faces):
        return False
    start, end = half_edges(faces.long()).unbind(1)
    count = int(faces.max()) + 1
    there, back = start * count + end, end * count + start
    unique = torch.unique(there)
    return len(unique) == len(there) and torch.equal(unique, torch.unique(back))


def euler_characteristic(faces: Int[Tensor, "f 3"]) -> int:
    """Vertices in use, minus edges, plus faces."""
    start, end = half_edges(faces.long()).sort(1).values.unbind(1)
    edges = torch.unique(start * (int(faces.max()) + 1) + end)
    return len(torch.unique(faces)) - len(edges) + len(faces)


def genus(faces: Int[Tensor, "f 3"]) -> int:
    """The number of handles of a closed mesh, over all of its components.

    Raises ValueError for one that is not closed.
    """
    if not is_watertight(faces):
        raise ValueError("a mesh that is not closed has no genus")
    label = components(half_edges(faces), int(faces.max()) + 1)
    count = len(torch.unique(label[faces.long().view(-1)]))
    return count - euler_characteristic(faces) // 2


def face_volumes(vertices: Float[Tensor, "v 3"], faces: Int[Tensor, "f 3"]) -> Float[Tensor, " f"]:
    """Signed volumes, float64, of the tetrahedra from the origin to each face.

    Over a closed mesh they add up to what it encloses; a hollow's wall counts negative.
    """
    corners = vertices.double()[faces.long()]
    normal = torch.linalg.cross(corners[:, 1], corners[:, 2])
    return (corners[:, 0] * normal).sum(1) / 6


def volume(vertices: Float[Tensor, "v 3"], faces: Int[Tensor, "f 3"]) -> float:
    """What a closed mesh encloses, in cubic units."""
    return float(face_volumes(vertices.detach(), faces).sum())


def without_floaters(mesh: ColouredMesh, share: float) -> ColouredMesh:
    """The components that enclose at least this share of the largest one's volume.

    The walls of hollows, which nothing outside sees, enclose a negative volume and go in any case.
    Vertices without a face go too; the others keep their order.
    """
    label = components(half_edges(mesh.faces), len(mesh.vertices))
    of_face = label[mesh.faces[:, 0].long()]
    enclosed = torch.zeros(len(label), dtype=torch.float64, device=label.device)
    enclosed.index_add_(0, of_face, face_volumes(mesh.vertices, mesh.faces))
    kept = (enclosed >= max(share, 0.0) * enclosed.max()) & (enclosed > 0)
    faces = mesh.faces[kept[of_face]]
    used, numbers = torch.unique(faces, return_inverse=True)
    return ColouredMesh(mesh.vertices[used], numbers.view(-1, 3), mesh.colours[used])
