"""Every reading against slow loops over views and captions; what it takes to share a column."""

import itertools

import numpy as np
import pytest

from metrics import clip_score, readings
from metrics.readings import Reading

RUNS, VIEWS, CANDIDATES, WIDTH = 6, 4, 9, 5


@pytest.fixture
def arrays() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    return rng.normal(size=(RUNS, VIEWS, WIDTH)), rng.normal(size=(CANDIDATES, WIDTH))


def reading(quantity: str, unit: str, ties: str = "") -> Reading:
    return Reading(quantity, unit, "", "grey", "toy81" if ties else "", ties)


def cosine(a: np.ndarray, b: np.ndarray) -> float:
    return float(a @ b / np.sqrt((a @ a) * (b @ b)))


@pytest.mark.parametrize("quantity", clip_score.SCALES)
def test_similarities_by_hand(quantity: str, arrays: tuple[np.ndarray, np.ndarray]) -> None:
    views, texts = arrays
    own = texts[:RUNS]
    scale = {
        "clip_cos": lambda c: c,
        "clip_score": lambda c: 250 * c,
        "cos100": lambda c: 100 * c,
        "clip100": lambda c: max(100 * c, 0.0),
        "clips_w25": lambda c: max(250 * c, 0.0),
    }[quantity]
    found = {
        unit: readings.similarities(views, own, reading(quantity, unit))
        for unit in readings.SIMILARITY_UNITS
    }
    for run in range(RUNS):
        each = [scale(cosine(view, own[run])) for view in views[run]]
        assert found["view"][run] == pytest.approx(each)
        assert found["best_view"][run] == pytest.approx([max(each)])
        assert found["worst_view"][run] == pytest.approx([min(each)])
        mean = sum(view / np.linalg.norm(view) for view in views[run])
        assert found["mean_embedding"][run] == pytest.approx([scale(cosine(mean, own[run]))])
    assert min(cosine(v, own[r]) for r in range(RUNS) for v in views[r]) < 0  # clamps are met


@pytest.mark.parametrize("ties", ["strict", "pessimistic", "expected"])
def test_retrieval_by_hand(ties: str) -> None:
    rng = np.random.default_rng(1)
    cosines = rng.integers(0, 4, size=(RUNS, VIEWS, CANDIDATES)).astype(float)
    targets = rng.integers(0, CANDIDATES, size=RUNS)

    def places(row: np.ndarray, target: int) -> list[int]:
        """Ranks that the target may have, by the order of its ties."""
        above = sum(value > row[target] for value in row)
        equal = sum(value == row[target] for value in row)
        return {"strict": [above + 1], "pessimistic": [above + equal]}.get(
            ties, list(range(above + 1, above + equal + 1))
        )

    for run, target in enumerate(targets):
        rows = [places(row, target) for row in cosines[run]]
        whole = places(cosines[run].mean(axis=0), target)
        for name, k in readings.CUTOFFS.items():
            chance = [np.mean([place <= k for place in row]) for row in rows]
            found = {
                unit: readings.retrieved(cosines, targets, reading(name, unit, ties))[run]
                for unit in ("view", "object", "majority")
            }
            assert found["view"] == pytest.approx(chance)
            assert found["object"] == pytest.approx([np.mean([place <= k for place in whole])])
            orders = itertools.product((0, 1), repeat=VIEWS)
            slow = sum(
                np.prod([c if hit else 1 - c for hit, c in zip(hits, chance, strict=True)])
                for hits in orders
                if sum(hits) > VIEWS / 2
            )
            assert found["majority"] == pytest.approx([slow])
        ranks = readings.retrieved(cosines, targets, reading("median_rank", "view", ties))[run]
        assert ranks == pytest.approx([np.mean(row) for row in rows])
        mrr = readings.retrieved(cosines, targets, reading("mrr", "object", ties))[run]
        assert mrr == pytest.approx([1 / np.mean(whole)])


def test_an_all_equal_matrix_by_tie_rule() -> None:
    """100 %, 0 % or 1/81 of a degenerate encoder's views, whatever the unit of 81 candidates."""
    cosines, targets = np.ones((3, 4, 81)), np.array([0, 40, 80])
    for ties, share in {"strict": 1.0, "pessimistic": 0.0, "expected": 1 / 81}.items():
        for unit in ("view", "object"):
            found = readings.retrieved(cosines, targets, reading("r_at_1", unit, ties))
            assert found == pytest.approx(np.full(found.shape, share))


def test_three_of_four_views_are_a_majority_and_two_are_not() -> None:
    hits = np.array([[1, 1, 1, 0], [1, 1, 0, 0], [1, 1, 1, 1], [0, 0, 0, 0]], dtype=float)
    np.testing.assert_array_equal(readings.majority(hits), [1, 0, 1, 0])


def test_readings_are_all_and_different() -> None:
    found = readings.all_readings(
        prefixes=["", "A photo depicts "],
        backgrounds=["grey", "white", "black"],
        pools=["dreamfusion81", "dreamfusion415"],
    )
    assert len(found) == len(set(found)) == 5 * 4 * 6 + (3 * 3 + 2 * 2) * 6 * 2 * 3
    where = {"background": "white", "candidates": "dreamfusion81"}
    for name, chosen in readings.named(**where).items():
        assert set(chosen) <= set(found), name
    with pytest.raises(ValueError, match=r"unknown backgrounds \['native'\]"):
        readings.all_readings(prefixes=[""], backgrounds=["native"], pools=[])


def test_pools_must_hold_the_prompts() -> None:
    assert len(readings.pool_texts("dreamfusion415", ["a DSLR photo of a bulldozer"])) == 415
    own = readings.pool_texts("dreamfusion81", [])
    assert set(own) <= set(readings.pool_texts("dreamfusion415", own))
    with pytest.raises(ValueError, match=r"not in the pool 'toy81' have no rank: \['a red ship'\]"):
        readings.pool_texts("toy81", ["a red car", "a red ship"])


def test_failed_runs_have_the_worst_value() -> None:
    worst = {
        quantity: readings.worst(reading(quantity, "view", "strict"), candidates=81)
        for quantity in (*clip_score.SCALES, *readings.CUTOFFS, *readings.RANKED)
    }
    assert worst.pop("median_rank") == 81
    assert worst.pop("mrr") == pytest.approx(1 / 81)
    assert set(worst.values()) == {0.0}
