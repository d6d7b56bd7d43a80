"""Whether an object shows its front more than once, from the embeddings of its four views.

Two numbers, for objects that have a front:

- `front_count`: how many of the four views are nearest to the caption with the word "front" among
  the caption with front, side and back. A faithful object has one.
- `back_front`: cosine of the front view's and the back view's embedding. A second face makes the
  two views alike; so does an object that has little of a front.

Neither is a ground truth. `python -m benchmarks.janus` measures on procedural objects with one
front and with two how often each is right; docs/results/janus.md holds its table. On other encoders
and objects the threshold of `back_front` must be found again from labelled objects.
"""

from collections.abc import Mapping

import numpy as np
from jaxtyping import Float

from metrics.clip_score import cosines, unit
from metrics.runs import VIEWS
from prompts.views import with_view

WORDS = ("front", "side", "back")
STATISTICS = ("front_count", "back_front")
# From here on the toy CLIP takes the views for one another; `benchmarks.janus` finds it, seed 1.
SIMILAR = 0.948


def front_count(views: Float[np.ndarray, "views d"], worded: Float[np.ndarray, "words d"]) -> int:
    """Views nearest to the first of `worded`, the caption's embeddings with each of WORDS."""
    return int((cosines(views, worded).argmax(axis=1) == WORDS.index("front")).sum())


def back_front(views: Float[np.ndarray, "views d"]) -> float:
    """Cosine of the front and the back view's embedding."""
    names = list(VIEWS)
    rows = unit(views)
    return float(rows[names.index("front")] @ rows[names.index("back")])


def measured(
    views: Float[np.ndarray, "views d"], prompt: str, captions: Mapping[str, np.ndarray]
) -> dict[str, float]:
    """Both numbers; `front_count` only where the captions with view words were embedded."""
    found = {"back_front": back_front(views)}
    worded = [with_view(prompt, word) for word in WORDS]
    if all(text in captions for text in worded):
        found["front_count"] = front_count(views, np.stack([captions[text] for text in worded]))
    return found
