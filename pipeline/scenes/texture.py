"""A given mesh with a colour field on its surface: what the texture task optimises.

With the colour outputs g of the head, a hash grid as the radiance field's, at a surface point x

    rgb(x) = sigmoid(colour_scale g(x)).

The mesh never changes; it is part of the state all the same, so that a run folder shows its result
without the file that the mesh came from.
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
from pipeline.scenes.background import EnvironmentMap
from pipeline.scenes.creases import corner_normals
from pipeline.scenes.hashgrid import HashGridSettings
from pipeline.scenes.heads import HEADS, MlpHead, SumHead
from pipeline.scenes.interface import Rendering
from pipeline.scenes.shading import SHADINGS, unit

BACKGROUNDS = ("given", "environment")
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
        for name, value, known in (
            ("head", self.head, HEADS),
            ("background", self.background, BACKGROUNDS),
        ):
            if value not in known:
                raise ValueError(f"texture {name}: {value!r} is not one of {', '.join(known)}")
        if not (self.half_width > 0 and self.colour_scale > 0):
            raise ValueError("texture: half_width and colour_scale must be positive")

    @classmethod
    def from_mapping(cls, data: Mapping[str, Any]) -> "TextureSettings":
        """Settings from preset data; missing and unknown keys are errors that name them."""
        names = {field.name for field in fields(cls)}
        missing, unknown = sorted(names - set(data)), sorted(set(data) - names)
        if missing or unknown:
            raise ValueError(f"texture: missing keys {missing}, unknown keys {unknown}")
        return cls(**{**data, "grid": HashGridSettings(**data["grid"])})


class Texture(nn.Module):
    """The scene; `state_dict` holds the mesh, the colours and the environment."""

    vertices: Tensor
    faces: Tensor
    normals: Tensor

    def __init__(self, settings: TextureSettings, generator: torch.Generator) -> None:
        """Colours of no particular kind, on no mesh yet: `put_on` or a state brings it."""
        super().__init__()
        self.settings = settings
        self.head: SumHead | MlpHead = HEADS[settings.head](settings.grid, generator)
        self.environment = None
        if settings.background == "environment":
            self.environment = EnvironmentMap(generator)
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

        Nothing is jittered. Raises ValueError for an unknown shading, without either kind of
        background, or without a mesh.
        """
        if shading not in SHADINGS:
            raise ValueError(f"unknown shading {shading!r}; known: {', '.join(SHADINGS)}")
        if not len(self.faces):
            raise ValueError("texture: it has no mesh; a run that begins takes --mesh")
        layers = self._layers(cameras, (height, width), shading, normals)
        colour, alpha, distance, normal = layers.permute(0, 3, 1, 2).split([3, 1, 1, 3], 1)
        behind = self._background(cameras, height, width, background)
        return Rendering(
            rgb=colour + (1 - alpha) * behind,
            alpha=alpha,
            depth=(distance / alpha.clamp_min(1e-6)).detach(),
            normal=F.normalize(normal, dim=1, eps=1e-6) if normals else None,
            background=behind,
        )

    def _layers(
        self, cameras: Cameras, size: tuple[int, int], shading: str, normals: bool
    ) -> Float[Tensor, "b h w 8"]:
        """Colour, 1, distance and normal, times coverage; antialiased."""
        raster = backend(self.vertices.device)
        pos = clip_positions(self.vertices, cameras, size[1] / size[0])
        rast = raster.rasterize(pos, self.faces, size)
        pixel = (rast[..., 3].reshape(-1) > 0).nonzero()[:, 0]

        def seen(values: Float[Tensor, "n 3"], index: Int[Tensor, "f 3"]) -> Float[Tensor, "3 m"]:
            image = raster.interpolate(values[None], rast, index).flatten(0, 2)
            return image.index_select(0, pixel).t().contiguous()

        place = seen(self.vertices, self.faces)
        normal = None
        if normals or shading == "normal":
            corners = torch.arange(self.faces.numel(), device=self.faces.device).view(-1, 3)
            normal = unit(seen(self.normals.view(-1, 3), corners))
        colour = SHADINGS[shading](self.colour(place), normal)
        eye = cameras.c2w[:, :3, 3].index_select(0, pixel // (size[0] * size[1])).t()
        distance = (place - eye).square().sum(0, keepdim=True).sqrt()
        parts = [colour, torch.ones_like(distance), distance]
        parts.append(torch.zeros_like(place) if normal is None else normal)
        flat = colour.new_zeros(rast[..., 0].numel(), 8)
        layers = flat.index_copy(0, pixel, torch.cat(parts).t()).view(*rast.shape[:3], 8)
        layers = raster.antialias(layers, rast, pos, self.faces)
        # a pixel is blended with each neighbour in turn: what is thin can add up to more than 1
        alpha = layers[..., 3:4].detach()
        return layers * (alpha.clamp(0, 1) / torch.where(alpha == 0, 1.0, alpha))

    def _background(
        self, cameras: Cameras, height: int, width: int, given: Tensor | None
    ) -> Float[Tensor, "b 3 h w"]:
        if given is not None:
            return given[:, :, None, None].expand(-1, -1, height, width)
        if self.environment is None:
            raise ValueError("texture with background: given, rendered without a background")
        _, directions = rays(cameras, height, width)
        seen = self.environment(directions.reshape(-1, 3).t())
        return seen.unflatten(1, (len(cameras), height, width)).transpose(0, 1)

    def parameter_groups(self, learning_rates: Mapping[str, float]) -> list[dict[str, Any]]:
        """Groups grid, head (the mlp head's) and background (the environment's), where present.

        Raises ValueError when a group has no learning rate, or a rate no such group.
        """
        rest = [p for name, p in self.head.named_parameters() if not name.startswith("grid.")]
        groups = {
            "grid": list(self.head.grid.parameters()),
            "head": rest,
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
        """None: the prior alone says what the surface looks like."""
        return {}

    def after_step(self, step: int, generator: torch.Generator) -> None:
        """Nothing: the mesh stands still."""
