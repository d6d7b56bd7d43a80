"""Gradients averaged over many noises, at a few moments of a run: what the trace of single draws hides.

At `probes` log-spaced steps, for one view and each t of SHARES, draws K noises from a generator of its
own (so that tracing never changes a run) and writes the rows of `trace.probe_rows`. Evaluations made
here are for the trace alone and are not counted as the method's.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from methods import distill
from pipeline import trace
from pipeline.cameras import Cameras
from pipeline.guidance.interface import Guidance, Particle, View
from pipeline.predictions import Conditions, predict, wanted

SHARES = (0.2, 0.5, 0.8)  # of T: detail, parts, layout


def probe_steps(steps: int, probes: int) -> set[int]:
    """`probes` log-spaced steps from the first to the last."""
    if probes == 0:
        return set()
    return {round(steps ** (i / max(probes - 1, 1))) - 1 for i in range(probes)}


def probe(
    step: int,
    x: Float[Tensor, "b c h w"],
    *,
    parameters: Sequence[Tensor],
    coefficients: distill.Coefficients,
    weighting: Callable[[Tensor, Tensor], Tensor],
    guidance: Guidance,
    particle: Particle | None,
    conditions: Conditions,
    cameras: Cameras,
    view: View,
    noises: int,
    seed: int,
) -> list[trace.Row]:
    """The probe rows of the first view; `x` still carries the graph of its render."""
    generator = torch.Generator().manual_seed(1_000_003 * (seed + 1) + step)
    rows = []
    many = _repeat(cameras, view, noises)
    for share in SHARES:
        t = torch.full((noises,), int(share * len(guidance.alphas_cumprod)))
        noise = torch.randn(noises, *x.shape[1:], generator=generator)
        image = x[:1].detach().expand_as(noise)
        x_t = distill.diffused(image, noise, guidance.alphas_cumprod, t)
        row = coefficients(step, t)
        names = list(dict.fromkeys([*wanted(row, conditions), distill.TEXT, distill.UNCOND]))
        predictions = predict(
            names,
            guidance=guidance,
            particle=particle,
            conditions=conditions,
            x_t=x_t,
            t=t,
            noise=noise,
            **many,
        )
        terms = {"direction": distill.direction(row, predictions)}
        weight = float(weighting(guidance.alphas_cumprod, t[:1]))
        rows += trace.probe_rows(
            step,
            int(t[0]),
            weight,
            {**terms, **trace.differences(predictions)},
            lambda mean: _parameter_norm(x[0], mean, parameters),
        )
    return rows


def _repeat(cameras: Cameras, view: View, count: int) -> Mapping[str, Any]:
    """The first camera and its view, `count` times."""
    index = torch.zeros(count, dtype=torch.long)
    fields = {name: getattr(cameras, name)[index] for name in cameras.__dataclass_fields__}
    repeated = replace(view, background=view.background[index], c2w=view.c2w[index])
    if view.control is not None:
        repeated = replace(repeated, control=view.control[index])
    return {"cameras": Cameras(**fields), "view": repeated}


def _parameter_norm(image: Tensor, mean: Tensor, parameters: Sequence[Tensor]) -> float:
    """|J^T mean|, J the Jacobian of the image in the parameters."""
    gradients = torch.autograd.grad(
        (image * mean).sum(), parameters, retain_graph=True, allow_unused=True
    )
    squares = [gradient.pow(2).sum() for gradient in gradients if gradient is not None]
    return float(torch.stack(squares).sum().sqrt()) if squares else 0.0
