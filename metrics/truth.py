"""Views compared with renders of the object that the caption names.

Truth files hold, for each shape, renders of some instances at a few azimuth offsets from the four
evaluated views, so that a run is not punished for proportions the caption leaves open or for a
small turn. The offset and the instance are chosen once an object, by the mean over its four views:
a run may not use another instance for every side.

Arrays are (instances, offsets, views, ...), views in the order front, left, back, right; colours
are premultiplied by alpha. `<shape>.safetensors` holds `base` (c = 4: premultiplied rgb of what
has a fixed colour, and alpha), `tint` (c = 1: shading of what takes the caption's colour), both
uint8, and `shade` (three numbers an instance, added to that colour).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from metrics.runs import VIEWS
from pipeline.artifacts import (
    ArtifactError,
    check_schema,
    digest,
    load_arrays,
    read_json,
    sha256,
)

SILHOUETTE = 0.5  # alpha from which a pixel belongs to the object
GREY = 0.5  # colours are compared over mid-grey, as far from white as from black
CAMERAS = ("offset_deg", "azimuth_deg", "elevation_deg", "distance", "fovy_deg")
LARGEST_PSNR = 60.0  # dB; 8-bit rounding alone gives 58.9

Silhouettes = Bool[np.ndarray, "instances offsets views h w"]


@dataclass(frozen=True)
class World:
    """What `world.json` beside the truth files says: `objects[caption] = (shape, colour)`.

    `directional` are the shapes with a front.
    """

    folder: Path
    shapes: tuple[str, ...]
    colours: Mapping[str, tuple[float, float, float]]
    objects: Mapping[str, tuple[str, str]]
    directional: tuple[str, ...]


@dataclass(frozen=True)
class Truth:
    """The renders of one shape, uncoloured; see the module's docstring for the axes."""

    base: Float[np.ndarray, "instances offsets views 4 h w"]
    tint: Float[np.ndarray, "instances offsets views 1 h w"]
    shade: Float[np.ndarray, "#instances #offsets #views 3 1 1"]
    made: Mapping[str, Any] = field(default_factory=dict)  # what made the file, if it says so

    @property
    def size(self) -> int:
        """Pixels along a side of each view."""
        return int(self.base.shape[-1])

    @property
    def silhouettes(self) -> Silhouettes:
        """Where the object is, for every instance, offset and view."""
        return self.base[..., 3, :, :] >= SILHOUETTE

    def over_grey(
        self, colour: tuple[float, float, float]
    ) -> Float[np.ndarray, "instances offsets views 3 h w"]:
        """The object in this colour over mid-grey."""
        main = np.clip(np.asarray(colour, dtype=np.float32)[:, None, None] + self.shade, 0.0, 1.0)
        return _on_grey(self.base[..., :3, :, :] + self.tint * main, self.base[..., 3:, :, :])


def read_world(folder: Path | str) -> World:
    """The world whose truth files lie in `folder`. Raises ArtifactError."""
    path = Path(folder) / "world.json"
    described = read_json(path)
    check_schema(str(described.get("schema_version")), path)
    missing = [name for name in ("shapes", "colours", "directional") if name not in described]
    strays = sorted(set(described.get("directional", ())) - set(described.get("shapes", ())))
    if missing or strays:
        why = f"lacks {', '.join(missing)}" if missing else f"has no shapes {', '.join(strays)}"
        raise ArtifactError(
            f"{path}: {why}; delete it, and the same snakemake command writes it again"
        )
    shapes = tuple(described["shapes"])
    colours = {name: tuple(rgb) for name, rgb in described["colours"].items()}
    objects = {
        f"{'an' if colour[0] in 'aeiou' else 'a'} {colour} {shape}": (shape, colour)
        for shape in shapes
        for colour in colours
    }
    return World(
        folder=Path(folder),
        shapes=shapes,
        colours=colours,
        objects=objects,
        directional=tuple(described["directional"]),
    )


def read_truth(world: World, shape: str, *, at_most: int | None) -> Truth:
    """The truth of `shape`, area-averaged to `at_most` pixels if wider. Raises ArtifactError.

    Views that have more pixels than the truth are compared at the truth's size.
    """
    path = world.folder / f"{shape}.safetensors"
    tensors, metadata = load_arrays(path)
    missing = [name for name in ("base", "tint", "shade", "azimuth_deg") if name not in tensors]
    if missing:
        raise ArtifactError(f"{path}: lacks {', '.join(missing)}; write the truth again")
    base, tint = (tensors[name].astype(np.float32) / 255.0 for name in ("base", "tint"))
    if base.ndim != 6 or base.shape[2:4] != (len(VIEWS), 4):
        raise ArtifactError(
            f"{path}: base has shape {base.shape}, expected (instances, offsets, {len(VIEWS)}, 4, "
            "s, s); write the truth again"
        )
    if tensors["azimuth_deg"].tolist() != list(VIEWS.values()):
        raise ArtifactError(f"{path}: its views are not {', '.join(VIEWS)}; write the truth again")
    size = base.shape[-1] if at_most is None else min(at_most, base.shape[-1])
    shade = tensors["shade"].astype(np.float32)
    leading = shade.shape[:-1]
    shade = shade.reshape(*leading, *([1] * (3 - len(leading))), 3, 1, 1)
    truth = Truth(
        base=resized(base, size),
        tint=resized(tint, size),
        shade=shade,
        made=_made(path, tensors, metadata),
    )
    if not truth.silhouettes.any(axis=(-2, -1)).all():
        raise ArtifactError(f"{path}: a view shows nothing; write the truth again")
    return truth


def _made(path: Path, tensors: Mapping[str, Any], metadata: Mapping[str, str]) -> dict[str, Any]:
    """What made a truth file: code, settings, cameras, pixels; nothing where it does not say."""
    if "version" not in metadata:
        return {}
    if missing := [name for name in CAMERAS if name not in tensors]:
        raise ArtifactError(f"{path}: lacks {', '.join(missing)}; write the truth again")
    try:
        settings = {"seed": int(metadata["seed"]), "diversity": float(metadata["diversity"])}
    except (KeyError, ValueError) as error:
        raise ArtifactError(
            f"{path}: its metadata does not tell seed and diversity ({error}); write it again"
        ) from error
    cameras = {name: np.atleast_1d(tensors[name]).tolist() for name in CAMERAS}
    drawn = {"instances": len(tensors["base"]), "size": tensors["base"].shape[-1]}
    return {"version": metadata["version"], **settings, **drawn, **cameras}


def identity(world: World, of_shape: Mapping[str, Truth]) -> dict[str, Any]:
    """What protocols name these truths by: what made them, which no CPU's rounding changes.

    Of files that do not say what made them, their checksum. Raises ArtifactError where they were
    not all made alike.
    """
    first, *others = of_shape
    known = of_shape[first].made
    for shape in others:
        if of_shape[shape].made != known:
            raise ArtifactError(
                f"{world.folder}: {shape}.safetensors was made otherwise than {first}.safetensors "
                f"({dict(of_shape[shape].made)}, {dict(known)}); write the truth again"
            )
    if known:
        words = [list(world.shapes), list(world.directional), dict(world.colours)]
        return {"truth": {**known, "vocabulary_sha256": digest(words)}}
    files = ["world.json", *(f"{shape}.safetensors" for shape in world.shapes)]
    return {"truth_sha256": digest([sha256(world.folder / name) for name in files])}


def premultiplied(
    views: Float[np.ndarray, "views h h 4"], *, size: int
) -> Float[np.ndarray, "views 4 s s"]:
    """Views with straight alpha as the truth stores them: premultiplied, channels first, `size`
    pixels.
    """
    rgba = np.moveaxis(views, -1, 1).astype(np.float32)
    return resized(np.concatenate([rgba[:, :3] * rgba[:, 3:], rgba[:, 3:]], axis=1), size)


def resized(images: Float[np.ndarray, "*b h w"], size: int) -> Float[np.ndarray, "*b s s"]:
    """Area average to `size` x `size`; the pictures themselves where they have that size."""
    if images.shape[-2:] == (size, size):
        return images
    import torch

    flat = torch.from_numpy(images.reshape(1, -1, *images.shape[-2:]))
    pooled = torch.nn.functional.adaptive_avg_pool2d(flat, size).numpy()
    return pooled.reshape(*images.shape[:-2], size, size)


def intersection_over_union(
    found: Bool[np.ndarray, "views h w"], truth: Silhouettes
) -> Float[np.ndarray, " views"]:
    """IoU of each view, in [0, 1], at the instance and offset with the best mean over views."""
    pixels = (-2, -1)
    iou = (found & truth).sum(axis=pixels) / (found | truth).sum(axis=pixels)
    return _best(iou)


def psnr(views: Float[np.ndarray, "views 4 s s"], truth: Truth, colour: Any) -> np.ndarray:
    """PSNR in dB of each view's rgb over grey, on the union of both silhouettes, at the best pose.

    The pose has the best mean over the four views. Values end at LARGEST_PSNR.
    """
    union = (views[:, 3] >= SILHOUETTE) | truth.silhouettes
    squared = ((_on_grey(views[:, :3], views[:, 3:]) - truth.over_grey(colour)) ** 2).mean(axis=-3)
    error = (squared * union).sum(axis=(-2, -1)) / union.sum(axis=(-2, -1))
    return _best(-10.0 * np.log10(np.maximum(error, 10.0 ** (-LARGEST_PSNR / 10.0))))


def front_told_from_back(
    views: Float[np.ndarray, "views 4 s s"], truth: Truth, colour: Any
) -> float:
    """1 when front is nearer to the true front than to the true back, and back the other way round.

    Nearness is the mean squared difference over grey of the whole picture, least over instances
    and offsets. A face on both sides, or an object turned round, gives 0.
    """
    names = list(VIEWS)
    front, back = names.index("front"), names.index("back")
    true = truth.over_grey(colour)
    found = _on_grey(views[:, :3], views[:, 3:])

    def distance(seen: int, side: int) -> float:
        return float(((found[seen] - true[:, :, side]) ** 2).mean(axis=(-3, -2, -1)).min())

    told = distance(front, front) < distance(front, back)
    return float(told and distance(back, back) < distance(back, front))


def nearest_instance(views: Float[np.ndarray, "views 4 s s"], truth: Truth, colour: Any) -> int:
    """The instance with the least mean squared difference over grey, at its best offset, of the
    four whole views together.
    """
    found = _on_grey(views[:, :3], views[:, 3:])
    distance = ((found - truth.over_grey(colour)) ** 2).mean(axis=(-4, -3, -2, -1))
    return int(distance.min(axis=1).argmin())


def wrong_shape_iou(
    truth: Truth, others: Mapping[str, Truth]
) -> tuple[str, Float[np.ndarray, " views"]]:
    """The floor of IoU: the best other shape, seen straight, and its IoU a view.

    A run at this value may be the wrong object in the right colour.
    """
    found: dict[str, np.ndarray] = {}
    for shape, other in others.items():
        straight = other.silhouettes.shape[1] // 2  # offsets are symmetric about 0
        for silhouettes in other.silhouettes[:, straight]:
            iou = intersection_over_union(silhouettes, truth.silhouettes)
            if shape not in found or iou.mean() > found[shape].mean():
                found[shape] = iou
    best = max(found, key=lambda shape: float(found[shape].mean()))
    return best, found[best]


def ball_iou(truth: Truth) -> Float[np.ndarray, " views"]:
    """Another floor: IoU a view of the best ball about the origin, where every run starts."""
    size = truth.size
    centre = (np.arange(size) + 0.5) / size - 0.5
    distance = np.hypot(centre[:, None], centre[None, :])
    discs = [distance <= radius / size for radius in np.arange(0.5, 0.75 * size, 0.5)]
    found = [
        intersection_over_union(np.stack([disc] * len(VIEWS)), truth.silhouettes) for disc in discs
    ]
    return max(found, key=lambda iou: float(iou.mean()))


def _on_grey(premultiplied_rgb: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    return premultiplied_rgb + (1.0 - alpha) * np.float32(GREY)


def _best(values: Float[np.ndarray, "instances offsets views"]) -> Float[np.ndarray, " views"]:
    flat = values.reshape(-1, values.shape[-1])
    return flat[int(flat.mean(axis=-1).argmax())].astype(np.float64)
