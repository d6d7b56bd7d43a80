"""Every reading of "CLIP score" and "R-Precision" that the same stored embeddings allow.

A reading is a quantity and what it leaves open: how the four views are put together, a prefix to
the captions, the background, the candidates and what ties count. Two readings are two protocols:
their numbers never share a column.

Similarities (`clip_score.SCALES`) are counted by `view` (each view's, averaged), `mean_embedding`
(cosine of the views' mean embedding), `best_view` or `worst_view`. Retrieval (R@k, mean reciprocal
rank `mrr`, `median_rank`) by `view` (each view is a query), `object` (the mean cosine of the views
is one query, which ranks as the mean embedding does) or `majority` (more than half of the views
hit; for R@k only).

`named` has the protocols that publications use. `paper` is the CSD paper's as far as the numbers of
its Table 2 give it away (tests/test_metrics_published.py): each view is a query, no prefix, 250
times an unclamped cosine. It counts ties pessimistically: a view hits or does not, and a picture
that all captions fit alike does not.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from metrics import clip_score, r_precision
from metrics.candidates import plain
from metrics.embeddings import BACKGROUNDS

SIMILARITY_UNITS = ("view", "mean_embedding", "best_view", "worst_view")
CUTOFFS = {"r_at_1": 1, "r_at_5": 5, "r_at_10": 10}
RANKED = ("mrr", "median_rank")
CLIPSCORE_PREFIX = "A photo depicts "  # of CLIPScore's own code (arXiv 2104.08718)
LOWER_IS_BETTER = ("median_rank",)


@dataclass(frozen=True)
class Reading:
    """One way to read a number; `candidates` and `ties` are empty for similarities."""

    quantity: str
    unit: str
    prefix: str
    background: str
    candidates: str = ""
    ties: str = ""

    @property
    def retrieves(self) -> bool:
        """Whether the number is made of ranks."""
        return self.quantity not in clip_score.SCALES

    @property
    def is_hit(self) -> bool:
        """Whether single values lie in [0, 1] and mean a share of hits."""
        return self.quantity in CUTOFFS


def named(*, background: str, candidates: str) -> dict[str, list[Reading]]:
    """The readings that publications use, by the protocol's name."""
    paper = [Reading("clip_score", "view", "", background)]
    paper += [Reading(k, "view", "", background, candidates, "pessimistic") for k in CUTOFFS]
    return {
        "paper": paper,
        "clipscore": [Reading("clips_w25", "view", CLIPSCORE_PREFIX, background)],
        "torchmetrics": [Reading("clip100", "view", "", background)],
    }


def all_readings(
    *, prefixes: Sequence[str], backgrounds: Sequence[str], pools: Sequence[str]
) -> list[Reading]:
    """Every combination, similarities first."""
    unknown = set(backgrounds) - set(BACKGROUNDS)
    if unknown:
        raise ValueError(f"unknown backgrounds {sorted(unknown)}; known: {', '.join(BACKGROUNDS)}")
    shown = [(prefix, background) for prefix in prefixes for background in backgrounds]
    found = [
        Reading(quantity, unit, *where)
        for quantity in clip_score.SCALES
        for unit in SIMILARITY_UNITS
        for where in shown
    ]
    units: dict[str, tuple[str, ...]] = dict.fromkeys(CUTOFFS, ("view", "object", "majority"))
    units |= dict.fromkeys(RANKED, ("view", "object"))
    found += [
        Reading(quantity, unit, *where, pool, ties)
        for quantity, counted in units.items()
        for unit in counted
        for where in shown
        for pool in pools
        for ties in r_precision.TIES
    ]
    return found


def pool_texts(name: str, prompts: Sequence[str]) -> list[str]:
    """The captions of the prompt set `name`. Raises ValueError for prompts that are not among
    them: what is no candidate has no rank.
    """
    texts = plain(name)
    strays = sorted(set(prompts) - set(texts))
    if strays:
        raise ValueError(f"prompts that are not in the pool {name!r} have no rank: {strays[:5]}")
    return texts


def similarities(
    views: Float[np.ndarray, "runs views d"],
    captions: Float[np.ndarray, "runs d"],
    reading: Reading,
) -> Float[np.ndarray, "runs n"]:
    """Values of `reading` for each run's own caption: one a view, or one an object."""
    texts = clip_score.unit(captions)
    unit_views = np.stack([clip_score.unit(rows) for rows in views])
    if reading.unit == "mean_embedding":
        unit_views = clip_score.unit(unit_views.mean(axis=1))[:, None]
    scaled = clip_score.SCALES[reading.quantity](np.einsum("rvd,rd->rv", unit_views, texts))
    if reading.unit in ("best_view", "worst_view"):
        best = reading.unit == "best_view"
        return (scaled.max if best else scaled.min)(axis=1, keepdims=True)
    return scaled


def retrieved(
    cosines: Float[np.ndarray, "runs views candidates"],
    targets: Int[np.ndarray, " runs"],
    reading: Reading,
) -> Float[np.ndarray, "runs n"]:
    """Values of `reading` for candidate `targets[i]` of run i: one a view, or one an object."""
    if reading.unit == "object":
        cosines = cosines.mean(axis=1, keepdims=True)
    runs, views, candidates = cosines.shape
    queries = cosines.reshape(-1, candidates)
    own = np.repeat(targets, views)
    if not reading.is_hit:
        ranks = r_precision.ranks(queries, own, ties=reading.ties).reshape(runs, views)
        return 1.0 / ranks if reading.quantity == "mrr" else ranks
    k = CUTOFFS[reading.quantity]
    hits = r_precision.recalls(queries, own, k=k, ties=reading.ties).reshape(runs, views)
    return majority(hits)[:, None] if reading.unit == "majority" else hits


def majority(chances: Float[np.ndarray, "runs views"]) -> Float[np.ndarray, " runs"]:
    """Chance that more than half of the views hit, where view v hits with its own chance.

    For hits of 0 and 1 that is 0 or 1; ties shared by the expected rule give chances between.
    """
    runs, views = chances.shape
    count = np.zeros((runs, views + 1))  # chance of each number of hits so far
    count[:, 0] = 1.0
    for view in range(views):
        hit = chances[:, view : view + 1]
        count[:, 1:] = count[:, 1:] * (1.0 - hit) + count[:, :-1] * hit
        count[:, :1] *= 1.0 - hit
    return count[:, views // 2 + 1 :].sum(axis=1)


def worst(reading: Reading, *, candidates: int) -> float:
    """What a failed run counts under intent to treat: the last rank, else score 0."""
    if reading.quantity == "median_rank":
        return float(candidates)
    return 1.0 / candidates if reading.quantity == "mrr" else 0.0
