"""Display rgb (IEC 61966-2-1, sRGB), linear light, and CIE L*a*b* under D65.

Fields, images and textures hold display rgb in [0, 1]; glTF wants it in base colour textures and
linear light in vertex colours.
"""

import torch
from jaxtyping import Float
from torch import Tensor

# Linear sRGB to XYZ (IEC 61966-2-1), its rows divided by the white point D65.
_TO_XYZ = torch.tensor(
    [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]],
    dtype=torch.float64,
)
_TO_XYZ_OVER_WHITE = _TO_XYZ / _TO_XYZ.sum(1, keepdim=True)
_DELTA = 6 / 29


def linear_from_display(rgb: Float[Tensor, "*n 3"]) -> Float[Tensor, "*n 3"]:
    """Linear light of display rgb; values outside [0, 1] are clamped first."""
    rgb = rgb.clamp(0, 1)
    return torch.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)


def display_from_linear(rgb: Float[Tensor, "*n 3"]) -> Float[Tensor, "*n 3"]:
    """Display rgb of linear light, the inverse of `linear_from_display`."""
    rgb = rgb.clamp(0, 1)
    curve = 1.055 * rgb.clamp_min(0.0031308) ** (1 / 2.4) - 0.055
    return torch.where(rgb <= 0.0031308, 12.92 * rgb, curve)


def lab(rgb: Float[Tensor, "*n 3"]) -> Float[Tensor, "*n 3"]:
    """L* in [0, 100], a*, b* of display rgb; a distance of 2.3 is just noticeable."""
    ratio = linear_from_display(rgb.double()) @ _TO_XYZ_OVER_WHITE.T.to(rgb.device)
    root = ratio.clamp_min(_DELTA**3) ** (1 / 3)
    x, y, z = torch.where(ratio > _DELTA**3, root, ratio / (3 * _DELTA**2) + 4 / 29).unbind(-1)
    return torch.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], -1).to(rgb.dtype)
