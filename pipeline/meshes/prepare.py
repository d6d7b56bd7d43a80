"""Leave a mesh file behind as everything that painting it takes.

    python -m pipeline.meshes.prepare chair.glb --out FOLDER [--up=y] [--front=z] [--place fit]

Writes FOLDER/mesh.safetensors (vertices, faces), FOLDER/atlas.safetensors (where they lie in a
texture), FOLDER/bare.glb (the shape in grey) and, last, FOLDER/mesh.json (what was read, what was
changed, the transform, checksums). A file that holds no usable mesh, or one that cannot be
unwrapped, is a result: mesh.json says failed and why, the tensors are empty, there is no bare.glb,
and the exit status is 0.

`--up` and `--front` name the file's axes that point up and to the object's front: x, y, z, -x, -y,
-z (`--up=-y`, with an equals sign). The defaults are glTF's. `--place keep` leaves a mesh that lies
in the unit ball already where it is; `fit` centres and scales it. `--origin` is a file that says
where the mesh is from (`pipeline.meshes.objaverse` writes one); mesh.json repeats it.
"""

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from pipeline.artifacts import (
    exit_status,
    read_json,
    save_safetensors,
    sha256,
    write_bytes,
    write_json,
)
from pipeline.meshes.export_glb import bare_glb
from pipeline.meshes.load import MAX_FACES, load_mesh
from pipeline.meshes.mesh import Mesh, MeshError
from pipeline.meshes.orient import AXES, PLACES
from pipeline.meshes.unwrap import Atlas, save_atlas, texels, unwrap

TEXELS = 512  # rows and columns: about five texels a pixel of the miniature's pictures
EMPTY = Mesh(torch.zeros(0, 3), torch.zeros(0, 3, dtype=torch.int64))
NOWHERE = Atlas(torch.zeros(0, dtype=torch.int64), EMPTY.faces, torch.zeros(0, 2), (0, 0))


def write_mesh(
    folder: Path | str,
    file: Path | str,
    *,
    resolution: int = TEXELS,
    origin: Mapping[str, Any] | None = None,
    **options: Any,
) -> dict[str, Any]:
    """The record in mesh.json; the folder is written, for a failure too.

    `origin`: what is known of the file from elsewhere, which may be that it could not be had.
    `options` as for `load_mesh`.
    """
    folder, file = Path(folder), Path(file)
    mesh, atlas = EMPTY, NOWHERE
    try:
        if origin is not None and origin.get("status") == "failed":
            raise MeshError(origin["uid"], origin["what"], origin["remedy"])
        loaded = load_mesh(file, **options)
        atlas, mesh = unwrapped(file, loaded.mesh, resolution), loaded.mesh
        record = loaded.record
    except MeshError as error:
        # Records are published: they name the file, and not the folders of somebody's machine.
        reason = f"{Path(error.file).name}: {error.what}; {error.remedy}"
        record = {"status": "failed", "file": file.name, "reason": reason}
    tensors = {"vertices": mesh.vertices, "faces": mesh.faces}
    save_safetensors(folder / "mesh.safetensors", tensors, {"status": record["status"]})
    save_atlas(folder / "atlas.safetensors", atlas, mesh)
    names = ["mesh.safetensors", "atlas.safetensors"]
    (folder / "bare.glb").unlink(missing_ok=True)
    if record["status"] == "ok":
        write_bytes(folder / "bare.glb", bare_glb(mesh))
        names.append("bare.glb")
    outputs = {name: sha256(folder / name) for name in names}
    record |= {"origin": origin, "texels": list(atlas.size), "outputs": outputs}
    write_json(folder / "mesh.json", record)
    return record


def unwrapped(file: Path, mesh: Mesh, resolution: int) -> Atlas:
    """The mesh's atlas, in which every texel stands for one place. Raises MeshError for none."""
    try:
        atlas = unwrap(mesh, resolution)
        texels(mesh, atlas)
    except MeshError as error:
        raise MeshError(file, error.what, error.remedy) from error
    return atlas


def main(arguments: Sequence[str] | None = None) -> None:
    """Writes the folder as the module's docstring says."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("file", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--up", choices=AXES, default="y")
    parser.add_argument("--front", choices=AXES, default="z")
    parser.add_argument("--place", choices=PLACES, default="fit")
    parser.add_argument("--max-faces", type=int, default=MAX_FACES)
    parser.add_argument("--resolution", type=int, default=TEXELS, help="of the texture, about")
    parser.add_argument("--origin", type=Path, help="where the file is from, as JSON")
    options = vars(parser.parse_args(arguments))
    if options["origin"] is not None:
        options["origin"] = read_json(options["origin"])
    record = write_mesh(options.pop("out"), options.pop("file"), **options)
    for line in record.get("changes", []):
        print(line)
    if record["status"] == "failed":
        print(f"failed: {record['reason']}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(exit_status(main, ValueError))
