"""What colour a sample shows: functions of albedo and normal with one signature.

The normal map is what the guidance sees in a texture-free phase: geometry has to explain the
picture, colour cannot (DreamFusion's textureless renders, in the form of the CSD code).
"""

from collections.abc import Callable

from jaxtyping import Float
from torch import Tensor

Shading = Callable[[Float[Tensor, "3 m"], Float[Tensor, "3 m"] | None], Float[Tensor, "3 m"]]


def albedo_colour(
    albedo: Float[Tensor, "3 m"], normal: Float[Tensor, "3 m"] | None
) -> Float[Tensor, "3 m"]:
    """The albedo itself: light from everywhere."""
    return albedo


def normal_colour(
    albedo: Float[Tensor, "3 m"], normal: Float[Tensor, "3 m"] | None
) -> Float[Tensor, "3 m"]:
    """(n + 1) / 2 of the world's normal."""
    if normal is None:
        raise ValueError("normal shading needs normals")
    return 0.5 * normal + 0.5


SHADINGS: dict[str, Shading] = {"albedo": albedo_colour, "normal": normal_colour}


def length(vectors: Float[Tensor, "3 m"]) -> Float[Tensor, " m"]:
    """Euclidean norms, at least 1e-6 so that quotients and gradients stay finite.

    Written out: torch's norm over a leading dimension takes thirty times as long on a CPU.
    """
    x, y, z = vectors
    return (x * x + y * y + z * z + 1e-12).sqrt()


def unit(vectors: Float[Tensor, "3 m"]) -> Float[Tensor, "3 m"]:
    """Vectors of length 1; near 0 they shrink to 0, with a finite gradient, instead of NaN."""
    return vectors / length(vectors)
