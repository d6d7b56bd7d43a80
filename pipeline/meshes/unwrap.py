"""A mesh cut into charts that lie side by side in a texture (xatlas), kept by checksum.

Texture coordinates are (u, v) in [0, 1]; the texture's row 0 is where v = 0, as in glTF's images
and in `pipeline.raster`. The same mesh and options give the same atlas.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from pipeline.artifacts import digest, load_safetensors, save_safetensors
from pipeline.meshes.mesh import Mesh, MeshError, checksum
from pipeline.raster.interface import backend

VERSION = 1  # of what `unwrap` makes of a mesh; a new number leaves older files in the cache alone
PADDING = 3  # texels around a chart: bilinear lookups at its border stay away from its neighbours
# xatlas takes triangles of less than about 1e-7 for points; in the unit ball small ones are that.
ENLARGED = 1000.0


@dataclass(frozen=True)
class Atlas:
    """Where the mesh lies in the texture; corner k of face f is at uv[faces[f, k]].

    `source` is the mesh's vertex that each of the atlas's vertices stands for; `size` the texture's
    (rows, columns) for which the charts were packed.
    """

    source: Int[Tensor, " n"]
    faces: Int[Tensor, "f 3"]
    uv: Float[Tensor, "n 2"]
    size: tuple[int, int]


@dataclass(frozen=True)
class Texels:
    """The point of the surface that each texel's centre shows; zero where `covered` is False."""

    position: Float[Tensor, "h w 3"]
    normal: Float[Tensor, "h w 3"]  # of the face
    covered: Bool[Tensor, "h w"]


def unwrap(mesh: Mesh, resolution: int, *, cache: Path | str | None = None) -> Atlas:
    """An atlas whose texture has about `resolution` rows and columns.

    With `cache` it is read from that folder, or made and written there. Raises ValueError for a
    resolution below 32, MeshError where no triangle can be flattened.
    """
    if resolution < 32:
        raise ValueError(f"resolution {resolution}: charts and their padding need at least 32")
    if cache is None:
        return _computed(mesh, resolution)
    key = digest([VERSION, PADDING, checksum(mesh), resolution])
    path = Path(cache) / f"{key[:32]}.safetensors"
    if path.exists():
        tensors, _ = load_safetensors(path)
        rows, columns = tensors["size"].tolist()
        return Atlas(tensors["source"], tensors["faces"], tensors["uv"], (rows, columns))
    atlas = _computed(mesh, resolution)
    tensors = {"source": atlas.source, "faces": atlas.faces, "uv": atlas.uv}
    save_safetensors(path, tensors | {"size": torch.tensor(atlas.size)})
    return atlas


def _computed(mesh: Mesh, resolution: int) -> Atlas:
    import xatlas

    vertices = mesh.vertices.cpu().numpy().astype(np.float32) * np.float32(ENLARGED)
    packing = xatlas.PackOptions()
    packing.resolution, packing.padding, packing.bilinear = resolution, PADDING, True
    found = xatlas.Atlas()
    found.add_mesh(vertices, mesh.faces.cpu().numpy().astype(np.uint32))
    found.generate(xatlas.ChartOptions(), packing)
    if found.atlas_count != 1:
        what = f"its charts fill {found.atlas_count} textures of {resolution}"
        raise MeshError("the mesh", what, "raise the resolution or decimate the mesh")
    source, faces, uv = found.get_mesh(0)
    return Atlas(
        torch.from_numpy(source.astype(np.int64)),
        torch.from_numpy(faces.astype(np.int64)),
        torch.from_numpy(uv.astype(np.float32)),
        (int(found.height), int(found.width)),
    )


def texels(mesh: Mesh, atlas: Atlas) -> Texels:
    """What each texel shows: the atlas's triangles drawn at their uv, row 0 where v = 0."""
    flat = torch.zeros(len(atlas.uv), 4)
    flat[:, :2] = atlas.uv * 2 - 1
    flat[:, 3] = 1
    shown = backend("cpu")
    rast = shown.rasterize(flat[None], atlas.faces, atlas.size)
    position = shown.interpolate(mesh.vertices[atlas.source][None], rast, atlas.faces)[0]
    covered = rast[0, :, :, 3] > 0
    a, b, c = mesh.vertices[mesh.faces].unbind(1)
    normals = torch.nn.functional.normalize(torch.linalg.cross(b - a, c - a), dim=-1)
    normal = torch.zeros_like(position)
    normal[covered] = normals[rast[0, :, :, 3][covered].long() - 1]
    return Texels(position, normal, covered)
