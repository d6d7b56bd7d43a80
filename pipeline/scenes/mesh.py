"""A closed surface with a colour field, rasterized: the zero set of values on a tetrahedral grid.

With the colour outputs g of the head, a hash grid as the radiance field's, at a surface point x

    rgb(x) = sigmoid(colour_scale g(x)),

so that a radiance field's colours carry over with its weights (`mesh_start.py`). Shape and colours
are learned together: the surface from the shading and, at its silhouettes, from antialiasing.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from pipeline.cameras import Cameras
from pipeline.raster.interface import backend
from pipeline.raster.projection import clip_positions
from pipeline.scenes import colour_field, regularizers, surface_layers
from pipeline.scenes.dmtet import DeformableGrid, ball
from pipeline.scenes.hashgrid import HashGridSettings
from pipeline.scenes.interface import Rendering
from pipeline.scenes.mesh_clean import ColouredMesh, without_floaters
from pipeline.scenes.mesh_terms import MESH_TERMS, vertex_normals
from pipeline.scenes.regularizers import Schedule
from pipeline.scenes.shading import SHADINGS, unit
from pipeline.scenes.tetgrid import TetGrid

AUTOMATIC = "auto"


@dataclass(frozen=True)
class MeshSettings:
    """Preset data. head, grid, half_width, colour_scale: the colour field, as of the field before.

    radius: the surface lies in [-radius, radius]^3, on a grid of `resolution` planes a side.
    threshold: the density of the surface that a radiance field becomes, or "auto" (mesh_start.py).
    floaters: parts of less than this share of the largest are left out at the start and of `mesh`.
    """

    head: str
    grid: HashGridSettings
    half_width: float
    colour_scale: float
    background: str
    radius: float
    resolution: int
    threshold: float | str
    floaters: float
    normal_consistency: Schedule
    laplacian: Schedule

    def __post_init__(self) -> None:
        colour_field.check_choices("mesh", head=self.head, background=self.background)
        if not 0 < self.radius <= self.half_width:
            raise ValueError("mesh: needs 0 < radius <= half_width")
        if isinstance(self.threshold, str) and self.threshold != AUTOMATIC:
            raise ValueError(f"mesh threshold: {self.threshold!r} is neither a density nor 'auto'")
        if not isinstance(self.threshold, str) and not self.threshold > 0:
            raise ValueError(f"mesh threshold: {self.threshold} must be positive")
        if not 0 <= self.floaters <= 1:
            raise ValueError(f"mesh floaters: {self.floaters} must be from 0 to 1")
        for schedule in self.schedules.values():
            regularizers.schedule_value(schedule, 0)

    @property
    def schedules(self) -> dict[str, Schedule]:
        return {name: getattr(self, name) for name in MESH_TERMS}

    @classmethod
    def from_mapping(cls, data: Mapping[str, Any]) -> "MeshSettings":
        """Settings from preset data; missing and unknown keys are errors that name them."""
        values = colour_field.checked_keys("mesh", cls, data)
        return cls(**{**values, "grid": HashGridSettings(**values["grid"])})


class Mesh(nn.Module):
    """The scene; `state_dict` holds shape, colours and environment, all that resuming needs."""

    def __init__(self, settings: MeshSettings, generator: torch.Generator) -> None:
        """A ball of half the radius, of no particular colour."""
        super().__init__()
        self.settings = settings
        self.shape = DeformableGrid(TetGrid(settings.resolution, settings.radius))
        self.shape.fill(ball(self.shape.nodes, settings.radius / 2) / self.shape.grid.spacing)
        self.head, self.environment = colour_field.head_and_environment(
            settings.head, settings.grid, settings.background, generator
        )

    def colour(self, points: Float[Tensor, "3 m"]) -> Float[Tensor, "3 m"]:
        """The albedo at points of the grid's cube."""
        raw = self.head(colour_field.unit_cube(points, self.settings.half_width))
        return colour_field.albedo(raw, self.settings.colour_scale)

    def render(
        self,
        cameras: Cameras,
        *,
        height: int,
        width: int,
        generator: torch.Generator | None = None,
        background: Float[Tensor, "b 3"] | None = None,
        shading: str = "albedo",
        normals: bool = False,
    ) -> Rendering:
        """Views over `background`, or over the learned environment where none is given.

        Nothing is jittered. Raises SceneFailure where there is no surface, ValueError for an
        unknown shading, or without either kind of background.
        """
        if shading not in SHADINGS:
            raise ValueError(f"unknown shading {shading!r}; known: {', '.join(SHADINGS)}")
        points, faces = self.shape.surface()
        layers = self._layers(points, faces, cameras, (height, width), shading, normals)
        behind = colour_field.behind("mesh", self.environment, cameras, (height, width), background)
        terms = self._terms(points, faces)
        return surface_layers.rendering(layers, behind, normals=normals, terms=terms)

    def _layers(
        self,
        points: Float[Tensor, "v 3"],
        faces: Int[Tensor, "f 3"],
        cameras: Cameras,
        size: tuple[int, int],
        shading: str,
        normals: bool,
    ) -> Float[Tensor, "b h w 8"]:
        """Colour, 1, distance and normal, times coverage; antialiased."""
        raster = backend(points.device)
        pos = clip_positions(points, cameras, size[1] / size[0])
        rast = raster.rasterize(pos, faces, size)
        values = points
        if normals or shading == "normal":
            values = torch.cat([points, vertex_normals(points, faces)], 1)
        image = raster.interpolate(values[None], rast, faces).flatten(0, 2)
        pixel = surface_layers.covered_pixels(rast)
        seen = image.index_select(0, pixel).t().contiguous()
        place = seen[:3]
        normal = unit(seen[3:]) if len(seen) > 3 else None
        colour = SHADINGS[shading](self.colour(place), normal)
        return surface_layers.layers(rast, pos, faces, cameras, place, colour, normal)

    def _terms(
        self, points: Float[Tensor, "v 3"], faces: Int[Tensor, "f 3"]
    ) -> dict[str, Float[Tensor, " n"]]:
        """The regularisers' numbers, one an edge or a vertex, where they are wanted."""
        if not torch.is_grad_enabled():
            return {}
        acting = [n for n, s in self.settings.schedules.items() if not regularizers.never_acts(s)]
        return {name: MESH_TERMS[name](points, faces) for name in acting}

    def parameter_groups(self, learning_rates: Mapping[str, float]) -> list[dict[str, Any]]:
        """Groups sdf, deformation, grid, head (the mlp head's) and background, where present.

        Rates of sdf and deformation are in spacings of the grid. Raises ValueError when a group has
        no learning rate, or a rate no such group.
        """
        shape = {"sdf": [self.shape.sdf], "deformation": [self.shape.deformation]}
        return colour_field.parameter_groups(self.head, self.environment, learning_rates, shape)

    def regularization(self, rendering: Rendering, step: int) -> dict[str, Float[Tensor, ""]]:
        """Means of normal consistency and Laplacian times their weights at this step."""
        weights = {
            name: regularizers.schedule_value(schedule, step)
            for name, schedule in self.settings.schedules.items()
        }
        return {name: w * rendering.terms[name].mean() for name, w in weights.items() if w}

    def after_step(self, step: int, generator: torch.Generator) -> None:
        """Nothing: the surface is found anew in every rendering."""

    @torch.no_grad()
    def mesh(self) -> ColouredMesh:
        """The surface with the field's colours at its vertices, without floaters and hollows.

        Raises SceneFailure where there is none.
        """
        points, faces = self.shape.surface()
        colours = self.colour(points.t().contiguous()).t().contiguous()
        return without_floaters(ColouredMesh(points, faces, colours), self.settings.floaters)
