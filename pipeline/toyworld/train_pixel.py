"""Train the pixel prior: a text encoder and a 32 x 32 UNet in DeepFloyd-IF's folder format.

    python -m pipeline.toyworld.train_pixel --out DIR [--steps 18000] [--init FOLDER]
        [--device cuda]

The network predicts v (`training.v_target`); loss = its mean squared error. Goes on from
DIR/checkpoint when there is one.
"""

import sys
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import Module

from pipeline.artifacts import exit_status
from pipeline.toyworld import prior_nets, training
from pipeline.toyworld.prior_data import batch, pool
from pipeline.toyworld.training import Job, Settings

SIZE, WIDTHS = 32, (16, 32, 64, 96)
DEFAULTS = Settings()
WORDS = "toy pixel"
PARTS = {
    "unet": ("diffusers", "UNet2DConditionModel"),
    "text_encoder": ("transformers", "CLIPTextModel"),
    "tokenizer": ("transformers", "PreTrainedTokenizerFast"),
    "scheduler": ("diffusers", "DDPMScheduler"),
}


def words_of(encoder: Module, captions: list[str], device: str) -> Tensor:
    """The hidden states of the captions, (b, CONTEXT, WIDTH)."""
    return encoder(prior_nets.token_ids(captions).to(device)).last_hidden_state  # type: ignore[no-any-return]


def train(job: Job) -> None:
    """`job.out` is the folder of the trained model."""
    parts: dict[str, Module] = {
        "unet": prior_nets.unet(job.settings.seed, size=SIZE, channels=3, widths=WIDTHS),
        "text_encoder": prior_nets.text_encoder(job.settings.seed),
    }
    trainer = training.begin(job, parts, f"{WORDS} {SIZE} {WIDTHS}")
    pictures = pool(job.settings.pool, seed=job.settings.seed, size=SIZE)
    noising = prior_nets.scheduler(prior_nets.SQUARED_COSINE)
    alphas_cumprod = noising.alphas_cumprod.to(job.device)

    def loss(generator: torch.Generator) -> Tensor:
        b = batch(pictures, job.settings.batch, generator)
        t = training.stratified_times(job.settings.batch, generator).to(job.device)
        x0 = (2 * b.rgb - 1).to(job.device)
        noise = torch.randn(x0.shape, generator=generator).to(job.device)
        x_t, v = training.v_target(x0, noise, alphas_cumprod[t])
        states = words_of(parts["text_encoder"], b.captions, job.device)
        found = parts["unet"](x_t, t, states, return_dict=False)[0]
        return (found - v).square().mean()

    curve = training.run(trainer, loss, job, words=WORDS)
    for name, module in parts.items():
        prior_nets.save_model(module, job.out / name)
    noising.save_pretrained(job.out / "scheduler")
    prior_nets.save_tokenizer(job.out / "tokenizer")
    prior_nets.save_index(job.out, "IFPipeline", PARTS)
    training.end(job, trainer, curve, {"size": SIZE})


def main(arguments: Sequence[str] | None = None) -> None:
    """Trains as the module's docstring says."""
    parser = training.parser(__doc__, DEFAULTS)
    training.program(train, parser.parse_args(arguments), DEFAULTS)


if __name__ == "__main__":
    sys.exit(exit_status(main, ValueError, OSError, FloatingPointError))
