"""Tries one method in two minutes: a short NeRF of three toy prompts, and its direction by noise.

    python -m pipeline.try_method --method nfsd [--settings '{"omega": 6.5, "neg_from": 200}']
        [--cores 2] [--out results/cards]

The settings of everything but the method are the preset `try`'s, and so are the method's where the
preset has a column of its name. `csd` and `sds` run beside it, once: finished runs of the same
settings stay, those of --method are made anew, since its code may have changed. Writes run folders
with views to OUT/shared/runs, the world to OUT/shared/bank and OUT/shared/truth, and for each of
the methods OUT/<method>/: method.json, runs.txt (its runs and those beside it), start.png, goal.png
and directions.csv, the probe's rows at those two pictures (pipeline.fixed_pictures).
"""

import argparse
import contextlib
import inspect
import json
import multiprocessing
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch

from methods import distill
from pipeline import optimize
from pipeline.artifacts import exit_status, read_json, write_json, write_text
from pipeline.config import ConfigError, Job, job, load_preset
from pipeline.fixed_pictures import described, directions
from pipeline.guidance.load import load_guidance
from pipeline.recipes import prompts
from pipeline.render_views import write_pictures
from pipeline.toyworld.whole import write_world

PRESET = "try"
REFERENCES = ("csd", "sds")


def settings_of(name: str, given: Mapping[str, Any] | None) -> dict[str, Any]:
    """The method's settings: as given, else the preset's, else none.

    Raises ConfigError that names the settings the method lacks, or a method nobody has.
    """
    if name not in distill.METHODS:
        raise ConfigError(f"no method {name!r} in methods/distill.py; {', '.join(distill.METHODS)}")
    columns = load_preset(PRESET)["columns"]
    settings = dict(columns.get(name, {}).get("settings", {}) if given is None else given)
    asked = inspect.signature(distill.METHODS[name].make).parameters
    if missing := [key for key in asked if key not in settings]:
        example = ", ".join(f'"{key}": ...' for key in asked)
        raise ConfigError(
            f"{name} needs settings: {', '.join(missing)}; give --settings '{{{example}}}' "
            f"(SETTINGS='{{{example}}}' after make try)"
        )
    try:
        row = distill.METHODS[name].make(**settings)(0, torch.zeros(1, dtype=torch.long))
    except (TypeError, ValueError) as error:
        raise ConfigError(f"{name}: settings: {error}") from error
    if not row.keys().isdisjoint((distill.SOURCE_TEXT, distill.SOURCE_UNCOND)):
        raise ConfigError(
            f"{name} compares with a source picture, which text-to-3D has not; try it on pictures: "
            "a column of presets/figures/fig7.yaml and snakemake fig7"
        )
    return settings


def json_object(text: str) -> dict[str, Any]:
    """What the text says. Raises ArgumentTypeError for anything but a JSON object."""
    try:
        found = json.loads(text)
    except json.JSONDecodeError:
        found = None
    if not isinstance(found, dict):
        message = f'{text} is not a JSON object such as {{"omega": 7.5}}'
        raise argparse.ArgumentTypeError(message)
    return found


def trials(name: str, settings: Mapping[str, Any]) -> list[Job]:
    """One job a prompt of the preset."""
    preset = load_preset(PRESET)
    method = distill.METHODS[name]
    mine: dict[str, Any] = {"method": name, "method_version": method.version}
    mine["method_settings"] = dict(settings)
    found = []
    for prompt in prompts(preset, "geometry"):
        plain = job(PRESET, column=REFERENCES[0], stage="nerf", prompt_id=prompt.prompt_id, seed=0)
        found.append(replace(plain, column=name, **mine))
    return found


def folder_of(out: Path, one: Job) -> Path:
    """The run folder, as the workflow would name it."""
    return out / "runs" / one.task / one.column / one.prompt_id / f"seed{one.seed}" / one.stage


def finished(folder: Path, one: Job) -> bool:
    """Whether the folder holds this very job's run and its views."""
    if not (folder / "run.json").exists() or not (folder / "views" / "views.json").exists():
        return False
    record = read_json(folder / "run.json")
    asked = json.loads(json.dumps(asdict(one)))
    return all(record[key] == value for key, value in asked.items())


def run_job(task: tuple[Job, Path]) -> str:
    """Runs one job and renders its views; its words go to optimize.log. Returns what to say."""
    one, out = task
    torch.set_num_threads(1)
    folder = folder_of(out, one)
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "optimize.log").open("w") as log, contextlib.redirect_stderr(log):
        optimize.optimize(one, folder, bank=out / "bank", device="cpu", init_from=None, threads=1)
    write_pictures(folder, one.settings["views"])
    record = read_json(folder / "run.json")
    how = f"{record['seconds']['steps']:.0f} s" if record["status"] == "ok" else record["reason"]
    return f"{one.column}: {one.prompt}, {one.settings['steps']} steps: {how}"


def run_all(jobs: Sequence[Job], out: Path, cores: int) -> None:
    """Every job in a process of its own, `cores` at a time."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["pipeline.optimize", "pipeline.render_views"])
    with context.Pool(cores, maxtasksperchild=1) as pool:
        for said in pool.imap_unordered(run_job, [(one, out) for one in jobs]):
            print(said, flush=True)


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs and measures as the module's docstring says."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--method", required=True, help="a name in methods/distill.py")
    parser.add_argument("--settings", type=json_object, help="the preset's where it has them")
    parser.add_argument("--cores", type=int, default=os.cpu_count(), help="runs at a time")
    parser.add_argument("--out", type=Path, default=Path("results/cards"))
    given = parser.parse_args(arguments)
    import pandas

    torch.set_num_threads(1)
    own = trials(given.method, settings_of(given.method, given.settings))
    beside = {name: trials(name, settings_of(name, None)) for name in REFERENCES}
    methods = {given.method: own} | {k: v for k, v in beside.items() if k != given.method}
    shared, first = given.out / "shared", own[0]
    write_world(
        shared,
        first.settings["world"],
        cameras=first.settings["cameras"],
        views=first.settings["views"],
        prompts=[one.prompt for one in own],
    )
    jobs = [one for several in methods.values() for one in several]
    new = [j for j in jobs if j.method == given.method or not finished(folder_of(shared, j), j)]
    run_all(new, shared, given.cores)
    bank = shared / "bank"
    guidance = load_guidance(first.prior, bank=bank, prompt=first.prompt, device="cpu")
    for name, several in methods.items():
        folder = given.out / name
        rows = directions(several[0], guidance, bank, folder)
        table = pandas.DataFrame(rows).to_csv(index=False, lineterminator="\n")
        write_text(folder / "directions.csv", table)
        write_json(folder / "method.json", described(several[0]))
    listed = "".join(f"{folder_of(shared, one)}\n" for one in jobs)
    write_text(given.out / given.method / "runs.txt", listed)


if __name__ == "__main__":
    sys.exit(exit_status(main, ConfigError))
