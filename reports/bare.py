"""A mesh without its colours: GLB in, GLB out, through numpy alone."""

import json
import struct
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32, UInt32

from pipeline.artifacts import ArtifactError

JSON_CHUNK, BINARY_CHUNK = 0x4E4F534A, 0x004E4942
FLOAT, UNSIGNED = 5126, 5125  # glTF's component types
DTYPES: dict[int, np.dtype[Any]] = {
    FLOAT: np.dtype("<f4"),
    UNSIGNED: np.dtype("<u4"),
    5123: np.dtype("<u2"),
}
WIDTHS = {"SCALAR": 1, "VEC3": 3}
GREY = {"baseColorFactor": [0.3, 0.3, 0.3, 1.0], "metallicFactor": 0.0, "roughnessFactor": 0.9}


def bare_glb(glb: bytes, path: Path) -> bytes:
    """The first mesh of `glb` in a matt grey that takes the viewer's light, with smooth normals.

    Corners at one place, which a texture's seams hold apart, share their normal. Raises
    ArtifactError, naming `path`, for a file that is no GLB with plain triangles.
    """
    try:
        document, binary = _chunks(glb)
        (primitive,) = document["meshes"][0]["primitives"]
        points = _array(document, binary, primitive["attributes"]["POSITION"]).astype(np.float32)
        faces = _array(document, binary, primitive["indices"]).reshape(-1, 3).astype("<u4")
        normals = _normals(points, faces)
    except (KeyError, IndexError, TypeError, ValueError, struct.error) as error:
        raise ArtifactError(f"{path}: no GLB with one mesh ({error}); export it again") from error
    parts = [points.tobytes(), normals.tobytes(), faces.tobytes()]
    return _packed(parts, points, faces.size)


def _chunks(glb: bytes) -> tuple[dict[str, Any], bytes]:
    length, kind = struct.unpack_from("<II", glb, 12)
    if glb[:4] != b"glTF" or kind != JSON_CHUNK:
        raise ValueError("its header is another")
    binary = 20 + length
    size, kind = struct.unpack_from("<II", glb, binary)
    if kind != BINARY_CHUNK or len(glb) < binary + 8 + size:
        raise ValueError("its binary chunk is cut off")
    return json.loads(glb[20:binary]), glb[binary + 8 : binary + 8 + size]


def _array(document: Mapping[str, Any], binary: bytes, number: int) -> np.ndarray:
    """The values of an accessor, (count, 3) or (count)."""
    accessor = document["accessors"][number]
    view = document["bufferViews"][accessor["bufferView"]]
    dtype, width = DTYPES[accessor["componentType"]], WIDTHS[accessor["type"]]
    if view.get("byteStride", dtype.itemsize * width) != dtype.itemsize * width:
        raise ValueError("its values are interleaved")
    start = view.get("byteOffset", 0) + accessor.get("byteOffset", 0)
    values = np.frombuffer(binary, dtype, accessor["count"] * width, start)
    return values.reshape(-1, 3) if width == 3 else values


def _normals(
    points: Float32[np.ndarray, "n 3"], faces: UInt32[np.ndarray, "f 3"]
) -> Float32[np.ndarray, "n 3"]:
    """Unit normals at the points, (n, 3): the faces around a place, weighted by their areas."""
    places, place = np.unique(points, axis=0, return_inverse=True)
    corners = place.reshape(-1)[faces]
    a, b, c = (places[corners[:, k]].astype(np.float64) for k in range(3))
    across = np.cross(b - a, c - a)
    total = np.zeros((len(places), 3))
    for k in range(3):
        np.add.at(total, corners[:, k], across)
    length = np.linalg.norm(total, axis=1, keepdims=True)
    unit = np.where(length > 0, total / np.maximum(length, 1e-30), [0.0, 1.0, 0.0])
    return unit[place.reshape(-1)].astype("<f4")


def _packed(parts: Sequence[bytes], points: Float32[np.ndarray, "n 3"], corners: int) -> bytes:
    """A GLB of positions, normals and corners, each four bytes a value."""
    starts = np.cumsum([0, *map(len, parts)]).tolist()
    views = [
        {"buffer": 0, "byteOffset": start, "byteLength": len(part)}
        for start, part in zip(starts, parts, strict=False)
    ]
    vectors = {"componentType": FLOAT, "count": len(points), "type": "VEC3"}
    bounds = {"min": points.min(0).tolist(), "max": points.max(0).tolist()}
    accessors: list[dict[str, Any]] = [
        {"bufferView": 0, **vectors, **bounds},
        {"bufferView": 1, **vectors},
        {"bufferView": 2, "componentType": UNSIGNED, "count": corners, "type": "SCALAR"},
    ]
    attributes = {"POSITION": 0, "NORMAL": 1}
    document = {
        "asset": {"version": "2.0"},
        "scene": 0,
        "scenes": [{"nodes": [0]}],
        "nodes": [{"mesh": 0}],
        "meshes": [{"primitives": [{"attributes": attributes, "indices": 2, "material": 0}]}],
        "materials": [{"pbrMetallicRoughness": GREY, "doubleSided": True}],
        "buffers": [{"byteLength": starts[-1]}],
        "bufferViews": views,
        "accessors": accessors,
    }
    text = json.dumps(document, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 4)
    binary = b"".join(parts)
    chunks = struct.pack("<II", len(text), JSON_CHUNK) + text
    chunks += struct.pack("<II", len(binary), BINARY_CHUNK) + binary
    return struct.pack("<4sII", b"glTF", 2, 12 + len(chunks)) + chunks
