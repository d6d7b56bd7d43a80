"""Faces wound alike, and outwards where a body is closed: normals point the way they should.

Two faces that share an edge are wound alike if they run along it in opposite directions. Only edges
of exactly two faces count; bodies are the parts that such edges hold together.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int


@dataclass(frozen=True)
class Edges:
    """Undirected edges: of each face corner its edge, of each edge its number of faces."""

    of_corner: Int[np.ndarray, "f 3"]
    faces: Int[np.ndarray, " e"]


def edges(faces: Int[np.ndarray, "f 3"]) -> Edges:
    """Corner k of a face stands for the edge from corner k to corner k + 1."""
    pairs = np.stack([faces, np.roll(faces, -1, axis=1)], -1).reshape(-1, 2)
    pairs.sort(axis=1)
    key = pairs[:, 0].astype(np.int64) * (int(faces.max(initial=0)) + 1) + pairs[:, 1]
    _, index, count = np.unique(key, return_inverse=True, return_counts=True)
    return Edges(index.reshape(-1, 3), count)


def wound(
    vertices: Float[np.ndarray, "v 3"], faces: Int[np.ndarray, "f 3"]
) -> tuple[Int[np.ndarray, "f 3"], list[str]]:
    """(faces, sentences): faces turned over where needed.

    A closed body's faces look outwards (its volume is positive); an open body keeps the winding
    that most of its area has in the file.
    """
    from scipy.sparse import csgraph

    edge = edges(faces)
    first, second, opposed = neighbours(faces)
    count = len(faces)
    alike = _symmetric(first, second, np.where(opposed, 1.0, 2.0), count)
    bodies, body = csgraph.connected_components(alike, directed=False)
    turned = _propagated(alike, body, bodies)
    conflicts = int((turned[first] ^ turned[second] ^ ~opposed).sum())

    whole = np.bincount(body, (edge.faces[edge.of_corner] != 2).any(1), bodies) == 0
    area, volume = _measures(vertices, faces, body, bodies)
    volume = np.bincount(body, np.where(turned, -volume, volume), bodies)
    kept = np.bincount(body, np.where(turned, -area, area), bodies)
    backwards = np.where(whole, volume < 0, kept < 0)
    turned ^= backwards[body]
    faces = np.where(turned[:, None], faces[:, ::-1], faces)
    notes = []
    if turned.any():
        notes.append(f"{int(turned.sum()):,} faces were turned over, so that normals agree.")
    if conflicts:
        notes.append(f"{conflicts:,} edges cannot be wound alike (a one-sided surface).")
    return faces, notes


def neighbours(
    faces: Int[np.ndarray, "f 3"],
) -> tuple[Int[np.ndarray, " p"], Int[np.ndarray, " p"], Bool[np.ndarray, " p"]]:
    """Pairs of faces across edges of two, and whether they run along it in opposite directions."""
    edge = edges(faces)
    flat = edge.of_corner.reshape(-1)
    order = np.argsort(flat, kind="stable")
    order = order[edge.faces[flat[order]] == 2].reshape(-1, 2)
    start = faces.reshape(-1)[order]
    distinct = order[:, 0] // 3 != order[:, 1] // 3
    order, start = order[distinct], start[distinct]
    return order[:, 0] // 3, order[:, 1] // 3, start[:, 0] != start[:, 1]


def _symmetric(
    first: np.ndarray, second: np.ndarray, values: np.ndarray, count: int
) -> "scipy.sparse.csr_matrix":  # type: ignore[name-defined]  # noqa: F821
    """The graph of faces with one value a pair, the first of a pair that shares two edges."""
    from scipy import sparse

    key = np.minimum(first, second) * count + np.maximum(first, second)
    _, keep = np.unique(key, return_index=True)
    a, b, value = first[keep], second[keep], values[keep]
    both = (np.concatenate([value, value]), (np.concatenate([a, b]), np.concatenate([b, a])))
    return sparse.csr_matrix(both, shape=(count, count))


def _propagated(alike: "scipy.sparse.csr_matrix", body: np.ndarray, bodies: int) -> np.ndarray:  # type: ignore[name-defined]  # noqa: F821
    """Of every face, whether it must be turned over to agree with the first face of its body."""
    from scipy import sparse
    from scipy.sparse import csgraph

    count = len(body)
    _, seeds = np.unique(body, return_index=True)
    # One more node, joined to a face of every body, makes one walk reach them all.
    root = sparse.csr_matrix((np.ones(bodies), (np.zeros(bodies, int), seeds)), (1, count))
    graph = sparse.bmat([[alike, root.T], [root, None]], format="csr")
    order, before = csgraph.breadth_first_order(graph, count, directed=False)
    order = order[1:]
    differs = np.asarray(graph[before[order], order]).reshape(-1) == 2.0
    turned = [False] * (count + 1)
    steps = zip(order.tolist(), before[order].tolist(), differs.tolist(), strict=True)
    for face, previous, flip in steps:
        turned[face] = turned[previous] ^ flip
    return np.array(turned[:count], dtype=bool)


def _measures(
    vertices: Float[np.ndarray, "v 3"],
    faces: Int[np.ndarray, "f 3"],
    body: Int[np.ndarray, " f"],
    bodies: int,
) -> tuple[Float[np.ndarray, " f"], Float[np.ndarray, " f"]]:
    """Of every face its area and its share of the volume, seen from its body's mean point."""
    corners = vertices[faces]
    middle = corners.mean(1)
    share = np.bincount(body, minlength=bodies)[:, None]
    centre = np.stack([np.bincount(body, middle[:, k], bodies) for k in range(3)], -1) / share
    a, b, c = (corners[:, k] - centre[body] for k in range(3))
    cross = np.cross(b - a, c - a)
    return np.linalg.norm(cross, axis=1) / 2, (a * cross).sum(1) / 6
