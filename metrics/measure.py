"""All numbers of one run, keyed by (view, metric); `view` is one of the four or `object`.

A failed run is counted: `worst` gives it the last rank and score 0 for every key that a run of its
prompt would have. What only describes has no worst value and becomes nan.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from metrics import clip_score, image_stats, janus, r_precision, truth
from metrics.candidates import strict_target
from metrics.runs import VIEWS

CUTOFFS = (1, 5, 10)
RETRIEVAL = ("clip_cos", "clip_score", "rank", *(f"r_at_{k}" for k in CUTOFFS))
STRICT = ("strict_rank", "strict_hit")
TRUTH = ("truth_iou", "truth_psnr")
FLOORS = ("iou_floor", "iou_ball")
EVERYWHERE = (*VIEWS, "object")
DESCRIPTIVE = (*image_stats.STATISTICS, *janus.STATISTICS)  # no better end, and no worst value
SEAM = "seam"  # the lower the better, but without bound: a failed run has none
WITHOUT_WORST = (*DESCRIPTIVE, SEAM)

Values = dict[tuple[str, str], float]


def retrieved(cosines: Float[np.ndarray, "views candidates"], target: int, *, ties: str) -> Values:
    """Similarity and rank of the prompt among the candidates, a view and for the views' mean."""
    scores = np.concatenate([cosines, cosines.mean(axis=0, keepdims=True)])
    targets = np.full(len(scores), target)
    own = scores[:, target]
    columns = {name: clip_score.SCALES[name](own) for name in ("clip_cos", "clip_score")}
    columns["rank"] = r_precision.ranks(scores, targets, ties=ties)
    for k in CUTOFFS:
        columns[f"r_at_{k}"] = r_precision.recalls(scores, targets, k=k, ties=ties)
    return _by_view(EVERYWHERE, columns)


def strictly_retrieved(
    cosines: Float[np.ndarray, "views candidates"],
    prompt: str,
    candidates: Sequence[str],
    *,
    ties: str,
) -> Values:
    """Rank of prompt and view together; for the object the worst rank, and if all views hit."""
    targets = np.array([candidates.index(strict_target(prompt, view)) for view in VIEWS])
    ranks = r_precision.ranks(cosines, targets, ties=ties)
    hits = r_precision.recalls(cosines, targets, k=1, ties=ties)
    columns = {
        "strict_rank": np.append(ranks, ranks.max()),
        "strict_hit": np.append(hits, hits.min()),
    }
    return _by_view(EVERYWHERE, columns)


@dataclass(frozen=True)
class Truths:
    """The truth of every shape at the views' size, and the IoU that wrong silhouettes reach."""

    world: truth.World
    of_shape: Mapping[str, truth.Truth]
    floors: Mapping[str, Values]
    identity: Mapping[str, Any]  # in protocols: what made the truths

    def knows(self, prompt: str) -> bool:
        """Whether `prompt` names an object of this world."""
        return prompt in self.world.objects

    def has_front(self, prompt: str) -> bool:
        """Whether the object that `prompt` names has a front that can be told from its back."""
        return self.world.objects[prompt][0] in self.world.directional


def read_truths(folder: Path, prompts: Iterable[str], *, at_most: int | None) -> Truths:
    """The truths in `folder`, at most so many pixels wide, and the floors of what is prompted."""
    world = truth.read_world(folder)
    of_shape = {shape: truth.read_truth(world, shape, at_most=at_most) for shape in world.shapes}
    return truths_of(world, of_shape, prompts, identity=truth.identity(world, of_shape))


def truths_of(
    world: truth.World,
    of_shape: Mapping[str, truth.Truth],
    prompts: Iterable[str],
    *,
    identity: Mapping[str, Any],
) -> Truths:
    """Truths with the floors of what is prompted."""
    named = sorted({world.objects[text][0] for text in prompts if text in world.objects})
    floors = {}
    for shape in named:
        others = {other: of_shape[other] for other in world.shapes if other != shape}
        columns = {"iou_ball": _with_mean(truth.ball_iou(of_shape[shape]))}
        columns["iou_floor"] = _with_mean(truth.wrong_shape_iou(of_shape[shape], others)[1])
        floors[shape] = _by_view(EVERYWHERE, columns)
    return Truths(world=world, of_shape=of_shape, floors=floors, identity=identity)


def compared_with_truth(
    views: Float[np.ndarray, "views h h 4"], prompt: str, truths: Truths
) -> Values:
    """Agreement with the object that `prompt` names."""
    shape, colour = truths.world.objects[prompt]
    known = truths.of_shape[shape]
    rgb = truths.world.colours[colour]
    found = truth.premultiplied(views, size=known.size)
    columns = {
        "truth_iou": _with_mean(
            truth.intersection_over_union(found[:, 3] >= truth.SILHOUETTE, known.silhouettes)
        ),
        "truth_psnr": _with_mean(truth.psnr(found, known, rgb)),
    }
    told = {("object", "front_back"): truth.front_told_from_back(found, known, rgb)}
    return _by_view(EVERYWHERE, columns) | told


def looked_at(views: Float[np.ndarray, "views h w 4"]) -> Values:
    """The image statistics of every view."""
    columns = {
        name: np.array([statistic(view) for view in views])
        for name, statistic in image_stats.STATISTICS.items()
    }
    return _by_view(tuple(VIEWS), columns)


def worst(metric: str, *, candidates: int, strict_candidates: int) -> float:
    """What a failed run counts: the last rank, nan for what has no worst value, else 0."""
    if metric in WITHOUT_WORST:
        return float("nan")
    return float({"rank": candidates, "strict_rank": strict_candidates}.get(metric, 0))


def _with_mean(values: Float[np.ndarray, " views"]) -> Float[np.ndarray, " everywhere"]:
    return np.append(values, values.mean())


def _by_view(views: Sequence[str], columns: Mapping[str, np.ndarray]) -> Values:
    return {
        (view, metric): float(value)
        for metric, values in columns.items()
        for view, value in zip(views, values, strict=True)
    }
