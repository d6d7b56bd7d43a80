"""Pictures whose embeddings and numbers are known: they try the metric code, not a method.

    python -m metrics.goldens --folder baselines/goldens [--runs DIR ...]

The folder holds `views/<run>_<view>.png` (RGBA renders of finished runs), `embeddings.npz` (of the
views over two backgrounds, then of captions) and `goldens.json` (captions, prompts, numbers). With
--runs it is written anew from these runs' views, with --renumber its numbers are from the pictures
and embeddings it has; without, it is tried and 1 is the exit status when anything differs. All of
it goes through the toy encoder of this repository, whatever the preset.

Tried are: the embeddings again; each picture alone against all together; pictures as float64 and as
8 bits; the network in float64; CUDA where there is one; from the stored embeddings every retrieval
number and image statistic; and every truth metric, for which each object's pictures, moved and in
other shades, are its truth.
"""

import copy
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from metrics import encoders, measure, truth
from metrics.arguments import parser as arguments_of
from metrics.clip_score import cosines
from metrics.embeddings import BACKGROUNDS, read_arrays, write_arrays
from metrics.runs import VIEWS, composited, read_runs, read_view
from pipeline.artifacts import (
    SCHEMA_VERSION,
    ArtifactError,
    check_schema,
    exit_status,
    read_json,
    read_png,
    write_json,
    write_png,
)

MODEL = Path(__file__).resolve().parent.parent / "pipeline" / "toyworld" / "weights" / "toy_clip"
SHOWN = ("grey", "white")
COLOURS, SHAPES = ("red", "green", "blue", "yellow"), ("car", "house", "robot", "tree")
CAPTIONS = [f"a {colour} {shape}" for colour in COLOURS for shape in SHAPES]
SIZE = 48  # pixels a side that pictures are stored at
# Unit vectors in fp32 through a few million products: other kernels agree to some 1e-6.
CLOSE = 2e-5
EXACT = 1e-9  # relative: numpy in float64 from the same inputs
SINGLE = 1e-5  # relative: sums in float32, in whatever order the machine adds


@dataclass(frozen=True)
class Goldens:
    """The stored pictures, the rows of their embeddings and of the captions', and the numbers."""

    views: Mapping[str, Float[np.ndarray, "views h w 4"]]
    prompts: Mapping[str, str]
    images: Float[np.ndarray, "n d"]
    texts: Float[np.ndarray, "captions d"]
    numbers: Mapping[str, float]
    model_sha256: str

    def pictures(self) -> list[Float[np.ndarray, "h w 3"]]:
        """What is embedded: every run's views over every background, in the order of `images`."""
        return [
            composited(view, BACKGROUNDS[name])
            for views in self.views.values()
            for view in views
            for name in SHOWN
        ]


def numbers(
    views: Mapping[str, Float[np.ndarray, "views h w 4"]],
    prompts: Mapping[str, str],
    images: Float[np.ndarray, "n d"],
    texts: Float[np.ndarray, "captions d"],
) -> dict[str, float]:
    """Every retrieval number and image statistic, by `run/background/view/metric`."""
    rows = images.reshape(len(views), len(VIEWS), len(SHOWN), -1)
    found: dict[str, float] = {}
    for of_run, (run, pictures) in zip(rows, views.items(), strict=True):
        for place, name in enumerate(SHOWN):
            target = CAPTIONS.index(prompts[run])
            similar = cosines(of_run[:, place], texts)
            told = measure.retrieved(similar, target, ties="expected")
            found |= {f"{run}/{name}/{view}/{metric}": v for (view, metric), v in told.items()}
        looked = measure.looked_at(pictures)
        found |= {f"{run}/-/{view}/{metric}": v for (view, metric), v in looked.items()}
    return found | _against_truth(views, prompts)


def _against_truth(
    views: Mapping[str, Float[np.ndarray, "views h w 4"]], prompts: Mapping[str, str]
) -> dict[str, float]:
    """Every truth metric and floor, were each run's own pictures, altered, its true object."""
    words = {run: prompts[run].split()[1:] for run in views}  # colour, shape
    world = truth.World(
        folder=Path(),
        shapes=tuple(shape for _, shape in words.values()),
        colours={colour: (0.0, 0.0, 0.0) for colour, _ in words.values()},  # pictures have theirs
        objects={prompts[run]: (shape, colour) for run, (colour, shape) in words.items()},
        directional=(),
    )
    of_shape = {words[run][1]: _altered(pictures) for run, pictures in views.items()}
    truths = measure.truths_of(world, of_shape, prompts.values(), identity={})
    found: dict[str, float] = {}
    for run, pictures in views.items():
        known = truths.floors[words[run][1]]
        known = known | measure.compared_with_truth(pictures, prompts[run], truths)
        found |= {f"{run}/truth/{view}/{metric}": v for (view, metric), v in known.items()}
    return found


def _altered(views: Float[np.ndarray, "views h w 4"]) -> truth.Truth:
    """A truth of two instances, darker and lighter than the pictures, moved by some pixels."""
    rgba = truth.premultiplied(views, size=SIZE)
    moved = np.stack([np.roll(rgba, pixels, axis=-1) for pixels in (-5, -2, 3)])
    base = np.stack([moved, moved])
    base[0, :, :, :3] *= 0.7
    base[1, :, :, :3] += 0.5 * (base[1, :, :, 3:] - base[1, :, :, :3])
    nothing = np.zeros_like(base[..., :1, :, :])
    return truth.Truth(base=base, tint=nothing, shade=np.zeros((1, 1, 1, 3, 1, 1), np.float32))


def read(folder: Path) -> Goldens:
    """The goldens in `folder`. Raises ArtifactError for a missing or broken file."""
    described = read_json(folder / "goldens.json")
    check_schema(described.get("schema_version"), folder / "goldens.json")
    arrays = read_arrays(folder / "embeddings.npz", ("images", "texts", "model_sha256"))
    views = {
        run: np.stack([read_png(folder / "views" / f"{run}_{view}.png") for view in VIEWS])
        for run in described["prompts"]
    }
    return Goldens(
        views=views,
        prompts=described["prompts"],
        images=arrays["images"],
        texts=arrays["texts"],
        numbers=described["numbers"],
        model_sha256=str(arrays["model_sha256"]),
    )


def problems(folder: Path, model: Path = MODEL) -> list[str]:
    """What the metric code no longer gives, one line each; empty when all is as it was."""
    known = read(folder)
    encoder = encoders.load(f"{encoders.LOCAL}{model}")
    if encoder.model_sha256 != known.model_sha256:
        return [f"{model} holds other weights than the goldens were made with; write them anew"]
    return [*_embedded(known, encoder), *_computed(known)]


def _embedded(known: Goldens, encoder: encoders.Encoder) -> Iterator[str]:
    pictures = known.pictures()
    together = encoders.embed_images(encoder, pictures)
    yield from _apart("embeddings of the views", together, known.images)
    texts = encoders.embed_texts(encoder, CAPTIONS)
    yield from _apart("embeddings of the captions", texts, known.texts)
    alone = np.concatenate([encoders.embed_images(encoder, [picture]) for picture in pictures[:6]])
    yield from _apart("one picture a batch", alone, together[:6])
    turned = encoders.embed_images(encoder, pictures[::-1])[::-1]
    yield from _apart("another order of pictures", turned, together)
    eight_bit = [(p * 255.0 + 0.5).astype(np.uint8).astype(np.float64) / 255.0 for p in pictures]
    stored = encoders.embed_images(encoder, eight_bit)
    yield from _apart("pictures of 8 bits in float64", stored, together)
    double = replace(encoder, model=_Double(copy.deepcopy(encoder.model).double()))
    exact = encoders.embed_images(double, pictures)
    yield from _apart("the network in float64", exact, together)
    import torch

    if torch.cuda.is_available():
        moved = replace(encoder, model=copy.deepcopy(encoder.model).cuda(), device="cuda")
        yield from _apart("CUDA", encoders.embed_images(moved, pictures), together)


@dataclass(frozen=True)
class _Double:
    """The network in float64 behind the interface of the one in float32."""

    model: Any

    def encode_image(self, batch: Any, *, normalize: bool) -> Any:
        return self.model.encode_image(batch.double(), normalize=normalize).float()


def _computed(known: Goldens) -> Iterator[str]:
    now = numbers(known.views, known.prompts, known.images, known.texts)
    for name in sorted(now.keys() | known.numbers.keys()):
        old, new = known.numbers.get(name, np.nan), now.get(name, np.nan)
        close = SINGLE if name.endswith("truth_psnr") else EXACT
        if not np.isclose(new, old, rtol=close, atol=close):
            yield f"{name} is {new:.10g}, known as {old:.10g}"


def _apart(what: str, found: np.ndarray, expected: np.ndarray) -> Iterator[str]:
    if found.shape != expected.shape:
        yield f"{what}: shape {found.shape}, known as {expected.shape}"
    elif (far := float(np.abs(found - expected).max())) > CLOSE:
        yield f"{what}: {far:.2g} from the known embedding, at most {CLOSE:g}"


def write(folder: Path, runs: Sequence[Path], model: Path = MODEL) -> str:
    """`folder` holds the goldens of these runs' views, made smaller; says how many numbers."""
    views, prompts = {}, {}
    for run in read_runs(runs):
        if run.failed or run.prompt not in CAPTIONS:
            raise ArtifactError(f"{run.folder}: failed, or of none of the captions {CAPTIONS}")
        name = f"{run.column}-{run.prompt_id}"
        prompts[name] = run.prompt
        for view in VIEWS:
            write_png(folder / "views" / f"{name}_{view}.png", _smaller(read_view(run, view)))
        stored = [read_png(folder / "views" / f"{name}_{view}.png") for view in VIEWS]
        views[name] = np.stack(stored)
    encoder = encoders.load(f"{encoders.LOCAL}{model}")
    texts = encoders.embed_texts(encoder, CAPTIONS)
    empty = Goldens(views, prompts, np.empty((0, 0)), texts, {}, encoder.model_sha256)
    images = encoders.embed_images(encoder, empty.pictures())
    arrays = {"images": images, "texts": texts, "model_sha256": np.array(encoder.model_sha256)}
    write_arrays(folder / "embeddings.npz", arrays)
    return _numbered(folder, replace(empty, images=images))


def _numbered(folder: Path, known: Goldens) -> str:
    """Writes what the metric code gives now as the numbers; says how many."""
    found = numbers(known.views, known.prompts, known.images, known.texts)
    content = {"schema_version": SCHEMA_VERSION, "prompts": known.prompts, "numbers": found}
    write_json(folder / "goldens.json", content)
    return f"{len(found)} numbers of {len(known.views)} objects in {folder}"


def _smaller(image: Float[np.ndarray, "h w 4"]) -> np.ndarray:
    """`image` at SIZE pixels, averaged with its alpha so that nothing bleeds in from outside."""
    step = image.shape[0] // SIZE
    if step < 1:
        raise ArtifactError(f"a view of {image.shape[0]} pixels; goldens have {SIZE}")
    cut = image[: SIZE * step, : SIZE * step].reshape(SIZE, step, SIZE, step, 4)
    alpha = cut[..., 3:]
    mean = alpha.mean(axis=(1, 3))
    colour = (cut[..., :3] * alpha).mean(axis=(1, 3)) / np.maximum(mean, 1e-6)
    return np.concatenate([colour, mean], axis=-1).astype(np.float32)


def main(arguments: Sequence[str] | None = None) -> int:
    """Tries the goldens, or writes them."""
    parser = arguments_of("metrics.goldens")
    parser.add_argument("--folder", required=True, type=Path)
    parser.add_argument("--runs", nargs="+", type=Path, help="write the goldens of these runs")
    parser.add_argument("--renumber", action="store_true", help="write the numbers anew")
    chosen = parser.parse_args(arguments)
    if chosen.renumber:
        known = read(chosen.folder)
        print(_numbered(chosen.folder, known))
        return 0
    if chosen.runs:
        print(write(chosen.folder, chosen.runs))
        return 0
    found = problems(chosen.folder)
    print("\n".join(found) if found else f"{chosen.folder}: everything is as it was")
    return int(bool(found))


if __name__ == "__main__":
    sys.exit(exit_status(main, encoders.EncoderError))
