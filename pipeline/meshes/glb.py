"""The structure of a GLB file (glTF 2.0, chapters 3 to 5), checked and written.

Chunk lengths, buffers, accessors and the tree of nodes are held against the file before a reader
believes them: accessors without data would be read as zeros, repeated nodes would multiply meshes
beyond memory, and buffers may point at other files or the network.
"""

import json
import struct
from pathlib import Path
from typing import Any

from pipeline.meshes.mesh import MeshError

MAGIC, VERSION = b"glTF", 2
JSON_CHUNK, BINARY_CHUNK = 0x4E4F534A, 0x004E4942
FLOAT = 5126
TRIANGLES, STRIP, FAN = 4, 5, 6
EXPORT = "export it as one uncompressed .glb"
AGAIN = "copy or download it again"
# Geometry lies in these as plain numbers; other required extensions may change what numbers mean.
HARMLESS = ("KHR_materials_", "KHR_texture_", "EXT_texture_", "KHR_lights_", "KHR_animation_")
MAX_NODES = 100_000


def chunks(path: Path, data: bytes) -> tuple[dict[str, Any], bytes]:
    """(JSON, binary) of a GLB file. Raises MeshError where lengths or the JSON are wrong."""
    if len(data) < 20:
        raise MeshError(path, "a GLB header needs 20 bytes and the file has fewer", AGAIN)
    version, length, size, kind = struct.unpack_from("<4I", data, 4)
    if version != VERSION:
        raise MeshError(path, f"glTF version {version}; only version 2 is read", EXPORT)
    if length > len(data):
        what = f"the GLB header declares {length:,} bytes and the file has {len(data):,}"
        raise MeshError(path, what, AGAIN)
    if kind != JSON_CHUNK or 20 + size > length:
        raise MeshError(path, f"the JSON chunk of {size:,} bytes does not fit the file", AGAIN)
    try:
        tree = json.loads(data[20 : 20 + size])
    except (ValueError, RecursionError) as error:
        raise MeshError(path, f"its JSON cannot be read ({error})", AGAIN) from error
    if not isinstance(tree, dict):
        raise MeshError(path, "its JSON is not an object", EXPORT)
    start = 20 + size
    if start + 8 > length:
        return tree, b""
    size, kind = struct.unpack_from("<2I", data, start)
    if start + 8 + size > length:
        what = f"a chunk declares {size:,} bytes and {length - start - 8:,} are left"
        raise MeshError(path, what, AGAIN)
    return tree, data[start + 8 : start + 8 + size] if kind == BINARY_CHUNK else b""


def pack(tree: dict[str, Any], binary: bytes) -> bytes:
    """A GLB file: `tree` as JSON, then `binary`, each padded to four bytes."""
    text = json.dumps(tree, separators=(",", ":"), allow_nan=False).encode()
    text += b" " * (-len(text) % 4)
    binary += b"\0" * (-len(binary) % 4)
    length = 12 + 8 + len(text) + 8 + len(binary)
    head = MAGIC + struct.pack("<4I", VERSION, length, len(text), JSON_CHUNK)
    return head + text + struct.pack("<2I", len(binary), BINARY_CHUNK) + binary


def check_glb(path: Path, data: bytes, max_faces: int) -> tuple[bytes, list[str]]:
    """Unchanged, where everything the file declares is in it. Raises MeshError otherwise."""
    tree, binary = chunks(path, data)
    try:
        _check_extensions(path, tree)
        _check_buffers(path, tree, binary)
        faces = _scene_faces(path, tree)
        changes = _unused(tree)
    except (KeyError, IndexError, TypeError, AttributeError) as error:
        what = f"the glTF inside is malformed ({type(error).__name__}: {error})"
        raise MeshError(path, what, EXPORT) from error
    if faces > max_faces:
        what = f"{faces:,} faces; the limit is {max_faces:,}"
        raise MeshError(path, what, "decimate it (Blender: Decimate) or raise --max-faces")
    return data, changes


def _check_extensions(path: Path, tree: dict[str, Any]) -> None:
    for name in tree.get("extensionsRequired", []):
        if not name.startswith(HARMLESS):
            raise MeshError(path, f"it needs the glTF extension {name}", EXPORT)


def _check_buffers(path: Path, tree: dict[str, Any], binary: bytes) -> None:
    for buffer in tree.get("buffers", []):
        uri = buffer.get("uri", "")
        if uri and not uri.startswith("data:"):
            what = f"a buffer lies outside the file ({uri[:80]!r}); it was not opened"
            raise MeshError(path, what, EXPORT)
        if not uri and buffer["byteLength"] > len(binary):
            what = (
                f"a buffer declares {buffer['byteLength']:,} bytes, the file holds {len(binary):,}"
            )
            raise MeshError(path, what, AGAIN)
    views = tree.get("bufferViews", [])
    for number, accessor in enumerate(tree.get("accessors", [])):
        count = accessor["count"]
        if not isinstance(count, int) or count < 0:
            raise MeshError(path, f"accessor {number} counts {count!r} items", EXPORT)
        if "bufferView" not in accessor or "sparse" in accessor:
            what = f"accessor {number} is sparse or has no data of its own"
            raise MeshError(path, what, EXPORT)
        if count > views[accessor["bufferView"]]["byteLength"]:
            what = f"accessor {number} counts {count:,} items, more than its bytes"
            raise MeshError(path, what, AGAIN)


def _primitive_faces(path: Path, tree: dict[str, Any], primitive: dict[str, Any]) -> int:
    mode = primitive.get("mode", TRIANGLES)
    if mode == FAN:
        raise MeshError(path, "a primitive is a triangle fan", EXPORT)
    if mode not in (TRIANGLES, STRIP):
        return 0
    position = tree["accessors"][primitive["attributes"]["POSITION"]]
    if position["componentType"] != FLOAT:
        raise MeshError(path, "its positions are quantised", EXPORT)
    corners = tree["accessors"][primitive.get("indices", primitive["attributes"]["POSITION"])]
    return corners["count"] // 3 if mode == TRIANGLES else max(corners["count"] - 2, 0)


def _scene_faces(path: Path, tree: dict[str, Any]) -> int:
    """Faces of the scene that is shown, every use of a mesh counted."""
    faces = [
        sum(_primitive_faces(path, tree, primitive) for primitive in mesh["primitives"])
        for mesh in tree.get("meshes", [])
    ]
    nodes = tree.get("nodes", [])
    if len(nodes) > MAX_NODES:
        raise MeshError(path, f"{len(nodes):,} nodes; the limit is {MAX_NODES:,}", EXPORT)
    scenes = tree.get("scenes", [])
    waiting = list(scenes[tree.get("scene", 0)].get("nodes", [])) if scenes else []
    total, seen = 0, set()
    while waiting:
        number = waiting.pop()
        if number in seen:
            raise MeshError(path, f"node {number} has two parents or is its own", EXPORT)
        seen.add(number)
        node = nodes[number]
        total += faces[node["mesh"]] if "mesh" in node else 0
        waiting += node.get("children", [])
    return total


def _unused(tree: dict[str, Any]) -> list[str]:
    """What the file has besides triangles, as sentences."""
    changes = []
    images = tree.get("images", [])
    outside = [i["uri"] for i in images if i.get("uri", "data:")[:5] != "data:"]
    if images:
        changes.append(f"{len(images)} image(s) of the file's materials are not used.")
    if outside:
        names = ", ".join(repr(uri[:80]) for uri in outside[:3])
        changes.append(f"Images outside the file were not opened: {names}.")
    if tree.get("skins"):
        changes.append(
            "Skinning is not applied: the mesh is in the pose its vertices are stored in."
        )
    primitives = [p for mesh in tree.get("meshes", []) for p in mesh["primitives"]]
    if any(p.get("targets") for p in primitives):
        changes.append("Morph targets are not applied.")
    other = sum(p.get("mode", TRIANGLES) not in (TRIANGLES, STRIP) for p in primitives)
    if other:
        changes.append(f"{other} primitive(s) of points or lines were left out.")
    return changes
