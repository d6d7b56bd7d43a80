"""What each method follows under an exact prior, where every term has a closed form."""

import pytest
import torch
from synthetic_bank import component_means, write_bank

from methods.distill import METHODS, direction
from pipeline.guidance.interface import View
from pipeline.guidance.mixture import load

T = torch.tensor([300, 420])


@pytest.fixture(scope="module")
def bank(tmp_path_factory):
    return write_bank(tmp_path_factory.mktemp("bank"), count=32)


def loaded(bank, null="marginal", component_std=0.1):
    return load(
        bank,
        prompt="a red car",
        null=null,
        component_std=component_std,
        own_count=24,
        others_per_caption=8,
        degraded_mass=0.2,
        generator=torch.Generator().manual_seed(0),
        dtype=torch.float64,
    )


def rows(prior, *texts):
    return prior.embed(texts)[:, None].expand(-1, 2, -1)


def noised(prior, x0, t=T, seed=0):
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(x0.shape, generator=generator, dtype=torch.float64)
    abar = prior.alphas_cumprod[t][:, None, None, None]
    return abar.sqrt() * x0 + (1.0 - abar).sqrt() * noise, noise


def grey_view():
    return View(torch.full((2, 3), 0.5, dtype=torch.float64), torch.eye(4).expand(2, 4, 4))


def render_of(prior, text, step=3):
    """Two of the caption's own renders in front of grey."""
    index = torch.nonzero(prior.embed([text])[0]).flatten()[::step][:2]
    size = prior.world.size
    return component_means(prior, torch.full((3,), 0.5))[index].view(2, 3, size, size)


def ambiguous(prior):
    """Half way between a red car and a blue house: no caption is certain there."""
    return 0.5 * (render_of(prior, "a red car") + render_of(prior, "a blue house"))


def predictions(prior, x_t, t=T, **texts):
    conds = rows(prior, *texts.values())
    return dict(zip(texts, prior.eps(x_t, t, conds, grey_view()), strict=True))


def sigma(prior, t=T):
    return (1.0 - prior.alphas_cumprod[t]).sqrt()[:, None, None, None]


def gradient(function, x):
    """The gradient of a scalar function at x, by autograd."""
    x = x.clone().requires_grad_(True)
    return torch.autograd.grad(function(x), x)[0]


def classifier_gradient(prior, x_t, text, t=T):
    """grad of log q(y | x_t), by autograd through two log densities of the world."""
    own = rows(prior, text)[0]
    world = prior.components.prior
    pair = torch.stack([world * (own > 0), world.expand_as(own)])

    def log_posterior(x):
        mine, everything = prior.log_density(x, t, pair, grey_view())
        return (mine - everything).sum()

    return gradient(log_posterior, x_t)


def test_delta_cls_is_the_classifiers_gradient(bank):
    """eps(y) - eps(null) = -sigma grad log q(y | x_t) under the marginal null."""
    prior = loaded(bank)
    x_t, _ = noised(prior, ambiguous(prior))
    for text in ("a red car", "a house", "blue", "front view", "noisy, ugly"):
        both = predictions(prior, x_t, text=text, uncond="")
        expected = -sigma(prior) * classifier_gradient(prior, x_t, text)
        torch.testing.assert_close(both["text"] - both["uncond"], expected, rtol=0.0, atol=1e-4)


def test_the_heldout_null_has_another_delta_cls(bank):
    prior = loaded(bank, null="heldout")
    x_t, _ = noised(prior, ambiguous(prior))
    both = predictions(prior, x_t, text="a red car", uncond="")
    expected = -sigma(prior) * classifier_gradient(prior, x_t, "a red car")
    assert float((both["text"] - both["uncond"] - expected).norm()) > 0.1 * float(expected.norm())


@pytest.mark.parametrize("omega", [0.0, 7.5, 40.0])
def test_guidance_is_the_score_of_the_sharpened_classifier(bank, omega):
    """Eq. 3: text + omega (text - uncond) = -sigma grad [log q(x_t | y) + omega log q(y | x_t)]."""
    prior = loaded(bank)
    x_t, _ = noised(prior, ambiguous(prior))
    both = predictions(prior, x_t, text="a red car", uncond="")
    guided = direction(METHODS["sds_uncentred"].make(omega=omega)(0, T), both)
    row = rows(prior, "a red car")
    score = gradient(lambda x: prior.log_density(x, T, row, grey_view()).sum(), x_t)
    score = score + omega * classifier_gradient(prior, x_t, "a red car")
    torch.testing.assert_close(guided, -sigma(prior) * score, rtol=0.0, atol=1e-4 * (1.0 + omega))


def test_sds_at_omega_zero_pulls_towards_a_single_mode_exactly(bank):
    """One component m: eps - noise = a sigma (x0 - m) / v + (sigma^2 / v - 1) noise."""
    prior = loaded(bank)
    row = torch.zeros_like(prior.embed(["a red car"]))
    chosen = int(torch.nonzero(prior.embed(["a red car"])[0])[0])
    row[0, chosen] = 1.0
    mode = render_of(prior, "a red car")[:1]
    x0 = render_of(prior, "a blue house")
    x_t, noise = noised(prior, x0)
    eps = prior.eps(x_t, T, row[:, None].expand(-1, 2, -1), grey_view())[0]
    sds = direction(
        METHODS["sds"].make(omega=0.0)(0, T), {"text": eps, "uncond": eps, "noise": noise}
    )
    abar = prior.alphas_cumprod[T][:, None, None, None]
    variance = abar * prior.component_std**2 + 1.0 - abar
    expected = (abar * (1.0 - abar)).sqrt() / variance * (x0 - mode)
    expected = expected + ((1.0 - abar) / variance - 1.0) * noise
    torch.testing.assert_close(sds, expected)


def test_a_step_of_csd_makes_the_prompt_more_probable(bank):
    prior = loaded(bank)
    row = rows(prior, "a red car")[0]
    x_t, _ = noised(prior, ambiguous(prior))
    both = predictions(prior, x_t, text="a red car", uncond="")
    step = direction(METHODS["csd"].make()(0, T), both)
    before = prior.posterior(x_t, T, row, grey_view())
    after = prior.posterior(x_t - 1e-3 * step / step.norm(), T, row, grey_view())
    assert bool((after > before).all())


def test_the_negative_prompt_is_pushed_away(bank):
    """Eq. 10: -sigma grad [omega_1 log q(y | x_t) - omega_2 log q(neg | x_t)]; so eq. 11."""
    prior = loaded(bank)
    x_t, _ = noised(prior, 0.5 * (render_of(prior, "a red car") + render_of(prior, "noisy", 1)))
    three = predictions(prior, x_t, text="a red car", uncond="", neg="noisy")
    for name in ("csd_neg", "csd_edit"):
        coefficients = METHODS[name].make(omega_1=1.0, omega_2=(0.5, 0.5, 1))(0, T)
        wanted = classifier_gradient(prior, x_t, "a red car")
        wanted = wanted - 0.5 * classifier_gradient(prior, x_t, "noisy")
        followed = direction(coefficients, three)
        torch.testing.assert_close(followed, -sigma(prior) * wanted, rtol=0.0, atol=1e-4)


def test_vsd_at_step_zero_is_omega_delta_cls(bank):
    prior = loaded(bank)
    x_t, _ = noised(prior, ambiguous(prior))
    terms = predictions(prior, x_t, text="a red car", uncond="")
    terms["particle"] = terms["text"]
    vsd = direction(METHODS["vsd"].make(omega=6.5)(0, T), terms)
    torch.testing.assert_close(vsd, 6.5 * (terms["text"] - terms["uncond"]))


def test_vsd_with_the_exact_score_of_the_render_is_sds(bank):
    """The render alone as particle predicts (x_t - a x0) / sigma, the very noise."""
    prior = loaded(bank)
    x0 = ambiguous(prior)
    x_t, noise = noised(prior, x0)
    terms = predictions(prior, x_t, text="a red car", uncond="")
    abar = prior.alphas_cumprod[T][:, None, None, None]
    terms |= {"particle": (x_t - abar.sqrt() * x0) / (1.0 - abar).sqrt(), "noise": noise}
    vsd = direction(METHODS["vsd"].make(omega=6.5)(0, T), terms)
    sds = direction(METHODS["sds"].make(omega=6.5)(0, T), terms)
    torch.testing.assert_close(vsd, sds)


def test_vsd_is_csd_minus_what_sets_the_particle_apart(bank):
    """VSD = (1 + omega) CSD - (particle - uncond), for any particle."""
    prior = loaded(bank)
    x_t, noise = noised(prior, ambiguous(prior))
    terms = predictions(prior, x_t, text="a red car", uncond="") | {"particle": 1.3 * noise}
    vsd = direction(METHODS["vsd"].make(omega=6.5)(0, T), terms)
    csd = direction(METHODS["csd"].make()(0, T), terms)
    torch.testing.assert_close(vsd, 7.5 * csd - (terms["particle"] - terms["uncond"]))


def test_dds_is_zero_at_its_source_and_moves_towards_its_target(bank):
    prior = loaded(bank)
    x0 = render_of(prior, "a red car")
    x_t, _ = noised(prior, x0, torch.tensor([500, 500]))
    t = torch.tensor([500, 500])
    source = predictions(prior, x_t, t, source_text="a red car", source_uncond="")
    coefficients = METHODS["dds"].make(omega=7.5)(0, t)
    same = source | {"text": source["source_text"], "uncond": source["source_uncond"]}
    assert float(direction(coefficients, same).abs().max()) == 0.0
    edited = source | predictions(prior, x_t, t, text="a blue car", uncond="")
    step = direction(coefficients, edited)
    # descending along the direction takes red away and adds blue where the object is
    change = -step.mean((0, 2, 3))
    assert change[0] < 0.0 < change[2]


def test_nfsd_is_guidance_without_noise_below_its_threshold(bank):
    prior = loaded(bank)
    x_t, _ = noised(prior, ambiguous(prior))
    terms = predictions(prior, x_t, text="a red car", uncond="", neg="noisy")
    guided = terms["text"] + 6.5 * (terms["text"] - terms["uncond"])
    low = direction(METHODS["nfsd"].make(omega=6.5, neg_from=1000)(0, T), terms)
    high = direction(METHODS["nfsd"].make(omega=6.5, neg_from=0)(0, T), terms)
    torch.testing.assert_close(low, guided)
    torch.testing.assert_close(high, guided - terms["neg"])


def test_delta_cls_vanishes_where_the_prompt_is_certain_under_the_marginal_only(tmp_path):
    """Saturated: t small, x0 a render of the prompt; with a held-out null the term stays."""
    bank = write_bank(tmp_path, count=32, size=16)
    t = torch.tensor([50, 100])
    norms = {}
    for null in ("marginal", "heldout"):
        prior = loaded(bank, null=null)
        x_t, _ = noised(prior, render_of(prior, "a red car"), t)
        posterior = prior.posterior(x_t, t, rows(prior, "a red car")[0], grey_view())
        torch.testing.assert_close(posterior, torch.ones(2).double(), rtol=0.0, atol=1e-9)
        both = predictions(prior, x_t, t, text="a red car", uncond="")
        norms[null] = (both["text"] - both["uncond"]).flatten(1).norm(dim=1)
    assert float(norms["marginal"].max()) < 1e-6
    assert float(norms["heldout"].min()) > 0.1


def test_delta_cls_is_alive_where_the_prompt_is_uncertain(bank):
    """Non-saturated: the posterior lies between 0 and 1, and both nulls push towards the prompt."""
    t = torch.tensor([900, 950])
    for null in ("marginal", "heldout"):
        prior = loaded(bank, null=null)
        x_t, _ = noised(prior, ambiguous(prior), t)
        posterior = prior.posterior(x_t, t, rows(prior, "a red car")[0], grey_view())
        assert bool(((posterior > 0.001) & (posterior < 0.999)).all())
        both = predictions(prior, x_t, t, text="a red car", uncond="")
        step = both["text"] - both["uncond"]
        assert float(step.flatten(1).norm(dim=1).min()) > 1e-3
        assert bool(
            ((step * classifier_gradient(prior, x_t, "a red car", t)).sum((1, 2, 3)) < 0).all()
        )
