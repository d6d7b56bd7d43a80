"""Train a ControlNet for the latent prior: on depth, or on the edges of the normals.

    python -m pipeline.toyworld.train_controlnet --image depth --model DIR --out DIR [--steps 3000]

Starts as a copy of the latent prior's encoder with zero-initialised outputs (Zhang et al.,
2302.05543, section 3.1) and follows the same loss with the frozen prior behind it; half of the
captions are empty, so that the control must speak for itself. Goes on from DIR/checkpoint when
there is one.
"""

import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import Module

from pipeline.artifacts import exit_status, write_json
from pipeline.controls import canny
from pipeline.toyworld import prior_nets, training
from pipeline.toyworld.prior_data import Pool, pool
from pipeline.toyworld.train_autoencoder import SIZE
from pipeline.toyworld.train_latent import encoded
from pipeline.toyworld.train_pixel import WEIGHTS, v_target
from pipeline.toyworld.training import Settings, Trainer

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


def train(
    out: Path,
    settings: Settings,
    *,
    image: str,
    model: Path,
    draws: int,
    init: Path | None,
    device: str,
    every: int,
) -> Path:
    """The folder of the trained ControlNet."""
    frozen = ("unet", "vae", "text_encoder")
    unet, vae, encoder = (prior_nets.pretrained(kind, model / kind, device) for kind in frozen)
    net = prior_nets.controlnet(unet, settings.seed)
    if init is not None:
        training.start_from(net, init / WEIGHTS["controlnet"])
    words = f"toy control {image}"
    trainer = Trainer(
        dict(net.to(device).train().requires_grad_(True).named_parameters()), settings, words
    )
    checkpoint = out / "checkpoint" / "state.safetensors"
    if checkpoint.exists():
        trainer.load(checkpoint)
    pictures = pool(settings.pool, seed=settings.seed, size=SIZE, with_geometry=True)
    shares = {"degraded": 0.0, "no_caption": NO_CAPTION}
    data = encoded(pictures, vae, draws, seed=settings.seed, device=device, **shares)
    alphas_cumprod = prior_nets.scheduler(prior_nets.SCALED_LINEAR).alphas_cumprod.to(device)

    def loss(generator: torch.Generator) -> Tensor:
        pick = torch.randint(len(data.latents), (settings.batch,), generator=generator)
        control = control_images(pictures, data.index[pick], image).to(device)
        pick = pick.to(device)
        t = training.stratified_times(settings.batch, generator).to(device)
        x0 = data.latents[pick]
        noise = torch.randn(x0.shape, generator=generator).to(device)
        x_t, v = v_target(x0, noise, alphas_cumprod[t])
        states = encoder(data.tokens[pick]).last_hidden_state
        found = controlled(unet, net, x_t, t, states, control)
        return (found - v).square().mean()

    curve = training.run(trainer, loss, checkpoint, words=words, every=every)
    trainer.use_average()
    prior_nets.save_model(net, out)
    said = {"image": image, "size": SIZE, "draws": draws}
    write_json(out / "training.json", training.record(trainer, curve, said))
    shutil.rmtree(checkpoint.parent, ignore_errors=True)
    return out


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
    parser = training.parser((__doc__ or "").splitlines()[0], DEFAULTS)
    parser.add_argument("--image", choices=("depth", "canny"), required=True)
    parser.add_argument("--model", type=Path, required=True, help="the folder of train_latent")
    parser.add_argument("--draws", type=int, default=DRAWS, help="pictures that are encoded")
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    found = train(
        options.out,
        training.settings_of(options, DEFAULTS),
        image=options.image,
        model=options.model,
        draws=options.draws,
        init=options.init,
        device=options.device,
        every=options.every,
    )
    print(f"wrote {found}")


if __name__ == "__main__":
    sys.exit(exit_status(main, ValueError, OSError, FloatingPointError))
