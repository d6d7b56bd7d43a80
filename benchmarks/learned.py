"""What a call of a learned prior costs beside the bare networks on the same batch, on one thread.

    python -m benchmarks.learned --prior '{"kind": "deepfloyd", "path": "FOLDER"}'

The settings are a preset's; what is left out is fp32, no ControlNets, the posterior's mode. Bare
and full calls take turns, so that a busy machine slows both; median (best) of the calls, in ms. The
ratio of the medians should stay below 1.15. Then VSD's low-rank particle: a call and an update.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from pipeline.guidance.interface import View
from pipeline.guidance.load import load_guidance, load_particle

DEFAULTS = {
    **{"name": "learned", "dtype": "fp32", "latent": "mode", "seed": 0},
    **{"controlnets": [], "control_on": "all"},
}
LIMIT = 1.15


def in_turns(calls: dict[str, Callable[[], object]], repeats: int) -> dict[str, list[float]]:
    """Milliseconds of each call, after a warm-up of all."""
    times: dict[str, list[float]] = {name: [] for name in calls}
    for call in calls.values():
        call()
    for _ in range(repeats):
        for name, call in calls.items():
            start = time.perf_counter()
            call()
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            times[name].append(1e3 * (time.perf_counter() - start))
    return times


def bare(prior: Any, x_t: Tensor, t: Tensor, conds: Tensor, view: View) -> Callable[[], object]:
    """The networks alone on the batch that `eps` makes, its inputs ready."""
    k = len(conds)
    network = prior.denoiser
    x, times = x_t.repeat(k, 1, 1, 1).to(network.dtype), t.repeat(k)
    texts = conds.flatten(0, 1).to(network.dtype)
    nets = network.controls.networks if network.controls else ()
    pictures = {net: view.control[net.image].repeat(k, 1, 1, 1).to(x) for net in nets}

    @torch.no_grad()
    def call() -> object:
        outputs = [
            net.network(x, times, texts, pictures[net], net.before, return_dict=False)
            for net in nets
        ]
        extra = {}
        if outputs:
            down, middle = zip(*outputs, strict=True)
            extra["down_block_additional_residuals"] = [
                torch.stack(parts).sum(0) for parts in zip(*down, strict=True)
            ]
            extra["mid_block_additional_residual"] = torch.stack(middle).sum(0)
        return network.unet(x, times, texts, return_dict=False, **extra)

    return call


def case(prior: Any, prompt: str, views: int, conditions: int) -> tuple[Any, ...]:
    """x_t, t, conditions and view of noisy grey pictures."""
    generator = torch.Generator().manual_seed(0)
    device = prior.alphas_cumprod.device
    rows = prior.embed([f"{prompt}, front view", "", "ugly"][:conditions])
    conds = rows[:, None].expand(-1, views, -1, -1)
    size = prior.denoiser.size
    x_t = torch.randn(views, prior.denoiser.channels, size, size, generator=generator).to(device)
    t = torch.randint(20, 980, (views,), generator=generator).to(device)
    control = {}
    if prior.denoiser.controls is not None:
        edge = size * 2 ** (len(prior.vae.config.block_out_channels) - 1)
        for net in prior.denoiser.controls.networks:
            control[net.image] = torch.rand(views, 3, edge, edge, generator=generator).to(device)
    c2w = torch.eye(4, device=device).expand(views, 4, 4)
    return x_t, t, conds, View(torch.zeros(views, 3, device=device), c2w, control)


def shown(times: list[float]) -> str:
    return f"{statistics.median(times):8.2f} ({min(times):.2f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--prior", required=True, type=json.loads)
    parser.add_argument("--prompt", default="a red car")
    parser.add_argument("--views", type=int, default=2)
    parser.add_argument("--rank", type=int, default=4)
    parser.add_argument("--repeats", type=int, default=30)
    parser.add_argument("--device", default="cpu")
    given = parser.parse_args()
    torch.set_num_threads(1)
    prior: Any = load_guidance(DEFAULTS | given.prior, bank=None, prompt="", device=given.device)
    print(f"{given.views} views; ms: median (best)")
    for conditions in (1, 2, 3):
        x_t, t, conds, view = case(prior, given.prompt, given.views, conditions)
        times = in_turns(
            {
                "bare": bare(prior, x_t, t, conds, view),
                "call": lambda: prior.eps(x_t, t, conds, view),  # noqa: B023
            },
            given.repeats,
        )
        ratio = statistics.median(times["call"]) / statistics.median(times["bare"])
        verdict = "" if ratio <= LIMIT else f"  above {LIMIT}"
        print(
            f"{conditions} conditions: networks {shown(times['bare'])}, "
            f"call {shown(times['call'])}, ratio {ratio:.3f}{verdict}"
        )
    generator = torch.Generator().manual_seed(0)
    particle = load_particle({"kind": "lora", "width": given.rank}, prior, generator)
    optimizer = torch.optim.AdamW(particle.parameters(), lr=1e-4)

    def update() -> None:
        optimizer.zero_grad()
        particle.loss(x_t, t, torch.zeros_like(x_t), conds[0], view).backward()
        optimizer.step()

    times = in_turns(
        {
            "frozen": lambda: prior.eps(x_t, t, conds[:1], view),
            "particle": lambda: particle.eps(x_t, t, conds[0], view),
            "update": update,
        },
        given.repeats,
    )
    print(
        f"beside the particle, 1 condition: frozen {shown(times['frozen'])}, "
        f"particle {shown(times['particle'])}, update {shown(times['update'])}"
    )


if __name__ == "__main__":
    main()
