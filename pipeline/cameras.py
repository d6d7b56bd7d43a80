"""Pin-hole cameras on a sphere around the object: sampling, orbits, rays.

World: right-handed, +z up. Azimuth 0 is +x, the object's front; azimuth grows counter-clockwise
seen from above, so the camera at azimuth 90 stands on +y and sees the object's left side.
Camera: OpenGL, it looks along its own -z, +y is up, +x is right; `c2w` maps camera to world.
Angles are degrees at the edges (arguments, preset data) and radians inside (`Cameras.fovy`).
Images have row 0 at the top; a ray goes through the centre of its pixel.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields

import torch
from jaxtyping import Float
from torch import Tensor

# The evaluated views of every object: name -> azimuth in degrees.
FOUR_VIEWS: dict[str, float] = {"front": 0.0, "left": 90.0, "back": 180.0, "right": 270.0}
FOUR_VIEWS_ELEVATION = 15.0


@dataclass(frozen=True)
class Cameras:
    """A batch of cameras; azimuth and elevation in degrees, fovy in radians."""

    c2w: Float[Tensor, "b 4 4"]
    fovy: Float[Tensor, " b"]
    azimuth_deg: Float[Tensor, " b"]
    elevation_deg: Float[Tensor, " b"]
    distance: Float[Tensor, " b"]

    def __len__(self) -> int:
        return len(self.c2w)

    def __getitem__(self, index: int | slice) -> "Cameras":
        """The chosen cameras, still a batch (an integer gives a batch of one)."""
        if isinstance(index, int):
            index = slice(index, index + 1 or None)
        return Cameras(*(getattr(self, field.name)[index] for field in fields(self)))

    def to(self, device: torch.device | str) -> "Cameras":
        """The same cameras there; what reaches a GPU need not be waited for."""
        moved = {"device": device, "non_blocking": torch.device(device).type == "cuda"}
        return Cameras(*(getattr(self, field.name).to(**moved) for field in fields(self)))


@dataclass(frozen=True)
class CameraRanges:
    """Closed intervals that cameras are drawn from, in degrees and world units; preset data."""

    azimuth: tuple[float, float]
    elevation: tuple[float, float]
    distance: tuple[float, float]
    fovy: tuple[float, float]

    def __post_init__(self) -> None:
        for field in fields(self):
            pair = getattr(self, field.name)
            if len(pair) != 2 or not all(math.isfinite(value) for value in pair):
                raise ValueError(f"camera range {field.name}: two finite numbers, not {pair!r}")
            if pair[0] > pair[1]:
                raise ValueError(f"camera range {field.name}: {pair[0]} is above {pair[1]}")
            object.__setattr__(self, field.name, (float(pair[0]), float(pair[1])))
        if self.elevation[0] < -90 or self.elevation[1] > 90:
            raise ValueError(f"camera range elevation: {self.elevation} leaves [-90, 90]")
        if self.distance[0] <= 0:
            raise ValueError(f"camera range distance: {self.distance} must be positive")
        if self.fovy[0] <= 0 or self.fovy[1] >= 180:
            raise ValueError(f"camera range fovy: {self.fovy} must lie inside (0, 180)")

    @classmethod
    def from_mapping(cls, data: Mapping[str, Sequence[float]]) -> "CameraRanges":
        """Ranges from preset data; a missing or unknown key is an error that names it."""
        names = {field.name for field in fields(cls)}
        if set(data) != names:
            raise ValueError(f"camera ranges need exactly {sorted(names)}, got {sorted(data)}")
        return cls(**{name: tuple(data[name]) for name in names})  # type: ignore[arg-type]


Angles = Sequence[float] | float | Tensor


def orbit(
    azimuth_deg: Angles, elevation_deg: Angles, distance: Angles, fovy_deg: Angles
) -> Cameras:
    """Cameras that stand at the given angles and look at the origin; scalars are broadcast."""
    arguments = (azimuth_deg, elevation_deg, distance, fovy_deg)
    columns = [torch.as_tensor(value, dtype=torch.float32).reshape(-1) for value in arguments]
    degrees_a, degrees_e, radius, degrees_f = torch.broadcast_tensors(*columns)
    azimuth, elevation = torch.deg2rad(degrees_a), torch.deg2rad(degrees_e)
    cos_a, sin_a = azimuth.cos(), azimuth.sin()
    cos_e, sin_e = elevation.cos(), elevation.sin()
    # Written out rather than by cross products with +z, which degenerate at the poles.
    right = torch.stack([-sin_a, cos_a, torch.zeros_like(cos_a)], -1)
    up = torch.stack([-sin_e * cos_a, -sin_e * sin_a, cos_e], -1)
    backward = torch.stack([cos_e * cos_a, cos_e * sin_a, sin_e], -1)
    c2w = torch.zeros(len(azimuth), 4, 4, device=azimuth.device)
    c2w[:, :3] = torch.stack([right, up, backward, backward * radius[:, None]], -1)
    c2w[:, 3, 3] = 1.0
    return Cameras(c2w, torch.deg2rad(degrees_f), degrees_a, degrees_e, radius)


def four_views(
    distance: float, fovy_deg: float, *, elevation_deg: float = FOUR_VIEWS_ELEVATION
) -> Cameras:
    """The evaluated views in the order of `FOUR_VIEWS`."""
    return orbit(list(FOUR_VIEWS.values()), elevation_deg, distance, fovy_deg)


def turntable(
    frames: int, distance: float, fovy_deg: float, *, elevation_deg: float = FOUR_VIEWS_ELEVATION
) -> Cameras:
    """Equally spaced azimuths from 0, counter-clockwise; the last is one step short of 360."""
    return orbit(torch.arange(frames) * (360.0 / frames), elevation_deg, distance, fovy_deg)


def _uniform(generator: torch.Generator, batch: int, low: float, high: float) -> Tensor:
    return low + (high - low) * torch.rand(batch, generator=generator)


def _independent(generator: torch.Generator, batch: int, low: float, high: float) -> Tensor:
    return _uniform(generator, batch, low, high)


def _stratified(generator: torch.Generator, batch: int, low: float, high: float) -> Tensor:
    """One azimuth in each of `batch` equal parts (threestudio's batch_uniform_azimuth)."""
    unit = (torch.arange(batch) + torch.rand(batch, generator=generator)) / batch
    return low + (high - low) * unit


def _opposite(generator: torch.Generator, batch: int, low: float, high: float) -> Tensor:
    """Equally spaced azimuths from one random start: two views see opposite sides."""
    unit = (torch.arange(batch) / batch + torch.rand(1, generator=generator)) % 1.0
    return low + (high - low) * unit


def _front_back(generator: torch.Generator, batch: int, low: float, high: float) -> Tensor:
    """Within 30 degrees of the front or of the back, a fair coin each (the paper's first steps)."""
    offset = _uniform(generator, batch, -30.0, 30.0)
    back = torch.randint(2, (batch,), generator=generator)
    azimuth = offset + 180.0 * back
    return torch.where(azimuth > 180.0, azimuth - 360.0, azimuth)


AZIMUTHS: dict[str, Callable[[torch.Generator, int, float, float], Tensor]] = {
    "independent": _independent,
    "stratified": _stratified,
    "opposite": _opposite,
    "front_back": _front_back,
}


def sample(
    generator: torch.Generator,
    batch: int,
    ranges: CameraRanges,
    *,
    azimuths: str = "independent",
    sphere_probability: float = 0.0,
) -> Cameras:
    """Cameras drawn from `ranges`; every marginal but "front_back" is uniform on its range.

    With `sphere_probability` an elevation is uniform in area on the sphere instead of in angle
    (0.5 in the CSD code). Raises ValueError for an unknown name of `azimuths`.
    """
    if azimuths not in AZIMUTHS:
        raise ValueError(f"unknown azimuths {azimuths!r}; known: {', '.join(AZIMUTHS)}")
    azimuth = AZIMUTHS[azimuths](generator, batch, *ranges.azimuth)
    elevation = _uniform(generator, batch, *ranges.elevation)
    if sphere_probability > 0:
        sines = [math.sin(math.radians(value)) for value in ranges.elevation]
        by_area = torch.rad2deg(torch.asin(_uniform(generator, batch, *sines)))
        coin = torch.rand(batch, generator=generator) < sphere_probability
        elevation = torch.where(coin, by_area, elevation)
    distance = _uniform(generator, batch, *ranges.distance)
    fovy = _uniform(generator, batch, *ranges.fovy)
    return orbit(azimuth, elevation, distance, fovy)


def rays(
    cameras: Cameras, height: int, width: int
) -> tuple[Float[Tensor, "b h w 3"], Float[Tensor, "b h w 3"]]:
    """Origins and unit directions of the rays through all pixel centres, in the world."""
    device = cameras.c2w.device
    half = torch.tan(cameras.fovy / 2)[:, None, None]
    row = 1 - (torch.arange(height, device=device) + 0.5) * (2 / height)
    column = (torch.arange(width, device=device) + 0.5) * (2 / width) - 1
    y = (row[None, :, None] * half).expand(-1, -1, width)
    x = (column[None, None, :] * half * (width / height)).expand(-1, height, -1)
    local = torch.stack([x, y, -torch.ones_like(x)], -1)
    local = local / local.norm(dim=-1, keepdim=True)
    directions = (local.flatten(1, 2) @ cameras.c2w[:, :3, :3].mT).unflatten(1, (height, width))
    origins = cameras.c2w[:, None, None, :3, 3].expand_as(directions)
    return origins, directions
