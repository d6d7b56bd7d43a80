"""One optimisation by score distillation: a scene, a prior, a method, and the step they take.

The gradient of the surrogate sum(stop_grad(g) * x) / b with respect to the scene is g * dx/dtheta /
b, with g = w(t) * sum_k c_k eps_k: the score-distillation update of every method here (paper, eqs.
4-12). Everything random is drawn on the CPU, so that a run on another device sees the same cameras,
timesteps and noise; the scene's device is where its parameters lie.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from methods import distill, normalize, schedules
from methods.weights import WEIGHTS
from pipeline import backends, trace
from pipeline.config import Job
from pipeline.guidance.interface import Guidance
from pipeline.guidance.load import load_particle
from pipeline.observe import observe
from pipeline.predictions import (
    Conditions,
    Seen,
    embed_conditions,
    perp_neg_term,
    predict,
    wanted,
)
from pipeline.probe import probe, probe_steps
from pipeline.run_state import Run, named_generator
from pipeline.scenes.failure import SceneFailure
from pipeline.scenes.load import load_scene
from pipeline.step_trace import traced


class ScientificFailure(RuntimeError):
    """The optimisation itself went wrong (not the machine): a result, recorded and not retried."""


FAILURES = (ScientificFailure, SceneFailure)


@dataclass(frozen=True)
class Problem:
    """What stays the same while a run goes on."""

    job: Job
    guidance: Guidance
    conditions: Conditions
    coefficients: distill.Coefficients


def problem_of(job: Job, guidance: Guidance) -> Problem:
    """The job under its prior; texts are embedded here. Raises what `guidance.embed` raises."""
    coefficients = distill.METHODS[job.method].make(**job.method_settings)
    return Problem(
        job, guidance, embed_conditions(guidance, job.prompt, job.settings), coefficients
    )


def start_run(
    problem: Problem, device: str, init_from: Path | None, mesh: Path | None = None
) -> Run:
    """A run at step 0: scene (from `init_from` or on `mesh`), optimisers and generators."""
    settings, adam = problem.job.settings, dict(problem.job.settings["optimizer"])
    rates = {name: rate for name, rate in adam.items() if name not in ("betas", "eps", "decay")}
    generator = torch.Generator().manual_seed(problem.job.seed)
    scene = load_scene(settings, generator, init_from, mesh=mesh).to(device)
    groups = scene.parameter_groups(rates)
    fused = device.startswith("cuda") or None  # one kernel for all parameters
    betas = tuple(adam["betas"])
    optimizer = torch.optim.Adam(groups, betas=betas, eps=adam["eps"], fused=fused)
    run = Run(scene, optimizer, generator)
    run.backends = backends.serving(settings["scene"]["kind"], device)
    run.guidance_generator = getattr(problem.guidance, "generator", None)
    if distill.PARTICLE in problem.coefficients(0, torch.zeros(1, dtype=torch.long)):
        spec = settings["particle"]
        run.particle_generator = named_generator(problem.job.seed, "particle")
        run.particle = load_particle(spec, problem.guidance, run.particle_generator)
        parameters = list(run.particle.parameters())
        rate = spec["learning_rate"]
        run.particle_optimizer = torch.optim.AdamW(parameters, lr=rate, fused=fused)
    return run


def one_step(step: int, run: Run, problem: Problem) -> list[trace.Row]:
    """One optimisation step, in the order it happens; the rows to trace."""
    settings, generator = problem.job.settings, run.generator
    guidance, conditions = problem.guidance, problem.conditions
    batch, prior = settings["batch"], problem.job.prior

    # camera -> render -> encode
    rendering, cameras, view = observe(step, run.scene, settings, guidance, prior, generator)
    x = guidance.encode(rendering.rgb)
    seen = Seen(guidance, conditions, cameras, view)

    # noise -> named predictions -> direction
    low, high = schedules.t_range(step, len(guidance.alphas_cumprod), **settings["timesteps"])
    t = schedules.sample_t(generator, low, high, batch)
    levels = t.to(x.device, non_blocking=True)
    noise = torch.randn(x.shape, generator=generator).to(x.device, non_blocking=True)
    x_t = distill.diffused(x.detach(), noise, guidance.alphas_cumprod, levels)
    row = problem.coefficients(step, t)
    names = wanted(row, conditions)
    predictions = predict(names, seen, x_t, levels, noise, particle=run.particle)
    run.evaluations.update({name: batch for name in names if name != distill.NOISE})
    direction = distill.direction(row, predictions)
    if conditions.perp_neg is not None:
        direction = direction + perp_neg_term(predictions, seen, x_t, levels)
        run.evaluations["view_neg"] += 2 * batch

    # w(t), gradient scale, regularisers -> one step of Adam
    weight = WEIGHTS[settings["weight"]](guidance.alphas_cumprod, levels)
    gradient = weight[:, None, None, None] * direction
    kind, window = settings["normalize"]["kind"], settings["normalize"]["steps"]
    gradient, run.scale = normalize.NORMALIZATIONS[kind](gradient, run.scale, steps=window)
    # before the regularisers, some of which refuse a NaN with an error of their own
    require_finite([("the render", rendering.rgb), ("the direction", direction)])
    losses = run.scene.regularization(rendering, step)
    surrogate = settings["gradient_weight"] * distill.surrogate(x, gradient)
    run.optimizer.zero_grad(set_to_none=True)
    probing = step in probe_steps(settings["steps"], settings["trace"]["probes"])
    (surrogate + sum(losses.values())).backward(retain_graph=probing)
    parameters = [p for group in run.optimizer.param_groups for p in group["params"]]
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    require_finite([("a gradient", gradient) for gradient in gradients])
    rows = traced(step, settings["trace"], predictions, direction, weight, losses, seen, x_t, t)
    if probing:
        rows += probe(step, x, seen, run.particle, parameters, problem.coefficients, problem.job)
    decay = schedules.ramp(step, settings["optimizer"]["decay"])
    for group in run.optimizer.param_groups:
        group["lr"] = settings["optimizer"][group["name"]] * decay
    run.optimizer.step()
    run.scene.after_step(step, generator)
    if run.particle is not None:
        train_particle(run, x.detach(), seen)
    return rows


def train_particle(run: Run, x: Tensor, seen: Seen) -> None:
    """VSD: one step of the particle on the current renders `x`, at any t.

    Its draws are the particle's own: the other columns of the comparison see the same cameras, t
    and noise at every step.
    """
    assert run.particle_optimizer is not None
    generator, steps = run.particle_generator, len(seen.guidance.alphas_cumprod)
    t = torch.randint(steps, (len(x),), generator=generator).to(x.device, non_blocking=True)
    noise = torch.randn(x.shape, generator=generator).to(x.device, non_blocking=True)
    run.particle_optimizer.zero_grad(set_to_none=True)
    run.particle.loss(x, t, noise, seen.conditions.text(seen.cameras), seen.view).backward()
    run.particle_optimizer.step()
    run.evaluations["particle_training"] += len(x)


def require_finite(named: Sequence[tuple[str, Tensor]]) -> None:
    """Raises ScientificFailure naming the first of these that holds a NaN or an infinity.

    The device is asked once for all of them: each answer waits until it has caught up.
    """
    finite = torch.stack([tensor.isfinite().all() for _, tensor in named]).tolist()
    for (what, _), good in zip(named, finite, strict=True):
        if not good:
            raise ScientificFailure(f"{what} is not finite")
