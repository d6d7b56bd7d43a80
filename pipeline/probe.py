"""Gradients averaged over many noises, at a few moments of a run: what single draws hide.

At `probes` log-spaced steps, for one view and each t of SHARES, draws K noises from a generator of
its own (so that tracing never changes a run) and writes the rows of `trace.probe_rows`. Evaluations
made here are for the trace alone and are not counted as the method's.
"""

from collections.abc import Sequence
from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor

from methods import distill
from methods.weights import WEIGHTS
from pipeline import trace
from pipeline.cameras import Cameras
from pipeline.config import Job
from pipeline.guidance.interface import Particle
from pipeline.predictions import Seen, perp_neg_term, predict, wanted

SHARES = (0.2, 0.5, 0.8)  # of T: detail, parts, layout


def probe_steps(steps: int, probes: int) -> set[int]:
    """`probes` log-spaced steps from the first to the last."""
    if probes == 0:
        return set()
    return {round(steps ** (i / max(probes - 1, 1))) - 1 for i in range(probes)}


def probe(
    step: int,
    x: Float[Tensor, "b c h w"],
    seen: Seen,
    particle: Particle | None,
    parameters: Sequence[Tensor],
    coefficients: distill.Coefficients,
    job: Job,
) -> list[trace.Row]:
    """The probe rows of the first view; `x` still carries the graph of its render."""
    generator = torch.Generator().manual_seed(1_000_003 * (job.seed + 1) + step)
    alphas_cumprod = seen.guidance.alphas_cumprod
    many = repeated(seen, job.settings["trace"]["probe_noises"])
    rows = []
    for share in SHARES:
        t = int(share * len(alphas_cumprod))
        terms = drawn_terms(step, t, x[0].detach(), many, particle, coefficients, generator)
        weight = float(WEIGHTS[job.settings["weight"]](alphas_cumprod, torch.tensor([t])))
        rows += trace.probe_rows(
            step, t, weight, terms, lambda mean: _parameter_norm(x[0], mean, parameters)
        )
    return rows


def drawn_terms(
    step: int,
    t: int,
    x: Float[Tensor, "c h w"],
    many: Seen,
    particle: Particle | None,
    coefficients: distill.Coefficients,
    generator: torch.Generator,
) -> dict[str, Float[Tensor, "k c h w"] | None]:
    """`direction` and the terms of `trace.differences` at one picture, under a noise each of `many`
    views (k of them, all the same).
    """
    levels = torch.full((len(many.cameras),), t)
    noise = torch.randn(len(levels), *x.shape, generator=generator).to(x.device)
    row, levels = coefficients(step, levels), levels.to(x.device)
    x_t = distill.diffused(x.expand_as(noise), noise, many.guidance.alphas_cumprod, levels)
    names = list(dict.fromkeys([*wanted(row, many.conditions), distill.TEXT, distill.UNCOND]))
    predictions = predict(names, many, x_t, levels, noise, particle=particle)
    direction = distill.direction(row, predictions)
    if many.conditions.perp_neg is not None:
        direction = direction + perp_neg_term(predictions, many, x_t, levels)
    return {"direction": direction, **trace.differences(predictions)}


def repeated(seen: Seen, count: int) -> Seen:
    """The first camera and its view, `count` times."""
    index = torch.zeros(count, dtype=torch.long)
    cameras = {name: getattr(seen.cameras, name)[index] for name in Cameras.__dataclass_fields__}
    view = replace(
        seen.view,
        background=seen.view.background[index],
        c2w=seen.view.c2w[index],
        control={name: picture[index] for name, picture in seen.view.control.items()},
    )
    return replace(seen, cameras=Cameras(**cameras), view=view)


def _parameter_norm(image: Tensor, mean: Tensor, parameters: Sequence[Tensor]) -> float:
    """|J^T mean|, J the Jacobian of the image in the parameters."""
    gradients = torch.autograd.grad(
        (image * mean).sum(), parameters, retain_graph=True, allow_unused=True
    )
    squares = [gradient.pow(2).sum() for gradient in gradients if gradient is not None]
    return float(torch.stack(squares).sum().sqrt()) if squares else 0.0
