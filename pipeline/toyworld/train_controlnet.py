"""Train a ControlNet for the latent prior: on depth, or on the edges of the normals.

    python -m pipeline.toyworld.train_controlnet --image depth --model DIR --out DIR [--steps 3000]

Starts as a copy of the latent prior's encoder with zero-initialised outputs (Zhang et al.,
2302.05543, section 3.1) and follows the same loss with the frozen prior behind it; half of the
captions are empty, so that the control must speak for itself. Goes on from DIR/checkpoint when
there is one.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import Module

from pipeline.artifacts import exit_status
from pipeline.controls import canny
from pipeline.toyworld import prior_nets, training
from pipeline.toyworld.prior_data import Pool, pool
from pipeline.toyworld.train_autoencoder import SIZE
from pipeline.toyworld.train_latent import encoded
from pipeline.toyworld.training import Job, Settings

# of a 64-pixel normal map: no blur, which would be a twelfth of the picture
CANNY = {"blur": 1, "low": 50.0, "high": 100.0}
DRAWS = 12000
NO_CAPTION = 0.5
DEFAULTS = Settings(steps=3000, pool=700, learning_rate=5e-4, warmup=100)


def control_images(pictures: Pool, index: Tensor, image: str) -> Tensor:
    """The control of each picture, (b, 3, s, s) in [0, 1], three equal channels."""
    if pictures.geometry is None:
        raise ValueError("the pool was rendered without geometry")
    solid = pictures.geometry[index].float() / 255
    one = solid[:, 3:] if image == "depth" else canny(solid[:, :3], **CANNY)  # type: ignore[arg-type]
    return one.expand(-1, 3, -1, -1)


def train(job: Job, *, image: str, model: Path, draws: int) -> None:
    """`job.out` is the folder of the trained ControlNet; `draws` pictures are encoded."""
    frozen = ("unet", "vae", "text_encoder")
    unet, vae, encoder = (prior_nets.pretrained(kind, model / kind, job.device) for kind in frozen)
    net = prior_nets.controlnet(unet, job.settings.seed).train().requires_grad_(True)
    words = f"toy control {image}"
    trainer = training.begin(job, {".": net}, words)
    pictures = pool(job.settings.pool, seed=job.settings.seed, size=SIZE, with_geometry=True)
    shares = {"degraded": 0.0, "no_caption": NO_CAPTION}
    data = encoded(pictures, vae, draws, seed=job.settings.seed, device=job.device, **shares)
    alphas_cumprod = prior_nets.scheduler(prior_nets.SCALED_LINEAR).alphas_cumprod.to(job.device)

    def loss(generator: torch.Generator) -> Tensor:
        pick = torch.randint(len(data.latents), (job.settings.batch,), generator=generator)
        control = control_images(pictures, data.index[pick], image).to(job.device)
        pick = pick.to(job.device)
        t = training.stratified_times(job.settings.batch, generator).to(job.device)
        x0 = data.latents[pick]
        noise = torch.randn(x0.shape, generator=generator).to(job.device)
        x_t, v = training.v_target(x0, noise, alphas_cumprod[t])
        states = encoder(data.tokens[pick]).last_hidden_state
        found = controlled(unet, net, x_t, t, states, control)
        return (found - v).square().mean()

    curve = training.run(trainer, loss, job, words=words)
    prior_nets.save_model(net, job.out)
    training.end(job, trainer, curve, {"image": image, "size": SIZE, "draws": draws})


def controlled(
    unet: Module, net: Module, x_t: Tensor, t: Tensor, states: Tensor, control: Tensor
) -> Tensor:
    """The UNet's prediction with the ControlNet's residuals at full weight."""
    down, middle = net(x_t, t, states, control, return_dict=False)
    return unet(  # type: ignore[no-any-return]
        x_t,
        t,
        states,
        down_block_additional_residuals=down,
        mid_block_additional_residual=middle,
        return_dict=False,
    )[0]


def main(arguments: Sequence[str] | None = None) -> None:
    """Trains as the module's docstring says."""
    parser = training.parser(__doc__, DEFAULTS)
    parser.add_argument("--image", choices=("depth", "canny"), required=True)
    parser.add_argument("--model", type=Path, required=True, help="the folder of train_latent")
    parser.add_argument("--draws", type=int, default=DRAWS, help="pictures that are encoded")
    training.program(train, parser.parse_args(arguments), DEFAULTS)


if __name__ == "__main__":
    sys.exit(exit_status(main, ValueError, OSError, FloatingPointError))
