"""Where the right caption stands among the candidates, and what ties do to it.

CLIP R-Precision as the CSD paper counts it is per view: every view retrieves on its own. Per
object, the views' cosines are averaged first; ranking by the mean of unit embeddings gives the
same order, since the length of the mean is common to all candidates.

Ties matter when pictures are degenerate. With g candidates above the right one and e at its score
(itself included):

- strict: rank 1 + g. An all-equal matrix scores 100 %.
- pessimistic: rank g + e. An all-equal matrix scores 0 %.
- expected: the mean over orders of the tied ones, rank g + (e + 1) / 2, and R@k the chance of
  being in the first k. An all-equal matrix scores 1/n: 1.2 % for 81 candidates. The tables use
  this rule.
"""

from collections.abc import Callable

import numpy as np
from jaxtyping import Float, Int

_RANKS: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "strict": lambda above, equal: above + 1.0,
    "pessimistic": lambda above, equal: above + equal,
    "expected": lambda above, equal: above + (equal + 1.0) / 2.0,
}

_HITS: dict[str, Callable[[np.ndarray, np.ndarray, int], np.ndarray]] = {
    "strict": lambda above, equal, k: (above < k).astype(np.float64),
    "pessimistic": lambda above, equal, k: (above + equal <= k).astype(np.float64),
    "expected": lambda above, equal, k: np.clip((k - above) / equal, 0.0, 1.0),
}

TIES = tuple(_RANKS)


def ranks(
    scores: Float[np.ndarray, "queries candidates"],
    targets: Int[np.ndarray, " queries"],
    *,
    ties: str = "expected",
) -> Float[np.ndarray, " queries"]:
    """The rank of candidate `targets[i]` in row i, from 1 (best) to the number of candidates."""
    return _rule(_RANKS, ties)(*_standing(scores, targets))


def recalls(
    scores: Float[np.ndarray, "queries candidates"],
    targets: Int[np.ndarray, " queries"],
    *,
    k: int,
    ties: str = "expected",
) -> Float[np.ndarray, " queries"]:
    """R@k of each row in [0, 1]: whether the right candidate is among the first k."""
    above, equal = _standing(scores, targets)
    return _rule(_HITS, ties)(above, equal, k)


def _standing(scores: np.ndarray, targets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    if not np.isfinite(scores).all():
        raise ValueError("scores are not finite: ranks are undefined")
    own = np.take_along_axis(scores, np.asarray(targets)[:, None], axis=1)
    above = (scores > own).sum(axis=1).astype(np.float64)
    return above, (scores == own).sum(axis=1).astype(np.float64)


def _rule(rules: dict[str, Callable[..., np.ndarray]], ties: str) -> Callable[..., np.ndarray]:
    if ties not in rules:
        raise ValueError(f"unknown tie rule {ties!r}; known: {', '.join(rules)}")
    return rules[ties]
