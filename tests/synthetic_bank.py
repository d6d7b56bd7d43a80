"""A small image bank in the format of pipeline.toyworld.bank: ellipses with a turning mark."""

import math
from pathlib import Path

import torch

from pipeline.artifacts import save_safetensors, write_json
from pipeline.guidance.mixture import Mixture

SHAPES = ("car", "house", "snowman", "duck", "robot", "chair", "tree", "mushroom", "rocket")
COLOURS = {
    "red": (0.9, 0.1, 0.1),
    "blue": (0.1, 0.2, 0.9),
    "green": (0.1, 0.7, 0.2),
    "white": (0.9, 0.9, 0.9),
    "orange": (0.9, 0.5, 0.1),
    "yellow": (0.9, 0.8, 0.1),
    "cyan": (0.1, 0.8, 0.8),
    "purple": (0.5, 0.1, 0.6),
    "pink": (0.9, 0.5, 0.7),
}
DEGRADATIONS = ("oversaturated color", "ugly", "tiling", "low quality", "noisy")


def write_bank(
    folder: Path,
    *,
    shapes: int = 3,
    colours: int = 3,
    count: int = 24,
    degraded: int = 30,
    size: int = 8,
    jitter: float = 0.05,
    seed: int = 0,
) -> Path:
    """A bank of the first `shapes` and `colours`; every file and key that a real one has."""
    generator = torch.Generator().manual_seed(seed)
    names = SHAPES[:shapes]
    palette = {name: list(COLOURS[name]) for name in list(COLOURS)[:colours]}
    for shape, name in enumerate(names):
        tensors = _cameras(count, generator) | {"instance": torch.zeros(count, dtype=torch.int32)}
        base, tint = _ellipses(shape, tensors["azimuth_deg"], size)
        tensors["shade"] = jitter * (2.0 * torch.rand(count, 3, generator=generator) - 1.0)
        tensors["base"] = (255.0 * base).round().to(torch.uint8)
        tensors["tint"] = (255.0 * tint).round().to(torch.uint8)
        save_safetensors(folder / f"{name}.safetensors", tensors, {})
    save_safetensors(
        folder / "degraded.safetensors", _degraded(degraded, shapes, palette, size, generator), {}
    )
    world = {
        "schema_version": "1.0",
        "shapes": list(names),
        "colours": palette,
        "degradations": list(DEGRADATIONS),
        "view_thresholds_deg": {"front": 45.0, "back": 45.0, "overhead": 60.0},
        "size": size,
    }
    write_json(folder / "world.json", world)
    return folder


def _cameras(count: int, generator: torch.Generator) -> dict[str, torch.Tensor]:
    azimuth = 360.0 * torch.rand(count, generator=generator) - 180.0
    elevation = 55.0 * torch.rand(count, generator=generator) - 10.0
    return {
        "azimuth_deg": azimuth,
        "elevation_deg": elevation,
        "distance": torch.full((count,), 3.0),
        "fovy_deg": torch.full((count,), 40.0),
    }


def _ellipses(shape: int, azimuth: torch.Tensor, size: int) -> tuple[torch.Tensor, torch.Tensor]:
    """base (n, 4, s, s) and tint (n, 1, s, s) in [0, 1]: an ellipse, a fixed-colour spot on it."""
    axis = (torch.arange(size) + 0.5) / size * 2.0 - 1.0
    row, column = axis[:, None], axis[None, :]
    angle = torch.deg2rad(azimuth)[:, None, None]
    width = 0.45 + 0.25 * math.sin(2.0 * shape + 1.0) * angle.cos().square()
    height = 0.40 + 0.05 * shape
    inside = ((column / width) ** 2 + (row / height) ** 2 < 1.0).float()
    spot = (column - 0.4 * angle.sin()).square() + (row + 0.2).square() < 0.06
    spot = spot.float() * inside * (angle.cos() > 0)
    shade = 0.5 + 0.3 * (1.0 - column.square()) * (0.6 + 0.4 * angle.cos())
    tint = (inside - spot) * shade
    base = torch.stack([0.9 * spot, 0.8 * spot, 0.1 * spot, inside], 1)
    return base, tint[:, None]


def _degraded(
    count: int,
    shapes: int,
    palette: dict[str, list[float]],
    size: int,
    generator: torch.Generator,
) -> dict[str, torch.Tensor]:
    """Noisy ellipses whose values leave [0, 1]; kinds in turn, so that each has its share."""
    tensors = _cameras(count, generator)
    shape = torch.arange(count) % shapes
    colour = (torch.arange(count) // shapes) % len(palette)
    rgba = []
    for index in range(count):
        base, tint = _ellipses(int(shape[index]), tensors["azimuth_deg"][index : index + 1], size)
        rgb = torch.tensor(list(palette.values())[int(colour[index])])[:, None, None]
        noise = 0.4 * torch.randn(3, size, size, generator=generator)
        rgba.append(torch.cat([base[0, :3] + tint[0] * rgb + noise, base[0, 3:]]))
    tensors["rgba"] = torch.stack(rgba).half()
    tensors["shape"], tensors["colour"] = shape.int(), colour.int()
    tensors["kind"] = (torch.arange(count) % len(DEGRADATIONS)).int()
    return tensors


def component_means(mixture: Mixture, background: torch.Tensor) -> torch.Tensor:
    """Every component's mean over the background, asked for one at a time; (n, 3 * s * s)."""
    total = torch.zeros(len(mixture.components.prior), 3, mixture.world.size**2)
    total = total.to(mixture.alphas_cumprod)
    eye = torch.eye(len(total), dtype=total.dtype)
    split = eye.split([group.squared.numel() for group in mixture.groups], -1)
    for group, weights in zip(mixture.groups, split, strict=True):
        group.add_means(total, weights, background.to(total).expand(len(total), 3))
    empty = (2.0 * background - 1.0)[:, None].to(total)
    return (empty + total).flatten(1)
