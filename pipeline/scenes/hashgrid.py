"""A multiresolution hash grid with tinycudann's layout, hash and initialisation.

Level l has scale s_l = base * growth^l - 1 and r_l = ceil(s_l) + 1 nodes a side. A point x of
[0,1]^3 lies at s_l x + 1/2; its value is trilinear in the eight nodes around. Nodes are numbered
x + r y + r^2 z where a level has room for all (dense), by a hash of x, y, z otherwise, modulo the
level's number of entries; the table is [level][entry][feature], as in tinycudann, so that a scene
is the same file whichever of the two reads it. As there, a dense level wraps around at the upper
border: keep the scene clear of the last half cell. Source: Mueller et al. 2022 (Instant NGP),
section 3.

Points and features come coordinates first, (3, m) and (f, m). Two modules read a table, with the
same four functions: hashgrid_plain.py in torch, on any device, and hashgrid_cuda.py by tinycudann.
"""

import functools
import importlib
import math
import warnings
from dataclasses import dataclass
from types import ModuleType

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

LARGEST_DENSE_RESOLUTION = 1625  # r^3 must fit in 32 bits
INITIAL_RANGE = 1e-4


@dataclass(frozen=True)
class HashGridSettings:
    """Preset data; hashgrid_cuda.py has the names in tinycudann."""

    levels: int
    features: int
    log2_entries: int
    base_resolution: int
    growth: float

    def __post_init__(self) -> None:
        if self.levels < 1 or self.features < 1 or self.base_resolution < 2 or self.growth < 1:
            raise ValueError(f"impossible hash grid: {self}")


@dataclass(frozen=True)
class Level:
    """One level's place in the table; `offset` counts entries."""

    scale: float
    resolution: int
    entries: int
    offset: int

    @property
    def dense(self) -> bool:
        return self.resolution <= LARGEST_DENSE_RESOLUTION and self.resolution**3 <= self.entries


@functools.cache
def grid_levels(settings: HashGridSettings) -> tuple[Level, ...]:
    """The levels in table order; growth and scales are float32, as in the CUDA code."""
    levels: list[Level] = []
    log2_growth = np.log2(np.float32(settings.growth))
    for index in range(settings.levels):
        growth = np.exp2(np.float32(index) * log2_growth, dtype=np.float32)
        scale = growth * np.float32(settings.base_resolution) - np.float32(1)
        resolution = math.ceil(scale) + 1
        entries = min(math.ceil(resolution**3 / 8) * 8, 2**settings.log2_entries)
        offset = levels[-1].offset + levels[-1].entries if levels else 0
        levels.append(Level(float(scale), resolution, entries, offset))
    return tuple(levels)


PLAIN = "pipeline.scenes.hashgrid_plain"
TINYCUDANN = "pipeline.scenes.hashgrid_cuda"


@functools.cache
def backend(device: str) -> ModuleType:
    """The module that reads tables on devices of this type ("cuda"): tinycudann's where it can.

    Where it is absent the plain one works on CUDA tensors too, only slower: a warning says so,
    once, with the line that installs it.
    """
    if device == "cuda":
        try:
            return importlib.import_module(TINYCUDANN)
        except ImportError as error:
            warnings.warn(f"the plain hash grid, slower, in its place: {error}", stacklevel=2)
    return importlib.import_module(PLAIN)


class HashGrid(nn.Module):
    """The learned table and its readings: by level, summed over levels, with derivatives."""

    def __init__(self, settings: HashGridSettings, generator: torch.Generator) -> None:
        super().__init__()
        self.settings = settings
        self.levels = grid_levels(settings)
        entries = self.levels[-1].offset + self.levels[-1].entries
        unit = torch.rand(entries, settings.features, generator=generator)
        self.table = nn.Parameter((2 * unit - 1) * INITIAL_RANGE)

    def forward(self, points: Float[Tensor, "3 m"]) -> Float[Tensor, "lf m"]:
        """Features of all levels, level by level, as tinycudann orders them."""
        return backend(points.device.type).features(self.table, points, self.settings)

    def summed(
        self, points: Float[Tensor, "3 m"], *, features: int | None = None
    ) -> Float[Tensor, "f m"]:
        """The levels' first `features` (default: all) added up: a sum of grids."""
        return backend(points.device.type).summed(self.table, points, self.settings, features)

    def gradient(
        self, points: Float[Tensor, "3 m"], pull: Float[Tensor, "lf m"]
    ) -> Float[Tensor, "3 m"]:
        """d (pull . forward(points)) / d points; differentiable in the table and in `pull`."""
        return backend(points.device.type).gradient(self.table, points, self.settings, pull)

    def summed_gradient(self, points: Float[Tensor, "3 m"], feature: int) -> Float[Tensor, "3 m"]:
        """d summed(points)[feature] / d points; differentiable in the table."""
        read = backend(points.device.type)
        return read.summed_gradient(self.table, points, self.settings, feature)
