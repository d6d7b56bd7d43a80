"""A mesh cut into charts that lie side by side in a texture (xatlas), and its file.

Texture coordinates are (u, v) in [0, 1]; the texture's row 0 is where v = 0, as in glTF's images
and in `pipeline.raster`. The same mesh and options give the same atlas.
"""

import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from pipeline.artifacts import ArtifactError, load_safetensors, save_safetensors
from pipeline.meshes.mesh import Mesh, MeshError, checksum
from pipeline.meshes.winding import neighbours
from pipeline.raster.interface import backend

PADDING = 3  # texels around a chart: bilinear lookups at its border stay away from its neighbours
# xatlas takes triangles of less than about 1e-7 for points; in the unit ball small ones are that.
ENLARGED = 1000.0
FLAT = 2e-4  # one less the cosine between normals that xatlas (1e-4) may take for equal
BENT = 0.95  # cosine to a plane's mean normal; a real plane has 1
ROUGH = 0.02  # turns faces by a few degrees, and moves a chart's corners by less than anyone sees
OVERLAP = 0.2  # of the charts' area; rounding to texels stays far below
WORKER = Path(__file__).with_name("atlas_worker.py")
PATIENCE = 900  # seconds; 82,000 faces of smooth bends took 24 to 63 on one core


@dataclass(frozen=True)
class Atlas:
    """Where the mesh lies in the texture; corner k of face f is at uv[faces[f, k]].

    `source` is the mesh's vertex that each of the atlas's vertices stands for; `size` the texture's
    (rows, columns) for which the charts were packed, another for every mesh; `resolution` what was
    asked for, the same for all of them, None where nobody asked.
    """

    source: Int[Tensor, " n"]
    faces: Int[Tensor, "f 3"]
    uv: Float[Tensor, "n 2"]
    size: tuple[int, int]
    resolution: int | None = None


@dataclass(frozen=True)
class Texels:
    """The point of the surface that each texel's centre shows; zero where `covered` is False."""

    position: Float[Tensor, "h w 3"]
    normal: Float[Tensor, "h w 3"]  # of the face
    covered: Bool[Tensor, "h w"]


def save_atlas(path: Path | str, atlas: Atlas, mesh: Mesh) -> None:
    """The file holds the atlas, and says of which mesh it is."""
    tensors = {"source": atlas.source, "faces": atlas.faces, "uv": atlas.uv}
    described = {"mesh_sha256": checksum(mesh)}
    if atlas.resolution is not None:
        described["resolution"] = str(atlas.resolution)
    save_safetensors(path, tensors | {"size": torch.tensor(atlas.size)}, described)


def load_atlas(path: Path | str, mesh: Mesh) -> Atlas:
    """The atlas that `save_atlas` wrote. Raises ArtifactError where it is another mesh's."""
    tensors, metadata = load_safetensors(path)
    if metadata.get("mesh_sha256") != checksum(mesh):
        raise ArtifactError(f"{path}: the atlas of another mesh; delete it and make it again")
    rows, columns = tensors["size"].tolist()
    asked = int(metadata["resolution"]) if "resolution" in metadata else None
    return Atlas(tensors["source"], tensors["faces"], tensors["uv"], (rows, columns), asked)


def unwrap(mesh: Mesh, resolution: int) -> Atlas:
    """An atlas whose texture has about `resolution` rows and columns; xatlas's, by `atlas_worker`.

    Raises ValueError for a resolution below 32, MeshError where no triangle can be flattened.
    """
    if resolution < 32:
        raise ValueError(f"resolution {resolution}: charts and their padding need at least 32")
    remedy = "decimate or smooth the mesh, or raise the resolution"
    with tempfile.TemporaryDirectory() as folder:
        into, out = Path(folder) / "in.npz", Path(folder) / "out.npz"
        np.savez(
            into,
            vertices=roughened(mesh).numpy() * np.float32(ENLARGED),
            faces=mesh.faces.cpu().numpy(),
            resolution=resolution,
            padding=PADDING,
        )
        command = [sys.executable, "-P", str(WORKER), str(into), str(out)]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE)
        except subprocess.TimeoutExpired as error:
            what = f"unwrapping {len(mesh.faces):,} faces took more than {PATIENCE:,} s"
            raise MeshError("the mesh", what, remedy) from error
        if done.returncode:
            lines = done.stderr.strip().splitlines() or [f"it ended with {done.returncode}"]
            raise MeshError("the mesh", f"xatlas could not unwrap it ({lines[-1]})", remedy)
        found = np.load(out, allow_pickle=False)
        source, faces, uv = (torch.from_numpy(found[name]) for name in ("source", "faces", "uv"))
        rows, columns = found["size"].tolist()
    return Atlas(source, faces, uv, (rows, columns), resolution)


def roughened(mesh: Mesh) -> Float[Tensor, "v 3"]:
    """The vertices, those of smooth bends moved by ROUGH of their edges' length.

    xatlas takes faces for one plane where each differs little from its neighbour. On a fine smooth
    surface such a plane runs all around the object; it is flattened badly, and without a border it
    crashes the library. Real planes stay as they are.
    """
    from scipy import sparse
    from scipy.sparse import csgraph

    corners = mesh.vertices[mesh.faces].double()
    a, b, c = corners.unbind(1)
    normal = torch.nn.functional.normalize(torch.linalg.cross(b - a, c - a), dim=-1)
    first, second, _ = neighbours(mesh.faces.numpy())
    flat = (1 - (normal[first] * normal[second]).sum(1) < FLAT).numpy()
    pairs = (np.ones(int(flat.sum())), (first[flat], second[flat]))
    graph = sparse.csr_matrix(pairs, shape=(len(mesh.faces),) * 2)
    planes, number = csgraph.connected_components(graph, directed=False)
    plane = torch.from_numpy(number).long()
    mean = torch.zeros(planes, 3, dtype=torch.float64).index_add(0, plane, normal)
    mean = torch.nn.functional.normalize(mean, dim=-1)[plane]
    bent = torch.zeros(planes, dtype=torch.bool)
    bent[plane[(normal * mean).sum(1) < BENT]] = True
    faces = bent[plane]
    length = torch.zeros(len(mesh.vertices), dtype=torch.float64)
    longest = (corners - corners.roll(-1, 1)).norm(dim=-1).amax(1)[faces, None].expand(-1, 3)
    length.scatter_reduce_(0, mesh.faces[faces].reshape(-1), longest.reshape(-1), "amax")
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(len(length), 3, generator=generator, dtype=torch.float64)
    return (mesh.vertices + ROUGH * length[:, None] * noise).float()


def texels(mesh: Mesh, atlas: Atlas) -> Texels:
    """What each texel shows: the atlas's triangles drawn at their uv, row 0 where v = 0.

    Raises MeshError where charts lie on one another, so that a texel would stand for two places.
    """
    flat = torch.zeros(len(atlas.uv), 4)
    flat[:, :2] = atlas.uv * 2 - 1
    flat[:, 3] = 1
    shown = backend("cpu")
    rast = shown.rasterize(flat[None], atlas.faces, atlas.size)
    position = shown.interpolate(mesh.vertices[atlas.source][None], rast, atlas.faces)[0]
    covered = rast[0, :, :, 3] > 0
    _check_overlap(atlas, int(covered.sum()))
    a, b, c = mesh.vertices[mesh.faces].unbind(1)
    normals = torch.nn.functional.normalize(torch.linalg.cross(b - a, c - a), dim=-1)
    normal = torch.zeros_like(position)
    normal[covered] = normals[rast[0, :, :, 3][covered].long() - 1]
    return Texels(position, normal, covered)


def _check_overlap(atlas: Atlas, covered: int) -> None:
    a, b, c = (atlas.uv * torch.tensor(atlas.size[::-1]))[atlas.faces].unbind(1)
    (x, y), (s, t) = (b - a).unbind(1), (c - a).unbind(1)
    area = float((x * t - y * s).abs().sum() / 2)
    if covered < (1 - OVERLAP) * area - 16:
        what = f"its charts lie on one another: {covered:,} texels show an area of {area:,.0f}"
        raise MeshError("the mesh", what, "smooth the mesh or cut it into simpler parts")
