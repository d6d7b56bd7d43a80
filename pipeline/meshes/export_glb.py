"""A mesh as one GLB file that every viewer shows as the project's renders do.

glTF has +y up and its front at +z: the world's (x, y, z) is written as (y, z, x). Colours are
display rgb in [0, 1]; base colour textures hold them as they are (sRGB), vertex colours as linear
light, and KHR_materials_unlit keeps lights away from them. Nothing is compressed and nothing lies
outside the file. The same input gives the same bytes.
"""

import io
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from pipeline.meshes.colours import linear_from_display
from pipeline.meshes.glb import FLOAT, pack
from pipeline.meshes.mesh import Mesh, vertex_normals
from pipeline.meshes.unwrap import Atlas

GENERATOR = "score-distillation-benchmark"
SHORT, UNSIGNED = 5123, 5125
ARRAY, ELEMENTS = 34962, 34963  # what a buffer view is for
LINEAR, CLAMP = 9729, 33071  # no mipmaps: they would mix neighbouring charts


@dataclass
class _Buffer:
    """The binary chunk as it grows, with the views and accessors into it."""

    data: bytes = b""
    views: list[dict[str, Any]] = field(default_factory=list)
    accessors: list[dict[str, Any]] = field(default_factory=list)

    def view(self, data: bytes, **extra: Any) -> int:
        self.views.append(
            {"buffer": 0, "byteOffset": len(self.data), "byteLength": len(data)} | extra
        )
        self.data += data + b"\0" * (-len(data) % 4)
        return len(self.views) - 1

    def array(self, values: Tensor, kind: str) -> int:
        """An accessor of float rows ("VEC3") or of vertex numbers ("SCALAR"), short if they fit."""
        whole = kind == "SCALAR"
        component, dtype = FLOAT, "<f4"
        if whole:  # 65535 itself is left out: some viewers take it for the end of a strip
            short = int(values.max()) < 2**16 - 1
            component, dtype = (SHORT, "<u2") if short else (UNSIGNED, "<u4")
        array = np.ascontiguousarray(values.detach().cpu().numpy(), dtype)
        number = self.view(array.tobytes(), target=ELEMENTS if whole else ARRAY)
        self.accessors.append(
            {
                "bufferView": number,
                "componentType": component,
                "count": len(array),
                "type": kind,
            }
        )
        if kind == "VEC3":  # required of positions, allowed for the others
            bounds = {"min": array.min(0).tolist(), "max": array.max(0).tolist()}
            self.accessors[-1] |= bounds
        return len(self.accessors) - 1


def gltf_axes(points: Float[Tensor, "n 3"]) -> Float[Tensor, "n 3"]:
    """World points or directions in glTF's axes."""
    return points[:, [1, 2, 0]]


def bare_glb(mesh: Mesh) -> bytes:
    """The shape alone in a matt grey that takes the viewer's light, with smooth normals."""
    buffer = _Buffer()
    normals = torch.nn.functional.normalize(vertex_normals(mesh) + 1e-12, dim=-1)
    attributes = {
        "POSITION": buffer.array(gltf_axes(mesh.vertices), "VEC3"),
        "NORMAL": buffer.array(gltf_axes(normals), "VEC3"),
    }
    grey = {"baseColorFactor": [0.3, 0.3, 0.3, 1.0], "metallicFactor": 0.0, "roughnessFactor": 0.9}
    material = {"pbrMetallicRoughness": grey, "doubleSided": True}
    return _file(buffer, attributes, mesh.faces, material, {})


def coloured_glb(mesh: Mesh, rgb: Float[Tensor, "v 3"]) -> bytes:
    """The mesh with a colour at each vertex. Raises ValueError unless every vertex has one."""
    if rgb.shape != mesh.vertices.shape:
        raise ValueError(f"rgb {tuple(rgb.shape)} for {len(mesh.vertices)} vertices")
    buffer = _Buffer()
    attributes = {
        "POSITION": buffer.array(gltf_axes(mesh.vertices), "VEC3"),
        "COLOR_0": buffer.array(linear_from_display(rgb.double()).float(), "VEC3"),
    }
    return _file(buffer, attributes, mesh.faces, _unlit({}), {})


def textured_glb(mesh: Mesh, atlas: Atlas, image: Float[Tensor, "h w 3"]) -> bytes:
    """The mesh with a texture, rounded to 8 bits; row 0 of `image` is where v = 0.

    Raises ValueError where atlas and mesh do not belong together.
    """
    if atlas.faces.shape != mesh.faces.shape or int(atlas.source.max()) >= len(mesh.vertices):
        raise ValueError(f"an atlas of {len(atlas.faces)} faces for a mesh of {len(mesh.faces)}")
    buffer = _Buffer()
    attributes = {
        "POSITION": buffer.array(gltf_axes(mesh.vertices[atlas.source]), "VEC3"),
        "TEXCOORD_0": buffer.array(atlas.uv, "VEC2"),
    }
    picture = {"bufferView": buffer.view(_png(image)), "mimeType": "image/png"}
    sampler = {"magFilter": LINEAR, "minFilter": LINEAR, "wrapS": CLAMP, "wrapT": CLAMP}
    extra = {
        "images": [picture],
        "samplers": [sampler],
        "textures": [{"source": 0, "sampler": 0}],
    }
    return _file(buffer, attributes, atlas.faces, _unlit({"baseColorTexture": {"index": 0}}), extra)


def _unlit(colour: dict[str, Any]) -> dict[str, Any]:
    """A material that shows its colour; matt where a viewer does not know the extension."""
    return {
        "pbrMetallicRoughness": colour | {"metallicFactor": 0.0, "roughnessFactor": 1.0},
        "doubleSided": True,
        "extensions": {"KHR_materials_unlit": {}},
    }


def _png(image: Float[Tensor, "h w 3"]) -> bytes:
    from PIL import Image

    pixels = (image.detach().cpu().clamp(0, 1) * 255 + 0.5).to(torch.uint8).numpy()
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, format="PNG")
    return stream.getvalue()


def _file(
    buffer: _Buffer,
    attributes: dict[str, int],
    faces: Tensor,
    material: dict[str, Any],
    extra: dict[str, Any],
) -> bytes:
    corners = buffer.array(faces.reshape(-1), "SCALAR")
    primitive = {"attributes": attributes, "indices": corners, "material": 0}
    tree: dict[str, Any] = {
        "asset": {"version": "2.0", "generator": GENERATOR},
        "scene": 0,
        "scenes": [{"nodes": [0]}],
        "nodes": [{"mesh": 0}],
        "meshes": [{"primitives": [primitive]}],
        "materials": [material],
        "accessors": buffer.accessors,
        "bufferViews": buffer.views,
        "buffers": [{"byteLength": len(buffer.data)}],
    }
    if "extensions" in material:
        tree["extensionsUsed"] = list(material["extensions"])
    return pack(tree | extra, buffer.data)
