"""A radiance field on a hash grid, rendered through the samples its occupancy grid keeps.

With head outputs f (density) and g (three colours) at a point x of the ball of `radius`,

    sigma = softplus(density_scale f(x) + blob(x)),     rgb = sigmoid(colour_scale g(x))
    blob(x) = scale max(1 - |x| / radius_b, floor) + offset

The blob starts the optimisation with something in the middle (Magic3D's form). Normals point
against the gradient of sigma, which is the gradient of its logit up to a positive factor.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from pipeline.cameras import Cameras, rays
from pipeline.scenes import colour_field, regularizers, volume
from pipeline.scenes.hashgrid import HashGridSettings
from pipeline.scenes.interface import Rendering
from pipeline.scenes.occupancy import Occupancy, OccupancySettings
from pipeline.scenes.regularizers import Schedule
from pipeline.scenes.shading import SHADINGS, length, unit

# Without gradients rays are rendered in groups of about this many candidate samples: on a CPU small
# enough for the temporaries to stay in the cache, on a GPU large enough to keep it busy.
CANDIDATES_PER_CHUNK = {"cpu": 1 << 16, "cuda": 1 << 21}
# Without gradients samples of a smaller weight are left out of colours and normals: with at most
# a few hundred on a ray the error stays below one step of an 8-bit image.
VISIBLE_WEIGHT = 1e-5


@dataclass(frozen=True)
class Blob:
    """The density logit at the start; see the module's formula."""

    scale: float
    radius: float
    floor: float
    offset: float

    def logit(self, points: Float[Tensor, "3 m"]) -> Float[Tensor, " m"]:
        falloff = (1 - length(points) / self.radius).clamp_min(self.floor)
        return self.scale * falloff + self.offset

    def gradient(self, points: Float[Tensor, "3 m"]) -> Float[Tensor, "3 m"]:
        """d logit / d points: along -x where the floor is not reached, else 0."""
        distance = length(points)
        slope = torch.where(1 - distance / self.radius > self.floor, -self.scale / self.radius, 0.0)
        return points * (slope / distance)


@dataclass(frozen=True)
class NerfSettings:
    """Preset data. `samples` is their number along a diameter of the ball of `radius`.

    half_width: the grid spans [-half_width, half_width]^3; keep the ball off its last half cell.
    """

    head: str
    grid: HashGridSettings
    radius: float
    half_width: float
    samples: int
    density_scale: float
    colour_scale: float
    blob: Blob
    occupancy: OccupancySettings
    background: str
    orientation: Schedule
    sparsity: Schedule
    opaque: Schedule

    def __post_init__(self) -> None:
        colour_field.check_choices("nerf", head=self.head, background=self.background)
        if not 0 < self.radius <= self.half_width or self.samples < 1:
            raise ValueError("nerf: needs 0 < radius <= half_width and samples >= 1")
        for schedule in self.schedules.values():
            regularizers.schedule_value(schedule, 0)

    @property
    def schedules(self) -> dict[str, Schedule]:
        return {name: getattr(self, name) for name in regularizers.REGULARIZERS}

    @classmethod
    def from_mapping(cls, data: Mapping[str, Any]) -> "NerfSettings":
        """Settings from preset data; missing and unknown keys are errors that name them."""
        parts = {"grid": HashGridSettings, "blob": Blob, "occupancy": OccupancySettings}
        values = colour_field.checked_keys("nerf", cls, data)
        for name, part in parts.items():
            values[name] = part(**colour_field.checked_keys(f"nerf.{name}", part, values[name]))
        return cls(**values)


class Nerf(nn.Module):
    """The scene; `state_dict` holds parameters and occupancy, all that resuming needs."""

    def __init__(self, settings: NerfSettings, generator: torch.Generator) -> None:
        super().__init__()
        self.settings = settings
        self.head, self.environment = colour_field.head_and_environment(
            settings.head, settings.grid, settings.background, generator
        )
        self.occupancy = Occupancy(settings.occupancy, settings.radius)
        self.occupancy.update(self.density)

    def density_logit(self, points: Float[Tensor, "3 m"], raw: Float[Tensor, " m"]) -> Tensor:
        return self.settings.density_scale * raw + self.settings.blob.logit(points)

    def density(self, points: Float[Tensor, "3 m"]) -> Float[Tensor, " m"]:
        """sigma, per unit length, at points of the ball."""
        raw = self.head.density(colour_field.unit_cube(points, self.settings.half_width))
        return F.softplus(self.density_logit(points, raw))

    def emission(
        self, points: Float[Tensor, "3 m"]
    ) -> tuple[Float[Tensor, " m"], Float[Tensor, "3 m"]]:
        """(sigma, albedo) at points of the ball."""
        raw = self.head(colour_field.unit_cube(points, self.settings.half_width))
        sigma = F.softplus(self.density_logit(points, raw[0]))
        return sigma, colour_field.albedo(raw, self.settings.colour_scale)

    def normals(self, points: Float[Tensor, "3 m"]) -> Float[Tensor, "3 m"]:
        """Unit vectors against the density's gradient; differentiable in the parameters."""
        half_width = self.settings.half_width
        slope = self.head.density_gradient(colour_field.unit_cube(points, half_width))
        slope = slope / (2 * half_width)
        return unit(-self.settings.density_scale * slope - self.settings.blob.gradient(points))

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

        Normals, half of the cost of a picture, are there if asked for, and where the shading or
        the orientation term needs them. Raises ValueError for an unknown shading, or without
        either kind of background.
        """
        if shading not in SHADINGS:
            raise ValueError(f"unknown shading {shading!r}; known: {', '.join(SHADINGS)}")
        origins, directions = (
            x.reshape(-1, 3).t().contiguous() for x in rays(cameras, height, width)
        )
        jitter = torch.full_like(origins[0], 0.5)
        if generator is not None:
            drawn = torch.rand(len(jitter), generator=generator)
            jitter = drawn.to(jitter.device, non_blocking=True)
        chunk = origins.shape[1]
        if not torch.is_grad_enabled():
            candidates = CANDIDATES_PER_CHUNK[origins.device.type]
            chunk = max(candidates // self.settings.samples, 1)
        parts = [
            self._ray_totals(o, d, j, shading, normals or self._needs_normals(shading))
            for o, d, j in zip(
                origins.split(chunk, 1),
                directions.split(chunk, 1),
                jitter.split(chunk),
                strict=True,
            )
        ]
        shape = (len(cameras), height, width)
        totals = {
            name: torch.cat([part[name] for part in parts], 1).unflatten(1, shape).transpose(0, 1)
            for name in parts[0]
        }
        behind = colour_field.behind("nerf", self.environment, cameras, (height, width), background)
        alpha, normal = totals["alpha"], totals.get("normal")
        return Rendering(
            rgb=totals["rgb"] + (1 - alpha) * behind,
            alpha=alpha,
            depth=totals["depth"] / alpha.detach().clamp_min(1e-6),
            normal=None if normal is None else F.normalize(normal, dim=1, eps=1e-6),
            background=behind,
            terms={name: totals[name] for name in ("orientation",) if name in totals},
        )

    def _ray_totals(
        self, origins: Tensor, directions: Tensor, jitter: Tensor, shading: str, normals: bool
    ) -> dict[str, Float[Tensor, "c r"]]:
        settings, count = self.settings, origins.shape[1]
        step = 2 * settings.radius / settings.samples
        with_gradients = torch.is_grad_enabled()
        with torch.no_grad():
            samples = volume.march(
                origins,
                directions,
                jitter,
                radius=settings.radius,
                step=step,
                occupied_radius=float(self.occupancy.extent),
                occupied=self.occupancy.occupied,
            )
            if not with_gradients:
                tau = self.density(samples.position) * step
                weights = volume.compositing_weights(tau, samples.ray)
                samples = samples.select(weights > VISIBLE_WEIGHT)
        sigma, albedo = self.emission(samples.position)
        tau = sigma * step
        weights = volume.compositing_weights(tau, samples.ray)
        normal = self.normals(samples.position) if normals else None
        colour = SHADINGS[shading](albedo, normal)
        values = {
            "rgb": weights * colour,
            "alpha": weights[None],
            "depth": (weights.detach() * samples.distance)[None],
        }
        if normal is not None:
            values["normal"] = weights * normal
            values["orientation"] = regularizers.orientation_term(
                weights, normal, directions.index_select(1, samples.ray)
            )[None]
        totals = volume.ray_sums(torch.cat(list(values.values())), samples.ray, count)
        sizes = [len(value) for value in values.values()]
        return dict(zip(values, totals.split(sizes), strict=True))

    def _needs_normals(self, shading: str) -> bool:
        oriented = not regularizers.never_acts(self.settings.orientation)
        return shading == "normal" or (oriented and torch.is_grad_enabled())

    def parameter_groups(self, learning_rates: Mapping[str, float]) -> list[dict[str, Any]]:
        """Groups grid, head (the mlp head's) and background (the environment's), where present.

        Raises ValueError when a group has no learning rate, or a rate no such group.
        """
        return colour_field.parameter_groups(self.head, self.environment, learning_rates)

    def regularization(self, rendering: Rendering, step: int) -> dict[str, Float[Tensor, ""]]:
        """Orientation, sparsity and opacity terms times their weights at this step."""
        return regularizers.weighted_terms(rendering, self.settings.schedules, step)

    def after_step(self, step: int, generator: torch.Generator) -> None:
        """Look at the density again every `occupancy.interval` steps."""
        if (step + 1) % self.settings.occupancy.interval == 0:
            self.occupancy.update(self.density, generator)
