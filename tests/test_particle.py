"""VSD's particle: it starts as the exact score, follows the renders, and is reproducible."""

import pytest
import torch
from synthetic_bank import component_means, write_bank

from pipeline.guidance.interface import View
from pipeline.guidance.mixture import load
from pipeline.guidance.particle import ResidualParticle

WIDTH = 16


def prior_of(folder, size):
    return load(
        write_bank(folder, count=32, size=size),
        prompt="a red car",
        null="marginal",
        component_std=0.1,
        own_count=24,
        others_per_caption=8,
        degraded_mass=0.2,
        generator=torch.Generator().manual_seed(0),
    )


@pytest.fixture(scope="module")
def prior(tmp_path_factory):
    return prior_of(tmp_path_factory.mktemp("bank"), 16)


def particle_of(prior, seed=0):
    return ResidualParticle(prior, width=WIDTH, generator=torch.Generator().manual_seed(seed))


def cameras(generator, count=2):
    c2w = torch.eye(4).repeat(count, 1, 1)
    c2w[:, :3] += torch.randn(count, 3, 4, generator=generator)
    return c2w


def batch(prior, generator):
    """Renders of blue houses, while the prompt says a red car."""
    index = torch.nonzero(prior.embed(["a blue house"])[0]).flatten()
    chosen = index[torch.randint(len(index), (2,), generator=generator)]
    size = prior.world.size
    x0 = component_means(prior, torch.full((3,), 0.5))[chosen].view(2, 3, size, size)
    t = torch.randint(20, 980, (2,), generator=generator)
    noise = torch.randn(x0.shape, generator=generator)
    view = View(torch.full((2, 3), 0.5), cameras(generator))
    return x0, t, noise, prior.embed(["a red car"]).expand(2, -1), view


def noised(prior, x0, t, noise):
    abar = prior.alphas_cumprod[t][:, None, None, None]
    return abar.sqrt() * x0 + (1.0 - abar).sqrt() * noise


@pytest.mark.parametrize("size", [16, 32, 48, 64])
def test_it_starts_as_the_frozen_exact_score(tmp_path, size):
    prior = prior_of(tmp_path, size)
    particle = particle_of(prior)
    x0, t, noise, cond, view = batch(prior, torch.Generator().manual_seed(1))
    x_t = noised(prior, x0, t, noise)
    frozen = prior.eps(x_t, t, cond[None], view)[0]
    assert torch.equal(particle.eps(x_t, t, cond, view), frozen)
    loss = particle.loss(x0, t, noise, cond, view)
    torch.testing.assert_close(loss, (frozen - noise).square().mean())


def test_its_loss_falls_on_renders_that_the_prompt_does_not_explain(prior):
    particle = particle_of(prior)
    optimiser = torch.optim.AdamW(particle.parameters(), lr=1e-3)
    generator = torch.Generator().manual_seed(2)
    for _ in range(150):
        loss = particle.loss(*batch(prior, generator))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()

    fresh = torch.Generator().manual_seed(3)
    test = [batch(prior, fresh) for _ in range(20)]
    with torch.no_grad():
        before = sum(float(particle_of(prior).loss(*case)) for case in test)
        after = sum(float(particle.loss(*case)) for case in test)
    assert after < 0.6 * before


def test_it_knows_the_camera(prior):
    """Two cameras show one and the same image different residuals, once it has been trained."""
    particle = particle_of(prior)
    with torch.no_grad():
        particle.leave.weight.normal_(0.0, 0.1, generator=torch.Generator().manual_seed(0))
    generator = torch.Generator().manual_seed(4)
    x0, t, noise, cond, view = batch(prior, generator)
    x_t = noised(prior, x0, t, noise)
    elsewhere = View(view.background, cameras(generator))
    same = particle.eps(x_t, t, cond, view)
    assert torch.equal(same, particle.eps(x_t, t, cond, view))
    assert float((same - particle.eps(x_t, t, cond, elsewhere)).abs().max()) > 1e-3


def test_its_loss_gives_no_gradient_to_the_renders_and_all_weights_learn(prior):
    particle = particle_of(prior)
    x0, t, noise, cond, view = batch(prior, torch.Generator().manual_seed(5))
    x0.requires_grad_(True)
    particle.loss(x0, t, noise, cond, view).backward()
    assert x0.grad is None
    moved = {name for name, weight in particle.named_parameters() if weight.grad.abs().sum() > 0}
    assert moved == {"leave.weight", "leave.bias"}  # a zero last layer passes nothing further
    with torch.no_grad():
        particle.leave.weight += 0.01
    particle.loss(x0, t, noise, cond, view).backward()
    assert all(float(weight.grad.abs().sum()) > 0 for weight in particle.parameters())


def test_the_generator_alone_decides_the_weights(prior):
    state = torch.get_rng_state()
    first, second, other = particle_of(prior), particle_of(prior), particle_of(prior, seed=1)
    assert torch.equal(state, torch.get_rng_state())
    for name, value in first.state_dict().items():
        assert torch.equal(value, second.state_dict()[name])
    assert not torch.equal(first.enter.weight, other.enter.weight)


def test_its_state_is_the_residual_network_and_comes_back(prior):
    particle, other = particle_of(prior), particle_of(prior, seed=1)
    with torch.no_grad():
        particle.leave.weight += 0.01
    other.load_state_dict(particle.state_dict())
    x0, t, noise, cond, view = batch(prior, torch.Generator().manual_seed(6))
    x_t = noised(prior, x0, t, noise)
    assert torch.equal(particle.eps(x_t, t, cond, view), other.eps(x_t, t, cond, view))
    assert set(particle.state_dict()) == {name for name, _ in particle.named_parameters()}
