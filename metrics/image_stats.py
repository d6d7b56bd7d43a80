"""What the picture itself shows of over-saturation, over-smoothing and fog, whatever the caption.

All functions take one view, RGBA with straight alpha in [0, 1]. The object is where alpha >= 0.5.
These numbers describe: none has a better end, and a failed run has none.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from jaxtyping import Float

SILHOUETTE = 0.5  # alpha from which a pixel belongs to the object
FOG = 0.05  # alpha below which a pixel is background; 8-bit rounding is 0.002
CLIPPED = 1.5 / 255.0  # the two outermost 8-bit levels at either end

# CIE 1931 XYZ of linear sRGB, rows X, Y, Z (IEC 61966-2-1).
_XYZ = np.array(
    [
        [0.4124564, 0.3575761, 0.1804375],
        [0.2126729, 0.7151522, 0.0721750],
        [0.0193339, 0.1191920, 0.9503041],
    ]
)


def lab(rgb: Float[np.ndarray, "*shape 3"]) -> Float[np.ndarray, "*shape 3"]:
    """CIELAB (D65) of sRGB in [0, 1]: L* in [0, 100], a* and b* about [-110, 110]."""
    rgb = np.asarray(rgb, dtype=np.float64)
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    relative = linear @ _XYZ.T / _XYZ.sum(axis=1)  # white is the sum of the primaries
    small = 6.0 / 29.0
    f = np.where(relative > small**3, np.cbrt(relative), relative / (3.0 * small**2) + 4.0 / 29.0)
    x, y, z = np.moveaxis(f, -1, 0)
    return np.stack([116.0 * y - 16.0, 500.0 * (x - y), 200.0 * (y - z)], axis=-1)


def chroma(rgba: Float[np.ndarray, "h w 4"]) -> float:
    """Mean C*ab of the object; grey is 0, pure sRGB red 104.6. 0 for an empty picture."""
    inside = rgba[..., 3] >= SILHOUETTE
    colours = lab(rgba[inside][:, :3])
    return _mean(np.hypot(colours[:, 1], colours[:, 2]))


def clipped(rgba: Float[np.ndarray, "h w 4"]) -> float:
    """Share of the object's pixels with a channel at either end of its range, in [0, 1]."""
    inside = rgba[rgba[..., 3] >= SILHOUETTE][:, :3]
    return _mean(np.any((inside <= CLIPPED) | (inside >= 1.0 - CLIPPED), axis=-1))


def sharpness(rgba: Float[np.ndarray, "h w 4"]) -> float:
    """Mean squared 4-neighbour Laplacian of luma over pixels whose neighbours all belong to the
    object.

    The outline is left out: it would hide the surface, where over-smoothing shows. Luma is Rec.
    709's.
    """
    luma = rgba[..., :3].astype(np.float64) @ np.array([0.2126, 0.7152, 0.0722])
    inside = rgba[..., 3] >= SILHOUETTE
    centre = (slice(1, -1), slice(1, -1))
    around = [
        (slice(0, -2), slice(1, -1)),
        (slice(2, None), slice(1, -1)),
        (slice(1, -1), slice(0, -2)),
        (slice(1, -1), slice(2, None)),
    ]
    laplacian = sum(luma[shift] for shift in around) - 4.0 * luma[centre]
    interior = np.logical_and.reduce([inside[centre], *(inside[shift] for shift in around)])
    return _mean(laplacian[interior] ** 2)


def opacity(rgba: Float[np.ndarray, "h w 4"]) -> float:
    """Mean alpha where there is anything at all: near 1 for a solid object, small for fog, 0 for
    nothing.
    """
    alpha = rgba[..., 3]
    return _mean(alpha[alpha >= FOG])


STATISTICS: dict[str, Callable[[np.ndarray], float]] = {
    "chroma": chroma,
    "clipped": clipped,
    "sharpness": sharpness,
    "opacity": opacity,
}


def _mean(values: Any) -> float:
    return float(values.mean(dtype=np.float64)) if values.size else 0.0
