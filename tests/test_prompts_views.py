import math

import pytest
import torch

from prompts.view_weights import perp_neg_view_weights
from prompts.views import (
    VIEW_WORDS,
    Falloff,
    PerpNegFalloffs,
    perp_neg_prompts,
    view_word,
    with_view,
    wrapped,
)


@pytest.mark.parametrize(
    ("word", "azimuths"),
    {
        "front": [0, 44.9, -44.9, 360, -315.1],
        "side": [45, 90, -90, 135, 270],
        "back": [135.1, 180, -180, -135.1, 540, 224.9],
    }.items(),
)
def test_view_words_by_azimuth(word, azimuths):
    assert {view_word(azimuth, 15) for azimuth in azimuths} == {word}


def test_overhead_wins_and_thresholds_move():
    assert view_word(0, 60) == "front"
    assert view_word(0, 60.1) == "overhead"
    assert view_word(180, 80) == "overhead"
    assert view_word(35, 0, front=30, back=30) == "side"
    assert view_word(149, 0, front=30, back=30) == "side"
    assert view_word(151, 0, front=30, back=30) == "back"
    assert view_word(0, 50, overhead=40) == "overhead"


def test_with_view_is_the_suffix_of_the_field():
    assert with_view("a red car", "front") == "a red car, front view"


def test_wrapped_is_the_same_angle_in_half_open_range():
    for azimuth in range(-1000, 1000, 37):
        assert -180 <= wrapped(azimuth) < 180
        assert math.isclose(math.cos(math.radians(wrapped(azimuth) - azimuth)), 1)


def test_falloffs_have_the_published_end_values():
    """From threestudio's constants: 4 exp(-r/2) - 2.426 and so on, at r = 0 and 1."""
    f = PerpNegFalloffs()
    ends = [
        (f.front_side, 1.574, 0.0),
        (f.side_front, 1.574, 0.0),
        (f.side_back, 0.394, 0.0),
        (f.front_side_back, 1.967, 1.574),
    ]
    for falloff, at_0, at_1 in ends:
        assert falloff(0.0) == pytest.approx(at_0, abs=1e-9)
        assert falloff(1.0) == pytest.approx(at_1, abs=1e-3)  # constants have three decimals


@pytest.mark.parametrize(
    ("azimuth", "positive", "negatives"),
    [
        (0, {"front": 1, "side": 0}, ("front", "side")),
        (30, {"front": 2 / 3, "side": 1 / 3}, ("front", "side")),
        (-30, {"front": 2 / 3, "side": 1 / 3}, ("front", "side")),
        (90, {"side": 1, "back": 0}, ("side", "front")),
        (120, {"side": 2 / 3, "back": 1 / 3}, ("side", "front")),
        (180, {"side": 0, "back": 1}, ("side", "front")),
        (240, {"side": 2 / 3, "back": 1 / 3}, ("side", "front")),
    ],
)
def test_perp_neg_interpolates_neighbouring_views(azimuth, positive, negatives):
    prompts = perp_neg_prompts(azimuth, 10)
    assert prompts.positive == pytest.approx(positive)
    assert prompts.negatives == negatives


def test_perp_neg_weights_in_closed_form():
    r = 2 / 3
    front_half = perp_neg_prompts(30, 0).weights
    assert front_half == pytest.approx(
        (-(4 * math.exp(-r / 2) - 2.426), -(4 * math.exp(-(1 - r) / 2) - 2.426))
    )
    back_half = perp_neg_prompts(-120, 0).weights
    assert back_half == pytest.approx((-(math.exp(-r / 2) - 0.606), -(math.exp(-r / 2) + 0.967)))


def test_the_wanted_view_is_not_pushed_away_and_the_front_always_is_from_behind():
    front = perp_neg_prompts(0, 0)
    assert dict(zip(front.negatives, front.weights, strict=True)) == pytest.approx(
        {"front": 0, "side": -1.574}, abs=1e-3
    )
    for azimuth in (91, 135, 180, -100):
        behind = perp_neg_prompts(azimuth, 0)
        assert dict(zip(behind.negatives, behind.weights, strict=True))["front"] < -1.5


def test_the_condition_is_continuous_in_the_azimuth():
    """Positive shares exactly, weights up to the three decimals of the published constants."""

    def as_dict(azimuth: float) -> dict[str, float]:
        p = perp_neg_prompts(azimuth, 0)
        values = {f"+{w}": p.positive.get(w, 0.0) for w in VIEW_WORDS}
        return values | {f"-{w}": x for w, x in zip(p.negatives, p.weights, strict=True)}

    for boundary in (90.0, -90.0, 0.0, 180.0):
        assert as_dict(boundary - 1e-9) == pytest.approx(as_dict(boundary + 1e-9), abs=1.5e-3)


def test_nothing_is_pushed_away_from_overhead():
    prompts = perp_neg_prompts(30, 61)
    assert prompts.positive == {"overhead": 1.0}
    assert prompts.weights == (0.0, 0.0)
    assert perp_neg_prompts(30, 61, overhead=70).positive.keys() == {"front", "side"}


CAMERAS = [(a, e) for a in range(-400, 400, 23) for e in (-10, 45, 61)] + [
    (a, 0) for a in (0, 90, -90, 180, -180, 270)
]


@pytest.mark.parametrize("falloffs", [None, PerpNegFalloffs(side_back=Falloff(3.0, 1.0, -0.5))])
def test_the_tensor_form_says_the_same_of_every_camera(falloffs):
    azimuth, elevation = torch.tensor(CAMERAS, dtype=torch.float64).T
    batch = perp_neg_view_weights(azimuth, elevation, falloffs=falloffs)
    for i, (a, e) in enumerate(CAMERAS):
        one = perp_neg_prompts(a, e, falloffs=falloffs)
        shares = [one.positive.get(word, 0.0) for word in VIEW_WORDS]
        assert batch.positive[i].tolist() == pytest.approx(shares, abs=1e-12)
        assert [VIEW_WORDS[j] for j in batch.negative_index[i]] == list(one.negatives)
        assert batch.weights[i].tolist() == pytest.approx(one.weights, abs=1e-12)


def test_the_tensor_form_keeps_dtype_and_rows_sum_to_one():
    batch = perp_neg_view_weights(torch.linspace(-180, 180, 50), torch.zeros(50))
    assert batch.positive.dtype == batch.weights.dtype == torch.float32
    assert torch.allclose(batch.positive.sum(1), torch.ones(50))
    assert (batch.positive >= 0).all()
