"""The probe's averages against what they must be for a prior and a scene that are linear."""

import dataclasses

import pytest
import torch

from methods import distill
from pipeline.cameras import orbit
from pipeline.guidance.interface import View
from pipeline.predictions import Conditions, Seen
from pipeline.probe import SHARES, probe

COUNT = 7


class Linear:
    """eps = x_t + the condition's number: every difference of conditions is a constant image."""

    alphas_cumprod = torch.linspace(0.99, 0.01, 1000)

    def eps(self, x_t, t, conds, view):
        assert len(view.background) == len(x_t) == COUNT
        return x_t + conds[..., None, None]


@pytest.fixture
def seen() -> Seen:
    by_view = torch.tensor([[3.0], [4.0], [5.0], [6.0]])
    words = {"front": 45, "back": 45, "overhead": 60}
    conditions = Conditions(by_view, torch.tensor([1.0]), torch.tensor([2.0]), words, None)
    cameras = orbit([0.0, 180.0], 15.0, 3.0, 40.0)
    return Seen(Linear(), conditions, cameras, View(background=torch.zeros(2, 3), c2w=cameras.c2w))


def _rows(tiny_job, seen: Seen, parameters: torch.Tensor) -> dict[tuple[str, int], dict]:
    x = (2.0 * parameters).view(1, 1, 2, 2).expand(2, 3, 2, 2)
    job = tiny_job("csd", trace={"every": 1, "extra_every": 0, "probes": 1, "probe_noises": COUNT})
    coefficients = distill.METHODS["csd"].make()
    rows = probe(4, x, seen, None, [parameters], coefficients, job)
    assert all(row["step"] == 4 for row in rows)
    return {(row["term"], row["t"]): row for row in rows}


def test_mean_spread_and_parameter_norm_of_a_constant_direction(tiny_job, seen):
    """eps(y) - eps(null) = 3 - 1 everywhere at the front: norm 2 sqrt(12), no spread; through
    x = 2 theta, each theta in three channels, the gradient is 12 in each of the four parameters."""
    rows = _rows(tiny_job, seen, torch.zeros(4, requires_grad=True))
    assert {t for _, t in rows} == {int(share * 1000) for share in SHARES}
    for share in SHARES:
        t = int(share * 1000)
        assert rows["probe/direction/mean", t]["norm"] == pytest.approx(2 * 12**0.5, rel=1e-5)
        assert rows["probe/direction/spread", t]["norm"] == pytest.approx(0.0, abs=1e-5)
        assert rows["probe/direction/parameters", t]["norm"] == pytest.approx(24.0, rel=1e-5)
        assert rows["probe/cosine/direction/classifier", t]["norm"] == pytest.approx(1.0)
        assert rows["probe/generative/spread", t]["norm"] > 0.1  # the noise itself
        assert ("probe/negative/mean", t) not in rows  # csd has no negative


def test_the_probe_draws_from_a_generator_of_its_own(tiny_job, seen):
    state = torch.random.get_rng_state()
    parameters = torch.zeros(4, requires_grad=True)
    first, second = (_rows(tiny_job, seen, parameters) for _ in range(2))
    assert first == second
    assert torch.equal(torch.random.get_rng_state(), state)
    assert parameters.grad is None


def test_only_the_first_view_is_probed(tiny_job, seen):
    """The second camera stands behind: were it probed, the condition would be 5, not 3."""
    turned = dataclasses.replace(seen, cameras=orbit([180.0, 0.0], 15.0, 3.0, 40.0), view=seen.view)
    rows = _rows(tiny_job, turned, torch.zeros(4, requires_grad=True))
    assert rows["probe/direction/mean", 500]["norm"] == pytest.approx(4 * 12**0.5, rel=1e-5)


def test_the_direction_includes_what_perp_neg_adds(tiny_job, seen):
    """At the front eps(y) - eps(null) is 3 in red; the side view, 4 in green, lies wholly across it
    and is pushed away by 4 exp(0) - 2.426, times the scale."""
    by_view = torch.tensor([[3.0, 0.0, 0.0], [0.0, 4.0, 0.0], [0.0, 0.0, 5.0], [0.0, 0.0, 6.0]])
    pushed = dataclasses.replace(
        seen.conditions,
        by_view=by_view,
        null=torch.zeros(3),
        negative=torch.zeros(3),
        perp_neg={"reference": "null", "scale": 2.0},
    )
    changed = dataclasses.replace(seen, conditions=pushed)
    rows = _rows(tiny_job, changed, torch.zeros(4, requires_grad=True))
    expected = 2.0 * (3.0**2 + (2.0 * 1.574 * 4.0) ** 2) ** 0.5  # four pixels
    assert rows["probe/direction/mean", 500]["norm"] == pytest.approx(expected, rel=1e-5)
    assert rows["probe/classifier/mean", 500]["norm"] == pytest.approx(6.0, rel=1e-5)
