"""Small learned priors of every kind, and what is asked of them."""

import tiny_models as tiny
import torch
from diffusers import (
    DDIMScheduler,
    DDPMScheduler,
    UNet2DConditionModel,
)

from pipeline.guidance.interface import View
from pipeline.guidance.load import load_guidance

SIZE = tiny.PIXELS
T = torch.tensor([40, 930])
# The libraries place weights elsewhere in memory than we do; sums then round differently.
CLOSE = {"rtol": 1e-4, "atol": 2e-5}


def folders_of(folder):
    """A folder of weights by name, all written below `folder`."""
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


def texts_of(folder):
    from transformers import AutoTokenizer, CLIPTextModel, T5EncoderModel

    kind = T5EncoderModel if "if" in folder.name else CLIPTextModel
    return {
        "text_encoder": kind.from_pretrained(folder / "text_encoder"),
        "tokenizer": AutoTokenizer.from_pretrained(folder / "tokenizer"),
    }
