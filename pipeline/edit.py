"""Edits a finished run by words: its scene goes on towards another prompt (paper, eq. 11).

    python -m pipeline.edit --plan presets/figures/fig6.yaml --edit colour --column csd_edit \\
        --run results/mini/runs/geometry/sds/ID/seed0/nerf --bank results/mini/bank \\
        --out results/mini/figures/fig6/runs/colour/csd_edit/seed0

A plan (YAML) holds `from` {column, stage}, the runs that are edited; `edits` {name: {source,
target, remove}}, where `remove` are the words that the negative prompt takes; `changes` {settings,
priors: {kind: settings}}, what differs from how the run was made; and `columns` {name: {method,
settings, changes}}, the last of the stage's settings again. All else is the run's: prior, cameras,
batch. Adam begins anew. `--out` becomes a run folder of stage `edit`, of the prompt `target`.
"""

import argparse
import copy
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
import yaml

from methods.distill import METHODS
from pipeline.artifacts import ArtifactError, exit_status, read_json
from pipeline.config import ConfigError, Job
from pipeline.guidance.captions import VocabularyError
from pipeline.optimize import optimize
from prompts.load import prompt_id

STAGE = "edit"
KEYS = {"description", "from", "edits", "columns", "changes"}


def read_plan(path: Path) -> dict[str, Any]:
    """The plan in `path`. Raises ConfigError unless it has exactly its keys and known methods."""
    if not path.is_file():
        raise ConfigError(f"{path}: no such plan")
    plan = yaml.safe_load(path.read_text(encoding="utf-8"))
    if not isinstance(plan, dict) or set(plan) != KEYS:
        raise ConfigError(f"{path}: needs exactly the keys {', '.join(sorted(KEYS))}")
    for name, column in plan["columns"].items():
        if set(column) != {"method", "settings", "changes"}:
            raise ConfigError(f"{path}: column {name}: needs exactly method, settings, changes")
        if column["method"] not in METHODS:
            known = ", ".join(METHODS)
            raise ConfigError(
                f"{path}: column {name}: no method {column['method']!r}; known: {known}"
            )
    for name, edit in plan["edits"].items():
        if set(edit) != {"source", "target", "remove"}:
            raise ConfigError(f"{path}: edit {name}: needs exactly source, target, remove")
    return plan


def changed(base: Mapping[str, Any], changes: Mapping[str, Any], where: str) -> dict[str, Any]:
    """`base` with the values of `changes`, mapping by mapping. Raises ConfigError naming a key that
    `base` lacks.
    """
    found = copy.deepcopy(dict(base))
    for key, value in changes.items():
        if key not in found:
            raise ConfigError(f"{where}: {key!r} names no key; there are {', '.join(found)}")
        both = isinstance(value, Mapping) and isinstance(found[key], Mapping)
        found[key] = changed(found[key], value, f"{where}.{key}") if both else value
    return found


def edit_job(record: Mapping[str, Any], plan: Mapping[str, Any], *, edit: str, column: str) -> Job:
    """The run that goes on from the one that `record` (its run.json) describes.

    Raises ConfigError when that run was of another prompt than the edit's source, or failed.
    """
    spec, row = plan["edits"][edit], plan["columns"][column]
    if record["prompt"] != spec["source"] or record["status"] != "ok":
        raise ConfigError(
            f"edit {edit} begins at a finished run of {spec['source']!r}, not at one of "
            f"{record['prompt']!r} that ended {record['status']!r}"
        )
    settings = changed(record["settings"], plan["changes"]["settings"], "changes.settings")
    settings = changed(settings, row["changes"], f"columns.{column}.changes")
    settings["negative_prompt"] = spec["remove"]
    prior = record["prior"]
    of_kind = plan["changes"]["priors"].get(prior.get("kind", prior["name"]), {})
    method = METHODS[row["method"]]
    return Job(
        preset=record["preset"],
        task=record["task"],
        column=column,
        stage=STAGE,
        prompt=spec["target"],
        prompt_id=prompt_id(spec["target"]),
        seed=record["seed"],
        device=record["device"],
        method=method.name,
        method_version=method.version,
        method_settings=row["settings"],
        prior=changed(prior, of_kind, "changes.priors"),
        settings=settings,
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """One column's edit of one run."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--plan", type=Path, required=True)
    parser.add_argument("--edit", required=True, help="of the plan")
    parser.add_argument("--column", required=True, help="of the plan")
    parser.add_argument("--run", type=Path, required=True, help="the finished run's folder")
    parser.add_argument("--bank", type=Path, help="the image bank of the mixture prior")
    parser.add_argument("--texts", type=Path, help="the folder of a learned prior's embedded texts")
    parser.add_argument("--out", type=Path, required=True, help="the run folder")
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args(arguments)
    torch.set_num_threads(given.threads)
    plan = read_plan(given.plan)
    for kind, name in (("edits", given.edit), ("columns", given.column)):
        if name not in plan[kind]:
            raise ConfigError(f"{given.plan}: no {name!r} in {kind}: {', '.join(plan[kind])}")
    record = read_json(given.run / "run.json")
    found = edit_job(record, plan, edit=given.edit, column=given.column)
    optimize(
        found,
        given.out,
        bank=given.bank,
        device=found.device,
        init_from=given.run,
        threads=given.threads,
        text_cache=given.texts,
    )


if __name__ == "__main__":
    sys.exit(exit_status(main, ConfigError, VocabularyError, ArtifactError))
