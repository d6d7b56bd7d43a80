"""Which predictions a step asks for, and under which texts."""

import pytest
import torch
from torch import Tensor

from methods import distill
from methods.perp_neg import perp_neg
from pipeline.cameras import orbit
from pipeline.guidance.interface import View
from pipeline.predictions import Conditions, Seen, embed_conditions, perp_neg_term, predict, wanted
from prompts.view_weights import perp_neg_view_weights

VIEW_WORDS = {"front": 45, "back": 45, "overhead": 60}
SETTINGS = {
    "cameras": {"elevation": [-10, 45]},
    "view_words": VIEW_WORDS,
    "negative_prompt": "ugly",
    "perp_neg": None,
}


class Fake:
    """eps = x_t * (1 + condition): the condition can be read off the prediction."""

    alphas_cumprod = torch.linspace(0.999, 0.001, 1000)

    def __init__(self) -> None:
        self.texts: list[str] = []
        self.batches: list[tuple[int, ...]] = []

    def embed(self, texts: list[str]) -> torch.Tensor:
        self.texts += texts
        return torch.stack([torch.eye(6)[i] for i in range(len(texts))])

    def encode(self, rgb: torch.Tensor) -> torch.Tensor:
        return rgb

    def eps(self, x_t: Tensor, t: Tensor, conds: Tensor, view: View) -> Tensor:
        self.batches.append(tuple(conds.shape[:2]))
        code = (conds * 2.0 ** torch.arange(6)).sum(-1)
        return x_t * (1.0 + code)[:, :, None, None, None]


class FakeParticle:
    """The condition again, negated."""

    def eps(self, x_t: Tensor, t: Tensor, cond: Tensor, view: View) -> Tensor:
        return -x_t * (cond * 2.0 ** torch.arange(6)).sum(-1)[:, None, None, None]


def _seen(azimuths: list[float], *, perp: dict | None = None) -> tuple[Fake, Seen]:
    guidance = Fake()
    conditions = embed_conditions(guidance, "a cat", SETTINGS | {"perp_neg": perp})
    cameras = orbit(azimuths, 15.0, 3.0, 40.0)
    view = View(background=torch.zeros(len(azimuths), 3), c2w=cameras.c2w)
    return guidance, Seen(guidance, conditions, cameras, view)


def _inputs(batch: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(batch)
    x_t = torch.randn(batch, 3, 2, 2, generator=generator)
    return x_t, torch.arange(batch) + 100, torch.randn(batch, 3, 2, 2, generator=generator)


def test_each_text_is_embedded_once_and_unseen_views_not_at_all():
    guidance, seen = _seen([0.0])
    assert guidance.texts == [
        *("a cat, front view", "a cat, side view", "a cat, back view"),
        *("", "ugly"),
    ]
    assert seen.conditions.by_view.shape == (4, 6)
    assert not seen.conditions.by_view[3].any()
    high = Fake()
    embed_conditions(high, "a cat", SETTINGS | {"cameras": {"elevation": [-10, 80]}})
    assert "a cat, overhead view" in high.texts


# front, side, back are rows 0, 1, 2: codes 2^0, 2^1, 2^2; the null text is 2^3, the negative 2^4.
@pytest.mark.parametrize("azimuths", [[0.0], [10.0, 180.0], [-90.0, 45.1, 170.0, -44.0]])
def test_a_camera_gets_the_view_word_of_its_side(azimuths):
    _, seen = _seen(azimuths)
    expected = [1.0 if abs(a) < 45 else 4.0 if abs(a) > 135 else 2.0 for a in azimuths]
    found = (seen.conditions.text(seen.cameras) * 2.0 ** torch.arange(6)).sum(-1)
    assert found.tolist() == expected


@pytest.mark.parametrize("batch", [1, 2, 5])
def test_all_frozen_predictions_come_from_one_call_under_their_names(batch):
    guidance, seen = _seen([0.0] * batch)
    x_t, t, noise = _inputs(batch)
    names = [distill.NEG, distill.TEXT, distill.PARTICLE, distill.UNCOND, distill.NOISE]
    found = predict(names, seen, x_t, t, noise, particle=FakeParticle())
    assert guidance.batches == [(3, batch)]
    assert torch.equal(found["text"], x_t * 2.0)
    assert torch.equal(found["uncond"], x_t * 9.0)
    assert torch.equal(found["neg"], x_t * 17.0)
    assert torch.equal(found["particle"], -x_t)
    assert found["noise"] is noise


def test_noise_alone_asks_nobody():
    guidance, seen = _seen([0.0])
    x_t, t, noise = _inputs(1)
    assert list(predict([distill.NOISE], seen, x_t, t, noise, particle=None)) == [distill.NOISE]
    assert guidance.batches == []


def test_a_prediction_without_coefficient_is_not_wanted_unless_perp_neg_needs_it():
    t = torch.tensor([500, 500])
    ramp = distill.METHODS["csd_neg"].make(omega_1=1.0, omega_2=[0.0, 1.0, 10])
    _, plain = _seen([0.0, 180.0])
    assert sorted(wanted(ramp(0, t), plain.conditions)) == ["text", "uncond"]
    assert sorted(wanted(ramp(5, t), plain.conditions)) == ["neg", "text", "uncond"]
    assert sorted(wanted(ramp(10, t), plain.conditions)) == ["neg", "text"]
    for reference, extra in (("neg", "neg"), ("null", "uncond")):
        _, seen = _seen([0.0, 180.0], perp={"reference": reference, "scale": 1.0})
        for step in (0, 10):
            assert {"text", extra} <= set(wanted(ramp(step, t), seen.conditions))
        names = wanted(ramp(0, t), seen.conditions)
        assert len(names) == len(set(names))


@pytest.mark.parametrize("reference", ["neg", "null"])
@pytest.mark.parametrize("azimuths", [[30.0], [0.0, 60.0, 120.0, -170.0]])
def test_perp_negs_term_is_that_of_each_view_alone(azimuths, reference):
    """One batch of b views gives what b calls with one view each give."""
    perp = {"reference": reference, "scale": 3.0}
    guidance, seen = _seen(azimuths, perp=perp)
    # eps proportional to x_t has no part perpendicular to it: give each condition its own direction
    directions = torch.randn(6, 3, 2, 2, generator=torch.Generator().manual_seed(9))
    guidance.eps = lambda x_t, t, conds, view: (
        x_t + torch.einsum("kbn,nchw->kbchw", conds, directions)
    )
    x_t, t, noise = _inputs(len(azimuths))
    names = [distill.TEXT, distill.NEG, distill.UNCOND]
    predictions = predict(names, seen, x_t, t, noise, particle=None)
    together = perp_neg_term(predictions, seen, x_t, t)
    weights = perp_neg_view_weights(
        seen.cameras.azimuth_deg, seen.cameras.elevation_deg, overhead=60
    )
    anchor = {"neg": "neg", "null": "uncond"}[reference]
    for i in range(len(azimuths)):
        rows = seen.conditions.by_view[weights.negative_index[i]]
        views = x_t[i] + torch.einsum("mn,nchw->mchw", rows, directions)
        alone = perp_neg(
            predictions["text"][i : i + 1],
            predictions[anchor][i : i + 1],
            views[None],
            weights.weights[i : i + 1],
        )
        assert torch.allclose(together[i], 3.0 * alone[0], atol=1e-5)
    assert together.abs().max() > 0.1


def test_under_perp_neg_the_text_is_between_two_view_words():
    _, seen = _seen([0.0, 45.0, 90.0, 135.0, 180.0], perp={"reference": "neg", "scale": 1.0})
    rows = seen.conditions.text(seen.cameras)
    assert torch.allclose(rows.sum(-1), torch.ones(5))
    assert rows[0].tolist() == [1, 0, 0, 0, 0, 0]
    assert rows[2].tolist() == pytest.approx([0, 1, 0, 0, 0, 0], abs=1e-6)
    assert rows[4].tolist() == pytest.approx([0, 0, 1, 0, 0, 0], abs=1e-6)
    assert rows[1, :2].min() > 0  # between front and side
    assert rows[1, 2] == 0
    assert rows[3, 1:3].min() > 0  # between side and back
    assert rows[3, 0] == 0


def test_an_unknown_name_is_not_silently_something_else():
    _, seen = _seen([0.0])
    with pytest.raises(KeyError, match="nonsense"):
        Conditions.named(seen.conditions, "nonsense", seen.cameras)
