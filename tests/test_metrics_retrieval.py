"""Similarities, ranks and ties against slow loops and the definitions."""

import numpy as np
import pytest

from metrics import candidates, clip_score, r_precision


def random_scores(rng: np.random.Generator) -> np.ndarray:
    return rng.integers(0, 6, size=(12, 9)).astype(np.float64)  # few values: many ties


def test_cosines_are_the_definition() -> None:
    rng = np.random.default_rng(0)
    images, texts = rng.normal(size=(4, 7)), rng.normal(size=(5, 7))
    found = clip_score.cosines(images, texts)
    for i, image in enumerate(images):
        for j, text in enumerate(texts):
            dot = sum(a * b for a, b in zip(image, text, strict=True))
            size = np.sqrt(sum(a * a for a in image) * sum(b * b for b in text))
            assert found[i, j] == pytest.approx(dot / size, abs=1e-12)


def test_scales_are_those_published() -> None:
    """0.3144 is the cosine behind the 78.6 of the CSD paper's Table 2; the others clamp."""
    cosine = np.array([0.3144, -0.1])
    at = {name: scale(cosine) for name, scale in clip_score.SCALES.items()}
    assert at["clip_score"] == pytest.approx([78.6, -25.0])
    assert at["clip100"] == pytest.approx([31.44, 0.0])  # torchmetrics: max(100 cos, 0)
    assert at["clips_w25"] == pytest.approx([78.6, 0.0])  # CLIPScore: 2.5 max(cos, 0), in %
    assert at["clip_cos"] == pytest.approx(cosine)
    assert at["cos100"] == pytest.approx([31.44, -10.0])
    assert set(clip_score.SCALE_NAMES) == set(clip_score.SCALES)


@pytest.mark.parametrize("row", [[0.0, 0.0], [np.nan, 1.0], [np.inf, 1.0]])
def test_embeddings_without_direction_are_refused(row: list[float]) -> None:
    with pytest.raises(ValueError, match="cosine is undefined"):
        clip_score.cosines(np.array([row]), np.eye(2))


@pytest.mark.parametrize(("ties", "share"), [("strict", 1.0), ("pessimistic", 0.0)])
def test_all_equal_scores(ties: str, share: float) -> None:
    scores, targets = np.ones((3, 81)), np.array([0, 40, 80])
    assert (r_precision.recalls(scores, targets, k=1, ties=ties) == share).all()


def test_all_equal_scores_are_worth_chance_when_expected() -> None:
    scores, targets = np.ones((3, 81)), np.array([0, 40, 80])
    found = {k: r_precision.recalls(scores, targets, k=k) for k in (1, 10, 81)}
    assert found[1] == pytest.approx([1 / 81] * 3)  # 1.2 %
    assert found[10] == pytest.approx([10 / 81] * 3)
    assert found[81] == pytest.approx([1.0] * 3)
    assert r_precision.ranks(scores, targets) == pytest.approx([41.0] * 3)


def test_ranks_are_means_over_orders_of_the_tied() -> None:
    """Slow: break ties by random numbers often, sort, look where the right one is."""
    rng = np.random.default_rng(1)
    scores, targets = random_scores(rng), rng.integers(0, 9, size=12)
    draws = 4000
    seen = np.zeros((draws, 12))
    for draw in range(draws):
        jittered = scores + rng.random(scores.shape) * 0.5
        order = np.argsort(-jittered, axis=1)
        seen[draw] = 1 + np.argmax(order == targets[:, None], axis=1)
    # ranks differ by at most 8: the mean of 4000 has a standard error below 0.05
    np.testing.assert_allclose(r_precision.ranks(scores, targets), seen.mean(axis=0), atol=0.25)
    for k in (1, 3):
        found = r_precision.recalls(scores, targets, k=k)
        np.testing.assert_allclose(found, (seen <= k).mean(axis=0), atol=0.05)
    strict = r_precision.ranks(scores, targets, ties="strict")
    pessimistic = r_precision.ranks(scores, targets, ties="pessimistic")
    np.testing.assert_array_equal(strict, seen.min(axis=0))
    np.testing.assert_array_equal(pessimistic, seen.max(axis=0))
    np.testing.assert_allclose(r_precision.ranks(scores, targets), (strict + pessimistic) / 2)


def test_without_ties_the_rules_agree() -> None:
    rng = np.random.default_rng(2)
    scores, targets = rng.normal(size=(20, 15)), rng.integers(0, 15, size=20)
    found = [r_precision.ranks(scores, targets, ties=ties) for ties in r_precision.TIES]
    np.testing.assert_array_equal(found[0], found[1])
    np.testing.assert_array_equal(found[0], found[2])
    slow = [1 + sum(s > row[t] for s in row) for row, t in zip(scores, targets, strict=True)]
    np.testing.assert_array_equal(found[0], slow)


def test_an_object_ranks_alike_by_mean_embedding_and_by_mean_score() -> None:
    rng = np.random.default_rng(3)
    views = clip_score.unit(rng.normal(size=(4, 8)) + 1.0)
    texts = rng.normal(size=(30, 8))
    by_embedding = clip_score.cosines(views.mean(axis=0, keepdims=True), texts)
    by_score = clip_score.cosines(views, texts).mean(axis=0, keepdims=True)
    for target in range(30):
        found = [r_precision.ranks(s, np.array([target])) for s in (by_embedding, by_score)]
        assert found[0] == found[1]


def test_table_2_of_the_paper_counts_views() -> None:
    """265 of 324 views is the 81.8 % that the CSD paper prints; no k of 81 objects is."""
    scores = np.zeros((324, 81))
    scores[:265, 0] = 1.0
    scores[265:, 1] = 1.0
    hits = r_precision.recalls(scores, np.zeros(324, dtype=int), k=1)
    assert round(100 * hits.mean(), 1) == 81.8
    assert all(round(100 * k / 81, 1) != 81.8 for k in range(82))


def test_prompts_with_a_front_are_tagged() -> None:
    found = candidates.with_front("dreamfusion81")
    assert len(found) == 21
    assert "a bumblebee sitting on a pink flower" in found
    assert candidates.with_front("toy81") == frozenset()


def test_bad_input_is_refused() -> None:
    with pytest.raises(ValueError, match="unknown tie rule 'lucky'"):
        r_precision.ranks(np.ones((1, 2)), np.array([0]), ties="lucky")
    with pytest.raises(ValueError, match="not finite"):
        r_precision.recalls(np.array([[np.nan, 1.0]]), np.array([0]), k=1)


def test_candidates_of_both_protocols() -> None:
    plain = candidates.plain("toy81")
    strict = candidates.strict("toy81", view_words=["front", "side", "back"], extra=["toy_blobs"])
    assert len(set(plain)) == 81
    assert len(set(strict)) == 81 * 3 + 9
    assert "a red blob" in strict
    targets = [candidates.strict_target("a red car", view) for view in candidates.VIEWS]
    assert targets == [f"a red car, {word} view" for word in ("front", "side", "back", "side")]
    assert set(targets) <= set(strict)
    assert candidates.strict("toy81", view_words=[], extra=["toy_blobs"]) == []
