"""The words of the toy world: nine shapes, nine colours, view words, five faults; captions of them.

A caption is "a red car" or "an orange house", optionally followed by ", front view". The order of
the tuples is part of the file formats: integers in bank files index into them.
"""

SHAPES: tuple[str, ...] = (
    *("car", "house", "snowman", "duck", "robot"),
    *("chair", "tree", "mushroom", "rocket"),
)

# linear rgb in [0, 1]; saturated enough to be told apart in shade, never 0 or 1 so that jitter fits
COLOURS: dict[str, tuple[float, float, float]] = {
    "red": (0.86, 0.08, 0.08),
    "orange": (0.96, 0.46, 0.04),
    "yellow": (0.97, 0.86, 0.10),
    "green": (0.14, 0.62, 0.16),
    "cyan": (0.10, 0.80, 0.86),
    "blue": (0.10, 0.20, 0.86),
    "purple": (0.48, 0.12, 0.66),
    "pink": (0.97, 0.52, 0.74),
    "white": (0.94, 0.94, 0.94),
}

VIEWS: tuple[str, ...] = ("front", "side", "back", "overhead")

# the CSD paper's negative prompt (appendix A.4), split at its commas
DEGRADATIONS: tuple[str, ...] = (
    *("oversaturated color", "ugly", "tiling", "low quality", "noisy"),
)

# shapes whose front differs from their back; a tree and a mushroom look alike from all around
DIRECTIONAL: tuple[str, ...] = ("car", "house", "snowman", "duck", "robot", "chair", "rocket")


def caption(shape: str | None, colour: str, view: str | None = None) -> str:
    """As "an orange car, side view": article by the first letter; `shape` None says "blob"."""
    article = "an" if colour[0] in "aeiou" else "a"
    plain = f"{article} {colour} {shape or 'blob'}"
    return plain if view is None else f"{plain}, {view} view"
