"""A triangle mesh in the project's world, and the error that says why a file became none.

Vertices are in world units (+z up, +x front, inside the unit ball); a face lists its corners
counter-clockwise as seen from outside.
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor


class MeshError(ValueError):
    """A file that holds no usable mesh; the message names the file, what is wrong, the remedy."""

    def __init__(self, file: Path | str, what: str, remedy: str) -> None:
        super().__init__(f"{file}: {what}; {remedy}")
        self.file, self.what, self.remedy = str(file), what, remedy


@dataclass(frozen=True)
class Mesh:
    """Vertices float32, faces int64: numbers of vertices, each within range."""

    vertices: Float[Tensor, "v 3"]
    faces: Int[Tensor, "f 3"]


def checksum(mesh: Mesh) -> str:
    """The hex sha256 of the mesh's numbers: equal for equal meshes on every machine."""
    digest = hashlib.sha256()
    for tensor, kind in ((mesh.vertices, "<f4"), (mesh.faces, "<i4")):
        array = np.ascontiguousarray(tensor.detach().cpu().numpy().astype(kind))
        digest.update(str(array.shape).encode() + array.tobytes())
    return digest.hexdigest()


def face_areas(mesh: Mesh) -> Float[Tensor, " f"]:
    """The area of every face, in squared world units."""
    return _crosses(mesh).norm(dim=-1) / 2


def vertex_normals(mesh: Mesh) -> Float[Tensor, "v 3"]:
    """Unit normals, the faces' weighted by area; zero at a vertex whose faces cancel out."""
    cross = _crosses(mesh)
    total = torch.zeros_like(mesh.vertices)
    for corner in range(3):
        total = total.index_add(0, mesh.faces[:, corner], cross)
    return torch.nn.functional.normalize(total, dim=-1)


def _crosses(mesh: Mesh) -> Float[Tensor, "f 3"]:
    a, b, c = mesh.vertices[mesh.faces].unbind(1)
    return torch.linalg.cross(b - a, c - a)
