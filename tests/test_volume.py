"""Volume rendering against slow loops, closed forms and limits."""

import math

import pytest
import torch

from pipeline.scenes import volume


def _rays_of_samples(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Thicknesses and ray numbers of rays with 0 to 9 samples (rays 2 and 7 have none)."""
    generator = torch.Generator().manual_seed(seed)
    counts = torch.randint(1, 10, (9,), generator=generator)
    counts[2] = counts[7] = 0
    ray = torch.arange(9).repeat_interleave(counts)
    return torch.rand(len(ray), generator=generator) * 2, ray


def _slow_weights(tau: list[float], ray: list[int]) -> list[float]:
    weights = []
    for i, thickness in enumerate(tau):
        before = sum(tau[j] for j in range(i) if ray[j] == ray[i])
        weights.append(math.exp(-before) * (1 - math.exp(-thickness)))
    return weights


def test_weights_and_sums_are_those_of_a_slow_loop():
    tau, ray = _rays_of_samples()
    expected = torch.tensor(_slow_weights(tau.tolist(), ray.tolist()))
    weights = volume.compositing_weights(tau, ray)
    torch.testing.assert_close(weights, expected)
    values = torch.randn(3, len(ray), generator=torch.Generator().manual_seed(1))
    sums = volume.ray_sums(values, ray, 9)
    slow = torch.stack([values[:, ray == r].sum(1) for r in range(9)], 1)
    torch.testing.assert_close(sums, slow)
    assert (sums[:, [2, 7]] == 0).all()


def test_weights_and_remaining_transmittance_make_one():
    tau, ray = _rays_of_samples(1)
    opacity = volume.ray_sums(volume.compositing_weights(tau, ray)[None], ray, 9)[0]
    thickness = volume.ray_sums(tau[None], ray, 9)[0]
    torch.testing.assert_close(opacity, 1 - torch.exp(-thickness))


def test_gradients_are_those_of_plain_autograd():
    tau, ray = _rays_of_samples(2)
    tau = tau.double().requires_grad_()
    assert torch.autograd.gradcheck(lambda t: volume.compositing_weights(t, ray), (tau,))
    same = ray[:, None] == ray[None, :]
    earlier = torch.ones(len(ray), len(ray)).tril(-1).bool() & same
    plain = torch.exp(-(earlier * tau[None]).sum(1)) * (1 - torch.exp(-tau))
    chosen = torch.randn(len(ray), generator=torch.Generator().manual_seed(3)).double()
    (expected,) = torch.autograd.grad((plain * chosen).sum(), tau)
    weights = volume.compositing_weights(tau, ray)
    (actual,) = torch.autograd.grad((weights * chosen).sum(), tau)
    torch.testing.assert_close(actual, expected)


def test_many_dense_rays_do_not_disturb_a_thin_one():
    """The running sum passes 1e8 before the last ray; in float32 its thickness would be lost."""
    tau = torch.cat([torch.full((10_000,), 9e3), torch.tensor([1e-3, 2e-3])])
    ray = torch.cat([torch.arange(100).repeat_interleave(100), torch.tensor([100, 100])])
    weights = volume.compositing_weights(tau, ray)[-2:]
    expected = torch.tensor(_slow_weights([1e-3, 2e-3], [0, 0]))
    torch.testing.assert_close(weights, expected, rtol=1e-5, atol=0)


@pytest.mark.parametrize("extreme", [0.0, 1e-30, 1e4, 1e30, math.inf])
def test_extreme_thickness_has_finite_weights_and_gradients(extreme):
    tau = torch.tensor([0.1, extreme, 0.2, extreme, 0.3], requires_grad=True)
    weights = volume.compositing_weights(tau, torch.tensor([0, 0, 0, 1, 1]))
    weights.sum().backward()
    assert weights.isfinite().all()
    assert tau.grad is not None
    assert tau.grad.isfinite().all()
    assert (weights.sum() <= 2 + 1e-6).all()


def test_no_samples_are_no_weights():
    tau = torch.zeros(0, requires_grad=True)
    weights = volume.compositing_weights(tau, torch.zeros(0, dtype=torch.long))
    assert volume.ray_sums(weights[None], torch.zeros(0, dtype=torch.long), 3).tolist() == [[0] * 3]
    weights.sum().backward()


def _parallel_rays(offsets: list[float]) -> tuple[torch.Tensor, torch.Tensor]:
    """Rays along +x from x = -3 at the given distances from the axis."""
    origins = torch.tensor([[-3.0] * len(offsets), offsets, [0.0] * len(offsets)])
    directions = torch.zeros_like(origins)
    directions[0] = 1.0
    return origins, directions


def _march(origins, directions, jitter, **changes):
    settings = {
        "radius": 1.0,
        "step": 0.05,
        "occupied_radius": 1.0,
        "occupied": lambda p: torch.ones_like(p[0], dtype=torch.bool),
    }
    return volume.march(origins, directions, jitter, **{**settings, **changes})


def test_the_interval_in_the_ball_is_the_chord():
    offsets = [0.0, 0.6, 0.99, 1.0, 1.5]
    near, far = volume.ball_interval(*_parallel_rays(offsets), 1.0)
    chord = torch.tensor([2.0, 1.6, 2 * math.sqrt(1 - 0.99**2), 0.0, 0.0])
    torch.testing.assert_close(far - near, chord, atol=1e-3, rtol=0)
    torch.testing.assert_close(near[:2], torch.tensor([2.0, 2.2]))
    inside = torch.zeros(3, 1), torch.tensor([[1.0], [0.0], [0.0]])
    assert [float(x) for x in volume.ball_interval(*inside, 1.0)] == [0.0, 1.0]
    behind = torch.tensor([[3.0], [0.0], [0.0]]), torch.tensor([[1.0], [0.0], [0.0]])
    near, far = volume.ball_interval(*behind, 1.0)
    assert near == far


def test_constant_density_has_the_closed_form_transmittance_on_average():
    """Uniform jitter makes the thickness of a ball of density sigma exactly sigma * chord on
    average, and each single estimate is within one step of it."""
    sigma, step, offset = 1.3, 0.05, 0.6
    jitter = (torch.arange(1000) + 0.5) / 1000
    origins, directions = _parallel_rays([offset] * 1000)
    samples = _march(origins, directions, jitter)
    tau = torch.full_like(samples.distance, sigma * step)
    thickness = volume.ray_sums(tau[None], samples.ray, 1000)[0]
    chord = 2 * math.sqrt(1 - offset**2)
    assert float(thickness.mean()) == pytest.approx(sigma * chord, rel=1e-3)
    assert (thickness - sigma * chord).abs().max() <= sigma * step * 1.001
    weights = volume.compositing_weights(tau, samples.ray)
    opacity = volume.ray_sums(weights[None], samples.ray, 1000)[0]
    torch.testing.assert_close(1 - opacity, torch.exp(-thickness))


def test_samples_are_a_comb_inside_the_ball():
    generator = torch.Generator().manual_seed(0)
    offsets = (torch.rand(50, generator=generator) * 1.2).tolist()
    origins, directions = _parallel_rays(offsets)
    samples = _march(origins, directions, torch.rand(50, generator=generator))
    assert samples.position.norm(dim=0).max() <= 1 + 1e-5
    assert (samples.ray.diff() >= 0).all()
    same = samples.ray.diff() == 0
    gaps = samples.distance.diff()[same]
    torch.testing.assert_close(gaps, torch.full_like(gaps, 0.05), atol=1e-5, rtol=0)
    expected = origins[:, samples.ray] + samples.distance * directions[:, samples.ray]
    torch.testing.assert_close(samples.position, expected)
    hit = torch.tensor(offsets) < math.sqrt(1 - 0.05**2)
    assert set(samples.ray.tolist()) >= set(hit.nonzero()[:, 0].tolist())


def test_skipping_leaves_exactly_the_samples_in_occupied_places():
    generator = torch.Generator().manual_seed(1)
    origins, directions = _parallel_rays((torch.rand(80, generator=generator) * 1.2).tolist())
    jitter = torch.rand(80, generator=generator)

    def occupied(p: torch.Tensor) -> torch.Tensor:
        return (p.norm(dim=0) < 0.5) & (p[0] > -0.2)

    everything = _march(origins, directions, jitter)
    expected = everything.select(occupied(everything.position))
    actual = _march(origins, directions, jitter, occupied=occupied, occupied_radius=0.5)
    assert torch.equal(actual.ray, expected.ray)
    torch.testing.assert_close(actual.position, expected.position)


def test_rays_that_all_miss_give_no_samples():
    samples = _march(*_parallel_rays([1.5, 2.0]), torch.zeros(2))
    assert len(samples.ray) == 0
    assert samples.position.shape == (3, 0)
