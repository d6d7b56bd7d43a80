"""Second faces: by hand on vectors, and on the toy world's objects with one front and with two."""

import numpy as np
import pytest

from metrics import janus

FRONT, SIDE, BACK = np.eye(3)
CAPTIONS = {
    "a red car, front view": FRONT,
    "a red car, side view": SIDE,
    "a red car, back view": BACK,
}


def near(word: np.ndarray) -> np.ndarray:
    return word + 0.1


def test_fronts_are_counted() -> None:
    words = np.stack([FRONT, SIDE, BACK])
    faithful = np.stack([near(FRONT), near(SIDE), near(BACK), near(SIDE)])
    assert janus.front_count(faithful, words) == 1
    assert janus.front_count(faithful[[0, 1, 0, 3]], words) == 2
    assert janus.front_count(faithful[[0, 0, 0, 0]], words) == 4
    assert janus.front_count(faithful[[1, 1, 2, 1]], words) == 0


def test_back_and_front_are_compared() -> None:
    views = np.stack([2.0 * FRONT, SIDE, FRONT + BACK, SIDE])
    assert janus.back_front(views) == pytest.approx(np.sqrt(0.5))
    assert janus.back_front(views[[0, 1, 0, 3]]) == pytest.approx(1.0)


def test_fronts_need_captions_with_view_words() -> None:
    views = np.stack([near(FRONT), near(SIDE), near(BACK), near(SIDE)])
    assert janus.measured(views, "a red car", CAPTIONS)["front_count"] == 1
    assert set(janus.measured(views, "a blue car", CAPTIONS)) == {"back_front"}


def test_views_without_direction_are_refused() -> None:
    with pytest.raises(ValueError, match="cosine is undefined"):
        janus.back_front(np.zeros((4, 3)))


def test_the_detectors_tell_two_fronts_from_one() -> None:
    """Ducks of a seed that fixed no threshold: nearly all are judged right."""
    from benchmarks import janus as bench
    from metrics import encoders

    encoder = encoders.load(bench.MODEL)
    rows = bench.measured(encoder, seed=3, shapes=("duck",), diversities=(1.0,))
    assert len(rows) == 4 * 9

    def share(kind: str, number: str, least: float) -> float:
        return float(np.mean([row[number] >= least for row in rows if row["kind"] == kind]))

    assert share("one front", "front_count", 2) <= 0.1
    assert share("one front", "back_front", janus.SIMILAR) <= 0.35
    for kind in ("two fronts", "front all round"):
        assert share(kind, "front_count", 2) >= 0.8
        assert share(kind, "back_front", janus.SIMILAR) >= 0.9
    assert bench.auc(rows, "back_front") > 0.9
    found = bench.table(rows, janus.SIMILAR)
    every = [row for row in found if row["shape"] == "all"]
    assert {row["objects"] for row in every} == {9}
    assert all(row["lower"] <= row["right"] <= row["upper"] for row in every)
