"""A caption of the toy world is any subset of colour, shape, view words and degradation words.

Grammar: segments separated by commas; one segment may name the object ("a red car", "car", "red"),
each other one is a view ("front view") or a degradation word. The empty caption is the null.
"""

from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float, Int
from torch import Tensor

from pipeline.artifacts import ArtifactError, check_schema, read_json

VIEWS = ("front", "back", "side", "overhead")
CLEAN = -1  # the kind of a render that is not degraded


class VocabularyError(ValueError):
    """A caption that this prior cannot condition on; the message lists the vocabulary."""


@dataclass(frozen=True)
class World:
    """The vocabulary of an image bank (its world.json); indices are positions in these tuples."""

    shapes: tuple[str, ...]
    colours: tuple[str, ...]
    rgb: tuple[tuple[float, float, float], ...]
    degradations: tuple[str, ...]
    front: float
    back: float
    overhead: float
    size: int


@dataclass(frozen=True)
class Caption:
    """Attributes by index; None or an empty set = not mentioned, hence marginalised.

    `kinds` empty means clean renders only: whoever says "a red car" does not mean a ruined one.
    """

    shape: int | None = None
    colour: int | None = None
    views: frozenset[int] = frozenset()
    kinds: frozenset[int] = frozenset()


def load_world(path: Path) -> World:
    """The vocabulary stored beside the bank. Raises ArtifactError, naming the file."""
    raw = read_json(path)
    check_schema(raw.get("schema_version"), path)
    try:
        thresholds = raw["view_thresholds_deg"]
        return World(
            shapes=tuple(raw["shapes"]),
            colours=tuple(raw["colours"]),
            rgb=tuple(tuple(rgb) for rgb in raw["colours"].values()),
            degradations=tuple(raw["degradations"]),
            front=float(thresholds["front"]),
            back=float(thresholds["back"]),
            overhead=float(thresholds["overhead"]),
            size=int(raw["size"]),
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise ArtifactError(f"{path} is not a description of a toy world: {error!r}") from error


def parse(text: str, world: World) -> Caption:
    """The attributes that a non-empty caption mentions. Raises VocabularyError on anything else."""
    shape = colour = None
    views, kinds = set(), set()
    named = False
    for segment in (" ".join(part.split()) for part in text.lower().split(",")):
        if segment in world.degradations:
            kinds.add(world.degradations.index(segment))
        elif segment.endswith(" view") and segment.removesuffix(" view") in VIEWS:
            views.add(VIEWS.index(segment.removesuffix(" view")))
        elif not named:
            colour, shape = _parse_object(segment, text, world)
            named = True
        else:
            raise _unknown(text, segment, world)
    return Caption(shape, colour, frozenset(views), frozenset(kinds))


def _parse_object(segment: str, text: str, world: World) -> tuple[int | None, int | None]:
    words = segment.split(" ")
    if words[0] in ("a", "an"):
        words = words[1:]
    colour = world.colours.index(words.pop(0)) if words and words[0] in world.colours else None
    shape = world.shapes.index(words.pop(0)) if words and words[0] in world.shapes else None
    if words or (colour is None and shape is None):
        raise _unknown(text, segment, world)
    return colour, shape


def _unknown(text: str, segment: str, world: World) -> VocabularyError:
    return VocabularyError(
        f"the mixture prior cannot read {segment!r} in the caption {text!r}. "
        f"Shapes: {', '.join(world.shapes)}. Colours: {', '.join(world.colours)}. "
        f"Views: {', '.join(f'{view} view' for view in VIEWS)}. "
        f"Degradations: {', '.join(world.degradations)}. "
        "Form: 'a <colour> <shape>, <view> view, <degradation>', any part left out, or ''."
    )


def view_indices(
    azimuth: Float[Tensor, " n"], elevation: Float[Tensor, " n"], world: World
) -> Int[Tensor, " n"]:
    """The index in VIEWS of each camera (degrees); seen from overhead, azimuth does not matter."""
    turn = (azimuth + 180.0) % 360.0 - 180.0
    index = torch.full(azimuth.shape, VIEWS.index("side"), device=azimuth.device)
    index[turn.abs() < world.front] = VIEWS.index("front")
    index[turn.abs() > 180.0 - world.back] = VIEWS.index("back")
    index[elevation > world.overhead] = VIEWS.index("overhead")
    return index
