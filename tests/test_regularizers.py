"""Regularisers and schedules against closed forms."""

import math

import pytest
import torch

from pipeline.scenes import regularizers
from pipeline.scenes.interface import Rendering


def _rendering(alpha: torch.Tensor, orientation: torch.Tensor | None = None) -> Rendering:
    colour = torch.zeros(1, 3, *alpha.shape)
    terms = {} if orientation is None else {"orientation": orientation[None, None]}
    alpha = alpha[None, None]
    return Rendering(colour, alpha, torch.zeros_like(alpha), None, colour, terms)


@pytest.mark.parametrize(
    ("schedule", "step", "value"),
    [
        (0.5, 0, 0.5),
        (2, 10_000, 2.0),
        ([10, 1, 5000], 0, 10.0),
        ([10, 1, 5000], 2500, 5.5),
        ([10, 1, 5000], 5000, 1.0),
        ([10, 1, 5000], 9999, 1.0),
        ([5000, 1, 20, 5001], 5000, 1.0),
        ([5000, 1, 20, 5001], 5001, 20.0),
        ([10, 0, 8, 30], 5, 0.0),
        ([10, 0, 8, 30], 20, 4.0),
    ],
)
def test_schedules_are_linear_ramps(schedule, step, value):
    assert regularizers.schedule_value(schedule, step) == pytest.approx(value)


def test_a_schedule_that_is_always_zero_is_recognised():
    assert regularizers.never_acts(0)
    assert regularizers.never_acts([0, 0, 10])
    assert not regularizers.never_acts([0, 1, 10])
    assert not regularizers.never_acts(1.0)


@pytest.mark.parametrize("schedule", [[1], [1, 2], [20, 1, 2, 10], [-1, 1, 2, 3], [3, 7, 0]])
def test_malformed_schedules_are_refused(schedule):
    with pytest.raises(ValueError, match="schedule"):
        regularizers.schedule_value(schedule, 0)


def test_sparsity_and_opaque_by_hand():
    rendering = _rendering(torch.tensor([[0.0, 0.3], [0.5, 1.0]]))
    expected = (0.1 + math.sqrt(0.1) + math.sqrt(0.26) + math.sqrt(1.01)) / 4
    assert float(regularizers.sparsity(rendering)) == pytest.approx(expected, rel=1e-6)
    edge, third, half = (-p * math.log(p) - (1 - p) * math.log(1 - p) for p in (0.001, 0.3, 0.5))
    expected = (2 * edge + third + half) / 4
    assert float(regularizers.opaque(rendering)) == pytest.approx(expected, rel=1e-4)


def test_opaque_pushes_towards_the_nearer_end():
    alpha = torch.tensor([[0.2, 0.8]], requires_grad=True)
    regularizers.opaque(_rendering(alpha)).backward()
    assert alpha.grad is not None
    assert alpha.grad[0, 0] > 0 > alpha.grad[0, 1]


def test_orientation_is_a_mean_over_the_rays_that_hit():
    rendering = _rendering(torch.tensor([[0.0, 0.3, 1.0]]), torch.tensor([[0.0, 0.4, 0.2]]))
    assert float(regularizers.orientation(rendering)) == pytest.approx(0.3)
    nothing = _rendering(torch.zeros(1, 3), torch.zeros(1, 3))
    assert float(regularizers.orientation(nothing)) == 0


def test_the_orientation_term_turns_normals_but_leaves_weights_alone():
    weights = torch.tensor([0.5, 0.5], requires_grad=True)
    normals = torch.tensor([[0.6, -0.6], [0.8, 0.8], [0.0, 0.0]], requires_grad=True)
    forward = torch.tensor([[1.0, 1.0], [0.0, 0.0], [0.0, 0.0]])
    terms = regularizers.orientation_term(weights, normals, forward)
    torch.testing.assert_close(terms, torch.tensor([0.5 * 0.36, 0.0]))
    terms.sum().backward()
    assert weights.grad is None
    assert normals.grad is not None
    assert normals.grad[0].tolist() == pytest.approx([0.6, 0.0])


def test_only_terms_that_act_are_returned_times_their_weight():
    rendering = _rendering(torch.full((2, 2), 0.5))
    schedules = {"sparsity": [2, 0, 10], "opaque": 0, "orientation": [0, 1, 10]}
    terms = regularizers.weighted_terms(rendering, schedules, 0)
    assert set(terms) == {"sparsity"}
    assert float(terms["sparsity"]) == pytest.approx(2 * math.sqrt(0.26), rel=1e-6)
