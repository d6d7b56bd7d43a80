import math

import pytest
import torch

from methods.normalize import NORMALIZATIONS, ema, initial_state, step

STEPS = 4


def gradients(count: int = 10, seed: int = 0) -> list[torch.Tensor]:
    """Of sizes that fall by half from step to step, as a converging method's do."""
    g = torch.Generator().manual_seed(seed)
    return [0.5**i * torch.randn(2, 3, 4, 4, generator=g) for i in range(count)]


def run(kind: str, sequence: list[torch.Tensor], state=None) -> list[torch.Tensor]:
    state = initial_state() if state is None else state
    out = []
    for gradient in sequence:
        normalized, state = NORMALIZATIONS[kind](gradient, state, steps=STEPS)
        out.append(normalized)
    return out


def test_none_changes_nothing():
    sequence = gradients()
    assert all(a is b for a, b in zip(run("none", sequence), sequence, strict=True))


def test_step_has_unit_norm_over_the_whole_batch():
    """The released code: gradient / (norm + 1e-8), norm over the batch."""
    for gradient, normalized in zip(gradients(), run("step", gradients()), strict=True):
        assert normalized.norm().item() == pytest.approx(1, abs=1e-5)
        expected = gradient / (gradient.norm() + 1e-8)
        assert torch.allclose(normalized, expected, rtol=1e-5)


def test_ema_divides_by_the_root_mean_square_of_the_first_norms():
    sequence = gradients()
    norms = [gradient.double().norm().item() for gradient in sequence]
    for i, (gradient, normalized) in enumerate(zip(sequence, run("ema", sequence), strict=True)):
        seen = norms[: min(i + 1, STEPS)]
        scale = math.sqrt(sum(n**2 for n in seen) / len(seen))
        assert torch.allclose(normalized, gradient / scale, rtol=1e-5)


def test_ema_starts_as_step():
    sequence = gradients(1)
    assert torch.allclose(run("ema", sequence)[0], run("step", sequence)[0], rtol=1e-6)


def test_a_vanishing_gradient_vanishes_under_ema_but_not_under_step():
    sequence = gradients(30)
    # The RMS of norms (1, 1/2, 1/4, 1/8) n is about 0.58 n, and n falls to 2^-29 n.
    assert run("ema", sequence)[-1].norm() < 1e-8
    assert run("step", sequence)[-1].norm() > 0.5


@pytest.mark.parametrize("kind", ["step", "ema"])
def test_the_scale_of_a_method_does_not_matter(kind):
    sequence = gradients()
    for a, b in zip(run(kind, sequence), run(kind, [1000 * g for g in sequence]), strict=True):
        assert torch.allclose(a, b, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("kind", list(NORMALIZATIONS))
def test_zero_stays_zero(kind):
    zeros = [torch.zeros(1, 3, 2, 2)] * 6
    assert all(not normalized.any() for normalized in run(kind, zeros))


@pytest.mark.parametrize("kind", list(NORMALIZATIONS))
@pytest.mark.parametrize("cut", [0, 2, 4, 7])
def test_a_saved_state_continues_with_the_same_bits(kind, cut):
    sequence = gradients()
    state = initial_state()
    for gradient in sequence[:cut]:
        _, state = NORMALIZATIONS[kind](gradient, state, steps=STEPS)
    saved = {name: value.clone() for name, value in state.items()}
    for a, b in zip(run(kind, sequence)[cut:], run(kind, sequence[cut:], saved), strict=True):
        assert torch.equal(a, b)


def test_the_state_given_is_not_changed_in_place():
    state = initial_state()
    ema(gradients(1)[0], state, steps=STEPS)
    assert state["count"] == 0
    assert state["sum_of_squares"] == 0


@pytest.mark.parametrize("function", [step, ema])
def test_norms_do_not_overflow_in_single_precision(function):
    """The square of 1e25 is beyond float32, though 1e25 is not."""
    normalized, _ = function(torch.full((1, 3, 8, 8), 1e25), initial_state(), steps=1)
    assert normalized.norm().item() == pytest.approx(1, rel=1e-6)


def test_ema_needs_a_step():
    with pytest.raises(ValueError, match="at least 1 step"):
        ema(gradients(1)[0], initial_state(), steps=0)
