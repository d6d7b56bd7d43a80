"""A given mesh with a colour field on its surface: what the texture task optimises.

With the colour outputs g of the head, a hash grid as the radiance field's, at a surface point x

    rgb(x) = sigmoid(colour_scale g(x)).

The mesh never changes; it is part of the state all the same, so that a run folder shows its result
without the file that the mesh came from.
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
from pipeline.scenes import colour_field, surface_layers
from pipeline.scenes.creases import corner_normals
from pipeline.scenes.hashgrid import HashGridSettings
from pipeline.scenes.interface import Rendering
from pipeline.scenes.shading import SHADINGS, unit

MESH = ("vertices", "faces")


@dataclass(frozen=True)
class TextureSettings:
    """Preset data; the field spans the cube [-half_width, half_width]^3 around the mesh."""

    head: str
    grid: HashGridSettings
    half_width: float
    colour_scale: float
    background: str

    def __post_init__(self) -> None:
        colour_field.check_choices("texture", head=self.head, background=self.background)
        if not (self.half_width > 0 and self.colour_scale > 0):
            raise ValueError("texture: half_width and colour_scale must be positive")

    @classmethod
    def from_mapping(cls, data: Mapping[str, Any]) -> "TextureSettings":
        """Settings from preset data; missing and unknown keys are errors that name them."""
        values = colour_field.checked_keys("texture", cls, data)
        return cls(**{**values, "grid": HashGridSettings(**values["grid"])})


class Texture(nn.Module):
    """The scene; `state_dict` holds the mesh, the colours and the environment."""

    vertices: Tensor
    faces: Tensor
    normals: Tensor

    def __init__(self, settings: TextureSettings, generator: torch.Generator) -> None:
        """Colours of no particular kind, on no mesh yet: `put_on` or a state brings it."""
        super().__init__()
        self.settings = settings
        self.head, self.environment = colour_field.head_and_environment(
            settings.head, settings.grid, settings.background, generator
        )
        self.put_on(torch.zeros(0, 3), torch.zeros(0, 3, dtype=torch.int64))

    def put_on(self, vertices: Float[Tensor, "v 3"], faces: Int[Tensor, "f 3"]) -> None:
        """The mesh is this one from now on; faces wound counter-clockwise as seen from outside.

        Raises ValueError for a vertex that the field does not reach.
        """
        width = self.settings.half_width
        if len(vertices) and not float(vertices.abs().max()) <= width:
            raise ValueError(f"texture: the mesh leaves the cube of half_width {width}")
        self.register_buffer("vertices", vertices.float())
        self.register_buffer("faces", faces.long())
        self.register_buffer("normals", corner_normals(self.vertices, self.faces), persistent=False)

    def load_state_dict(self, state_dict: Mapping[str, Any], *args: Any, **kwargs: Any) -> Any:
        """Colours and mesh are `state_dict`'s. Raises RuntimeError where it is another scene's."""
        if set(MESH) <= set(state_dict):
            mesh = (state_dict[name].to(self.vertices.device) for name in MESH)
            self.put_on(*mesh)
        return super().load_state_dict(state_dict, *args, **kwargs)

    def colour(self, points: Float[Tensor, "3 m"]) -> Float[Tensor, "3 m"]:
        """The albedo at points of the cube."""
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

        Nothing is jittered. Raises ValueError for an unknown shading, without either kind of
        background, or without a mesh.
        """
        if shading not in SHADINGS:
            raise ValueError(f"unknown shading {shading!r}; known: {', '.join(SHADINGS)}")
        if not len(self.faces):
            raise ValueError("texture: it has no mesh; a run that begins takes --mesh")
        layers = self._layers(cameras, (height, width), shading, normals)
        behind = colour_field.behind(
            "texture", self.environment, cameras, (height, width), background
        )
        return surface_layers.rendering(layers, behind, normals=normals)

    def _layers(
        self, cameras: Cameras, size: tuple[int, int], shading: str, normals: bool
    ) -> Float[Tensor, "b h w 8"]:
        """Colour, 1, distance and normal, times coverage; antialiased."""
        raster = backend(self.vertices.device)
        pos = clip_positions(self.vertices, cameras, size[1] / size[0])
        rast = raster.rasterize(pos, self.faces, size)
        pixel = surface_layers.covered_pixels(rast)

        def seen(values: Float[Tensor, "n 3"], index: Int[Tensor, "f 3"]) -> Float[Tensor, "3 m"]:
            image = raster.interpolate(values[None], rast, index).flatten(0, 2)
            return image.index_select(0, pixel).t().contiguous()

        place = seen(self.vertices, self.faces)
        normal = None
        if normals or shading == "normal":
            corners = torch.arange(self.faces.numel(), device=self.faces.device).view(-1, 3)
            normal = unit(seen(self.normals.view(-1, 3), corners))
        colour = SHADINGS[shading](self.colour(place), normal)
        return surface_layers.layers(rast, pos, self.faces, cameras, place, colour, normal)

    def parameter_groups(self, learning_rates: Mapping[str, float]) -> list[dict[str, Any]]:
        """Groups grid, head (the mlp head's) and background (the environment's), where present.

        Raises ValueError when a group has no learning rate, or a rate no such group.
        """
        return colour_field.parameter_groups(self.head, self.environment, learning_rates)

    def regularization(self, rendering: Rendering, step: int) -> dict[str, Float[Tensor, ""]]:
        """None: the prior alone says what the surface looks like."""
        return {}

    def after_step(self, step: int, generator: torch.Generator) -> None:
        """Nothing: the mesh stands still."""
