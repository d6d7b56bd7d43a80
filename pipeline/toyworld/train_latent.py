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

from pipeline.artifacts import exit_status, write_json
from pipeline.toyworld import prior_nets, training
from pipeline.toyworld.prior_data import DEGRADED, NO_CAPTION, Pool, batch, pool
from pipeline.toyworld.train_autoencoder import SIZE
from pipeline.toyworld.train_pixel import WEIGHTS, v_target
from pipeline.toyworld.training import Settings, Trainer
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


def train(
    out: Path,
    settings: Settings,
    *,
    autoencoder: Path,
    draws: int,
    init: Path | None,
    device: str,
    every: int,
) -> Path:
    """The folder of the trained model."""
    if not (autoencoder / "training.json").is_file():
        raise ValueError(f"{autoencoder}: lacks training.json; finish train_autoencoder first")
    vae = prior_nets.pretrained("vae", autoencoder, device)
    parts: dict[str, Module] = {
        "unet": prior_nets.unet(settings.seed, size=SIZE // 4, channels=4, widths=WIDTHS),
        "text_encoder": prior_nets.text_encoder(settings.seed),
    }
    if init is not None:
        for name, module in parts.items():
            training.start_from(module, init / name / WEIGHTS[name])
    named = {f"{k}.{n}": p for k, m in parts.items() for n, p in m.to(device).named_parameters()}
    trainer = Trainer(named, settings, f"{WORDS} {WIDTHS} {draws}")
    checkpoint = out / "checkpoint" / "state.safetensors"
    if checkpoint.exists():
        trainer.load(checkpoint)
    pictures = pool(settings.pool, seed=settings.seed, size=SIZE)
    data = encoded(pictures, vae, draws, seed=settings.seed, device=device)
    noising = prior_nets.scheduler(prior_nets.SCALED_LINEAR)
    alphas_cumprod = noising.alphas_cumprod.to(device)

    def loss(generator: torch.Generator) -> Tensor:
        pick = torch.randint(len(data.latents), (settings.batch,), generator=generator).to(device)
        t = training.stratified_times(settings.batch, generator).to(device)
        x0 = data.latents[pick]
        noise = torch.randn(x0.shape, generator=generator).to(device)
        x_t, v = v_target(x0, noise, alphas_cumprod[t])
        states = parts["text_encoder"](data.tokens[pick]).last_hidden_state
        found = parts["unet"](x_t, t, states, return_dict=False)[0]
        return (found - v).square().mean()

    curve = training.run(trainer, loss, checkpoint, words=WORDS, every=every)
    trainer.use_average()
    for name, module in {**parts, "vae": vae}.items():
        prior_nets.save_model(module, out / name)
    noising.save_pretrained(out / "scheduler")
    prior_nets.save_tokenizer(out / "tokenizer")
    prior_nets.save_index(out, "StableDiffusionPipeline", PARTS)
    shutil.copyfile(autoencoder / "training.json", out / "vae" / "training.json")
    said = {"size": SIZE, "draws": draws}
    write_json(out / "training.json", training.record(trainer, curve, said))
    shutil.rmtree(checkpoint.parent, ignore_errors=True)
    return out


def main(arguments: Sequence[str] | None = None) -> None:
    """Trains as the module's docstring says."""
    parser = training.parser((__doc__ or "").splitlines()[0], DEFAULTS)
    parser.add_argument("--autoencoder", type=Path, required=True, help="of train_autoencoder")
    parser.add_argument("--draws", type=int, default=DRAWS, help="pictures that are encoded")
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    found = train(
        options.out,
        training.settings_of(options, DEFAULTS),
        autoencoder=options.autoencoder,
        draws=options.draws,
        init=options.init,
        device=options.device,
        every=options.every,
    )
    print(f"wrote {found}")


if __name__ == "__main__":
    sys.exit(exit_status(main, ValueError, OSError, FloatingPointError))
