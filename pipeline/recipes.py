"""What a preset asks for: tasks, columns, and the chain of stages that a column takes in a task.

A column is a recipe: a method and its settings for every stage, other ones where `stages` names a
stage, and a chain of its own where `chains` names a task. Everything here reads the preset as plain
data and takes it to be checked (`config.load_preset`).
"""

import copy
import re
from collections.abc import Iterator, Mapping
from typing import Any

from prompts.load import Prompt, load_set

Preset = Mapping[str, Any]
NAME = r"[a-z0-9][a-z0-9_.-]*"  # of a column, which names a folder; as in presets/schema.yaml


class RecipeError(ValueError):
    """A preset's columns, chains or sweeps do not fit together; the message names which."""


def tasks(preset: Preset) -> list[str]:
    """What the preset makes: geometry (text-to-3D), texture (colours on given meshes), or both."""
    return list(preset["tasks"])


def prompts(preset: Preset, task: str) -> tuple[Prompt, ...]:
    """The prompts that `task` optimises, in the set's order."""
    spec = preset["tasks"][task]
    return load_set(spec["prompts"]).prompts[: spec["limit"]]


def columns(preset: Preset) -> dict[str, dict[str, Any]]:
    """The preset's columns and those its sweeps add, `<column>-<sweep>-<value>`, in that order.

    Raises RecipeError for a sweep of no column, or whose names are taken or no names.
    """
    found = dict(preset["columns"])
    for sweep, spec in preset["sweeps"].items():
        if spec["column"] not in preset["columns"]:
            raise RecipeError(f"sweep {sweep}: no column {spec['column']!r} in this preset")
        for value in spec["values"]:
            name = _swept_name(spec["column"], sweep, value)
            if name in found or not re.fullmatch(NAME, name):
                raise RecipeError(f"sweep {sweep}: {name!r} cannot be another column's name")
            found[name] = _with(preset["columns"][spec["column"]], spec["key"], value)
    return found


def swept(preset: Preset, sweep: str) -> list[str]:
    """The names of the columns that one sweep adds, in the order of its values."""
    spec = preset["sweeps"][sweep]
    return [_swept_name(spec["column"], sweep, value) for value in spec["values"]]


def _swept_name(column: str, sweep: str, value: Any) -> str:
    return f"{column}-{sweep}-{str(value).lower()}"


def _with(column: Preset, key: str, value: Any) -> dict[str, Any]:
    """The column with another value: of its method's settings, or of every stage's."""
    changed = copy.deepcopy(dict(column))
    setting = key.removeprefix("method.")
    if setting == key:
        changed["overrides"][key] = value
        return changed
    own = [stage for stage in changed.get("stages", {}).values() if "method" not in stage]
    for spec in (changed, *(stage for stage in own if "settings" in stage)):
        spec["settings"][setting] = value
    return changed


def chain(preset: Preset, task: str, column: Mapping[str, Any]) -> list[str]:
    """The stages that a column takes in a task, each beginning with the one before."""
    own = column.get("chains", {}).get(task)
    return list(own if own is not None else preset["tasks"][task]["chain"])


def chains(preset: Preset) -> Iterator[tuple[str, str, list[str]]]:
    """(task, column's name, its chain) of everything the preset runs."""
    for task in tasks(preset):
        for name, column in columns(preset).items():
            yield task, name, chain(preset, task, column)


def stages(preset: Preset, task: str) -> list[str]:
    """Every stage that some column takes in `task`, once."""
    found = [stage for t, _, own in chains(preset) if t == task for stage in own]
    return list(dict.fromkeys(found))


def task_of(preset: Preset, stage: str) -> str | None:
    """The task that a stage belongs to, or None; a checked preset has at most one."""
    return next((task for task in tasks(preset) if stage in stages(preset, task)), None)


def recipe(column: Mapping[str, Any], stage: str) -> dict[str, Any]:
    """{method, settings, overrides} of a column at one of its stages.

    A stage of its own method starts from no settings; overrides add up, the stage's last.
    """
    own = column.get("stages", {}).get(stage, {})
    inherited = {} if "method" in own else column["settings"]
    return {
        "method": own.get("method", column["method"]),
        "settings": own.get("settings", inherited),
        "overrides": {**column["overrides"], **own.get("overrides", {})},
    }


def shown(preset: Preset) -> list[str]:
    """What tables and pages speak of: each task's last stages, then each earlier stage by name.

    `geometry` is where every column ends; `geometry.nerf` a stage that some column goes on from.
    """
    found = []
    for task in tasks(preset):
        earlier = [s for t, _, own in chains(preset) if t == task for s in own[:-1]]
        found += [task, *(f"{task}.{stage}" for stage in dict.fromkeys(earlier))]
    return found
