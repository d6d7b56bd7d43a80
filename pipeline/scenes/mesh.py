"""A closed surface with a colour field, rasterized: the zero set of values on a tetrahedral grid.

With the colour outputs g of the head, a hash grid as the radiance field's, at a surface point x

    rgb(x) = sigmoid(colour_scale g(x)),

so that a radiance field's colours carry over with its weights (`mesh_start.py`). Shape and colours
are learned together: the surface from the shading and, at its silhouettes, from antialiasing.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from pipeline.cameras import Cameras, rays
from pipeline.raster.interface import backend
from pipeline.raster.projection import clip_positions
from pipeline.scenes import regularizers
from pipeline.scenes.background import EnvironmentMap
from pipeline.scenes.dmtet import DeformableGrid, ball
from pipeline.scenes.hashgrid import HashGridSettings
from pipeline.scenes.heads import HEADS, MlpHead, SumHead
from pipeline.scenes.interface import Rendering
from pipeline.scenes.mesh_clean import ColouredMesh, without_floaters
from pipeline.scenes.mesh_terms import MESH_TERMS, vertex_normals
from pipeline.scenes.regularizers import Schedule
from pipeline.scenes.shading import SHADINGS, unit
from pipeline.scenes.tetgrid import TetGrid

BACKGROUNDS = ("given", "environment")
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
        for name, value, known in (
            ("head", self.head, HEADS),
            ("background", self.background, BACKGROUNDS),
        ):
            if value not in known:
                raise ValueError(f"mesh {name}: {value!r} is not one of {', '.join(known)}")
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
        names = {field.name for field in fields(cls)}
        missing, unknown = sorted(names - set(data)), sorted(set(data) - names)
        if missing or unknown:
            raise ValueError(f"mesh: missing keys {missing}, unknown keys {unknown}")
        return cls(**{**data, "grid": HashGridSettings(**data["grid"])})


class Mesh(nn.Module):
    """The scene; `state_dict` holds shape, colours and environment, all that resuming needs."""

    def __init__(self, settings: MeshSettings, generator: torch.Generator) -> None:
        """A ball of half the radius, of no particular colour."""
        super().__init__()
        self.settings = settings
        self.shape = DeformableGrid(TetGrid(settings.resolution, settings.radius))
        self.shape.fill(ball(self.shape.nodes, settings.radius / 2) / self.shape.grid.spacing)
        self.head: SumHead | MlpHead = HEADS[settings.head](settings.grid, generator)
        self.environment = None
        if settings.background == "environment":
            self.environment = EnvironmentMap(generator)

    def colour(self, points: Float[Tensor, "3 m"]) -> Float[Tensor, "3 m"]:
        """The albedo at points of the grid's cube."""
        raw = self.head(points / (2 * self.settings.half_width) + 0.5)
        return torch.sigmoid(self.settings.colour_scale * raw[1:])

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
        colour, alpha, distance, normal = layers.permute(0, 3, 1, 2).split([3, 1, 1, 3], 1)
        behind = self._background(cameras, height, width, background)
        return Rendering(
            rgb=colour + (1 - alpha) * behind,
            alpha=alpha,
            depth=(distance / alpha.clamp_min(1e-6)).detach(),
            normal=F.normalize(normal, dim=1, eps=1e-6) if normals else None,
            background=behind,
            terms=self._terms(points, faces),
        )

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
        pixel = (rast[..., 3].reshape(-1) > 0).nonzero()[:, 0]
        seen = image.index_select(0, pixel).t().contiguous()
        place = seen[:3]
        normal = unit(seen[3:]) if len(seen) > 3 else None
        colour = SHADINGS[shading](self.colour(place), normal)
        eye = cameras.c2w[:, :3, 3].index_select(0, pixel // (size[0] * size[1])).t()
        distance = (place.detach() - eye).square().sum(0, keepdim=True).sqrt()
        parts = [colour, torch.ones_like(distance), distance]
        parts.append(torch.zeros_like(place) if normal is None else normal)
        flat = torch.zeros(len(image), 8, device=image.device)
        layers = flat.index_copy(0, pixel, torch.cat(parts).t()).view(*rast.shape[:3], 8)
        return _at_most_covered(raster.antialias(layers, rast, pos, faces))

    def _background(
        self, cameras: Cameras, height: int, width: int, given: Tensor | None
    ) -> Float[Tensor, "b 3 h w"]:
        shape = (len(cameras), height, width)
        if given is not None:
            return given[:, :, None, None].expand(-1, -1, height, width)
        if self.environment is None:
            raise ValueError("mesh with background: given, rendered without a background")
        _, directions = rays(cameras, height, width)
        seen = self.environment(directions.reshape(-1, 3).t())
        return seen.unflatten(1, shape).transpose(0, 1)

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
        groups = {
            "sdf": [self.shape.sdf],
            "deformation": [self.shape.deformation],
            "grid": list(self.head.grid.parameters()),
            "head": [p for name, p in self.head.named_parameters() if not name.startswith("grid.")],
            "background": [] if self.environment is None else list(self.environment.parameters()),
        }
        present = {name: params for name, params in groups.items() if params}
        missing, unknown = set(present) - set(learning_rates), set(learning_rates) - set(groups)
        if missing or unknown:
            raise ValueError(
                f"learning rates: none for {sorted(missing)}, no group {sorted(unknown)}"
            )
        return [{"name": n, "params": p, "lr": learning_rates[n]} for n, p in present.items()]

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


def _at_most_covered(layers: Float[Tensor, "b h w 8"]) -> Float[Tensor, "b h w 8"]:
    """All layers scaled so that coverage, the fourth, is from 0 to 1.

    Antialiasing blends a pixel with up to four neighbours, one by one: where a part is thinner than
    a pixel their shares can add up to more than there is.
    """
    alpha = layers[..., 3:4].detach()
    scale = torch.where(alpha > 1, 1 / alpha, torch.where(alpha < 0, 0.0, 1.0))
    return layers * scale
