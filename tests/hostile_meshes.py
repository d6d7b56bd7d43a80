"""Mesh files that users hand over by accident or malice; each is written into a folder by name."""

import gzip
import io
import json
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import trimesh

from pipeline.meshes.glb import pack

BALL = trimesh.creation.icosphere(2)
BOX = trimesh.creation.box((1.0, 2.0, 3.0))


def obj(vertices: np.ndarray, faces: np.ndarray, head: str = "") -> bytes:
    lines = [f"v {x!r} {y!r} {z!r}" for x, y, z in np.asarray(vertices, float).tolist()]
    lines += [f"f {a} {b} {c}" for a, b, c in (np.asarray(faces) + 1).tolist()]
    return (head + "\n".join(lines) + "\n").encode()


def glb(vertices: np.ndarray, faces: np.ndarray, **changes: Any) -> bytes:
    """One mesh; keywords replace or add top-level keys of the JSON."""
    position = np.asarray(vertices, "<f4").tobytes()
    corners = np.asarray(faces, "<u4").tobytes()
    tree: dict[str, Any] = {
        "asset": {"version": "2.0"},
        "scene": 0,
        "scenes": [{"nodes": [0]}],
        "nodes": [{"mesh": 0}],
        "meshes": [{"primitives": [{"attributes": {"POSITION": 0}, "indices": 1}]}],
        "buffers": [{"byteLength": len(position) + len(corners)}],
        "bufferViews": [
            {"buffer": 0, "byteLength": len(position)},
            {"buffer": 0, "byteOffset": len(position), "byteLength": len(corners)},
        ],
        "accessors": [
            {"bufferView": 0, "componentType": 5126, "count": len(vertices), "type": "VEC3"},
            {"bufferView": 1, "componentType": 5125, "count": faces.size, "type": "SCALAR"},
        ],
    }
    return pack(tree | changes, position + corners)


def ball_glb(**changes: Any) -> bytes:
    return glb(BALL.vertices, BALL.faces, **changes)


def accessors(**changes: Any) -> list[dict[str, Any]]:
    """The ball's accessors with the first one changed."""
    first = {"bufferView": 0, "componentType": 5126, "count": len(BALL.vertices), "type": "VEC3"}
    second = {"bufferView": 1, "componentType": 5125, "count": BALL.faces.size, "type": "SCALAR"}
    return [{k: v for k, v in (first | changes).items() if v is not None}, second]


def with_nan(count: int) -> bytes:
    vertices = trimesh.creation.icosphere(3).vertices.copy()
    vertices[:count] = np.nan
    return glb(vertices, trimesh.creation.icosphere(3).faces)


def two_million() -> bytes:
    faces = np.tile(BALL.faces, (2_000_000 // len(BALL.faces) + 1, 1))
    return glb(BALL.vertices, faces)


def shuffled_winding() -> bytes:
    faces = BALL.faces.copy()
    turned = np.random.default_rng(0).random(len(faces)) < 0.4
    faces[turned] = faces[turned, ::-1]
    return glb(BALL.vertices, faces)


def zipped() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("bomb.obj", b"v 0 0 0\n" * 100_000)
    return buffer.getvalue()


def split_box() -> bytes:
    """Twenty-four vertices: every face of the box has its own."""
    corners = BOX.vertices[BOX.faces].reshape(-1, 3)
    return glb(corners, np.arange(len(corners)).reshape(-1, 3))


def fan_of_three() -> bytes:
    """A box with a third wing on one of its edges."""
    vertices = np.concatenate([BOX.vertices, [[9.0, 9.0, 9.0]]])
    a, b = BOX.faces[0][:2]
    return glb(vertices, np.concatenate([BOX.faces, [[a, b, len(BOX.vertices)]]]))


def slivers() -> bytes:
    vertices = np.concatenate([BALL.vertices, BALL.vertices[:1] * 1.0])
    line = [[0, 0, 1], [2, len(BALL.vertices) - 1, 2]]
    return glb(vertices, np.concatenate([BALL.faces, line]))


def counts_back() -> bytes:
    lines = []
    for face in BOX.faces:
        lines += [f"v {x} {y} {z}" for x, y, z in BOX.vertices[face]] + ["f -3 -2 -1"]
    return "\n".join(lines).encode()


NODES = [{"children": [1, 2]}, {"mesh": 0, "translation": [5, 0, 0]}, {"mesh": 0}]
MANY = [{"children": list(range(1, 5001))}, *({"mesh": 0} for _ in range(5000))]
IMAGES = {"images": [{"uri": "http://127.0.0.1:9/t.png"}], "materials": [{}]}
PLY = BALL.export(file_type="ply")
PLY_TEXT = BALL.export(file_type="ply", encoding="ascii")
PLY_TEXT = PLY_TEXT if isinstance(PLY_TEXT, bytes) else PLY_TEXT.encode()
SCALED = BOX.vertices * 1e200
LOSTPLACE = (BALL.vertices * 0.05 + 40_000.0).astype(np.float32)

# name -> (file name, bytes, a word of the sentence that must come out)
REPAIRED: dict[str, tuple[str, Callable[[], bytes], str]] = {
    "a few NaN": ("nan.glb", lambda: with_nan(1), "NaN"),
    "inverted": ("inside.glb", lambda: glb(BALL.vertices, BALL.faces[:, ::-1]), "turned over"),
    "wound at random": ("random.glb", shuffled_winding, "turned over"),
    "non-manifold": ("fan.glb", fan_of_three, "Not a manifold"),
    "open": ("open.obj", lambda: obj(BALL.vertices, BALL.faces[5:]), "Not watertight"),
    "split vertices": ("split.glb", split_box, "merged"),
    "faces without area": ("thin.glb", slivers, "without area"),
    "repeated faces": (
        "twice.glb",
        lambda: glb(BALL.vertices, np.concatenate([BALL.faces, BALL.faces[:, ::-1]])),
        "repeat another",
    ),
    "far away": ("far.obj", lambda: obj(BALL.vertices + 1e4, BALL.faces), ""),
    "far away, single": ("far.glb", lambda: glb(BALL.vertices + 1e3, BALL.faces), "Far from"),
    "tiny": ("tiny.obj", lambda: obj(BALL.vertices * 1e-12, BALL.faces), ""),
    "missing texture": ("gone.glb", lambda: ball_glb(**IMAGES), "not opened"),
    "material elsewhere": (
        "material.obj",
        lambda: obj(BALL.vertices, BALL.faces, "mtllib ../../etc/passwd\n"),
        "passwd",
    ),
    "wrong extension": ("really.ply", ball_glb, "read as glb"),
    "unicode name": ("стул 椅子 🪑.glb", ball_glb, ""),
    "scene of two": ("scene.glb", lambda: ball_glb(nodes=NODES), ""),
    "counts back": ("back.obj", counts_back, "merged"),
    "binary ply": ("ball.ply", lambda: PLY, ""),
    "text ply": ("text.ply", lambda: PLY_TEXT, ""),
}

# name -> (file name, bytes, a word of the reason)
REFUSED: dict[str, tuple[str, Callable[[], bytes], str]] = {
    "empty file": ("empty.glb", lambda: b"", "empty"),
    "no triangles": ("points.obj", lambda: b"v 0 0 0\nv 1 0 0\nv 0 1 0\n", "no triangles"),
    "empty scene": ("nothing.glb", lambda: ball_glb(scenes=[{}]), "no triangles"),
    "many NaN": ("nan.glb", lambda: with_nan(200), "NaN"),
    "one triangle": ("one.obj", lambda: obj(np.eye(3), np.array([[0, 1, 2]])), "a surface needs"),
    "a line": ("line.obj", lambda: obj(np.outer(range(8), [1, 0, 0]), BOX.faces), "0 usable"),
    "one point": ("point.obj", lambda: obj(np.zeros((8, 3)), BOX.faces), "one point"),
    "two million faces": ("huge.glb", two_million, "the limit is"),
    "huge": ("scaled.obj", lambda: obj(SCALED, BOX.faces), "its size"),
    "lost in the distance": ("lost.glb", lambda: glb(LOSTPLACE, BALL.faces), "from the origin"),
    "numbers out of range": ("range.glb", lambda: glb(BALL.vertices[:9], BALL.faces), "of 9"),
    "cut short": ("cut.glb", lambda: ball_glb()[:-100], "declares"),
    "chunk too long": (
        "chunk.glb",
        lambda: ball_glb()[:12] + struct.pack("<I", 2**31) + ball_glb()[16:],
        "does not fit",
    ),
    "buffer too long": (
        "buffer.glb",
        lambda: ball_glb(buffers=[{"byteLength": 2**40}]),
        "a buffer declares",
    ),
    "buffer elsewhere": (
        "elsewhere.glb",
        lambda: ball_glb(buffers=[{"byteLength": 9, "uri": "http://127.0.0.1:9/b.bin"}]),
        "not opened",
    ),
    "buffer in a parent folder": (
        "parent.glb",
        lambda: ball_glb(buffers=[{"byteLength": 9, "uri": "../../secret.bin"}]),
        "secret.bin",
    ),
    "accessor of a billion": ("many.glb", lambda: ball_glb(accessors=accessors(count=10**9)), ""),
    "accessor of nothing": (
        "void.glb",
        lambda: ball_glb(accessors=accessors(bufferView=None, count=10**12)),
        "no data",
    ),
    "nodes in a circle": (
        "circle.glb",
        lambda: ball_glb(nodes=[{"mesh": 0, "children": [0]}]),
        "two parents",
    ),
    "five thousand copies": ("copies.glb", lambda: ball_glb(nodes=MANY), "the limit is"),
    "compressed": (
        "draco.glb",
        lambda: ball_glb(extensionsRequired=["KHR_draco_mesh_compression"]),
        "KHR_draco",
    ),
    "deep JSON": (
        "deep.glb",
        lambda: b"glTF" + struct.pack("<4I", 2, 20 + 2**20, 2**20, 0x4E4F534A) + b"[" * 2**20,
        "JSON",
    ),
    "JSON of another shape": ("shape.glb", lambda: ball_glb(meshes=[7]), "malformed"),
    "glTF with other files": ("a.gltf", lambda: json.dumps({"asset": {}}).encode(), "JSON"),
    "zip": ("bomb.glb", zipped, "zip"),
    "gzip": ("bomb.obj", lambda: gzip.compress(b"v 0 0 0\n" * 1000), "gzip"),
    "web page": ("page.glb", lambda: b"<!doctype html><p>404", "web page"),
    "pickle": ("evil.obj", lambda: b"\x80\x04cos\nsystem\n(S'true'\ntR.", "not GLB"),
    "short ply": ("short.ply", lambda: PLY_TEXT[: len(PLY_TEXT) // 2], "ends before"),
    "short binary ply": ("short.ply", lambda: PLY[:-50], "ends before|length"),
    "ply of a billion": (
        "billion.ply",
        lambda: PLY.replace(b"element vertex 162", b"element vertex 1620000000"),
        "ends before",
    ),
    "not a number": ("words.obj", lambda: b"v 0 0 a\nv 1 0 0\nv 0 1 0\nf 1 2 3\n", ""),
    "missing corner": ("corner.obj", lambda: b"v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 9\n", ""),
}


def write(folder: Path, name: str, data: bytes) -> Path:
    path = folder / name
    path.write_bytes(data)
    return path
