import math

import pytest
import torch
from diffusers import DDPMScheduler

from methods.weights import WEIGHTS

T = torch.tensor([0, 20, 500, 980])


@pytest.fixture(scope="module")
def alphas_cumprod():
    return DDPMScheduler(beta_schedule="squaredcos_cap_v2").alphas_cumprod


@pytest.mark.parametrize(
    ("name", "closed_form"),
    [
        ("sds", lambda a: 1 - a),
        ("uniform", lambda a: 1.0),
        ("fantasia3d", lambda a: math.sqrt(a) * (1 - a)),
        ("lucid_dreamer", lambda a: math.sqrt((1 - a) / a)),
    ],
)
def test_closed_forms_sample_by_sample(alphas_cumprod, name, closed_form):
    got = WEIGHTS[name](alphas_cumprod, T)
    assert got.shape == T.shape
    assert got.tolist() == pytest.approx([closed_form(alphas_cumprod[t].item()) for t in T])


def test_all_weights_are_tested_and_positive(alphas_cumprod):
    assert set(WEIGHTS) == {"sds", "uniform", "fantasia3d", "lucid_dreamer"}
    for weight in WEIGHTS.values():
        assert (weight(alphas_cumprod, T) > 0).all()


def test_sds_weight_is_the_variance_of_the_noise_in_x_t(alphas_cumprod):
    scheduler = DDPMScheduler(beta_schedule="squaredcos_cap_v2")
    noise = torch.ones(len(T), 1, 1, 1)
    x_t = scheduler.add_noise(torch.zeros_like(noise), noise, T)
    assert torch.allclose(WEIGHTS["sds"](alphas_cumprod, T), x_t.flatten().square(), atol=1e-6)


def test_lucid_dreamers_weight_turns_noises_into_images(alphas_cumprod):
    """x0 = (x_t - sigma eps) / alpha: w (eps_1 - eps_2) = x0_2 - x0_1 at one x_t."""
    generator = torch.Generator().manual_seed(0)
    x_t, eps_1, eps_2 = torch.randn(3, len(T), generator=generator, dtype=torch.float64)
    a = alphas_cumprod.double()

    def image(eps):
        return (x_t - (1 - a[T]).sqrt() * eps) / a[T].sqrt()

    w = WEIGHTS["lucid_dreamer"](a, T)
    assert torch.allclose(w * (eps_1 - eps_2), image(eps_2) - image(eps_1))
