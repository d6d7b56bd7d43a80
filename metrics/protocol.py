"""The protocol of a number: everything that decides it, and a short name for all of that.

Numbers may share a column only when their `protocol_id` is the same. A protocol names weights,
candidates and truths by checksum, never by path, so that two machines agree.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from metrics import image_stats, measure, truth
from pipeline.artifacts import digest

PROTOCOL_VERSION = 1  # raise when the code changes what a number means


@dataclass(frozen=True)
class Setup:
    """What one call of metrics.score holds fixed; captions and truths enter ids by checksum."""

    cameras: Mapping[str, Any]
    size: list[int] | None
    model_sha256: str
    preprocessing: str
    background: str
    ties: str
    candidates: list[str]
    strict_candidates: list[str]
    truth_sha256: str | None


def protocol_id(protocol: Mapping[str, Any]) -> str:
    """16 hex digits, equal exactly when `protocol` holds equal data, whatever its order."""
    return digest({"version": PROTOCOL_VERSION, **protocol})[:16]


def describe(metric: str, view: str, setup: Setup) -> dict[str, Any]:
    """The protocol of `metric` (or `metric@background`) a view, or for the whole object."""
    name, _, background = metric.partition("@")
    whole = view == "object"
    pictures = {"cameras": dict(setup.cameras), "size": setup.size}
    encoding = {
        "model_sha256": setup.model_sha256,
        "preprocessing": setup.preprocessing,
        "background": background or setup.background,
        "prefix": "",
        "precision": "fp32 embeddings, fp64 cosines",
    }
    similarity: dict[str, Any] = {**encoding, "aggregation": _over_views(whole, "mean cosine")}
    if name in ("clip_cos", "clip_score"):
        scale = "cos" if name == "clip_cos" else "250 * cos, not clamped"
        return {"metric": name, **pictures, **similarity, "scale": scale}
    if name in measure.RETRIEVAL:
        return {"metric": name, **pictures, **similarity, **_among(setup.candidates, setup.ties)}
    if name in measure.STRICT:
        among = _among(setup.strict_candidates, setup.ties)
        over = _over_views(whole, "worst view")
        return {"metric": name, **pictures, **encoding, **among, "aggregation": over}
    over = _over_views(whole and name != "front_back", "mean")
    protocol = {"metric": name, **pictures, "aggregation": over}
    if name in image_stats.STATISTICS:
        return protocol
    threshold = {"silhouette": truth.SILHOUETTE, "grey": truth.GREY}
    return {**protocol, **threshold, "truth_sha256": setup.truth_sha256}


def _over_views(whole: bool, rule: str) -> str:
    return f"object: {rule} of the views" if whole else "none"


def _among(candidates: list[str], ties: str) -> dict[str, Any]:
    return {
        "candidates_sha256": digest(candidates),
        "candidates": len(candidates),
        "ties": ties,
    }
