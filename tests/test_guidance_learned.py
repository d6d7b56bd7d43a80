"""Learned priors against diffusers' own pipelines, schedulers and formulas on the same inputs."""

import pytest
import tiny_models as tiny
import torch
from diffusers import (
    AutoencoderKL,
    DDPMScheduler,
    IFPipeline,
    StableDiffusionPipeline,
)
from learned_priors import (
    CLOSE,
    SIZE,
    T,
    case,
    controlled,
    ddim,
    folders_of,
    one_step,
    prior_of,
    rand,
    randn,
    texts_of,
    unet_of,
    view_of,
)

from pipeline.artifacts import ArtifactError
from pipeline.guidance.load import models


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    return folders_of(tmp_path_factory.mktemp("models"))


@pytest.mark.parametrize("name", ["pixel v", "latent v"])
def test_v_becomes_the_epsilon_that_it_was_made_of(folders, name):
    """The scheduler's velocity of the found noise and clean image is what the network said."""
    prior = prior_of(folders, name)
    scheduler = DDPMScheduler.from_pretrained(folders[name] / "scheduler")
    x_t, conds = case(prior)
    eps = prior.eps(x_t, T, conds, view_of())[0]
    with torch.no_grad():
        said = unet_of(folders[name])(x_t, T, conds[0]).sample
    abar = scheduler.alphas_cumprod[T][:, None, None, None]
    x0 = abar.sqrt() * x_t - (1.0 - abar).sqrt() * said  # the scheduler's reading of v
    torch.testing.assert_close(scheduler.add_noise(x0, eps, T), x_t, **CLOSE)
    torch.testing.assert_close(scheduler.get_velocity(x0, eps, T), said, **CLOSE)


@pytest.mark.parametrize("name", ["pixel eps", "latent eps", "deepfloyd"])
def test_epsilon_is_what_the_network_says_without_its_variance(folders, name):
    prior = prior_of(folders, name)
    x_t, conds = case(prior)
    with torch.no_grad():
        said = unet_of(folders[name])(x_t, T, conds[0]).sample
    assert said.shape[1] == x_t.shape[1] * (2 if name == "deepfloyd" else 1)
    found = prior.eps(x_t, T, conds, view_of())[0]
    torch.testing.assert_close(found, said[:, : x_t.shape[1]], **CLOSE)


def test_the_schedule_is_the_folders(folders):
    for name in ("pixel v", "latent eps"):
        expected = DDPMScheduler.from_pretrained(folders[name] / "scheduler").alphas_cumprod
        assert torch.equal(prior_of(folders, name).alphas_cumprod, expected)


@pytest.mark.parametrize("name", ["latent eps", "latent v"])
def test_one_ddim_step_is_that_of_the_stable_diffusion_pipeline(folders, name):
    prior, scheduler = prior_of(folders, name), ddim(folders[name])
    pipe = StableDiffusionPipeline(
        vae=AutoencoderKL.from_pretrained(folders[name] / "vae"),
        unet=unet_of(folders[name]),
        scheduler=scheduler,
        **texts_of(folders[name]),
        **{"safety_checker": None, "feature_extractor": None, "requires_safety_checker": False},
    )
    pipe.set_progress_bar_config(disable=True)
    x_t = randn(1, 4, tiny.LATENT, tiny.LATENT)
    expected = pipe(
        "a red car",
        height=SIZE,
        width=SIZE,
        num_inference_steps=1,
        guidance_scale=7.5,
        latents=x_t,
        output_type="latent",
    ).images
    found = one_step(scheduler, prior, x_t, "a red car", 7.5)
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-3 * float(expected.abs().max()))


def test_one_ddim_step_is_that_of_the_deepfloyd_pipeline(folders):
    folder = folders["deepfloyd"]
    prior, scheduler = prior_of(folders, "deepfloyd"), ddim(folder)
    pipe = IFPipeline(
        unet=unet_of(folder),
        scheduler=scheduler,
        **texts_of(folder),
        **{"safety_checker": None, "feature_extractor": None, "watermarker": None},
        requires_safety_checker=False,
    )
    pipe.set_progress_bar_config(disable=True)
    x_t = randn(1, 3, SIZE, SIZE, seed=4)
    # the pipeline would pad to 77 tokens, more than these texts' eight
    rows = prior.embed(["a red car", ""])
    given = {"prompt_embeds": rows[:1], "negative_prompt_embeds": rows[1:]}
    pipe.prepare_intermediate_images = lambda *_: x_t
    expected = pipe(
        **given,
        num_inference_steps=1,
        guidance_scale=7.0,
        output_type="pt",
        height=SIZE,
        width=SIZE,
    ).images
    found = one_step(scheduler, prior, x_t, "a red car", 7.0)
    assert float(expected.abs().max()) > 1.0
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-3 * float(expected.abs().max()))


def test_latents_and_their_gradient_are_the_autoencoders(folders):
    prior = prior_of(folders, "latent eps")
    vae = AutoencoderKL.from_pretrained(folders["latent eps"] / "vae")
    ours, theirs = (rand(2, 3, SIZE, SIZE).requires_grad_(True) for _ in range(2))
    x = prior.encode(ours)
    z = vae.encode(2.0 * theirs - 1.0).latent_dist.mode() * vae.config.scaling_factor
    torch.testing.assert_close(x, z, **CLOSE)
    direction = randn(*x.shape)
    (x * direction).sum().backward()
    (z * direction).sum().backward()
    torch.testing.assert_close(ours.grad, theirs.grad, **CLOSE)


def test_sampled_latents_scatter_as_the_posterior_says(folders):
    prior = prior_of(folders, "latent eps", latent="sample", seed=3)
    vae = AutoencoderKL.from_pretrained(folders["latent eps"] / "vae")
    rgb = rand(1, 3, SIZE, SIZE)
    with torch.no_grad():
        posterior = vae.encode(2.0 * rgb - 1.0).latent_dist
        state = prior.generator.get_state()
        many = torch.stack([prior.encode(rgb)[0] for _ in range(400)])
        prior.generator.set_state(state)
        assert torch.equal(prior.encode(rgb)[0], many[0])
    share = (many.std(0) / (vae.config.scaling_factor * posterior.std[0])).mean()
    assert 0.98 < float(share) < 1.02  # 256 standard deviations, each from 400 samples: +- 0.002
    shift = (many.mean(0) / vae.config.scaling_factor - posterior.mode()[0]) / posterior.std[0]
    assert float(shift.abs().max()) < 5.0 / 20.0  # five standard errors of a mean of 400


def test_pixels_are_scaled_and_shrunk_with_gradient(folders):
    """Away from the border, two pixels' pattern comes to its mean."""
    prior = prior_of(folders, "pixel v")
    rgb = torch.zeros(1, 3, 2 * SIZE, 2 * SIZE)
    rgb[:, :, ::2, ::2] = 1.0
    rgb.requires_grad_(True)
    x = prior.encode(rgb)
    torch.testing.assert_close(x[..., 3:-3, 3:-3], torch.full((1, 3, SIZE - 6, SIZE - 6), -0.5))
    x.sum().backward()
    assert bool((rgb.grad > 0).all())  # nobody is skipped, as with plain bilinear sampling
    same = rand(1, 3, SIZE, SIZE)
    assert torch.equal(prior.encode(same), 2.0 * same - 1.0)


@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        ("latent eps", {"latent": "mean"}, "latent 'mean' is not one of mode, sample"),
        ("latent eps", {"control_on": "none"}, "control_on 'none' is not one of all, text"),
        ("latent eps", {"dtype": "float16"}, "dtype 'float16' is not one of fp32, fp16, bf16"),
        ("latent eps", {"kind": "deepfloyd"}, "4 channels in and 4 out; wanted are 3"),
        ("pixel v", {"kind": "imagen"}, "kind 'imagen' is unknown"),
    ],
)
def test_settings_that_fit_nothing_are_refused(folders, name, changes, message):
    with pytest.raises(ArtifactError, match=message):
        prior_of(folders, name, **changes)


def test_bfloat16_is_close_and_comes_back_in_float32(folders):
    for name in ("pixel v", "latent eps"):
        full, half = prior_of(folders, name), prior_of(folders, name, dtype="bf16")
        x_t, conds = case(full)
        found, expected = (p.eps(x_t, T, conds, view_of()) for p in (half, full))
        assert found.dtype == torch.float32
        assert 0.0 < float((found - expected).abs().max()) < 0.05 * float(expected.abs().max())
        assert half.encode(rand(2, 3, SIZE, SIZE)).dtype == torch.float32


def test_loading_leaves_the_global_generator_alone(folders):
    state = torch.get_rng_state()
    controlled(folders, 0.5).embed(["a red car"])
    assert torch.equal(state, torch.get_rng_state())


def test_what_the_weights_are_is_known_by_name(folders):
    found = models(controlled(folders, 0.5))
    assert set(found) == {str(folders["latent eps"]), str(folders["depth"])}
    assert models(controlled(folders, 0.9)) == found
    assert models(prior_of(folders, "latent v")) != models(prior_of(folders, "latent eps"))
    assert models(object()) == {}
