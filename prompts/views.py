"""View-dependent wording: the view word of a camera, and Perp-Neg's view prompts and weights.

Angles in degrees. Azimuth 0 looks at the object's front, 90 at its left side; elevation 0 is level
and 90 looks straight down. Thresholds and weights are threestudio's (prompt_processors/base.py),
which the released code of classifier score distillation shares. `view_weights.py` has the tensor
form of `perp_neg_prompts` for a batch.

Perp-Neg (Armandpour et al., arXiv 2304.04968) takes as text condition the interpolation of two
neighbouring views and pushes away from both of them by an amount that falls as f(r) = a exp(-b r)
+ c while the wanted share r of the view grows.
"""

import math
from dataclasses import dataclass

VIEW_WORDS = ("front", "side", "back", "overhead")


@dataclass(frozen=True)
class Falloff:
    """f(r) = scale exp(-rate r) + offset, the strength of a negative view at share r."""

    scale: float
    rate: float
    offset: float

    def __call__(self, share: float) -> float:
        return self.scale * math.exp(-self.rate * share) + self.offset


@dataclass(frozen=True)
class PerpNegFalloffs:
    """The four falloffs, named by pair of views: which is wanted, which is pushed away."""

    front_side: Falloff = Falloff(4.0, 0.5, -2.426)
    side_front: Falloff = Falloff(4.0, 0.5, -2.426)
    side_back: Falloff = Falloff(1.0, 0.5, -0.606)
    front_side_back: Falloff = Falloff(1.0, 0.5, 0.967)


@dataclass(frozen=True)
class PerpNegPrompts:
    """View words of one camera: the mixture to follow and the views to push away from.

    `positive` maps view words to shares that sum to 1; `negatives` are view words, `weights` their
    weights, none positive but for rounding of the published constants (below 1e-3).
    """

    positive: dict[str, float]
    negatives: tuple[str, str]
    weights: tuple[float, float]


def wrapped(azimuth_deg: float) -> float:
    """The same azimuth in [-180, 180)."""
    return (azimuth_deg + 180.0) % 360.0 - 180.0


def view_word(
    azimuth_deg: float,
    elevation_deg: float,
    *,
    front: float = 45.0,
    back: float = 45.0,
    overhead: float = 60.0,
) -> str:
    """The word for what the camera sees; overhead wins over the azimuth.

    front: |azimuth| < `front`; back: |azimuth| > 180 - `back`; overhead: elevation > `overhead`;
    everything else is side.
    """
    azimuth = abs(wrapped(azimuth_deg))
    if elevation_deg > overhead:
        return "overhead"
    if azimuth < front:
        return "front"
    return "back" if azimuth > 180.0 - back else "side"


def with_view(text: str, word: str) -> str:
    """The prompt that also names the view: "a red car, front view"."""
    return f"{text}, {word} view"


def perp_neg_prompts(
    azimuth_deg: float,
    elevation_deg: float,
    *,
    overhead: float = 60.0,
    falloffs: PerpNegFalloffs | None = None,
) -> PerpNegPrompts:
    """The view words between which a camera lies, with Perp-Neg's negative views and weights.

    Front half (|azimuth| < 90): r = 1 - |azimuth|/90 is the share of the front view. Back half: r =
    2 - |azimuth|/90 is the share of the side view. From overhead nothing is interpolated and the
    weights are zero.
    """
    f = falloffs or PerpNegFalloffs()
    azimuth = abs(wrapped(azimuth_deg))
    if elevation_deg > overhead:
        return PerpNegPrompts({"overhead": 1.0}, ("front", "side"), (0.0, 0.0))
    if azimuth < 90.0:
        r = 1.0 - azimuth / 90.0
        weights = (-f.front_side(r), -f.side_front(1.0 - r))
        return PerpNegPrompts({"front": r, "side": 1.0 - r}, ("front", "side"), weights)
    r = 2.0 - azimuth / 90.0
    weights = (-f.side_back(r), -f.front_side_back(r))
    return PerpNegPrompts({"side": r, "back": 1.0 - r}, ("side", "front"), weights)
