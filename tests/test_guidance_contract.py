"""What every prior promises, whatever it is: the exact mixture and random networks alike."""

import pytest
import tiny_models as tiny
import torch
from synthetic_bank import write_bank

from pipeline.guidance.interface import View
from pipeline.guidance.load import load_guidance

SIZE = tiny.PIXELS
T = torch.tensor([150, 800])
# float32: a batch of another size may take another path through the matrix products
CLOSE = {"rtol": 1e-4, "atol": 1e-4}


def mixture(folder):
    spec = {
        **{"name": "mixture", "null_prompt": "marginal", "component_std": 0.1, "own_count": 24},
        **{"others_per_caption": 8, "degraded_mass": 0.2, "seed": 0},
    }
    return spec, write_bank(folder / "bank", count=32, size=SIZE)


def pixel(prediction):
    def make(folder):
        path = tiny.pixel_folder(folder / "model", prediction=prediction)
        return tiny.spec("deepfloyd", path), None

    return make


def deepfloyd(folder):
    return tiny.spec("deepfloyd", tiny.deepfloyd_folder(folder / "model")), None


def latent(prediction, controls=()):
    def make(folder):
        path = tiny.latent_folder(folder / "model", prediction=prediction)
        nets = [
            tiny.control_spec(tiny.control_folder(folder / kind, path, seed=number), kind, 0.5)
            for number, kind in enumerate(controls)
        ]
        return tiny.spec("stable_diffusion", path, controlnets=nets), None

    return make


PRIORS = {
    "mixture": mixture,
    "pixels, epsilon": pixel("epsilon"),
    "pixels, v": pixel("v_prediction"),
    "pixels, learned variance, T5": deepfloyd,
    "latents, epsilon": latent("epsilon"),
    "latents, v": latent("v_prediction"),
    "latents, two ControlNets": latent("epsilon", ("depth", "canny")),
}


@pytest.fixture(scope="module", params=PRIORS)
def prior(request, tmp_path_factory):
    spec, bank = PRIORS[request.param](tmp_path_factory.mktemp("prior"))
    return load_guidance(spec, bank=bank, prompt="a red car", device="cpu")


def randn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def rand(*shape, seed=0):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def view_of(count, seed=0):
    control = {
        kind: rand(count, 3, SIZE, SIZE, seed=seed + 1 + n)
        for n, kind in enumerate(("depth", "canny"))
    }
    return View(rand(count, 3, seed=seed), torch.eye(4).repeat(count, 1, 1), control)


def rows_of(view, index):
    control = {kind: picture[index] for kind, picture in view.control.items()}
    return View(view.background[index], view.c2w[index], control)


@pytest.fixture(scope="module")
def case(prior):
    """x_t, t, three conditions and the view of two renders."""
    x0 = prior.encode(rand(2, 3, SIZE, SIZE))
    abar = prior.alphas_cumprod[T][:, None, None, None]
    x_t = abar.sqrt() * x0 + (1.0 - abar).sqrt() * randn(*x0.shape)
    rows = prior.embed(["a red car, front view", "", "ugly"])
    return x_t, T, rows[:, None].expand(-1, 2, *rows.shape[1:]), view_of(2)


def test_the_signal_falls_from_nearly_all_to_nearly_nothing(prior):
    alphas = prior.alphas_cumprod
    assert alphas.shape == (1000,)
    assert bool((alphas.diff() < 0).all())
    assert 0.99 < float(alphas[0]) < 1.0
    assert 0.0 < float(alphas[-1]) < 0.01


def test_each_condition_has_a_noise_prediction_without_gradient(prior, case):
    x_t, t, conds, view = case
    eps = prior.eps(x_t.clone().requires_grad_(True), t, conds, view)
    assert eps.shape == (3, *x_t.shape)
    assert eps.dtype == torch.float32
    assert not eps.requires_grad
    assert bool(eps.isfinite().all())


def test_conditions_in_one_batch_are_what_each_is_alone(prior, case):
    x_t, t, conds, view = case
    alone = [prior.eps(x_t, t, cond[None], view)[0] for cond in conds]
    torch.testing.assert_close(prior.eps(x_t, t, conds, view), torch.stack(alone), **CLOSE)
    assert float((alone[0] - alone[1]).abs().max()) > 1e-4  # the condition is heard


def test_an_image_does_not_depend_on_its_neighbours(prior, case):
    x_t, t, conds, view = case
    eps = prior.eps(x_t, t, conds, view)
    for index in (0, 1):
        one = slice(index, index + 1)
        alone = prior.eps(x_t[one], t[one], conds[:, one], rows_of(view, one))
        torch.testing.assert_close(eps[:, one], alone, **CLOSE)


def test_the_same_call_gives_the_same_bits(prior, case):
    x_t, t, conds, view = case
    assert torch.equal(prior.eps(x_t, t, conds, view), prior.eps(x_t, t, conds, view))


def test_texts_are_rows_that_can_be_mixed(prior, case):
    x_t, t, _, view = case
    texts = ["a red car", "a blue house"]
    rows = prior.embed(texts)
    assert rows.dtype == torch.float32
    assert torch.equal(rows, torch.stack([prior.embed([text])[0] for text in texts]))
    shares = torch.tensor([0.0, 0.5, 1.0])
    mixed = torch.stack([(1 - share) * rows[0] + share * rows[1] for share in shares])
    eps = prior.eps(x_t, t, mixed[:, None].expand(-1, 2, *rows.shape[1:]), view)
    ends = prior.eps(x_t, t, rows[:, None].expand(-1, 2, *rows.shape[1:]), view)
    torch.testing.assert_close(eps[[0, 2]], ends, **CLOSE)
    assert bool(eps[1].isfinite().all())
    assert not torch.equal(eps[1], eps[0])


def test_an_unknown_word_is_refused_by_name(prior):
    with pytest.raises(ValueError, match="zebra"):
        prior.embed(["a red zebra"])


def test_encoding_passes_the_gradient_to_every_pixel(prior, case):
    rgb = rand(2, 3, SIZE, SIZE).requires_grad_(True)
    x = prior.encode(rgb)
    assert x.shape == case[0].shape
    (x * randn(*x.shape)).sum().backward()
    assert rgb.grad is not None
    assert bool((rgb.grad != 0).all())


def test_a_larger_render_is_the_same_picture(prior):
    """Of one colour; how finer patterns are averaged differs between priors."""
    colour = rand(1, 3, 1, 1)
    small, large = (colour.expand(1, 3, size, size) for size in (SIZE, 2 * SIZE))
    torch.testing.assert_close(prior.encode(large), prior.encode(small), **CLOSE)
