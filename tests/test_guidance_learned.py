"""Learned priors against diffusers' own pipelines, schedulers and formulas on the same inputs."""

import pytest
import tiny_models as tiny
import torch
from diffusers import (
    AutoencoderKL,
    ControlNetModel,
    DDIMScheduler,
    DDPMScheduler,
    IFPipeline,
    MultiControlNetModel,
    StableDiffusionControlNetPipeline,
    StableDiffusionPipeline,
    UNet2DConditionModel,
)

from pipeline.artifacts import ArtifactError
from pipeline.guidance.interface import View
from pipeline.guidance.load import load_guidance, models

SIZE = tiny.PIXELS
T = torch.tensor([40, 930])
# The libraries place weights elsewhere in memory than we do; sums then round differently.
CLOSE = {"rtol": 1e-4, "atol": 2e-5}


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    found = {
        "pixel v": tiny.pixel_folder(folder / "pixel_v", prediction="v_prediction"),
        "pixel eps": tiny.pixel_folder(folder / "pixel_eps", prediction="epsilon"),
        "deepfloyd": tiny.deepfloyd_folder(folder / "if"),
        "latent v": tiny.latent_folder(folder / "latent_v", prediction="v_prediction"),
        "latent eps": tiny.latent_folder(folder / "latent_eps", prediction="epsilon"),
    }
    for number, kind in enumerate(("depth", "canny")):
        found[kind] = tiny.control_folder(folder / kind, found["latent eps"], seed=number)
    return found


def prior_of(folders, name, **changes):
    kind = "stable_diffusion" if name.startswith("latent") else "deepfloyd"
    spec = tiny.spec(kind, folders[name]) | changes
    return load_guidance(spec, bank=None, prompt="", device="cpu")


def controlled(folders, *weights, **changes):
    pairs = zip(("depth", "canny"), weights, strict=False)
    nets = [tiny.control_spec(folders[kind], kind, weight) for kind, weight in pairs]
    return prior_of(folders, "latent eps", controlnets=nets, **changes)


def randn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def rand(*shape, seed=0):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def view_of(count=2, **changes):
    control = {
        kind: rand(count, 3, SIZE, SIZE, seed=n) for n, kind in enumerate(("depth", "canny"))
    }
    return View(torch.zeros(count, 3), torch.eye(4).repeat(count, 1, 1), control, **changes)


def unet_of(folder):
    return UNet2DConditionModel.from_pretrained(folder / "unet").eval()


def case(prior):
    """x_t of two images and two conditions."""
    x0 = prior.encode(rand(2, 3, SIZE, SIZE))
    rows = prior.embed(["a red car", ""])
    return x0 + randn(*x0.shape), rows[:, None].expand(-1, 2, -1, -1)


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


def one_step(scheduler, prior, x_t, text, scale):
    """The pipeline's guided step from pure noise to its last image, from this prior's epsilon."""
    scheduler.set_timesteps(1)
    t = scheduler.timesteps
    rows = prior.embed([text, ""])[:, None]
    eps = prior.eps(x_t, t, rows, view_of(1))
    guided = eps[1] + scale * (eps[0] - eps[1])
    abar = prior.alphas_cumprod[t]
    return (x_t - (1.0 - abar).sqrt() * guided) / abar.sqrt()


def ddim(folder):
    config = DDPMScheduler.from_pretrained(folder / "scheduler").config
    changes = {"timestep_spacing": "trailing", "set_alpha_to_one": True, "variance_type": None}
    return DDIMScheduler.from_config({**config, **changes, "thresholding": False})


@pytest.mark.parametrize("name", ["latent eps", "latent v"])
def test_one_ddim_step_is_that_of_the_stable_diffusion_pipeline(folders, name):
    prior, scheduler = prior_of(folders, name), ddim(folders[name])
    pipe = StableDiffusionPipeline(
        vae=AutoencoderKL.from_pretrained(folders[name] / "vae"),
        unet=unet_of(folders[name]),
        scheduler=scheduler,
        **_texts(folders[name]),
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
        **_texts(folder),
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


def _texts(folder):
    from transformers import AutoTokenizer, CLIPTextModel, T5EncoderModel

    kind = T5EncoderModel if "if" in folder.name else CLIPTextModel
    return {
        "text_encoder": kind.from_pretrained(folder / "text_encoder"),
        "tokenizer": AutoTokenizer.from_pretrained(folder / "tokenizer"),
    }


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


def test_residuals_are_summed_as_diffusers_sums_them(folders):
    prior = controlled(folders, 0.5, 0.3)
    view = view_of()
    x_t, conds = case(prior)
    nets = [ControlNetModel.from_pretrained(folders[kind]) for kind in ("depth", "canny")]
    with torch.no_grad():
        down, middle = MultiControlNetModel(nets)(
            x_t,
            T,
            conds[0],
            [view.control["depth"], view.control["canny"]],
            [0.5, 0.3],
            return_dict=False,
        )
        expected = unet_of(folders["latent eps"])(
            x_t,
            T,
            conds[0],
            down_block_additional_residuals=down,
            mid_block_additional_residual=middle,
        ).sample
    found = prior.eps(x_t, T, conds, view)
    torch.testing.assert_close(found[0], expected, **CLOSE)
    assert (
        float((found - prior_of(folders, "latent eps").eps(x_t, T, conds, view)).abs().max()) > 0.01
    )


def test_one_ddim_step_is_that_of_the_controlnet_pipeline(folders):
    folder = folders["latent eps"]
    prior, scheduler = controlled(folders, 0.5, 0.3), ddim(folder)
    pipe = StableDiffusionControlNetPipeline(
        vae=AutoencoderKL.from_pretrained(folder / "vae"),
        unet=unet_of(folder),
        controlnet=[ControlNetModel.from_pretrained(folders[k]) for k in ("depth", "canny")],
        scheduler=scheduler,
        **_texts(folder),
        **{"safety_checker": None, "feature_extractor": None, "requires_safety_checker": False},
    )
    pipe.set_progress_bar_config(disable=True)
    x_t, view = randn(1, 4, tiny.LATENT, tiny.LATENT), view_of(1)
    expected = pipe(
        "a red car",
        image=[view.control["depth"], view.control["canny"]],
        num_inference_steps=1,
        guidance_scale=7.5,
        controlnet_conditioning_scale=[0.5, 0.3],
        latents=x_t,
        output_type="latent",
    ).images
    found = one_step(scheduler, prior, x_t, "a red car", 7.5)
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-3 * float(expected.abs().max()))


def test_weights_jump_at_their_step(folders):
    prior = controlled(folders, [0.5, 0.2, 1000])
    x_t, conds = case(prior)
    for step, weight in ((0, 0.5), (999, 0.5), (1000, 0.2), (20000, 0.2)):
        expected = controlled(folders, weight).eps(x_t, T, conds, view_of())
        found = prior.eps(x_t, T, conds, view_of(step=step))
        assert torch.equal(found, expected), step


def test_control_on_text_leaves_the_other_conditions_alone(folders):
    prior = controlled(folders, 0.5, 0.5, control_on="text")
    everywhere = controlled(folders, 0.5, 0.5)
    nowhere = prior_of(folders, "latent eps")
    x_t, conds = case(prior)
    found = prior.eps(x_t, T, conds, view_of(prompted=(True, False)))
    torch.testing.assert_close(found[0], everywhere.eps(x_t, T, conds, view_of())[0], **CLOSE)
    torch.testing.assert_close(found[1], nowhere.eps(x_t, T, conds, view_of())[1], **CLOSE)
    turned = prior.eps(x_t, T, conds, view_of(prompted=(False, False)))
    torch.testing.assert_close(turned, nowhere.eps(x_t, T, conds, view_of()), **CLOSE)
    with pytest.raises(ValueError, match=r"3 marks .* for 2 conditions"):
        prior.eps(x_t, T, conds, view_of(prompted=(True, False, False)))


def test_pictures_must_be_there_at_the_networks_size(folders):
    prior = controlled(folders, 0.5)
    x_t, conds = case(prior)
    plain = View(torch.zeros(2, 3), torch.eye(4).repeat(2, 1, 1))
    with pytest.raises(ValueError, match="'depth'; given are: none"):
        prior.eps(x_t, T, conds, plain)
    small = View(plain.background, plain.c2w, {"depth": rand(2, 3, 8, 8)})
    with pytest.raises(ValueError, match=r"\(3, 8, 8\), its ControlNet needs \(3, 16, 16\)"):
        prior.eps(x_t, T, conds, small)


def test_a_picture_of_one_channel_stands_for_three(folders):
    prior = controlled(folders, 0.5)
    x_t, conds = case(prior)
    grey, view = rand(2, 1, SIZE, SIZE), view_of()
    one, three = (
        prior.eps(
            x_t, T, conds, View(view.background, view.c2w, {"depth": grey.repeat(1, n, 1, 1)})
        )
        for n in (1, 3)
    )
    assert torch.equal(one, three)


def test_a_controlnet_of_another_model_is_refused(folders, tmp_path):
    other = tiny.tiny_unet(4, 4, tiny.LATENT, cross_attention_dim=24)
    ControlNetModel.from_unet(other).save_pretrained(tmp_path)
    spec = tiny.control_spec(tmp_path, "depth", 0.5)
    with pytest.raises(ArtifactError, match=r"config.json: cross_attention_dim is 24.* 16"):
        prior_of(folders, "latent eps", controlnets=[spec])


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
