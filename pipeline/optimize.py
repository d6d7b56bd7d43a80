"""Optimises one scene for one prompt by score distillation and leaves a run folder behind.

    python -m pipeline.optimize --preset mini --column csd --stage nerf --prompt-id ID --seed 0 \\
        --bank results/mini/bank --out results/mini/runs/geometry/csd/ID/seed0/nerf

Writes trace.parquet, run.json and, last, scene.safetensors. `checkpoint/` beside them lets a killed
run go on; it is removed on success. A scientific failure (a NaN, a surface that vanishes) is a
recorded result: run.json says `failed`, why and at which step, scene.safetensors is a marked
placeholder, the exit status is 0. A stage that nothing can start from (--init-from holds a failed
run, or a field without a surface) fails likewise, before its first step.

The gradient of the surrogate sum(stop_grad(g) * x) / b with respect to the scene is g * dx/dtheta /
b, with g = w(t) * sum_k c_k eps_k: the score-distillation update of every method here (paper, eqs.
4-12).
"""

import argparse
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from methods import distill, normalize, schedules
from methods.weights import WEIGHTS
from pipeline import checkpoint, record, snapshots, trace
from pipeline.artifacts import digest, exit_status
from pipeline.config import ConfigError, Job, job, located
from pipeline.doctor import OPTIMIZES_ON
from pipeline.guidance.captions import VocabularyError
from pipeline.guidance.interface import Guidance
from pipeline.guidance.load import load_guidance, load_particle, models
from pipeline.locks import alone
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
from prompts.load import PromptError


class ScientificFailure(RuntimeError):
    """The optimisation itself went wrong (not the machine): a result, recorded and not retried."""


@dataclass(frozen=True)
class Problem:
    """What stays the same while a run goes on."""

    job: Job
    guidance: Guidance
    conditions: Conditions
    coefficients: distill.Coefficients


def start_run(
    problem: Problem, device: str, init_from: Path | None, mesh: Path | None = None
) -> Run:
    """A run at step 0: scene (from `init_from` or on `mesh`), optimisers and generators."""
    settings, adam = problem.job.settings, dict(problem.job.settings["optimizer"])
    rates = {name: rate for name, rate in adam.items() if name not in ("betas", "eps", "decay")}
    generator = torch.Generator().manual_seed(problem.job.seed)
    scene = load_scene(settings, generator, init_from, mesh=mesh).to(device)
    groups = scene.parameter_groups(rates)
    optimizer = torch.optim.Adam(groups, betas=tuple(adam["betas"]), eps=adam["eps"])
    run = Run(scene, optimizer, generator)
    run.guidance_generator = getattr(problem.guidance, "generator", None)
    if distill.PARTICLE in problem.coefficients(0, torch.zeros(1, dtype=torch.long)):
        spec = settings["particle"]
        run.particle_generator = named_generator(problem.job.seed, "particle")
        run.particle = load_particle(spec, problem.guidance, run.particle_generator)
        parameters = list(run.particle.parameters())
        run.particle_optimizer = torch.optim.AdamW(parameters, lr=spec["learning_rate"])
    return run


def optimize(
    job: Job,
    out: Path,
    *,
    bank: Path | None,
    device: str,
    init_from: Path | None,
    threads: int,
    text_cache: Path | None = None,
    mesh: Path | None = None,
) -> None:
    """The run folder `out` holds the finished run. Environment failures raise; see the module."""
    if device not in OPTIMIZES_ON:
        known = ", ".join(OPTIMIZES_ON)
        raise ConfigError(f"device {device!r}: this release optimises on {known}; use --device")
    origin = record.Origin(
        import_seconds=record.process_age(),
        sources=record.source_state(),
        inputs=record.checksums(bank, init_from, mesh),
        device=device,
        threads=threads,
    )
    folder, log = out / "checkpoint", out / "checkpoint" / "trace.jsonl"
    if before := record.failure_before(init_from) or record.mesh_failure(mesh):
        not_started(job, out, origin, before)
        return
    guidance = load_guidance(
        located(job.prior), bank=bank, prompt=job.prompt, device=device, text_cache=text_cache
    )
    origin = replace(origin, inputs={**origin.inputs, **models(guidance)})
    conditions = embed_conditions(guidance, job.prompt, job.settings)
    coefficients = distill.METHODS[job.method].make(**job.method_settings)
    problem = Problem(job, guidance, conditions, coefficients)
    try:
        run = start_run(problem, device, init_from, mesh)
    except SceneFailure as error:
        not_started(job, out, origin, str(error))
        return
    with alone(folder):
        failure, step = advance(run, problem, folder, log, digest([job.key(), origin.inputs]))
        outcome = record.Outcome(
            failure=failure,
            failed_step=step if failure else None,
            scene=None if failure else run.scene.state_dict(),
            rows=trace.read(log, job.settings["steps"]),
            step_seconds=run.seconds,
            evaluations=dict(run.evaluations),
        )
        record.write_run(out, job, origin, outcome)
        checkpoint.remove(folder)


def not_started(job: Job, out: Path, origin: record.Origin, reason: str) -> None:
    """The run folder says why; checkpoints of a time when the run could start are gone."""
    say(job, f"not started: {reason}")
    with alone(out / "checkpoint"):
        record.write_run(out, job, origin, record.Outcome(failure=reason))
        checkpoint.remove(out / "checkpoint")


def advance(
    run: Run, problem: Problem, folder: Path, log: Path, key: str
) -> tuple[str | None, int]:
    """(why the run failed or None, the step it reached); it goes on from its last checkpoint."""
    job, settings = problem.job, problem.job.settings
    steps, every = settings["steps"], settings["checkpoint_every"]
    start, state, remark = checkpoint.load_latest(folder, key)
    if state is not None:
        run.restore(state)
    trace.truncate(log, start)
    say(job, remark or f"starting, {steps} steps")
    before, clock = run.seconds, time.perf_counter()
    for step in range(start, steps):
        if step in settings["snapshots"]:
            snapshots.save(folder.parent, step, job, run)
        try:
            trace.append(log, one_step(step, run, problem))
        except (ScientificFailure, SceneFailure) as error:
            say(job, f"failed at step {step}: {error}")
            return str(error), step
        run.seconds = before + time.perf_counter() - clock
        done = step + 1
        if done % every == 0 and done < steps:
            checkpoint.save(folder, done, key, run.state())
        if done * 10 // steps > step * 10 // steps:
            say(job, f"step {done}/{steps}, {(steps - done) * run.seconds / done:.0f} s left")
    say(job, f"done in {run.seconds:.1f} s")
    return None, steps


def one_step(step: int, run: Run, problem: Problem) -> list[trace.Row]:
    """One optimisation step, in the order it happens; the rows to trace."""
    settings, generator = problem.job.settings, run.generator
    guidance, conditions = problem.guidance, problem.conditions
    batch, prior = settings["batch"], problem.job.prior

    # camera -> render -> encode
    rendering, cameras, view = observe(step, run.scene, settings, guidance, prior, generator)
    require_finite(rendering.rgb, "the render")
    x = guidance.encode(rendering.rgb)
    seen = Seen(guidance, conditions, cameras, view)

    # noise -> named predictions -> direction
    low, high = schedules.t_range(step, len(guidance.alphas_cumprod), **settings["timesteps"])
    t = schedules.sample_t(generator, low, high, batch)
    noise = torch.randn(x.shape, generator=generator)
    x_t = distill.diffused(x.detach(), noise, guidance.alphas_cumprod, t)
    row = problem.coefficients(step, t)
    names = wanted(row, conditions)
    predictions = predict(names, seen, x_t, t, noise, particle=run.particle)
    run.evaluations.update({name: batch for name in names if name != distill.NOISE})
    direction = distill.direction(row, predictions)
    if conditions.perp_neg is not None:
        direction = direction + perp_neg_term(predictions, seen, x_t, t)
        run.evaluations["view_neg"] += 2 * batch
    require_finite(direction, "the direction")

    # w(t), gradient scale, regularisers -> one step of Adam
    weight = WEIGHTS[settings["weight"]](guidance.alphas_cumprod, t)
    gradient = weight[:, None, None, None] * direction
    kind, window = settings["normalize"]["kind"], settings["normalize"]["steps"]
    gradient, run.scale = normalize.NORMALIZATIONS[kind](gradient, run.scale, steps=window)
    losses = run.scene.regularization(rendering, step)
    surrogate = settings["gradient_weight"] * distill.surrogate(x, gradient)
    run.optimizer.zero_grad(set_to_none=True)
    probing = step in probe_steps(settings["steps"], settings["trace"]["probes"])
    (surrogate + sum(losses.values())).backward(retain_graph=probing)
    parameters = [p for group in run.optimizer.param_groups for p in group["params"]]
    for parameter in parameters:
        if parameter.grad is not None:
            require_finite(parameter.grad, "a gradient")
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
    generator = run.particle_generator
    t = torch.randint(len(seen.guidance.alphas_cumprod), (len(x),), generator=generator)
    noise = torch.randn(x.shape, generator=generator)
    run.particle_optimizer.zero_grad(set_to_none=True)
    run.particle.loss(x, t, noise, seen.conditions.text(seen.cameras), seen.view).backward()
    run.particle_optimizer.step()
    run.evaluations["particle_training"] += len(x)


def require_finite(tensor: Tensor, what: str) -> None:
    """Raises ScientificFailure naming `what` when it holds a NaN or an infinity."""
    if not torch.isfinite(tensor).all():
        raise ScientificFailure(f"{what} is not finite")


def say(job: Job, message: str) -> None:
    """One line of progress on stderr, with the run it belongs to."""
    name = f"{job.column}/{job.prompt_id}/seed{job.seed}/{job.stage}"
    print(f"[{name}] {message}", file=sys.stderr, flush=True)


def main(arguments: Sequence[str] | None = None) -> None:
    """The program; a run that fails scientifically is a result, not an error."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    for name in ("preset", "column", "stage", "prompt-id"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--out", type=Path, required=True, help="the run folder")
    parser.add_argument("--bank", type=Path, help="the image bank of the mixture prior")
    parser.add_argument("--texts", type=Path, help="the folder of a learned prior's embedded texts")
    parser.add_argument("--init-from", type=Path, help="the run folder of the stage before")
    parser.add_argument("--mesh", type=Path, help="the mesh's folder (meshes.load) for a texture")
    parser.add_argument("--device", help="instead of the preset's")
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args(arguments)
    torch.set_num_threads(given.threads)
    found = job(
        given.preset,
        column=given.column,
        stage=given.stage,
        prompt_id=given.prompt_id,
        seed=given.seed,
    )
    optimize(
        found,
        given.out,
        bank=given.bank,
        device=given.device or found.device,
        init_from=given.init_from,
        threads=given.threads,
        text_cache=given.texts,
        mesh=given.mesh,
    )


if __name__ == "__main__":
    sys.exit(exit_status(main, ConfigError, PromptError, VocabularyError))
