"""The protocol of a number: everything that decides it, and a short name for all of that.

Numbers may share a column only when their `protocol_id` is the same. A protocol names weights by
checksum, never by path, so that two machines agree.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from pipeline.artifacts import digest

PROTOCOL_VERSION = 1  # raise when the code changes what a number means


def protocol_id(protocol: Mapping[str, Any]) -> str:
    """16 hex digits, equal exactly when `protocol` holds equal data, whatever the order of its
    keys.
    """
    return digest({"version": PROTOCOL_VERSION, **protocol})[:16]


def pictures(*, cameras: Mapping[str, Any], sizes: Sequence[Sequence[int]]) -> dict[str, Any]:
    """The part that says what was photographed: cameras and (height, width) of every view."""
    return {"cameras": dict(cameras), "sizes": [list(size) for size in sizes]}


def encoding(*, model_sha256: str, preprocessing: str, background: str) -> dict[str, Any]:
    """The part that says how pictures and captions became vectors. Captions have no prefix."""
    return {
        "model_sha256": model_sha256,
        "preprocessing": preprocessing,
        "background": background,
        "prefix": "",
        "precision": "fp32 embeddings, fp64 cosines",
    }


def retrieval(*, candidates: Sequence[str], ties: str, aggregation: str) -> dict[str, Any]:
    """The part that says among what and how it was ranked; `aggregation` is `view` or `object`."""
    return {
        "candidates_sha256": digest(list(candidates)),
        "candidates": len(candidates),
        "ties": ties,
        "aggregation": aggregation,
    }
