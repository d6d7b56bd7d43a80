"""Train the latent prior: a 16 x 16 UNet over a trained autoencoder's latents.

    python -m pipeline.toyworld.train_latent --autoencoder DIR --out DIR [--steps 12000]
        [--init FOLDER] [--device cuda]

A folder in Stable Diffusion's format, v-prediction. Latents of `--draws` pictures are computed
once. Goes on from DIR/checkpoint when there is one.
"""

import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import Module

from pipeline.artifacts import exit_status
from pipeline.toyworld import prior_nets, training
from pipeline.toyworld.prior_data import DEGRADED, NO_CAPTION, Pool, batch, pool
from pipeline.toyworld.train_autoencoder import SIZE
from pipeline.toyworld.training import Job, Settings
from pipeline.toyworld.world import seeded

WIDTHS = (32, 64, 96)
DRAWS = 40000
DEFAULTS = Settings(steps=12000, pool=2000)
WORDS = "toy latent"
PARTS = {
    "unet": ("diffusers", "UNet2DConditionModel"),
    "vae": ("diffusers", "AutoencoderKL"),
    "text_encoder": ("transformers", "CLIPTextModel"),
    "tokenizer": ("transformers", "PreTrainedTokenizerFast"),
    "scheduler": ("diffusers", "DDPMScheduler"),
    "safety_checker": (None, None),
    "feature_extractor": (None, None),
}


@dataclass(frozen=True)
class Encoded:
    """Latents of unit variance, their captions' tokens, their pictures' places in the pool."""

    latents: Float[Tensor, "n 4 s s"]
    tokens: Int[Tensor, "n length"]
    index: Int[Tensor, " n"]


@torch.no_grad()
def encoded(
    pictures: Pool,
    vae: Any,
    count: int,
    *,
    seed: int,
    device: str,
    degraded: float = DEGRADED,
    no_caption: float = NO_CAPTION,
) -> Encoded:
    """Latents and captions of `count` pictures drawn from the pool."""
    latents, captions, places = [], [], []
    for start in range(0, count, 32):
        generator = seeded("latents", seed, start)
        b = batch(pictures, 32, generator, degraded=degraded, no_caption=no_caption)
        posterior = vae.encode((2 * b.rgb - 1).to(device)).latent_dist
        latents.append(posterior.mean * vae.config.scaling_factor)
        captions += b.captions
        places.append(b.index)
    tokens = prior_nets.token_ids(captions).to(device)
    return Encoded(torch.cat(latents), tokens, torch.cat(places))


def train(job: Job, *, autoencoder: Path, draws: int) -> None:
    """`job.out` is the folder of the trained model; `draws` pictures are encoded."""
    if not (autoencoder / "training.json").is_file():
        raise ValueError(f"{autoencoder}: lacks training.json; finish train_autoencoder first")
    vae = prior_nets.pretrained("vae", autoencoder, job.device)
    parts: dict[str, Module] = {
        "unet": prior_nets.unet(job.settings.seed, size=SIZE // 4, channels=4, widths=WIDTHS),
        "text_encoder": prior_nets.text_encoder(job.settings.seed),
    }
    trainer = training.begin(job, parts, f"{WORDS} {WIDTHS} {draws}")
    pictures = pool(job.settings.pool, seed=job.settings.seed, size=SIZE)
    data = encoded(pictures, vae, draws, seed=job.settings.seed, device=job.device)
    noising = prior_nets.scheduler(prior_nets.SCALED_LINEAR)
    alphas_cumprod = noising.alphas_cumprod.to(job.device)

    def loss(generator: torch.Generator) -> Tensor:
        pick = torch.randint(len(data.latents), (job.settings.batch,), generator=generator)
        pick = pick.to(job.device)
        t = training.stratified_times(job.settings.batch, generator).to(job.device)
        x0 = data.latents[pick]
        noise = torch.randn(x0.shape, generator=generator).to(job.device)
        x_t, v = training.v_target(x0, noise, alphas_cumprod[t])
        states = parts["text_encoder"](data.tokens[pick]).last_hidden_state
        found = parts["unet"](x_t, t, states, return_dict=False)[0]
        return (found - v).square().mean()

    curve = training.run(trainer, loss, job, words=WORDS)
    for name, module in {**parts, "vae": vae}.items():
        prior_nets.save_model(module, job.out / name)
    noising.save_pretrained(job.out / "scheduler")
    prior_nets.save_tokenizer(job.out / "tokenizer")
    prior_nets.save_index(job.out, "StableDiffusionPipeline", PARTS)
    shutil.copyfile(autoencoder / "training.json", job.out / "vae" / "training.json")
    training.end(job, trainer, curve, {"size": SIZE, "draws": draws})


def main(arguments: Sequence[str] | None = None) -> None:
    """Trains as the module's docstring says."""
    parser = training.parser(__doc__, DEFAULTS)
    parser.add_argument("--autoencoder", type=Path, required=True, help="of train_autoencoder")
    parser.add_argument("--draws", type=int, default=DRAWS, help="pictures that are encoded")
    training.program(train, parser.parse_args(arguments), DEFAULTS)


if __name__ == "__main__":
    sys.exit(exit_status(main, ValueError, OSError, FloatingPointError))
