"""Optimises one scene for one prompt by score distillation and leaves a run folder behind.

    python -m pipeline.optimize --preset mini --column csd --stage nerf --prompt-id ID --seed 0 \\
        --bank results/mini/bank --out results/mini/runs/geometry/csd/ID/seed0/nerf

Writes trace.parquet, run.json and, last, scene.safetensors. `checkpoint/` beside them lets a killed
run go on; it is removed on success. A scientific failure (a NaN, a surface that vanishes) is a
recorded result: run.json says `failed`, why and at which step, scene.safetensors is a marked
placeholder, the exit status is 0. A stage that nothing can start from (--init-from holds a failed
run, or a field without a surface) fails likewise, before its first step.
"""

import argparse
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch

from pipeline import checkpoint, record, snapshots, trace
from pipeline.artifacts import digest, exit_status
from pipeline.config import ConfigError, Job, job, located
from pipeline.distillation import FAILURES, Problem, one_step, problem_of, start_run
from pipeline.guidance.captions import VocabularyError
from pipeline.guidance.load import load_guidance, models
from pipeline.locks import alone
from pipeline.out_of_memory import naming_what_to_lower
from pipeline.run_state import Run
from prompts.load import PromptError


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
    if device != "cpu" and not (device.startswith("cuda") and torch.cuda.is_available()):
        raise ConfigError(f"device {device!r}: not on this machine; use --device cpu")
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
    problem = problem_of(job, guidance)
    try:
        run = start_run(problem, device, init_from, mesh)
    except FAILURES as error:
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
            backends=run.backends,
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
        for part, names in run.backends.items():
            if len(names) > 1:
                say(job, f"{part} by {', then by '.join(names)}; their numbers differ by rounding")
    trace.truncate(log, start)
    say(job, remark or f"starting, {steps} steps")
    before, clock = run.seconds, time.perf_counter()
    for step in range(start, steps):
        if step in settings["snapshots"]:
            snapshots.save(folder.parent, step, job, run)
        try:
            trace.append(log, one_step(step, run, problem))
        except FAILURES as error:
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
    with naming_what_to_lower(found):
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
