"""Train the pixel prior: a text encoder and a 32 x 32 UNet in DeepFloyd-IF's folder format.

    python -m pipeline.toyworld.train_pixel --out DIR [--steps 18000] [--init FOLDER]
        [--device cuda]

The network predicts v = sqrt(abar) eps - sqrt(1 - abar) x0 (Salimans and Ho, arXiv 2202.00512);
loss = its mean squared error. Goes on from DIR/checkpoint when there is one.
"""

import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import Module

from pipeline.artifacts import exit_status, write_json
from pipeline.toyworld import prior_nets, training
from pipeline.toyworld.prior_data import batch, pool
from pipeline.toyworld.training import Settings, Trainer

SIZE, WIDTHS = 32, (16, 32, 64, 96)
DEFAULTS = Settings()
WORDS = "toy pixel"
PARTS = {
    "unet": ("diffusers", "UNet2DConditionModel"),
    "text_encoder": ("transformers", "CLIPTextModel"),
    "tokenizer": ("transformers", "PreTrainedTokenizerFast"),
    "scheduler": ("diffusers", "DDPMScheduler"),
}
WEIGHTS = {
    "unet": "diffusion_pytorch_model.safetensors",
    "text_encoder": "model.safetensors",
    "vae": "diffusion_pytorch_model.safetensors",
    "controlnet": "diffusion_pytorch_model.safetensors",
}


def v_target(x0: Tensor, noise: Tensor, abar: Tensor) -> tuple[Tensor, Tensor]:
    """(x_t, v) at the given abar (b,), in [0, 1]."""
    a, sigma = abar.sqrt()[:, None, None, None], (1 - abar).sqrt()[:, None, None, None]
    return a * x0 + sigma * noise, a * noise - sigma * x0


def words_of(encoder: Module, captions: list[str], device: str) -> Tensor:
    """The hidden states of the captions, (b, CONTEXT, WIDTH)."""
    return encoder(prior_nets.token_ids(captions).to(device)).last_hidden_state  # type: ignore[no-any-return]


def train(out: Path, settings: Settings, *, init: Path | None, device: str, every: int) -> Path:
    """The folder of the trained model."""
    parts: dict[str, Module] = {
        "unet": prior_nets.unet(settings.seed, size=SIZE, channels=3, widths=WIDTHS),
        "text_encoder": prior_nets.text_encoder(settings.seed),
    }
    if init is not None:
        for name, module in parts.items():
            training.start_from(module, init / name / WEIGHTS[name])
    named = {f"{k}.{n}": p for k, m in parts.items() for n, p in m.to(device).named_parameters()}
    trainer = Trainer(named, settings, f"{WORDS} {SIZE} {WIDTHS}")
    checkpoint = out / "checkpoint" / "state.safetensors"
    if checkpoint.exists():
        trainer.load(checkpoint)
    pictures = pool(settings.pool, seed=settings.seed, size=SIZE)
    noising = prior_nets.scheduler(prior_nets.SQUARED_COSINE)
    alphas_cumprod = noising.alphas_cumprod.to(device)

    def loss(generator: torch.Generator) -> Tensor:
        b = batch(pictures, settings.batch, generator)
        t = training.stratified_times(settings.batch, generator).to(device)
        x0 = (2 * b.rgb - 1).to(device)
        noise = torch.randn(x0.shape, generator=generator).to(device)
        x_t, v = v_target(x0, noise, alphas_cumprod[t])
        states = words_of(parts["text_encoder"], b.captions, device)
        found = parts["unet"](x_t, t, states, return_dict=False)[0]
        return (found - v).square().mean()

    curve = training.run(trainer, loss, checkpoint, words=WORDS, every=every)
    trainer.use_average()
    for name, module in parts.items():
        prior_nets.save_model(module, out / name)
    noising.save_pretrained(out / "scheduler")
    prior_nets.save_tokenizer(out / "tokenizer")
    prior_nets.save_index(out, "IFPipeline", PARTS)
    write_json(out / "training.json", training.record(trainer, curve, {"size": SIZE}))
    shutil.rmtree(checkpoint.parent, ignore_errors=True)
    return out


def main(arguments: Sequence[str] | None = None) -> None:
    """Trains as the module's docstring says."""
    options = training.parser((__doc__ or "").splitlines()[0], DEFAULTS).parse_args(arguments)
    torch.set_num_threads(options.threads)
    found = train(
        options.out,
        training.settings_of(options, DEFAULTS),
        init=options.init,
        device=options.device,
        every=options.every,
    )
    print(f"wrote {found}")


if __name__ == "__main__":
    sys.exit(exit_status(main, ValueError, FloatingPointError))
