"""A picture compared with the toy world's renders: how near the nearest is, and what it shows.

Renders are the image bank's clean ones of a caption, in front of mid-grey; pictures are (3, h, h)
rgb in [0, 1], whose object nobody has outlined. Its outline is taken to be the nearest render's,
for pictures and for views of objects alike, so that both are measured over the same sort of region.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from metrics.image_stats import chroma, clipped, sharpness
from metrics.truth import GREY, LARGEST_PSNR, Truth, World, resized
from pipeline.artifacts import ArtifactError, load_arrays


@dataclass(frozen=True)
class Renders:
    """Every clean render of one caption: rgb over mid-grey, and opacity."""

    rgb: Float[np.ndarray, "n 3 s s"]
    alpha: Float[np.ndarray, "n s s"]


@dataclass(frozen=True)
class Nearest:
    """The render with the least root mean square difference `rmse` to a picture; its opacity."""

    rmse: float
    rgb: Float[np.ndarray, "3 s s"]
    alpha: Float[np.ndarray, "s s"]


def read_renders(world: World, caption: str) -> Renders:
    """The bank's renders of `caption`; `world` is the bank's. Raises ArtifactError."""
    if caption not in world.objects:
        raise ArtifactError(f"{world.folder}/world.json: no object is called {caption!r}")
    shape, colour = world.objects[caption]
    path = world.folder / f"{shape}.safetensors"
    tensors, _ = load_arrays(path)
    base, tint = (tensors[name].astype(np.float32) / 255.0 for name in ("base", "tint"))
    found = Truth(base=base, tint=tint, shade=tensors["shade"][:, :, None, None])
    return Renders(rgb=found.over_grey(world.colours[colour]), alpha=base[:, 3])


def nearest(picture: Float[np.ndarray, "3 s s"], renders: Renders) -> Nearest:
    """The render that looks most like `picture`, which is averaged to the renders' size."""
    small = resized(picture, renders.rgb.shape[-1])
    squared = ((renders.rgb - small) ** 2).mean(axis=(-3, -2, -1))
    best = int(squared.argmin())
    return Nearest(float(squared[best]) ** 0.5, renders.rgb[best], renders.alpha[best])


def shown(picture: Float[np.ndarray, "3 s s"], alpha: Float[np.ndarray, "s s"]) -> dict[str, float]:
    """`chroma`, `clipped` and `sharpness` (Laplacian energy) of the picture where `alpha` says the
    object is, and `outside`: root mean square difference from mid-grey where nothing should be.
    """
    small = resized(picture, alpha.shape[-1])
    rgba = np.concatenate([np.moveaxis(small, 0, -1), alpha[..., None]], axis=-1)
    beside = small[:, alpha < 1.0 / 255.0] - GREY
    found = {"chroma": chroma(rgba), "clipped": clipped(rgba), "sharpness": sharpness(rgba)}
    return found | {"outside": float(np.sqrt((beside**2).mean())) if beside.size else 0.0}


def psnr(a: np.ndarray, b: np.ndarray, where: np.ndarray | None = None) -> float | None:
    """PSNR in dB of two pictures, of the pixels `where` if given; None where there are none."""
    squared = ((a - b) ** 2).mean(axis=0)
    if where is not None:
        if not where.any():
            return None
        squared = squared[where]
    return min(LARGEST_PSNR, float(-10.0 * np.log10(max(float(squared.mean()), 1e-12))))


def channels_first(image: Float[np.ndarray, "h w c"]) -> Float[np.ndarray, "3 h w"]:
    """An RGB picture as everything here takes it; RGBA is put in front of mid-grey."""
    rgb = image[..., :3]
    if image.shape[-1] == 4:
        rgb = rgb * image[..., 3:] + (1.0 - image[..., 3:]) * GREY
    return np.moveaxis(rgb, -1, 0).astype(np.float32)
