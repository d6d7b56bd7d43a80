"""Images that a metric must not take for the object they claim to show.

blob       one to four random solids in the object's colour, or two such heaps in two colours
janus      an object whose back half is its front half again, claiming to be seen from behind
wrong view a faithful render that claims a view word 30 degrees or more away from its own

(The fifth kind, degraded renders, is `degrade.py`.) What each may claim is stated by `FAR`,
`BEHIND`.
"""

from collections.abc import Sequence
from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor

from pipeline.toyworld.parts import Part, expanded, fitted, part, turn
from pipeline.toyworld.world import Instances

# |azimuth| in degrees from which a second front belies the caption. Nearer to the side, an object
# with two fronts looks like the faithful object seen from between its front and its side, which
# is a side view too: no single picture can tell them apart.
BEHIND = 135.0
FAR = 30.0  # degrees between a camera and the nearest camera whose word it wrongly claims

# azimuth ranges (folded to [0, 180]) of the view words, elevations below the overhead threshold
SECTORS = {"front": (0.0, 45.0), "side": (45.0, 135.0), "back": (135.0, 180.0)}


def blobs(count: int, generator: torch.Generator) -> list[Part]:
    """`count` heaps of up to four random solids in the main colour, of random size and place."""

    def between(low: float, high: float) -> Tensor:
        return low + (high - low) * torch.rand(count, generator=generator)

    def solid(kind: str, taper: tuple[float, float], cut: float, probability: float) -> Part:
        present = torch.rand(count, generator=generator) < probability
        angles = [360.0 * float(torch.rand((), generator=generator)) for _ in range(3)]
        centre = [between(-0.3, 0.3) for _ in range(3)]
        half = [between(0.3, 0.9) for _ in range(3)]
        return part(
            kind, centre, half, taper=taper, cut=cut, rotation=turn(*angles), present=present
        )

    heap = [
        solid("ellipsoid", (1.0, 1.0), -1.0, 0.5),
        solid("ellipsoid", (1.0, 1.0), -0.2, 0.3),
        solid("box", (0.8, 0.6), -1.0, 0.3),
        solid("frustum", (0.5, 0.5), -1.0, 0.3),
    ]
    lonely = ~torch.stack([p.present for p in heap]).any(0)
    heap[0] = replace(heap[0], present=heap[0].present | lonely)
    scale, shift = between(0.55, 1.0)[:, None], torch.stack([between(-0.15, 0.15)] * 3, -1)
    return [
        replace(p, centre=p.centre * scale + shift * (1 - scale), half=p.half * scale)
        for p in fitted(expanded(heap, count))
    ]


def janus(objects: Instances) -> Instances:
    """The objects without the parts that lie wholly behind, plus all that is left turned by 180."""
    turned = torch.diag(torch.tensor([-1.0, -1.0, 1.0]))
    parts: list[Part] = []
    for p in objects.parts:
        reach = (p.rotation.abs() @ p.half[..., None])[:, 0, 0]
        kept = replace(p, present=p.present & (p.centre[:, 0] + reach > 0.02))
        parts += [kept, replace(kept, centre=kept.centre @ turned, rotation=turned @ kept.rotation)]
    return replace(objects, parts=parts)


def folded(azimuth_deg: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
    """The azimuth's angle from the front, in [0, 180]."""
    return ((azimuth_deg + 180) % 360 - 180).abs()


def wrong_words(azimuth_deg: float, words: Sequence[str] = tuple(SECTORS)) -> list[str]:
    """The view words whose nearest camera is at least FAR from this one."""
    angle = float(folded(torch.tensor(azimuth_deg)))
    far = []
    for word in words:
        low, high = SECTORS[word]
        if max(low - angle, angle - high) >= FAR:
            far.append(word)
    return far
