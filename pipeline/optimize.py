"""Optimises one scene for one prompt by score distillation and leaves a run folder behind.

    python -m pipeline.optimize --preset mini --column csd --stage nerf --prompt-id ID --seed 0 \\
        --bank results/mini/bank --out results/mini/runs/geometry/csd/ID/seed0/nerf

Writes trace.parquet, run.json and, last, scene.safetensors. `checkpoint/` beside them lets a killed run
go on; it is removed on success. A scientific failure (a NaN) is a recorded result: run.json says
`failed`, why and at which step, scene.safetensors is a marked placeholder, the exit status is 0.

The gradient of the surrogate sum(stop_grad(g) * x) / b with respect to the scene is g * dx/dtheta / b,
with g = w(t) * sum_k c_k eps_k: the score-distillation update of every method here (paper, eqs. 4-12).
"""

import argparse
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from methods import distill, normalize, schedules
from methods.weights import WEIGHTS
from pipeline import checkpoint, record, trace
from pipeline.artifacts import ArtifactError
from pipeline.config import ConfigError, Job, job
from pipeline.guidance.captions import VocabularyError
from pipeline.guidance.interface import Guidance, View
from pipeline.guidance.load import load_guidance, load_particle
from pipeline.draws import draw_background, draw_cameras, draw_shading
from pipeline.predictions import Conditions, embed_conditions, perp_neg_term, predict, wanted
from pipeline.probe import probe, probe_steps
from pipeline.scenes.load import load_scene
from prompts.load import PromptError


class ScientificFailure(RuntimeError):
    """The optimisation itself went wrong (not the machine): a result, recorded and not retried."""


@dataclass
class Run:
    """Everything that changes while a run goes on; `state` and `restore` are inverse."""

    scene: Any
    optimizer: torch.optim.Optimizer
    generator: torch.Generator
    particle: Any = None
    particle_optimizer: torch.optim.Optimizer | None = None
    scale: normalize.State = field(default_factory=normalize.initial_state)
    evaluations: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0

    def _parts(self) -> dict[str, Any]:
        parts = {"scene": self.scene, "optimizer": self.optimizer}
        extra = {"particle": self.particle, "particle_optimizer": self.particle_optimizer}
        return parts | {name: part for name, part in extra.items() if part is not None}

    def state(self) -> dict[str, Any]:
        """All of it as a tree of tensors and plain values."""
        return {name: part.state_dict() for name, part in self._parts().items()} | {
            "generator": self.generator.get_state(),
            "scale": self.scale,
            "evaluations": dict(self.evaluations),
            "seconds": self.seconds,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """This run is where `state` was taken."""
        for name, part in self._parts().items():
            part.load_state_dict(state[name])
        self.generator.set_state(state["generator"])
        self.scale = state["scale"]
        self.evaluations = Counter(state["evaluations"])
        self.seconds = state["seconds"]


def start_run(
    job: Job,
    guidance: Guidance,
    coefficients: distill.Coefficients,
    device: str,
    init_from: Path | None,
) -> Run:
    """A run at step 0: scene (from `init_from` when given), optimisers, the run's one generator."""
    settings, rates = job.settings, job.settings["optimizer"]
    generator = torch.Generator().manual_seed(job.seed)
    scene = load_scene(settings, generator, init_from).to(device)
    groups = scene.parameter_groups({name: rates[name] for name in ("grid", "head", "background")})
    optimizer = torch.optim.Adam(groups, betas=tuple(rates["betas"]), eps=rates["eps"])
    run = Run(scene, optimizer, generator)
    if distill.PARTICLE in coefficients(0, torch.zeros(1, dtype=torch.long)):
        spec = settings["particle"]
        run.particle = load_particle(spec, guidance, generator)
        parameters = list(run.particle.parameters())
        run.particle_optimizer = torch.optim.AdamW(parameters, lr=spec["learning_rate"])
    return run


def optimize(
    job: Job, out: Path, *, bank: Path | None, device: str, init_from: Path | None, threads: int
) -> None:
    """The run folder `out` holds the finished run. Environment failures raise; see the module."""
    import_seconds = record.process_age()
    steps, every = job.settings["steps"], job.settings["checkpoint_every"]
    guidance = load_guidance(job.prior, bank=bank, prompt=job.prompt, device=device)
    conditions = embed_conditions(guidance, job.prompt, job.settings)
    coefficients = distill.METHODS[job.method].make(**job.method_settings)
    run = start_run(job, guidance, coefficients, device, init_from)
    folder, log = out / "checkpoint", out / "checkpoint" / "trace.jsonl"
    start, state, remark = checkpoint.load_latest(folder, job.key())
    if state is not None:
        run.restore(state)
    trace.truncate(log, start)
    say(job, remark or f"starting, {steps} steps")
    before, clock, failure, step = run.seconds, time.perf_counter(), None, start
    for step in range(start, steps):
        try:
            trace.append(log, one_step(step, run, job, guidance, conditions, coefficients))
        except ScientificFailure as error:
            failure = str(error)
            break
        run.seconds = before + time.perf_counter() - clock
        done = step + 1
        if done % every == 0 and done < steps:
            checkpoint.save(folder, done, job.key(), run.state())
        if done * 10 // steps > step * 10 // steps:
            say(job, f"step {done}/{steps}, {(steps - done) * run.seconds / done:.0f} s left")
    say(job, f"failed at step {step}: {failure}" if failure else f"done in {run.seconds:.1f} s")
    record.write_run(
        out,
        job=job,
        scene=None if failure else run.scene.state_dict(),
        rows=trace.read(log, steps),
        failure=failure,
        failed_step=step if failure else None,
        step_seconds=run.seconds,
        evaluations=dict(run.evaluations),
        inputs=sorted(bank.glob("*.safetensors")) if bank else [],
        init_from=init_from,
        device=device,
        threads=threads,
        import_seconds=import_seconds,
    )
    checkpoint.remove(folder)


def one_step(
    step: int,
    run: Run,
    job: Job,
    guidance: Guidance,
    conditions: Conditions,
    coefficients: distill.Coefficients,
) -> list[trace.Row]:
    """One optimisation step, in the order it happens; the rows to trace."""
    settings, generator = job.settings, run.generator
    batch, size = settings["batch"], settings["size"]

    # camera -> render -> encode
    cameras = draw_cameras(step, settings["cameras"], batch, generator)
    background = draw_background(settings["background"], batch, generator)
    shading = draw_shading(step, settings["shading"], generator)
    rendering = run.scene.render(
        cameras,
        height=size,
        width=size,
        generator=generator,
        background=background,
        shading=shading,
    )
    require_finite(rendering.rgb, "the render")
    x = guidance.encode(rendering.rgb)
    view = View(background=background, c2w=cameras.c2w)

    # noise -> named predictions -> direction
    low, high = schedules.t_range(step, len(guidance.alphas_cumprod), **settings["timesteps"])
    t = schedules.sample_t(generator, low, high, batch)
    noise = torch.randn(x.shape, generator=generator)
    x_t = distill.diffused(x.detach(), noise, guidance.alphas_cumprod, t)
    row = coefficients(step, t)
    names = wanted(row, conditions)
    inputs: dict[str, Any] = {"guidance": guidance, "conditions": conditions, "x_t": x_t, "t": t}
    inputs |= {"view": view, "cameras": cameras}
    predictions = predict(names, particle=run.particle, noise=noise, **inputs)
    run.evaluations.update({name: batch for name in names if name != distill.NOISE})
    direction = distill.direction(row, predictions)
    if conditions.perp_neg is not None:
        direction = direction + perp_neg_term(predictions, **inputs)
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
    rows = traced(step, settings["trace"], predictions, direction, weight, losses, inputs)
    if probing:
        rows += probe(
            step,
            x,
            parameters=parameters,
            coefficients=coefficients,
            weighting=WEIGHTS[settings["weight"]],
            guidance=guidance,
            particle=run.particle,
            conditions=conditions,
            cameras=cameras,
            view=view,
            noises=settings["trace"]["probe_noises"],
            seed=job.seed,
        )
    run.optimizer.step()
    run.scene.after_step(step, generator)

    # VSD: the particle learns the current renders
    if run.particle is not None and run.particle_optimizer is not None:
        t = torch.randint(len(guidance.alphas_cumprod), (batch,), generator=generator)
        noise = torch.randn(x.shape, generator=generator)
        run.particle_optimizer.zero_grad(set_to_none=True)
        run.particle.loss(x.detach(), t, noise, conditions.text(cameras), view).backward()
        run.particle_optimizer.step()
        run.evaluations["particle_training"] += batch
    return rows


def traced(
    step: int,
    spec: dict[str, int],
    predictions: dict[str, Tensor],
    direction: Tensor,
    weight: Tensor,
    losses: dict[str, Tensor],
    inputs: dict[str, Any],
) -> list[trace.Row]:
    """This step's rows, every `every` steps; every `extra_every` also terms the method does without."""
    if step % spec["every"]:
        return []
    t, guidance, conditions = inputs["t"], inputs["guidance"], inputs["conditions"]
    if spec["extra_every"] and step % spec["extra_every"] == 0:
        missing = [n for n in (distill.TEXT, distill.UNCOND, distill.NEG) if n not in predictions]
        noise = predictions[distill.NOISE]
        predictions = predict(missing, particle=None, noise=noise, **inputs) | predictions
    rows = trace.step_rows(step, t, weight, predictions, direction)
    if hasattr(guidance, "posterior"):  # only an exact prior knows it
        text = conditions.text(inputs["cameras"])
        values = guidance.posterior(inputs["x_t"], t, text, inputs["view"])
        rows += trace.value_rows(step, t, "posterior", values.tolist())
    return rows + trace.loss_rows(step, losses)


def require_finite(tensor: Tensor, what: str) -> None:
    """Raises ScientificFailure naming `what` when it holds a NaN or an infinity."""
    if not torch.isfinite(tensor).all():
        raise ScientificFailure(f"{what} is not finite")


def say(job: Job, message: str) -> None:
    """One line of progress on stderr, with the run it belongs to."""
    name = f"{job.column}/{job.prompt_id}/seed{job.seed}/{job.stage}"
    print(f"[{name}] {message}", file=sys.stderr, flush=True)


def main(arguments: list[str] | None = None) -> int:
    """The program; 0 for a finished run, whether it succeeded or failed scientifically."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    for name in ("preset", "column", "stage", "prompt-id"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--out", type=Path, required=True, help="the run folder")
    parser.add_argument("--bank", type=Path, help="the image bank of the mixture prior")
    parser.add_argument("--init-from", type=Path, help="the run folder of the stage before")
    parser.add_argument("--device", help="instead of the preset's")
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args(arguments)
    torch.set_num_threads(given.threads)
    try:
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
        )
    except (ConfigError, PromptError, VocabularyError, ArtifactError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
