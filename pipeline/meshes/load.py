"""Bring a GLB, OBJ or PLY file into the project's world as one mesh.

    python -m pipeline.meshes.load chair.glb --out FOLDER [--up=y] [--front=z] [--place fit]

Writes FOLDER/mesh.safetensors (vertices, faces) and FOLDER/mesh.json (what was read, what was
changed, the transform, checksums). A file that holds no usable mesh is a result: mesh.json says
failed and why, mesh.safetensors is empty, the exit status is 0.

`--up` and `--front` name the file's axes that point up and to the object's front: x, y, z, -x, -y,
-z (`--up=-y`, with an equals sign). The defaults are glTF's. `--place keep` leaves a mesh that lies
in the unit ball already where it is; `fit` centres and scales it. Materials, textures, bones and
animations are not read; nothing outside the file is opened.
"""

import argparse
import hashlib
import io
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pipeline.artifacts import exit_status, save_safetensors, write_json
from pipeline.meshes.formats import EXPORT, Checked, checked, refuse_faces
from pipeline.meshes.mesh import Mesh, MeshError, checksum
from pipeline.meshes.orient import AXES, PLACES, placed
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


def write_mesh(folder: Path | str, file: Path | str, **options: Any) -> dict[str, Any]:
    """The record of `load_mesh`, written with the mesh; of a failure too."""
    folder = Path(folder)
    try:
        loaded = load_mesh(file, **options)
        mesh, record = loaded.mesh, loaded.record
    except MeshError as error:
        mesh = Mesh(torch.zeros(0, 3), torch.zeros(0, 3, dtype=torch.int64))
        record = {"status": "failed", "file": Path(file).name, "reason": str(error)}
    tensors = {"vertices": mesh.vertices, "faces": mesh.faces}
    save_safetensors(folder / "mesh.safetensors", tensors, {"status": record["status"]})
    write_json(folder / "mesh.json", record)
    return record


def main(arguments: Sequence[str] | None = None) -> None:
    """Writes the two files as the module's docstring says."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("file", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--up", choices=AXES, default="y")
    parser.add_argument("--front", choices=AXES, default="z")
    parser.add_argument("--place", choices=PLACES, default="fit")
    parser.add_argument("--max-faces", type=int, default=MAX_FACES)
    options = vars(parser.parse_args(arguments))
    record = write_mesh(options.pop("out"), options.pop("file"), **options)
    for line in record.get("changes", []):
        print(line)
    if record["status"] == "failed":
        print(f"failed: {record['reason']}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(exit_status(main, ValueError))
