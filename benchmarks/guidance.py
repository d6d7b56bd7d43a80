"""Milliseconds per call of the mixture prior and of VSD's particle, on one thread.

    python -m benchmarks.guidance --bank results/mini/bank --prompt "a red car"

Needs a bank written by pipeline.toyworld.bank. Prints the median and the best of the calls, per t
and per number of conditions; VSD adds to a step the particle's prediction and one update.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch

from pipeline.guidance.interface import View
from pipeline.guidance.mixture import Mixture, load
from pipeline.guidance.particle import ResidualParticle

NEGATIVE = "oversaturated color, ugly, tiling, low quality, noisy"
VIEWS = 2


def milliseconds(call: Callable[[], object], repeats: int) -> str:
    """ "median (best)" of the calls after one warm-up."""
    call()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        call()
        times.append(1e3 * (time.perf_counter() - start))
    return f"{statistics.median(times):7.2f} ({min(times):.2f})"


def noised_renders(prior: Mixture, t: int, generator: torch.Generator) -> torch.Tensor:
    """Means of random components of the world, noised to t."""
    background = torch.full((VIEWS, 3), 0.5)
    columns = torch.multinomial(prior.components.prior, VIEWS, generator=generator)
    weights = torch.nn.functional.one_hot(columns, len(prior.components.prior)).float()
    size = prior.world.size
    x0 = torch.zeros(VIEWS, 3, size * size)
    parts = weights.split([group.squared.numel() for group in prior.groups], -1)
    for group, part in zip(prior.groups, parts, strict=True):
        group.add_means(x0, part, background)
    abar = prior.alphas_cumprod[t]
    noise = torch.randn(VIEWS, 3, size, size, generator=generator)
    return abar.sqrt() * x0.view_as(noise) + (1.0 - abar).sqrt() * noise


def print_eps(prior: Mixture, prompt: str, repeats: int, generator: torch.Generator) -> None:
    """One line per t: the calls with one, two and three conditions."""
    conds = prior.embed([f"{prompt}, front view", "", NEGATIVE])[:, None].expand(-1, VIEWS, -1)
    view = View(torch.full((VIEWS, 3), 0.5), torch.eye(4).expand(VIEWS, 4, 4))
    print("eps, ms: median (best)       text      text + null   text + null + negative")
    for t in (20, 200, 400, 600, 800, 980):
        x_t, times = noised_renders(prior, t, generator), torch.full((VIEWS,), t)
        cells = [
            milliseconds(partial(prior.eps, x_t, times, conds[:k], view), repeats)
            for k in (1, 2, 3)
        ]
        print(f"  t = {t:3d}         " + "  ".join(cells))


def print_particle(prior: Mixture, prompt: str, repeats: int, generator: torch.Generator) -> None:
    """What VSD adds: the particle's prediction, and its update with AdamW."""
    particle = ResidualParticle(prior, width=32, generator=generator)
    optimiser = torch.optim.AdamW(particle.parameters(), lr=1e-3)
    cond = prior.embed([prompt]).expand(VIEWS, -1)
    view = View(torch.full((VIEWS, 3), 0.5), torch.eye(4).expand(VIEWS, 4, 4))
    x_t, t = noised_renders(prior, 500, generator), torch.full((VIEWS,), 500)
    noise = torch.randn(x_t.shape, generator=generator)

    def update() -> None:
        optimiser.zero_grad()
        particle.loss(x_t, t, noise, cond, view).backward()
        optimiser.step()

    print("particle, ms   eps " + milliseconds(lambda: particle.eps(x_t, t, cond, view), repeats))
    print("               update " + milliseconds(update, repeats))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bank", type=Path, required=True)
    parser.add_argument("--prompt", default="a red car")
    parser.add_argument("--null", default="marginal")
    parser.add_argument("--own-count", type=int, default=3200)
    parser.add_argument("--others-per-caption", type=int, default=40)
    parser.add_argument("--repeats", type=int, default=20)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    generator = torch.Generator().manual_seed(0)
    start = time.perf_counter()
    prior = load(
        arguments.bank,
        prompt=arguments.prompt,
        null=arguments.null,
        component_std=0.1,
        own_count=arguments.own_count,
        others_per_caption=arguments.others_per_caption,
        degraded_mass=0.1,
        generator=generator,
    )
    print(f"load, s: {time.perf_counter() - start:.2f}")
    renders = sum(len(group.features) for group in prior.groups)
    print(f"{len(prior.components.prior)} components from {renders} renders, {VIEWS} views")
    print_eps(prior, arguments.prompt, arguments.repeats, generator)
    print_particle(prior, arguments.prompt, arguments.repeats, generator)


if __name__ == "__main__":
    main()
