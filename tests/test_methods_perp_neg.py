import pytest
import torch
from torch import Tensor

from methods import distill
from methods.distill import METHODS, NEG, NOISE, TEXT, UNCOND, direction
from methods.perp_neg import REFERENCES, across, needed, perp_neg

SHAPE = (3, 4, 5)


def draw(batch: int, views: int, seed: int = 0) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    g = torch.Generator().manual_seed(seed)
    d = torch.float64
    return (
        torch.randn(batch, *SHAPE, generator=g, dtype=d),
        torch.randn(batch, *SHAPE, generator=g, dtype=d),
        torch.randn(batch, views, *SHAPE, generator=g, dtype=d),
        -torch.rand(batch, views, generator=g, dtype=d),
    )


def slow(text: Tensor, reference: Tensor, views: Tensor, weights: Tensor) -> Tensor:
    """One sample, one view at a time, by the formula of the paper."""
    total = torch.zeros_like(text)
    for i in range(len(text)):
        p = (text[i] - reference[i]).flatten()
        for j in range(views.shape[1]):
            v = (views[i, j] - reference[i]).flatten()
            total[i] += (weights[i, j] * (v - (v @ p) / (p @ p) * p)).reshape(SHAPE)
    return total


@pytest.mark.parametrize("batch", [1, 2, 3, 5])
@pytest.mark.parametrize("views", [1, 2, 3])
def test_equal_to_the_loop_over_samples_and_views(batch, views):
    arguments = draw(batch, views)
    assert torch.allclose(perp_neg(*arguments), slow(*arguments), rtol=0, atol=1e-12)


def test_a_sample_does_not_see_its_neighbours():
    text, reference, views, weights = draw(4, 2)
    whole = perp_neg(text, reference, views, weights)
    for i in range(4):
        alone = perp_neg(*(x[i : i + 1] for x in (text, reference, views, weights)))
        assert torch.allclose(whole[i : i + 1], alone, rtol=0, atol=1e-13)


def test_the_push_lies_across_the_text_direction():
    text, reference, views, weights = draw(3, 2)
    push = perp_neg(text, reference, views, weights)
    inner = (push * (text - reference)).sum((1, 2, 3))
    assert torch.allclose(inner, torch.zeros(3, dtype=torch.float64), rtol=0, atol=1e-12)
    assert (push.square().sum((1, 2, 3)) > 1).all()


def test_a_view_that_predicts_the_same_as_the_text_pushes_nothing():
    text, reference, _, weights = draw(3, 2)
    views = torch.stack([text, reference + 3 * (text - reference)], dim=1)
    push = perp_neg(text, reference, views, weights)
    assert torch.allclose(push, torch.zeros_like(push), rtol=0, atol=1e-12)


def test_where_the_text_direction_vanishes_the_views_are_left_whole():
    text, _, views, weights = draw(2, 2)
    push = perp_neg(text, text, views, weights)
    expected = (weights[:, :, None, None, None] * (views - text[:, None])).sum(1)
    assert torch.equal(push, expected)


def test_zero_weights_push_nothing():
    text, reference, views, weights = draw(2, 2)
    assert not perp_neg(text, reference, views, 0 * weights).any()


def test_projection_is_idempotent_and_blind_to_the_length_of_y():
    text, _, views, _ = draw(2, 2)
    once = across(views, text)
    assert torch.allclose(across(once, text), once, rtol=0, atol=1e-12)
    assert torch.allclose(across(views, -7 * text), once, rtol=0, atol=1e-12)


# --- batches -------------------------------------------------------------------------------------


def network(x: Tensor, condition: Tensor) -> Tensor:
    """A stand-in that depends on both arguments, (m, ...) and (m,), and mixes no samples."""
    return torch.sin(x * (1 + condition[:, None, None, None])) + x.square()


def inputs(batch: int) -> tuple[Tensor, Tensor, Tensor]:
    x = draw(batch, 1)[0]
    conditions = torch.arange(batch * 2, dtype=torch.float64).reshape(batch, 2) / 7
    weights = -1 - conditions
    return x, conditions, weights


def push_of(x: Tensor, views: Tensor, weights: Tensor) -> Tensor:
    zeros, tens = torch.zeros(len(x), dtype=x.dtype), torch.full((len(x),), 10.0, dtype=x.dtype)
    return perp_neg(network(x, tens), network(x, zeros), views, weights)


def by_sample(x: Tensor, conditions: Tensor) -> Tensor:
    return torch.stack(
        [
            torch.cat([network(x[i : i + 1], c[None]) for c in row])
            for i, row in enumerate(conditions)
        ]
    )


@pytest.mark.parametrize("batch", [1, 2, 3, 4])
def test_one_batch_view_by_view_and_transposed_is_right(batch):
    """How a guidance model runs it: k conditions on the same b inputs, giving (k, b, ...)."""
    x, conditions, weights = inputs(batch)
    expected = push_of(x, by_sample(x, conditions), weights)
    stacked = network(x.repeat(2, 1, 1, 1), conditions.T.flatten()).unflatten(0, (2, batch))
    got = push_of(x, stacked.transpose(0, 1), weights)
    assert torch.allclose(got, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("batch", [1, 2, 3, 4])
def test_interleaved_negatives_on_tiled_inputs_are_right_only_for_one_sample(batch):
    """A known bug: conditions sample by sample, [s0v0, s0v1, s1v0, ...], on inputs [s0, s1] x 2.

    For more than one sample the network then sees the image of one and the view of another.
    """
    x, conditions, weights = inputs(batch)
    expected = push_of(x, by_sample(x, conditions), weights)
    mixed = network(x.repeat(2, 1, 1, 1), conditions.flatten()).unflatten(0, (batch, 2))
    assert torch.allclose(push_of(x, mixed, weights), expected) == (batch == 1)


# --- beside a method -----------------------------------------------------------------------------


def test_beside_sds_it_is_the_original_with_scale_one_plus_omega():
    """Armandpour et al.: uncond + s (p + push) - noise, with the empty prompt as reference."""
    text, uncond, views, weights = draw(3, 2)
    noise, omega = draw(3, 2, seed=1)[0], 7.5
    push = perp_neg(text, uncond, views, weights)
    original = uncond + (1 + omega) * ((text - uncond) + push) - noise
    row = METHODS["sds"].make(omega=omega)(0, torch.tensor([1, 2, 3]))
    ours = direction(row, {TEXT: text, UNCOND: uncond, NOISE: noise}) + (1 + omega) * push
    assert torch.allclose(ours, original, rtol=0, atol=1e-12)


def test_needed_names_the_reference_even_where_its_coefficient_is_zero():
    row = METHODS["csd_neg"].make(omega_1=1.0, omega_2=[0, 1, 10])
    t = torch.tensor([1])
    assert NEG not in distill.needed(row(0, t))
    assert needed("neg") == [TEXT, NEG]
    assert UNCOND not in distill.needed(row(10, t))
    assert needed("null") == [TEXT, UNCOND]
    assert set(REFERENCES) == {"neg", "null"}


def test_the_two_references_differ():
    text, uncond, views, weights = draw(2, 2)
    neg = draw(2, 2, seed=1)[0]
    assert not torch.allclose(
        perp_neg(text, uncond, views, weights), perp_neg(text, neg, views, weights)
    )


def test_an_unknown_reference_is_refused():
    with pytest.raises(ValueError, match="must be one of neg, null, not 'uncond'"):
        needed("uncond")
