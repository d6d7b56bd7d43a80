"""The exact score against its definition: a naive mixture in float64, one bank per background."""

import math

import numpy as np
import pytest
import torch
from synthetic_bank import component_means, write_bank

from pipeline.guidance import mixture as module
from pipeline.guidance.interface import View
from pipeline.guidance.mixture import load, squared_cosine

TEXTS = ["a red car", "a house, side view", "noisy", ""]
TIMES = [0, 20, 250, 600, 980, 999]


def loaded(bank, **changes):
    settings = {
        "prompt": "a red car",
        "null": "marginal",
        "component_std": 0.1,
        "own_count": 24,
        "others_per_caption": 8,
        "degraded_mass": 0.2,
        "generator": torch.Generator().manual_seed(0),
        "dtype": torch.float64,
    }
    return load(bank, **(settings | changes))


@pytest.fixture(scope="module")
def bank(tmp_path_factory):
    return write_bank(tmp_path_factory.mktemp("bank"), count=32)


@pytest.fixture(scope="module")
def prior(bank):
    return loaded(bank)


def inputs(prior, t, *, seed=0):
    """Two noised renders in front of two backgrounds, each with its own t."""
    generator = torch.Generator().manual_seed(seed)
    background = torch.tensor([[0.3, 0.3, 0.3], [0.9, 0.4, 0.1]], dtype=torch.float64)
    view = View(background, torch.eye(4).expand(2, 4, 4))
    size = prior.world.size
    x0 = torch.stack(
        [component_means(prior, background[i])[3 * i].view(3, size, size) for i in range(2)]
    )
    noise = torch.randn(x0.shape, generator=generator, dtype=torch.float64)
    t = torch.tensor([t, (t + 7) % 1000])
    abar = prior.alphas_cumprod[t][:, None, None, None]
    return x0, abar.sqrt() * x0 + (1.0 - abar).sqrt() * noise, t, view


def conditions(prior, texts=TEXTS):
    return prior.embed(texts)[:, None].expand(-1, 2, -1)


def naive_log_density(prior, x_t, t, weights, view):
    """sum over components of log N, views one by one, from composed means."""
    rows = []
    for index in range(len(x_t)):
        abar = prior.alphas_cumprod[t[index]]
        variance = abar * prior.component_std**2 + 1.0 - abar
        difference = x_t[index].flatten() - abar.sqrt() * component_means(
            prior, view.background[index]
        )
        log_normal = -0.5 * (
            difference.square().sum(1) / variance
            + difference.shape[1] * torch.log(2.0 * math.pi * variance)
        )
        rows.append(torch.logsumexp(weights[:, index].log() + log_normal, -1))
    return torch.stack(rows, 1)


@pytest.mark.parametrize("t", TIMES)
@pytest.mark.parametrize("null", ["marginal", "heldout"])
def test_eps_is_minus_sigma_times_the_gradient_of_the_log_density(bank, null, t):
    """Eq. 2 of the CSD paper, by autograd through the naive density."""
    prior = loaded(bank, null=null)
    _, x_t, t, view = inputs(prior, t)
    x_t.requires_grad_(True)
    conds = conditions(prior)
    naive = naive_log_density(prior, x_t, t, conds, view)
    # float64 keeps 1e-12 of exponents up to 1e5
    torch.testing.assert_close(prior.log_density(x_t, t, conds, view), naive, rtol=1e-9, atol=1e-7)
    sigma = (1.0 - prior.alphas_cumprod[t]).sqrt()[:, None, None, None]
    eps = prior.eps(x_t.detach(), t, conds, view)
    for k in range(len(conds)):
        (score,) = torch.autograd.grad(naive[k].sum(), x_t, retain_graph=True)
        # dropping negligible components is the largest error: NEGLIGIBLE * max |d| / (2 s)
        torch.testing.assert_close(eps[k], -sigma * score, rtol=0.0, atol=1e-4)


def test_without_pruning_the_score_is_exact(prior, monkeypatch):
    monkeypatch.setattr(module, "NEGLIGIBLE", 0.0)
    for t in TIMES:
        _, x_t, times, view = inputs(prior, t)
        x_t.requires_grad_(True)
        conds = conditions(prior)
        naive = naive_log_density(prior, x_t, times, conds, view)
        (score,) = torch.autograd.grad(naive[0].sum(), x_t)
        sigma = (1.0 - prior.alphas_cumprod[times]).sqrt()[:, None, None, None]
        eps = prior.eps(x_t.detach(), times, conds, view)[0]
        torch.testing.assert_close(eps, -sigma * score, rtol=1e-8, atol=1e-9)


def test_pruning_keeps_its_bound(prior, monkeypatch):
    """|eps error| <= NEGLIGIBLE / (2 s) * max |d|, also where the threshold really bites."""
    pruned = {}
    for negligible in (0.0, 1e-6, 1e-2):
        monkeypatch.setattr(module, "NEGLIGIBLE", negligible)
        pruned[negligible] = []
        for t in (400, 700, 900):
            _, x_t, times, view = inputs(prior, t)
            pruned[negligible].append(prior.eps(x_t, times, conditions(prior), view))
    largest = max(
        float(
            (component_means(prior, b) - (2.0 * b - 1.0)[:, None].expand(3, 64).flatten())
            .norm(dim=1)
            .max()
        )
        for b in inputs(prior, 0)[3].background
    )
    for negligible in (1e-6, 1e-2):
        errors = [
            float((a - b).flatten(2).norm(dim=2).max())
            for a, b in zip(pruned[negligible], pruned[0.0], strict=True)
        ]
        assert max(errors) <= negligible / (2.0 * prior.component_std) * largest
        assert max(errors) > 0.0 or negligible < 1e-2


def test_posteriors_of_a_partition_sum_to_one(bank):
    for null in ("marginal", "heldout"):
        prior = loaded(bank, null=null)
        names = prior.world
        objects = [f"a {colour} {shape}" for colour in names.colours for shape in names.shapes]
        partition = prior.embed([*objects, *names.degradations])[:, None].expand(-1, 2, -1)
        for t in TIMES:
            _, x_t, times, view = inputs(prior, t)
            total = sum(prior.posterior(x_t, times, cond, view) for cond in partition)
            torch.testing.assert_close(total, torch.ones(2).double(), rtol=0.0, atol=1e-10)


def test_single_precision_agrees_with_double(tmp_path):
    """At 32 pixels. The exponents' rounding is 1e-7 of up to 1e3, divided by v >= 0.01: 1e-2."""
    bank = write_bank(tmp_path, count=32, size=32)
    exact, fast = loaded(bank), loaded(bank, dtype=torch.float32)
    for t in TIMES:
        _, x_t, times, view = inputs(exact, t)
        expected = exact.eps(x_t, times, conditions(exact), view)
        single = View(view.background.float(), view.c2w)
        eps = fast.eps(x_t.float(), times, conditions(fast), single)
        assert float((eps - expected).flatten(2).norm(dim=2).max()) < 0.1  # |eps| is 55


@pytest.mark.parametrize("size", [32, 48])
def test_log_space_is_finite_far_from_every_render_at_any_t(tmp_path, size):
    prior = loaded(write_bank(tmp_path, count=32, size=size), dtype=torch.float32)
    view = View(
        torch.rand(2, 3, generator=torch.Generator().manual_seed(0)), torch.eye(4).expand(2, 4, 4)
    )
    for scale in (0.0, 1.0, 100.0):
        noise = scale * torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(1))
        for t in TIMES:
            times = torch.tensor([t, t])
            assert bool(prior.eps(noise, times, conditions(prior), view).isfinite().all())
            assert bool(prior.log_density(noise, times, conditions(prior), view).isfinite().all())


def test_an_interpolated_row_is_an_interpolated_mixture(prior):
    """Perp-Neg interpolates embeddings; densities of a mixture of mixtures interpolate, too."""
    _, x_t, t, view = inputs(prior, 500)
    front, side = conditions(prior, ["a red car, front view", "a red car, side view"])
    mixed = torch.lerp(side, front, 0.3)
    own = prior.log_density(x_t, t, torch.stack([front, side, mixed]), view).exp()
    scale = own.max()
    torch.testing.assert_close(own[2] / scale, (0.3 * own[0] + 0.7 * own[1]) / scale)
    doubled = torch.stack([mixed, 2.0 * mixed])
    once, twice = prior.eps(x_t, t, doubled, view)
    torch.testing.assert_close(once, twice)


@pytest.mark.parametrize("broken", [-1.0, 0.0, float("nan")])
def test_rows_that_are_no_weights_are_refused(prior, broken):
    _, x_t, t, view = inputs(prior, 500)
    conds = conditions(prior, ["a red car"]).clone()
    conds[0, 1] *= broken
    with pytest.raises(ValueError, match="non-negative"):
        prior.eps(x_t, t, conds, view)


def test_the_conditions_of_the_views_are_independent(prior):
    """Each view has its own row, t and background: a batch of two equals two batches of one."""
    _, x_t, t, view = inputs(prior, 300)
    conds = torch.stack([prior.embed(["a red car", "a blue house"]), prior.embed(["", "ugly"])])
    both = prior.eps(x_t, t, conds, view)
    for i in range(2):
        alone = View(view.background[i : i + 1], view.c2w[i : i + 1])
        one = prior.eps(x_t[i : i + 1], t[i : i + 1], conds[:, i : i + 1], alone)
        torch.testing.assert_close(both[:, i : i + 1], one, rtol=1e-6, atol=1e-6)


def test_the_schedule_is_that_of_diffusers():
    from diffusers import DDPMScheduler

    theirs = DDPMScheduler(1000, beta_schedule="squaredcos_cap_v2").alphas_cumprod
    # theirs multiplies a thousand factors in float32
    np.testing.assert_allclose(squared_cosine().numpy(), theirs.numpy(), rtol=3e-5)


def test_encode_averages_areas_and_passes_the_gradient(prior):
    rgb = torch.rand(2, 3, 24, 24, generator=torch.Generator().manual_seed(0))
    rgb.requires_grad_(True)
    x = prior.encode(rgb)
    expected = 2.0 * rgb.view(2, 3, 8, 3, 8, 3).mean((3, 5)) - 1.0
    torch.testing.assert_close(x, expected)
    x.sum().backward()
    torch.testing.assert_close(rgb.grad, torch.full_like(rgb, 2.0 / 9.0))
    same = torch.rand(1, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(prior.encode(same), 2.0 * same - 1.0)
    with pytest.raises(ValueError, match="smaller than the bank"):
        prior.encode(torch.zeros(1, 3, 4, 4))
