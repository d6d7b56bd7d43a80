"""ControlNets of a learned prior against diffusers' own on the same inputs."""

import pytest
import tiny_models as tiny
import torch
from diffusers import (
    AutoencoderKL,
    ControlNetModel,
    MultiControlNetModel,
    StableDiffusionControlNetPipeline,
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
from pipeline.guidance.interface import View


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    return folders_of(tmp_path_factory.mktemp("models"))


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
        **texts_of(folder),
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
