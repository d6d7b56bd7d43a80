"""The surface that a finished scene shows, as one GLB file with its colours.

radiance field  where its density crosses a level (mesh_start's "auto"), coloured as it is seen, by
                what a ray into it composites; of a soft field it is an approximation
mesh            its own, coloured at its vertices by its field
texture         the given mesh, its field baked into a texture on the mesh's atlas

Colours at vertices are linear between them: where a mesh is coarse its faces are quartered first.
One with more faces than a page can show is thinned; only the scene itself has them all.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from pipeline.meshes.bake import bake
from pipeline.meshes.detail import quartered, thinned
from pipeline.meshes.export_glb import coloured_glb, textured_glb
from pipeline.meshes.mesh import Mesh, vertex_normals
from pipeline.meshes.seams import DEFINITION, seams
from pipeline.meshes.unwrap import load_atlas, unwrap
from pipeline.scenes import volume
from pipeline.scenes.failure import SceneFailure
from pipeline.scenes.mesh import AUTOMATIC, MeshSettings
from pipeline.scenes.mesh import Mesh as MeshScene
from pipeline.scenes.mesh_clean import ColouredMesh
from pipeline.scenes.mesh_start import mesh_from_nerf
from pipeline.scenes.nerf import Nerf
from pipeline.scenes.texture import Texture

RESOLUTION = 64  # of the grid a field's level surface is found on; 15,000 vertices for a toy
FLOATERS = 0.02  # of the largest part; smaller ones are specks that no view shows
# In units, around a surface in the unit ball: where a vertex's ray starts, ends and is sampled.
OUTSIDE, INSIDE, SAMPLES = 0.05, 0.5, 12
POINTS_AT_ONCE = 1 << 14
FINE = 12_000  # faces from which colours at vertices show the field's own, to 36 dB and more
MOST = 60_000  # faces, in a file of about 1 MB
TEXELS = 512  # of a texture without an atlas of its own


@dataclass(frozen=True)
class Surface:
    """A GLB file and what views.json says of it."""

    glb: bytes
    record: dict[str, Any]


def surface(kind: str, scene: Any, mesh: Path | None = None) -> Surface | None:
    """What the scene of this kind shows; None where it has no surface.

    `mesh`: the folder of a texture's mesh (pipeline.meshes.prepare), whose atlas is taken; without
    it the mesh is unwrapped again, which takes longer and gives the same. Raises ArtifactError for
    the folder of another mesh.
    """
    with torch.no_grad():
        return SURFACES[kind](scene, mesh)


def of_field(nerf: Nerf, mesh: Path | None = None) -> Surface | None:
    """The level surface of a radiance field."""
    own = nerf.settings
    settings = MeshSettings(
        head=own.head,
        grid=own.grid,
        half_width=own.half_width,
        colour_scale=own.colour_scale,
        background="given",
        radius=own.radius,
        resolution=RESOLUTION,
        threshold=AUTOMATIC,
        floaters=FLOATERS,
        normal_consistency=[0.0, 0.0, 1],
        laplacian=[0.0, 0.0, 1],
    )
    try:
        found = mesh_from_nerf(nerf, settings, torch.Generator()).mesh()
    except SceneFailure:
        return None
    return _coloured(found, lambda shape: seen_colours(nerf, shape))


def of_mesh(scene: MeshScene, mesh: Path | None = None) -> Surface | None:
    """The zero set, without floaters, in its field's colours."""
    try:
        found = scene.mesh()
    except SceneFailure:
        return None
    return _coloured(found, lambda shape: _points_last(scene.colour)(shape.vertices))


def of_texture(scene: Texture, mesh: Path | None = None) -> Surface:
    """The scene's mesh with its field baked into a texture."""
    shape = Mesh(scene.vertices, scene.faces)
    atlas = unwrap(shape, TEXELS) if mesh is None else load_atlas(mesh / "atlas.safetensors", shape)
    image = bake(_points_last(scene.colour), shape, atlas)
    record = _counts(shape) | {
        "colours": "texture",
        "texels": list(atlas.size),
        "seam": seams(shape, atlas, image).record(),
        "seam_definition": {"resolution": atlas.resolution, **DEFINITION},
    }
    return Surface(textured_glb(shape, atlas, image), record)


SURFACES: dict[str, Callable[[Any, Path | None], Surface | None]] = {
    "nerf": of_field,
    "mesh": of_mesh,
    "texture": of_texture,
}


def seen_colours(nerf: Nerf, shape: Mesh) -> Float[Tensor, "v 3"]:
    """What rays into the surface along its normals composite: rgb in [0, 1] at each vertex.

    The field's colour at a point of the surface is not what a camera sees there: most of a ray's
    light comes from further in.
    """
    normals = vertex_normals(shape)
    step = (OUTSIDE + INSIDE) / SAMPLES
    depth = OUTSIDE - (torch.arange(SAMPLES) + 0.5) * step
    parts = []
    for points, normal in zip(
        shape.vertices.split(POINTS_AT_ONCE), normals.split(POINTS_AT_ONCE), strict=True
    ):
        along = (points[:, None] + normal[:, None] * depth[:, None]).view(-1, 3).t().contiguous()
        ray = torch.arange(len(points)).repeat_interleave(SAMPLES)
        # a normal of a bent spot may point out of the ball, beyond which there is no field
        shown = (along.square().sum(0) <= nerf.settings.radius**2).float()
        density, colour = nerf.emission(along * shown)
        density = density * shown
        weights = volume.compositing_weights(density * step, ray)
        total = volume.ray_sums(torch.cat([weights * colour, weights[None]]), ray, len(points))
        parts.append((total[:3] / total[3:].clamp_min(1e-6)).t())
    return torch.cat(parts)


def _coloured(found: ColouredMesh, colours: Callable[[Mesh], Tensor]) -> Surface | None:
    if not len(found.faces):
        return None
    shape = thinned(Mesh(found.vertices, found.faces.long()), MOST)
    while len(shape.faces) < FINE:
        shape = quartered(shape)
    record = _counts(shape) | {"colours": "vertex", "texels": None, "seam": None}
    return Surface(coloured_glb(shape, colours(shape)), record)


def _counts(shape: Mesh) -> dict[str, Any]:
    return {"vertices": len(shape.vertices), "faces": len(shape.faces)}


def _points_last(
    colour: Callable[[Float[Tensor, "3 n"]], Float[Tensor, "3 n"]],
) -> Callable[[Float[Tensor, "n 3"]], Float[Tensor, "n 3"]]:
    """The field for rows of points."""
    return lambda points: colour(points.t().contiguous()).t()
