"""Triangles that every later step can take, with a sentence for each change, or a MeshError.

Works in double precision on the file's own coordinates; lengths below are shares of the longest
side of the bounding box.
"""

from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float, Int

from pipeline.meshes.mesh import MeshError
from pipeline.meshes.winding import edges, wound

WELD = 1e-6  # vertices nearer than this are one: exporters split them where normals differ
THIN = 1e-7  # a triangle lower than this has no normal in single precision
LOST = 0.01  # of the faces; more without finite positions is another object
COARSE = 1 / 512  # of the size; positions known no better show as steps in any picture
FEWEST = 4  # faces that can close a surface
EXPORT = "repair it in the program that made it and export it again"

Vertices = Float[np.ndarray, "v 3"]
Faces = Int[np.ndarray, "f 3"]


def repaired(path: Path, vertices: Vertices, faces: Faces) -> tuple[Vertices, Faces, list[str]]:
    """(vertices, faces, changes). Raises MeshError where too little is left."""
    changes: list[str] = []
    if len(faces) and not 0 <= faces.min() <= faces.max() < len(vertices):
        span = f"{faces.min()} to {faces.max()}"
        raise MeshError(path, f"faces name the vertices {span} of {len(vertices)}", EXPORT)
    faces = _finite(path, vertices, faces, changes)
    vertices, faces = _used(vertices, faces)
    _check_extent(path, vertices, changes)
    # The unit of what follows; differences of huge numbers must not overflow when squared.
    unit = vertices / np.abs(vertices).max()
    unit = unit - unit.min(0)
    unit = unit / unit.max()
    vertices, unit, faces = _welded(vertices, unit, faces, changes)
    faces = _kept(faces, ~_thin(unit, faces), changes, "faces without area were dropped.")
    faces = _kept(faces, _first(faces), changes, "faces that repeat another were dropped.")
    if len(faces) < FEWEST:
        what = f"{len(faces)} usable faces; a surface needs {FEWEST}"
        raise MeshError(path, what, "hand over a mesh of triangles with area")
    faces, notes = wound(unit, faces)
    vertices, faces = _used(vertices, faces)
    return vertices, faces, changes + notes + _shape_notes(faces)


def _kept(faces: Faces, keep: Bool[np.ndarray, " f"], changes: list[str], what: str) -> Faces:
    gone = int((~keep).sum())
    if gone:
        changes.append(f"{gone:,} {what}")
    return faces[keep]


def _finite(path: Path, vertices: Vertices, faces: Faces, changes: list[str]) -> Faces:
    good = np.isfinite(vertices).all(1)[faces].all(1)
    gone = int((~good).sum())
    if gone > LOST * len(faces):
        what = f"{gone:,} of {len(faces):,} faces have corners that are NaN or infinite"
        raise MeshError(path, what, EXPORT)
    return _kept(faces, good, changes, "faces with NaN or infinite corners were dropped.")


def _used(vertices: Vertices, faces: Faces) -> tuple[Vertices, Faces]:
    """Only the vertices that faces name, in their order."""
    used, index = np.unique(faces, return_inverse=True)
    return vertices[used], index.reshape(-1, 3)


def _check_extent(path: Path, vertices: Vertices, changes: list[str]) -> None:
    """Raises MeshError for a mesh of no size, or too far from the origin for its precision."""
    if len(vertices) == 0:
        raise MeshError(path, "0 usable faces", "hand over a mesh of triangles with area")
    largest = float(np.abs(vertices).max())
    share = vertices / max(largest, 1e-300)  # differences of huge numbers would overflow
    extent = float((share.max(0) - share.min(0)).max())
    if extent == 0:
        raise MeshError(path, "all its vertices are one point", EXPORT)
    # Numbers that single precision holds exactly were very likely stored in it.
    with np.errstate(over="ignore"):
        if not np.array_equal(vertices, vertices.astype(np.float32)):
            return
    step = float(np.spacing(np.float32(largest))) / (extent * largest)
    if step > COARSE:
        what = f"it lies {1 / extent:,.0f} times its size from the origin, and its positions "
        what += f"are known to {step:.2g} of that size"
        raise MeshError(path, what, "move it to the origin before exporting it")
    if step > 1e-5:
        changes.append(f"Far from its origin: positions are known to {step:.2g} of its size only.")


def _welded(
    vertices: Vertices, unit: Vertices, faces: Faces, changes: list[str]
) -> tuple[Vertices, Vertices, Faces]:
    _, first, index = np.unique(
        np.round(unit / WELD).astype(np.int64), axis=0, return_index=True, return_inverse=True
    )
    if len(first) < len(unit):
        changes.append(
            f"{len(unit) - len(first):,} vertices were merged with others at their place."
        )
    return vertices[first], unit[first], index.reshape(-1)[faces]


def _thin(unit: Vertices, faces: Faces) -> Bool[np.ndarray, " f"]:
    a, b, c = (unit[faces[:, k]] for k in range(3))
    twice = np.linalg.norm(np.cross(b - a, c - a), axis=1)
    sides = np.stack([np.linalg.norm(p - q, axis=1) for p, q in ((a, b), (b, c), (c, a))])
    return twice <= THIN * sides.max(0)


def _first(faces: Faces) -> Bool[np.ndarray, " f"]:
    """Of faces on the same three vertices only the first."""
    _, index = np.unique(np.sort(faces, axis=1), axis=0, return_index=True)
    first = np.zeros(len(faces), dtype=bool)
    first[index] = True
    return first


def _shape_notes(faces: Faces) -> list[str]:
    """What later steps put up with, as sentences."""
    count = edges(faces).faces
    notes = []
    if (count > 2).any():
        notes.append(f"Not a manifold: {int((count > 2).sum()):,} edges have more than two faces.")
    if (count == 1).any():
        notes.append(f"Not watertight: {int((count == 1).sum()):,} edges have one face.")
    return notes
