"""The protocol of a number: everything that decides it, and a short name for all of that.

Numbers may share a column only when their `protocol_id` is the same. A protocol names weights,
candidates by checksum, never by path, and truths by what made them, so that two machines agree.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from metrics import image_stats, janus, measure, truth
from metrics.clip_score import SCALE_NAMES
from pipeline.artifacts import digest

PROTOCOL_VERSION = 1  # raise when the code changes what a number means


@dataclass(frozen=True)
class Setup:
    """What one call of metrics.score holds fixed; captions enter ids by checksum."""

    cameras: Mapping[str, Any]
    size: list[int] | None
    model_sha256: str
    preprocessing: str
    background: str
    ties: str
    candidates: list[str]
    strict_candidates: list[str]
    truth: Mapping[str, Any]  # metrics.truth.identity; nothing without true objects
    prefix: str = ""
    seam: Mapping[str, Any] | None = None  # what views.json says of how seams were measured


def protocol_id(protocol: Mapping[str, Any]) -> str:
    """16 hex digits, equal exactly when `protocol` holds equal data, whatever its order."""
    return digest({"version": PROTOCOL_VERSION, **protocol})[:16]


# How the four views become one number, by the unit that retrieval or similarity counts.
AGGREGATIONS: dict[str, str] = {
    "view": "none",
    "object": "object: mean cosine of the views",
    "mean_embedding": "object: cosine of the mean embedding",
    "best_view": "object: best view",
    "worst_view": "object: worst view",
    "majority": "object: more than half of the views hit",
}


def of_reading(quantity: str, unit: str, setup: Setup) -> dict[str, Any]:
    """The protocol of a similarity, or of a number made of ranks, counted by `unit`."""
    protocol = {
        "metric": quantity,
        **_pictures(setup),
        **_encoding(setup),
        "aggregation": AGGREGATIONS[unit],
    }
    if quantity in SCALE_NAMES:
        return {**protocol, "scale": SCALE_NAMES[quantity]}
    return {**protocol, **_among(setup.candidates, setup.ties)}


def describe(metric: str, view: str, setup: Setup) -> dict[str, Any]:
    """The protocol of `metric` (or `metric@background`) a view, or for the whole object."""
    name, _, background = metric.partition("@")
    whole = view == "object"
    if background:
        setup = replace(setup, background=background)
    if name in measure.RETRIEVAL:
        return of_reading(name, "object" if whole else "view", setup)
    if name == measure.SEAM:
        value = "mean colour jump at seams over that elsewhere"
        return {"metric": name, "value": value, "measured": dict(setup.seam or {})}
    pictures = _pictures(setup)
    if name in measure.STRICT:
        among = _among(setup.strict_candidates, setup.ties)
        over = _over_views(whole, "worst view")
        return {"metric": name, **pictures, **_encoding(setup), **among, "aggregation": over}
    if name in janus.STATISTICS:
        words = list(janus.WORDS) if name == "front_count" else []
        return {"metric": name, **pictures, **_encoding(setup), "view_words": words}
    over = _over_views(whole and name != "front_back", "mean")
    protocol = {"metric": name, **pictures, "aggregation": over}
    if name in image_stats.STATISTICS:
        return protocol
    threshold = {"silhouette": truth.SILHOUETTE, "grey": truth.GREY}
    return {**protocol, **threshold, **setup.truth}


def _pictures(setup: Setup) -> dict[str, Any]:
    return {"cameras": dict(setup.cameras), "size": setup.size}


def _encoding(setup: Setup) -> dict[str, Any]:
    return {
        "model_sha256": setup.model_sha256,
        "preprocessing": setup.preprocessing,
        "background": setup.background,
        "prefix": setup.prefix,
        "precision": "fp32 embeddings, fp64 cosines",
    }


def _over_views(whole: bool, rule: str) -> str:
    return f"object: {rule} of the views" if whole else "none"


def _among(candidates: list[str], ties: str) -> dict[str, Any]:
    return {
        "candidates_sha256": digest(candidates),
        "candidates": len(candidates),
        "ties": ties,
    }
