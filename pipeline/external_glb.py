"""Another system's GLB, rendered by our rasterizer at our cameras with the colours it stores.

Base colour alone is shown: texture times factor times vertex colours, in linear light as glTF 2.0
(chapter 3.9.2) says, then display rgb. Lights, metal, roughness, opacity and bones are not.
"""

import io
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from pipeline.cameras import Cameras
from pipeline.meshes.colours import display_from_linear, linear_from_display
from pipeline.meshes.formats import checked
from pipeline.meshes.mesh import Mesh, MeshError, vertex_normals
from pipeline.meshes.orient import placed
from pipeline.raster.interface import backend
from pipeline.raster.projection import clip_positions
from pipeline.render_views import Picture, straight
from pipeline.scenes import surface_layers

MAX_FACES = 2_000_000
CHUNK = 4  # cameras a call, which bounds memory


@dataclass(frozen=True)
class Part:
    """One material's share of the surface: corners' colours (linear) and places in its texture."""

    vertices: Float[np.ndarray, "v 3"]
    faces: Int[np.ndarray, "f 3"]
    colour: Float[np.ndarray, "v 3"]
    uv: Float[np.ndarray, "v 2"]
    texture: Float[Tensor, "h w 3"] | None
    factor: Float[np.ndarray, " 3"]


@dataclass(frozen=True)
class Coloured:
    """All parts together: `mesh` with welded vertices, `corners` that name the rows of the rest."""

    mesh: Mesh
    corners: Int[Tensor, "f 3"]
    attributes: Float[Tensor, "a 5"]  # linear colour, uv
    part: Int[Tensor, " f"]
    parts: list[Part]


def read_glb(path: Path, *, up: str, front: str, place: str) -> Coloured:
    """The file's surface in the project's world. Raises MeshError for a file that holds none."""
    file = checked(path, path.read_bytes(), MAX_FACES)
    if file.kind != "glb":
        raise MeshError(path, f"it is {file.kind.upper()}", "export it as one uncompressed .glb")
    parts = _parts(path, file.data)
    world = placed(
        path, np.concatenate([part.vertices for part in parts]), up=up, front=front, place=place
    )
    starts = np.cumsum([0, *(len(part.vertices) for part in parts)])
    corners = np.concatenate([p.faces + s for p, s in zip(parts, starts, strict=False)])
    welded, number = np.unique(world.vertices.astype(np.float32), axis=0, return_inverse=True)
    rows = [np.concatenate([part.colour, part.uv], axis=1) for part in parts]
    numbers = np.repeat(np.arange(len(parts)), [len(part.faces) for part in parts])
    return Coloured(
        mesh=Mesh(torch.from_numpy(welded), torch.from_numpy(number.reshape(-1)[corners])),
        corners=torch.from_numpy(corners),
        attributes=torch.from_numpy(np.concatenate(rows).astype(np.float32)),
        part=torch.from_numpy(numbers),
        parts=parts,
    )


def _parts(path: Path, data: bytes) -> list[Part]:
    import trimesh

    try:
        with np.errstate(all="ignore"):
            scene = trimesh.load_scene(io.BytesIO(data), file_type="glb", process=False)
            found = [_part(scene, node) for node in scene.graph.nodes_geometry]
    except Exception as error:  # trimesh raises what its parsers happen to raise
        what = f"its GLB cannot be read ({type(error).__name__}: {error})"
        raise MeshError(path, what[:300], "export it as one uncompressed .glb") from error
    parts = [part for part in found if part is not None]
    if not parts:
        raise MeshError(path, "it holds no triangles", "hand over a mesh, not points or curves")
    if not all(np.isfinite(part.vertices).all() for part in parts):
        raise MeshError(path, "a vertex is not finite", "export it again")
    return parts


def _part(scene: Any, node: str) -> Part | None:
    """A node's surface in the scene's frame, turned over where the node mirrors."""
    matrix, name = scene.graph[node]
    geometry = scene.geometry[name]
    if not len(getattr(geometry, "faces", ())):
        return None
    vertices = np.asarray(geometry.vertices, dtype=np.float64)
    vertices = vertices @ matrix[:3, :3].T + matrix[:3, 3]
    faces = np.asarray(geometry.faces, dtype=np.int64)
    if np.linalg.det(matrix[:3, :3]) < 0:
        faces = faces[:, ::-1]
    n, visual = len(vertices), geometry.visual
    part = Part(vertices, faces, np.ones((n, 3)), np.zeros((n, 2)), None, np.ones(3))
    colours = visual.vertex_colors if visual.kind == "vertex" else None
    if colours is None:
        colours = getattr(visual, "vertex_attributes", {}).get("color")
    if colours is not None and len(colours) == n:
        values = np.asarray(colours)
        most = np.iinfo(values.dtype).max if values.dtype.kind == "u" else 1.0
        part = replace(part, colour=values[:, :3].astype(np.float64) / most)
    material = getattr(visual, "material", None)
    factor = getattr(material, "baseColorFactor", None)
    if factor is not None:
        part = replace(part, factor=np.asarray(factor, dtype=np.float64)[:3] / 255.0)
    image, uv = getattr(material, "baseColorTexture", None), getattr(visual, "uv", None)
    if image is None or uv is None:
        return part
    texels = np.asarray(image.convert("RGB"), dtype=np.float32) / 255.0
    place = np.asarray(uv, dtype=np.float64) * [1, -1] + [0, 1]  # trimesh counts v from below
    return replace(part, uv=place, texture=torch.from_numpy(texels))


def glb_renderer(surface: Coloured, size: int) -> Callable[[Cameras], list[Picture]]:
    """Renders `surface`; the pictures have normals and depth."""
    vertices, faces = surface.mesh.vertices, surface.mesh.faces
    raster = backend("cpu")
    values = torch.cat([vertices, vertex_normals(surface.mesh)], 1)

    @torch.no_grad()
    def render(cameras: Cameras) -> list[Picture]:
        found = []
        for first in range(0, len(cameras), CHUNK):
            part = cameras[first : first + CHUNK]
            pos = clip_positions(vertices, part, 1.0)
            rast = raster.rasterize(pos, faces, (size, size))
            pixel = surface_layers.covered_pixels(rast)
            geometry = raster.interpolate(values[None], rast, faces).flatten(0, 2)[pixel].t()
            normal = torch.nn.functional.normalize(geometry[3:], dim=0)
            colour = _colours(surface, rast, pixel)
            place = geometry[:3].contiguous()
            layers = surface_layers.layers(rast, pos, faces, part, place, colour, normal)
            found += [_picture(image.numpy()) for image in layers]
        return found

    return render


def _colours(
    surface: Coloured, rast: Float[Tensor, "b h w 4"], pixel: Int[Tensor, " m"]
) -> Float[Tensor, "3 m"]:
    raster = backend("cpu")
    rows = raster.interpolate(surface.attributes[None], rast, surface.corners)
    rows = rows.flatten(0, 2)[pixel]
    triangle = rast[..., 3].reshape(-1)[pixel].long() - 1
    part_of = surface.part[triangle]
    linear = rows[:, :3].clone()
    for number, part in enumerate(surface.parts):
        here = (part_of == number).nonzero()[:, 0]
        if part.texture is not None and len(here):
            uv = rows[here, 3:][None, None]
            texels = raster.texture(part.texture[None], uv, "wrap")[0, 0]
            linear[here] *= linear_from_display(texels)
        linear[here] *= torch.from_numpy(part.factor).float()
    return display_from_linear(linear).t().contiguous()


def _picture(layers: Float[np.ndarray, "h w 8"]) -> Picture:
    alpha = layers[..., 3:4]
    known = np.maximum(alpha, 1e-6)
    normal = layers[..., 5:] / np.maximum(
        np.linalg.norm(layers[..., 5:], axis=-1, keepdims=True), 1e-6
    )
    shaded = np.concatenate([(0.5 + 0.5 * normal) * (alpha > 0), alpha], axis=-1)
    return Picture(straight(layers[..., :3], alpha), shaded, (layers[..., 4:5] / known)[..., 0])
