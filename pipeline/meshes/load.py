"""A GLB, OBJ or PLY file brought into the project's world as one mesh.

`up` and `front` name the file's axes that point up and to the object's front: x, y, z, -x, -y, -z.
The defaults are glTF's. The place "keep" leaves a mesh that lies in the unit ball already where it
is; "fit" centres and scales it. Materials, textures, bones and animations are not read; nothing
outside the file is opened.
"""

import hashlib
import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pipeline.meshes.formats import EXPORT, Checked, checked, refuse_faces
from pipeline.meshes.mesh import Mesh, MeshError, checksum
from pipeline.meshes.orient import placed
from pipeline.meshes.repair import Faces, Vertices, repaired
from pipeline.meshes.winding import edges

MAX_BYTES = 512 * 2**20
MAX_FACES = 200_000  # beyond it unwrapping takes many minutes


@dataclass(frozen=True)
class Loaded:
    """A mesh in the world, and the record of how it came from its file."""

    mesh: Mesh
    record: dict[str, Any]


def load_mesh(
    path: Path | str,
    *,
    up: str = "y",
    front: str = "z",
    place: str = "fit",
    max_faces: int = MAX_FACES,
) -> Loaded:
    """The file's triangles as one mesh inside the ball of radius 0.95, +z up, +x front.

    `place` "keep" only turns it. Raises MeshError for a file that holds no usable mesh, ValueError
    for unknown names of axes or places.
    """
    path = Path(path)
    data = _bytes(path)
    file = checked(path, data, max_faces)
    vertices, faces = _triangles(path, file)
    refuse_faces(path, len(faces), max_faces)
    vertices, faces, changes = repaired(path, vertices, faces)
    world = placed(path, vertices, up=up, front=front, place=place)
    mesh = Mesh(
        torch.from_numpy(world.vertices.astype(np.float32)),
        torch.from_numpy(np.ascontiguousarray(faces, dtype=np.int64)),
    )
    count = edges(faces).faces
    record = {
        "status": "ok",
        "file": path.name,
        "sha256": hashlib.sha256(data).hexdigest(),
        "bytes": len(data),
        "kind": file.kind,
        "up": up,
        "front": front,
        "place": place,
        "matrix": world.matrix.tolist(),
        "vertices": len(vertices),
        "faces": len(faces),
        "watertight": bool((count == 2).all()),
        "changes": file.changes + changes,
        "mesh_sha256": checksum(mesh),
    }
    return Loaded(mesh, record)


def _bytes(path: Path) -> bytes:
    if not path.is_file():
        raise MeshError(path, "no such file", "check the path")
    size = path.stat().st_size
    if size > MAX_BYTES:
        what = f"{size:,} bytes; the limit is {MAX_BYTES:,}"
        raise MeshError(path, what, "decimate it, or leave its textures out when exporting")
    return path.read_bytes()


def _triangles(path: Path, file: Checked) -> tuple[Vertices, Faces]:
    """All triangles of the file's scene in one coordinate system, double precision."""
    import trimesh

    try:
        with np.errstate(all="ignore"):
            scene = trimesh.load_scene(
                io.BytesIO(file.data), file_type=file.kind, process=False, skip_materials=True
            )
            parts = [_part(scene, node) for node in scene.graph.nodes_geometry]
    except Exception as error:  # trimesh raises what its parsers happen to raise
        what = f"its {file.kind.upper()} cannot be read ({type(error).__name__}: {error})"
        raise MeshError(path, what[:300], EXPORT) from error
    parts = [part for part in parts if len(part[1])]
    if not parts:
        raise MeshError(path, "it holds no triangles", "hand over a mesh, not points or curves")
    starts = np.cumsum([0] + [len(vertices) for vertices, _ in parts])
    faces = [part[1] + start for part, start in zip(parts, starts, strict=False)]
    for vertices, own in parts:
        if not 0 <= own.min() <= own.max() < len(vertices):
            what = f"faces name the vertices {own.min()} to {own.max()} of {len(vertices)}"
            raise MeshError(path, what, EXPORT)
    return np.concatenate([part[0] for part in parts]), np.concatenate(faces)


def _part(scene: Any, node: str) -> tuple[Vertices, Faces]:
    """A node's vertices and faces in the scene's frame; turned over where it mirrors."""
    matrix, name = scene.graph[node]
    geometry = scene.geometry[name]
    if not hasattr(geometry, "faces"):
        return np.zeros((0, 3)), np.zeros((0, 3), dtype=np.int64)
    vertices = np.asarray(geometry.vertices, dtype=np.float64)
    faces = np.asarray(geometry.faces, dtype=np.int64)
    vertices = vertices @ matrix[:3, :3].T + matrix[:3, 3]
    return vertices, faces[:, ::-1] if np.linalg.det(matrix[:3, :3]) < 0 else faces
