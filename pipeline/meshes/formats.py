"""What a file says about itself, checked before any reader allocates or opens anything by it.

Formats are told by content, not by name. Only GLB, OBJ and PLY are read; what they refer to
outside themselves (materials, images, buffers) is never opened or fetched. A file's own counts are
held against its size and against the limit of faces.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pipeline.meshes.glb import check_glb
from pipeline.meshes.mesh import MeshError

EXPORT = "export it as one uncompressed .glb"
# Files that users do hand over and that are not read, by their first bytes.
UNREADABLE: dict[bytes, str] = {
    b"PK\x03\x04": "a zip archive (.usdz, .3mf, .zip)",
    b"\x1f\x8b": "gzip-compressed",
    b"Kaydara FBX": "an FBX file",
    b"BLENDER": "a Blender file",
    b"solid": "an STL file",
    b"version https://git-lfs": "a Git LFS pointer and not the file itself",
    b"\x93NUMPY": "a numpy array",
    b"<": "XML or a web page (perhaps a failed download)",
}


@dataclass(frozen=True)
class Checked:
    """A file that may be read: its format, its bytes as the reader takes them, what was changed."""

    kind: str
    data: bytes
    changes: list[str]


def kind_of(path: Path, data: bytes) -> str:
    """ "glb", "ply" or "obj" by content. Raises MeshError for anything else."""
    if data[:4] == b"glTF":
        return "glb"
    if data[:4] in (b"ply\n", b"ply\r"):
        return "ply"
    if data.lstrip()[:1] == b"{":
        what = "JSON (perhaps glTF with its buffers in other files)"
        raise MeshError(path, what, EXPORT)
    for magic, name in UNREADABLE.items():
        if data.startswith(magic):
            raise MeshError(path, f"is {name}, not GLB, OBJ or PLY", EXPORT)
    if b"\0" not in data[:4096] and re.search(rb"(?m)^\s*v\s", data):
        return "obj"
    raise MeshError(path, "its content is not GLB, OBJ or PLY", EXPORT)


def checked(path: Path, data: bytes, max_faces: int) -> Checked:
    """The file ready for its reader. Raises MeshError where its own counts cannot be true."""
    if not data:
        raise MeshError(path, "the file is empty", "copy or export it again")
    kind = kind_of(path, data)
    changes = []
    if path.suffix.lower() != f".{kind}":
        changes.append(
            f"The file is named {path.suffix or 'without suffix'} and was read as {kind}."
        )
    data, more = CHECKS[kind](path, data, max_faces)
    return Checked(kind, data, changes + more)


def refuse_faces(path: Path, count: int, max_faces: int) -> None:
    """Raises MeshError where `count` is above the limit."""
    if count > max_faces:
        what = f"{count:,} faces; the limit is {max_faces:,}"
        raise MeshError(path, what, "decimate it (Blender: Decimate) or raise --max-faces")


def check_obj(path: Path, data: bytes, max_faces: int) -> tuple[bytes, list[str]]:
    """Text with absolute numbers of vertices; materials are named and left alone."""
    changes = []
    for library in sorted(set(re.findall(rb"(?m)^\s*mtllib\s+(.+?)\s*$", data))):
        name = library.decode("utf-8", "replace")
        changes.append(f"The material file {name!r} was not opened: materials are not used.")
    faces = re.findall(rb"(?m)^\s*f\s+(.*)$", data)
    refuse_faces(path, sum(max(len(face.split()) - 2, 0) for face in faces), max_faces)
    if any(b"-" in face for face in faces):
        data = _absolute(path, data)
    return data, changes


def _absolute(path: Path, data: bytes) -> bytes:
    """The text with faces that count back from the last vertex (-1) counting from the first."""
    seen = {b"v": 0, b"vt": 0, b"vn": 0}
    lines = []
    for line in data.splitlines():
        words = line.split()
        if words and words[0] in seen:
            seen[words[0]] += 1
        if words and words[0] == b"f":
            words = [b"f", *(_corner(path, word, seen) for word in words[1:])]
            line = b" ".join(words)
        lines.append(line)
    return b"\n".join(lines)


def _corner(path: Path, word: bytes, seen: dict[bytes, int]) -> bytes:
    numbers = []
    for text, count in zip(word.split(b"/"), seen.values(), strict=False):
        try:
            number = int(text or b"0")
        except ValueError as error:
            what = f"a face's corner is {word.decode('utf-8', 'replace')!r}"
            raise MeshError(path, what, EXPORT) from error
        numbers.append(str(number if number >= 0 else count + number + 1).encode())
    return b"/".join(b"" if number == b"0" else number for number in numbers)


def check_ply(path: Path, data: bytes, max_faces: int) -> tuple[bytes, list[str]]:
    """Unchanged, where the header ends and the rows it promises are there."""
    remedy = "copy or export it again"
    header = re.match(rb"(?s)ply\r?\n.*?\bend_header\r?\n", data[: 1 << 16])
    if header is None:
        raise MeshError(path, "the PLY header does not end", remedy)
    declared = re.findall(rb"(?m)^element\s+(\w+)\s+(\d+)\s*$", header.group())
    counts = {name.decode(): int(count) for name, count in declared}
    refuse_faces(path, counts.get("face", 0), max_faces)
    body = data[header.end() :]
    # Every row takes a byte in a binary file, and a line in a text file.
    ascii_rows = re.search(rb"(?m)^format\s+ascii\b", header.group()) is not None
    rows = sum(bool(line.strip()) for line in body.splitlines()) if ascii_rows else len(body)
    if rows < sum(counts.values()):
        what = f"the header promises {sum(counts.values()):,} rows and the file ends before"
        raise MeshError(path, what, remedy)
    image = re.search(rb"(?im)^comment\s+texturefile\s+(.+?)\s*$", header.group())
    if image is None:
        return data, []
    name = image.group(1).decode("utf-8", "replace")
    return data, [f"The image {name!r} was not opened: textures are not used."]


CHECKS: dict[str, Callable[[Path, bytes, int], tuple[bytes, list[str]]]] = {
    "glb": check_glb,
    "obj": check_obj,
    "ply": check_ply,
}
