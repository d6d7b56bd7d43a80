"""Milliseconds of a whole optimisation step beside its two unavoidable parts, on one thread.

    python -m benchmarks.step --bank results/mini/bank --columns sds csd csd_neg vsd

The parts are the bare prior (guidance.eps on the step's conditions) and the bare render (forward,
backward of a sum), timed alternately with the step on the same scene after `--warm` steps. CPU time
of this process, so that other load does not count. The trace's probes are left out, as they are
made at a handful of steps only.
"""

import argparse
import copy
import dataclasses
import statistics
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch

from methods import distill
from pipeline import config, distillation, recipes
from pipeline.draws import draw_background, draw_cameras
from pipeline.guidance.interface import View
from pipeline.guidance.load import load_guidance
from pipeline.predictions import wanted
from pipeline.run_state import Run


def milliseconds(call: Callable[[], object]) -> float:
    """CPU time of one call."""
    start = time.process_time()
    call()
    return 1e3 * (time.process_time() - start)


def prepared(preset: str, column: str, bank: Path) -> tuple[distillation.Problem, Run]:
    """The first prompt's run of a column at step 0, without probes."""
    spec = config.load_preset(preset)
    prompt = recipes.prompts(spec, "geometry")[0]
    place = {"stage": recipes.stages(spec, "geometry")[0], "prompt_id": prompt.prompt_id, "seed": 0}
    job = config.job(preset, column=column, **place)
    settings = copy.deepcopy(job.settings)
    settings["trace"]["probes"] = 0
    job = dataclasses.replace(job, settings=settings)
    guidance = load_guidance(job.prior, bank=bank, prompt=job.prompt, device="cpu")
    problem = distillation.problem_of(job, guidance)
    return problem, distillation.start_run(problem, "cpu", None)


def parts(problem: distillation.Problem, run: Run, step: int) -> tuple[float, float]:
    """(bare prior, bare render with backward) at this state of the run; the run is unchanged."""
    settings, generator = problem.job.settings, torch.Generator().manual_seed(step)
    batch, size = settings["batch"], settings["size"]
    cameras = draw_cameras(step, settings["cameras"], batch, generator)
    background = draw_background(settings["background"], batch, generator)
    assert background is not None

    def render() -> None:
        picture = run.scene.render(
            cameras, height=size, width=size, generator=generator, background=background
        )
        picture.rgb.sum().backward()

    t = torch.randint(20, 800, (batch,), generator=generator)
    names = [n for n in wanted(problem.coefficients(step, t), problem.conditions)]
    names = [n if n != distill.PARTICLE else distill.TEXT for n in names]
    conds = torch.stack([problem.conditions.named(name, cameras) for name in names])
    x_t = torch.randn(batch, 3, size, size, generator=generator)
    view = View(background=background, c2w=cameras.c2w)
    prior = milliseconds(lambda: problem.guidance.eps(x_t, t, conds, view))
    return prior, milliseconds(render)


def main() -> None:
    """Prints one line per column."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--preset", default="mini")
    parser.add_argument("--bank", type=Path, default=Path("results/mini/bank"))
    parser.add_argument("--columns", nargs="+", default=["sds", "csd", "csd_neg", "vsd"])
    parser.add_argument("--warm", type=int, default=60)
    parser.add_argument("--steps", type=int, default=60)
    given = parser.parse_args()
    torch.set_num_threads(1)
    print("median CPU ms on one thread")
    print(f"{'column':10s} {'step':>7s} {'prior':>7s} {'render':>7s} {'step / parts':>13s}")
    for column in given.columns:
        problem, run = prepared(given.preset, column, given.bank)
        for step in range(given.warm):
            distillation.one_step(step, run, problem)
        rows = []
        for step in range(given.warm, given.warm + given.steps):
            whole = milliseconds(partial(distillation.one_step, step, run, problem))
            rows.append((whole, *parts(problem, run, step)))
        whole, prior, render = (statistics.median(column) for column in zip(*rows, strict=True))
        ratio = whole / (prior + render)
        print(f"{column:10s} {whole:7.1f} {prior:7.1f} {render:7.1f} {ratio:13.2f}", flush=True)


if __name__ == "__main__":
    main()
