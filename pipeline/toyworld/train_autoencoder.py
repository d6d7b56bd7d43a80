"""Train the latent prior's autoencoder: 64 x 64 pixels to 16 x 16 x 4 latents and back.

    python -m pipeline.toyworld.train_autoencoder --out DIR [--steps 5000] [--init FOLDER]

Loss = mean absolute error + that of neighbouring pixels' differences + 1e-6 x the picture's KL to a
unit Gaussian (Rombach et al., 2112.10752, section 3.1, without the adversary: the toy world has no
texture that would have to be invented). The scaling factor brings latents to unit variance.
Goes on from DIR/checkpoint when there is one.
"""

import sys
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from pipeline.artifacts import exit_status
from pipeline.toyworld import prior_nets, training
from pipeline.toyworld.prior_data import Pool, batch, pool
from pipeline.toyworld.training import Job, Settings
from pipeline.toyworld.world import seeded

SIZE = 64
KL_WEIGHT = 1e-6
DEFAULTS = Settings(
    steps=5000, batch=8, pool=1200, learning_rate=1.5e-3, warmup=100, weight_decay=0.0
)
WORDS = "toy autoencoder"


def differences(x: Float[Tensor, "b c h w"]) -> tuple[Tensor, Tensor]:
    """Differences of vertical and of horizontal neighbours."""
    return x[..., 1:, :] - x[..., :-1, :], x[..., 1:] - x[..., :-1]


def reconstruction(found: Float[Tensor, "b c h w"], true: Float[Tensor, "b c h w"]) -> Tensor:
    """Mean absolute error of pixels plus that of neighbours' differences, which keeps edges."""
    edges = sum(
        (a - b).abs().mean() for a, b in zip(differences(found), differences(true), strict=True)
    )
    return (found - true).abs().mean() + edges


@torch.no_grad()
def scaling_factor(vae: torch.nn.Module, pictures: Pool, device: str) -> float:
    """1 / the standard deviation of clean pictures' latents."""
    b = batch(pictures, 256, seeded(WORDS, "scale"), degraded=0.0)
    latents = torch.cat(
        [vae.encode(lot).latent_dist.mean for lot in (2 * b.rgb - 1).to(device).split(32)]  # type: ignore[operator]
    )
    return round(float(1 / latents.std()), 5)


def train(job: Job) -> None:
    """`job.out` is the folder of the trained autoencoder."""
    vae = prior_nets.autoencoder(job.settings.seed)
    trainer = training.begin(job, {".": vae}, f"{WORDS} {SIZE}")
    pictures = pool(job.settings.pool, seed=job.settings.seed, size=SIZE)

    def loss(generator: torch.Generator) -> Tensor:
        x = (2 * batch(pictures, job.settings.batch, generator).rgb - 1).to(job.device)
        posterior = vae.encode(x).latent_dist  # type: ignore[operator]
        noise = torch.randn(posterior.mean.shape, generator=generator).to(job.device)
        found = vae.decode(posterior.mean + posterior.std * noise, return_dict=False)[0]  # type: ignore[operator]
        return reconstruction(found, x) + KL_WEIGHT * posterior.kl().mean()

    curve = training.run(trainer, loss, job, words=WORDS)
    vae.register_to_config(scaling_factor=scaling_factor(vae, pictures, job.device))  # type: ignore[operator]
    prior_nets.save_model(vae, job.out)
    training.end(job, trainer, curve, {"size": SIZE})


def main(arguments: Sequence[str] | None = None) -> None:
    """Trains as the module's docstring says."""
    parser = training.parser(__doc__, DEFAULTS)
    training.program(train, parser.parse_args(arguments), DEFAULTS)


if __name__ == "__main__":
    sys.exit(exit_status(main, ValueError, OSError, FloatingPointError))
