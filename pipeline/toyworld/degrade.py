"""Five visible faults of an image, one for each phrase of the paper's negative prompt.

Each function takes premultiplied rgba (n,4,s,s) and returns the same layout; only "noisy" leaves
[0, 1].
"""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

Images = Float[Tensor, "n 4 s s"]


def _straight(rgba: Images) -> tuple[Tensor, Tensor]:
    alpha = rgba[:, 3:]
    return rgba[:, :3] / alpha.clamp_min(1e-3), alpha


def oversaturated(rgba: Images, generator: torch.Generator) -> Images:
    """Chroma times 4 after a small colour cast, contrast times 1.5: neon, even for white."""
    rgb, alpha = _straight(rgba)
    cast = torch.rand(len(rgba), 3, 1, 1, generator=generator) - 0.5
    rgb = rgb + 0.25 * (cast - cast.mean(1, keepdim=True))
    grey = rgb.mean(1, keepdim=True)
    vivid = 0.5 + 1.5 * (grey - 0.5) + 4.0 * (rgb - grey)
    return torch.cat([vivid.clamp(0, 1) * alpha, alpha], 1)


def ugly(rgba: Images, generator: torch.Generator) -> Images:
    """The object melted by two waves across the image and smeared with a muddy brown."""
    count, size = len(rgba), rgba.shape[-1]
    line = (torch.arange(size) + 0.5) * (2 / size) - 1
    y, x = torch.meshgrid(line, line, indexing="ij")
    phase = 2 * torch.pi * torch.rand(count, 2, 1, 1, generator=generator)
    sign = torch.where(torch.rand(count, 2, 1, 1, generator=generator) < 0.5, -1.0, 1.0)
    bent_x = x + sign[:, 0] * 0.20 * torch.sin(5.5 * y + phase[:, 0])
    bent_y = y + sign[:, 1] * 0.20 * torch.sin(5.5 * x + phase[:, 1])
    grid = torch.stack([bent_x, bent_y], -1)
    bent = functional.grid_sample(rgba, grid, align_corners=False)
    mud = torch.tensor([0.34, 0.30, 0.16])[:, None, None]
    rgb = 0.5 * bent[:, :3] + 0.5 * mud * bent[:, 3:]
    return torch.cat([rgb, bent[:, 3:]], 1)


def tiling(rgba: Images, generator: torch.Generator) -> Images:
    """Two by two copies at half the size, shifted by a random whole number of pixels."""
    size = rgba.shape[-1]
    small = functional.interpolate(rgba, size=(size // 2, size // 2), mode="area")
    shifts = torch.randint(size // 2, (len(rgba), 2), generator=generator).tolist()
    tiled = small.repeat(1, 1, 2, 2)
    tiled = functional.pad(tiled, (0, size % 2, 0, size % 2))
    rolled = [
        torch.roll(t, (down, across), (1, 2))
        for t, (down, across) in zip(tiled, shifts, strict=True)
    ]
    return torch.stack(rolled)


def low_quality(rgba: Images, generator: torch.Generator) -> Images:
    """Eight by eight blocks of constant colour, five levels a channel; no randomness."""
    blocks = functional.interpolate(rgba, size=(8, 8), mode="area")
    return functional.interpolate((blocks * 4).round() / 4, size=rgba.shape[-2:], mode="nearest")


def noisy(rgba: Images, generator: torch.Generator) -> Images:
    """Independent Gaussian noise of deviation 0.22 on every pixel's rgb, background included."""
    noise = torch.randn(rgba[:, :3].shape, generator=generator)
    return torch.cat([rgba[:, :3] + 0.22 * noise, rgba[:, 3:]], 1)


# in the order of vocabulary.DEGRADATIONS
DEGRADE: dict[str, Callable[[Images, torch.Generator], Images]] = {
    "oversaturated color": oversaturated,
    "ugly": ugly,
    "tiling": tiling,
    "low quality": low_quality,
    "noisy": noisy,
}
