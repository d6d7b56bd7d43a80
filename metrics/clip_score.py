"""CLIP similarity of pictures and captions, and the scales under which it is published.

Embeddings are unit vectors in fp32; cosines are formed in fp64, so that two captions compare equal
only if their embeddings are equal (fp16, as some published numbers used, quantises cosines near
0.3 to 2.4e-4). Table 2 of the CSD paper (arXiv 2310.19415) prints 250 * cos without a clamp: the
weight 2.5 of CLIPScore (arXiv 2104.08718) times 100.
"""

from collections.abc import Callable

import numpy as np
from jaxtyping import Float

SCALES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "clip_cos": lambda cosine: cosine,
    "clip_score": lambda cosine: 250.0 * cosine,  # the CSD paper's Table 2
    "cos100": lambda cosine: 100.0 * cosine,
    "clip100": lambda cosine: 100.0 * np.maximum(cosine, 0.0),  # torchmetrics, per pair
    "clips_w25": lambda cosine: 250.0 * np.maximum(cosine, 0.0),  # CLIPScore's definition
}


SCALE_NAMES: dict[str, str] = {
    "clip_cos": "cos",
    "clip_score": "250 * cos, not clamped",
    "cos100": "100 * cos, not clamped",
    "clip100": "100 * max(cos, 0)",
    "clips_w25": "250 * max(cos, 0)",
}


def cosines(
    images: Float[np.ndarray, "views d"], texts: Float[np.ndarray, "candidates d"]
) -> Float[np.ndarray, "views candidates"]:
    """Cosine of every picture with every caption, in fp64. Raises ValueError for non-finite or
    zero rows.
    """
    return unit(images) @ unit(texts).T


def unit(rows: Float[np.ndarray, "n d"]) -> Float[np.ndarray, "n d"]:
    """Rows of length one in fp64. Raises ValueError for a row without a direction."""
    rows = np.asarray(rows, dtype=np.float64)
    norms = np.linalg.norm(rows, axis=-1, keepdims=True)
    if not np.isfinite(norms).all() or (norms == 0.0).any():
        raise ValueError("an embedding is zero or not finite: its cosine is undefined")
    return rows / norms
