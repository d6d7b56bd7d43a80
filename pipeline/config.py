"""A preset is one complete YAML file; a job's settings are what is left of it for one run.

`presets/<name>.yaml` holds every key (`presets/schema.yaml` checks them; there are no defaults in
code). `job()` resolves it for one (column, stage, prompt, seed): the stage's settings, then the
overrides of the prompt's tags, the column and the sweep. Only the Snakefile and `pipeline.optimize`
read presets. `mini+learned` is the preset `mini` with every stage under its prior `learned`.
"""

import copy
import functools
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import jsonschema
import torch
import yaml

from methods.distill import METHODS, SOURCE_TEXT, SOURCE_UNCOND
from methods.weights import WEIGHTS
from pipeline.artifacts import digest
from prompts.load import Prompt, load_set

PRESETS = Path(__file__).resolve().parent.parent / "presets"
NAME = r"[a-z0-9][a-z0-9_.-]*"  # of a column, which names a folder; as in presets/schema.yaml


class ConfigError(ValueError):
    """A preset, or a choice within it, that does not exist or fit; the message says what does."""


@dataclass(frozen=True)
class Job:
    """One run: what is optimised, by which row of coefficients, under which settings.

    `settings` is plain data and decides the result together with `seed` and `prompt`; `key()` is
    the hash by which checkpoints and finished runs are matched.
    """

    preset: str
    task: str
    column: str
    stage: str
    prompt: str
    prompt_id: str
    seed: int
    device: str
    method: str
    method_version: int
    method_settings: dict[str, Any]
    prior: dict[str, Any]
    settings: dict[str, Any]

    def key(self) -> str:
        """The sha256 of everything that decides this run's scene and trace.

        Neither the device nor how the finished scene is looked at is part of it.
        """
        described = asdict(self)
        del described["device"], described["settings"]["views"]
        if described["settings"]["world"] is not None:
            del described["settings"]["world"]["truth_size"]
        return digest(described)


def preset_names() -> list[str]:
    """The names of the presets in `presets/`, sorted."""
    return sorted(path.stem for path in PRESETS.glob("*.yaml") if path.stem != "schema")


@functools.lru_cache(maxsize=16)
def _read(path: Path) -> Any:
    try:
        return yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise ConfigError(f"{path}: not YAML ({error})".replace("\n", " ")) from error


def load_preset(name: str) -> dict[str, Any]:
    """The preset `name`, complete and checked. Raises ConfigError naming file, key and value.

    `name+prior` is the preset with every stage under that one of its priors.
    """
    base, _, prior = name.partition("+")
    if base not in preset_names():
        raise ConfigError(f"unknown preset {base!r}; there are {', '.join(preset_names())}")
    return copy.deepcopy(_checked(PRESETS / f"{base}.yaml", prior))


def with_guidance(name: str, prior: str | None) -> str:
    """The name of the preset under a prior of its own; its plain name under those it has anyway.

    Raises ConfigError for a prior that the preset does not describe.
    """
    if prior is None:
        return name
    preset = load_preset(name)
    if prior not in preset["priors"]:
        known = ", ".join(preset["priors"])
        raise ConfigError(f"guidance={prior}: the preset {name} has the priors {known}")
    own = {preset["stages"][stage]["prior"] for stage in preset["chain"]}
    return name if own == {prior} else f"{name}+{prior}"


@functools.lru_cache(maxsize=16)  # a workflow resolves hundreds of jobs of one preset
def _checked(path: Path, prior: str) -> dict[str, Any]:
    preset = check_preset(_read(path), path)
    if not prior:
        return preset
    preset = copy.deepcopy(preset)
    for stage in preset["stages"].values():
        stage["prior"] = prior
    return check_preset(preset, path)


def check_preset(preset: Any, path: Path) -> dict[str, Any]:
    """`preset` itself, when it fits the schema and what it names exists. Raises ConfigError."""
    validator = jsonschema.Draft202012Validator(_read(PRESETS / "schema.yaml"))
    problems = sorted(validator.iter_errors(preset), key=lambda e: list(map(str, e.absolute_path)))
    if problems:
        first = problems[0]
        where = ".".join(map(str, first.absolute_path)) or "the top level"
        raise ConfigError(f"{path}: {where}: {first.message} ({len(problems)} problem(s) in all)")
    for name, column in columns(preset).items():
        if column["method"] not in METHODS:
            known = ", ".join(METHODS)
            raise ConfigError(
                f"{path}: column {name}: no method {column['method']!r}; known: {known}"
            )
        try:
            row = METHODS[column["method"]].make(**column["settings"])(0, torch.zeros(1).long())
        except (TypeError, ValueError) as error:
            raise ConfigError(f"{path}: column {name}: settings: {error}") from error
        if not row.keys().isdisjoint((SOURCE_TEXT, SOURCE_UNCOND)):
            raise ConfigError(
                f"{path}: column {name}: {column['method']} compares with a source picture, which "
                "text-to-3D has not"
            )
        for stage in preset["chain"]:
            _resolve(preset, column, stage, tuple(preset["variants"]), path)
    other = {"geometry": "texture", "texture": "geometry"}[task(preset)]
    if preset["prompts"][task(preset)] is None or preset["prompts"][other] is not None:
        raise ConfigError(
            f"{path}: prompts: the chain ends in {task(preset)}: a set for that, none for {other}"
        )
    for key in (task(preset), "candidates", "strict_extra"):
        if preset["prompts"][key] is not None:
            load_set(preset["prompts"][key])
    strict = set(preset["prompts"]["strict_views"])
    if strict and not strict >= {"front", "side", "back"}:  # the words of the evaluated views
        raise ConfigError(f"{path}: prompts.strict_views: needs front, side and back, or nothing")
    return preset


def columns(preset: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """The preset's columns and those its sweeps add, `<column>-<sweep>-<value>`, in that order."""
    found = dict(preset["columns"])
    for sweep, spec in preset["sweeps"].items():
        if spec["column"] not in preset["columns"]:
            raise ConfigError(f"sweep {sweep}: no column {spec['column']!r} in this preset")
        for value in spec["values"]:
            base = copy.deepcopy(preset["columns"][spec["column"]])
            if spec["key"].startswith("method."):
                base["settings"][spec["key"].removeprefix("method.")] = value
            else:
                base["overrides"][spec["key"]] = value
            name = _swept_name(spec["column"], sweep, value)
            if name in found or not re.fullmatch(NAME, name):
                raise ConfigError(f"sweep {sweep}: {name!r} cannot be another column's name")
            found[name] = base
    return found


def swept(preset: Mapping[str, Any], sweep: str) -> list[str]:
    """The names of the columns that one sweep adds, in the order of its values."""
    spec = preset["sweeps"][sweep]
    return [_swept_name(spec["column"], sweep, value) for value in spec["values"]]


def _swept_name(column: str, sweep: str, value: Any) -> str:
    return f"{column}-{sweep}-{str(value).lower()}"


def task(preset: Mapping[str, Any]) -> str:
    """What the preset's chain ends in: "texture" on given meshes, or "geometry"."""
    last = preset["stages"].get(preset["chain"][-1], {"scene": {"kind": None}})
    return "texture" if last["scene"]["kind"] == "texture" else "geometry"


_set = functools.lru_cache(maxsize=16)(load_set)


def prompts(preset: Mapping[str, Any], task: str) -> tuple[Prompt, ...]:
    """The prompts that `task` optimises, in the set's order."""
    return _set(preset["prompts"][task]).prompts[: preset["prompts"]["limit"]]


def job(preset_name: str, *, column: str, stage: str, prompt_id: str, seed: int) -> Job:
    """The resolved settings of one run. Raises ConfigError for a name the preset does not hold."""
    preset = load_preset(preset_name)
    path = PRESETS / f"{preset_name.partition('+')[0]}.yaml"
    known = columns(preset)
    if column not in known:
        raise ConfigError(f"{path}: no column {column!r}; there are {', '.join(known)}")
    if stage not in preset["chain"]:
        raise ConfigError(f"{path}: no stage {stage!r} in the chain {', '.join(preset['chain'])}")
    asked = prompts(preset, task(preset))
    prompt = next((p for p in asked if p.prompt_id == prompt_id), None)
    if prompt is None:
        set_name = preset["prompts"][task(preset)]
        raise ConfigError(f"{path}: no prompt {prompt_id!r} in {set_name}; see prompts/sets/")
    settings, prior = _resolve(preset, known[column], stage, prompt.tags, path)
    method = METHODS[known[column]["method"]]
    return Job(
        preset=preset_name,
        task=task(preset),
        column=column,
        stage=stage,
        prompt=prompt.text,
        prompt_id=prompt_id,
        seed=int(seed),
        device=preset["device"],
        method=method.name,
        method_version=method.version,
        method_settings=known[column]["settings"],
        prior=prior,
        settings=settings,
    )


def located(prior: Mapping[str, Any]) -> dict[str, Any]:
    """The prior's settings with its folders as absolute paths; in presets they start at the root
    of the repository."""
    found = copy.deepcopy(dict(prior))
    for spec in (found, *found.get("controlnets", [])):
        if "path" in spec:
            spec["path"] = str(PRESETS.parent / spec["path"])
    return found


def _resolve(
    preset: Mapping[str, Any],
    column: Mapping[str, Any],
    stage: str,
    tags: tuple[str, ...],
    path: Path,
) -> tuple[dict[str, Any], dict[str, Any]]:
    """(the stage's settings, the prior's) after the overrides of tags, then of the column."""
    if stage not in preset["stages"]:
        raise ConfigError(f"{path}: chain names stage {stage!r}, but stages does not hold it")
    settings = {**copy.deepcopy(preset["stages"][stage]), "world": copy.deepcopy(preset["world"])}
    priors = copy.deepcopy(preset["priors"])
    merged = {"stage": settings, "priors": priors}
    layers = [*(preset["variants"].get(tag, {}) for tag in tags), column["overrides"]]
    # what a prior needs of the stage (its particle, its scale) gives way to tags and columns
    chosen = next((x["prior"] for x in reversed(layers) if "prior" in x), settings["prior"])
    layers = [preset["priors"].get(chosen, {}).get("overrides", {}), *layers]
    for key, value in (pair for layer in layers for pair in layer.items()):
        if key.split(".")[0] == "world":
            raise ConfigError(f"{path}: override {key!r}: all columns share one world")
        scope = "priors" if key.startswith("priors.") else "stage"
        _override(merged[scope], key.removeprefix("priors."), value, path)
    if any(layers):
        _check_stage(settings, stage, path)
    if settings["prior"] not in priors:
        known = ", ".join(priors)
        raise ConfigError(f"{path}: stage {stage}: no prior {settings['prior']!r}; known: {known}")
    if settings["weight"] not in WEIGHTS:
        known = ", ".join(WEIGHTS)
        raise ConfigError(
            f"{path}: stage {stage}: no weight {settings['weight']!r}; known: {known}"
        )
    described = {k: v for k, v in priors[settings["prior"]].items() if k != "overrides"}
    return settings, {"name": settings["prior"], **described}


def _check_stage(settings: Mapping[str, Any], stage: str, path: Path) -> None:
    """Raises ConfigError when an override has brought in a value of the wrong type."""
    schema = _read(PRESETS / "schema.yaml")
    validator = jsonschema.Draft202012Validator(
        {**schema["$defs"]["stage"], "$defs": schema["$defs"]}
    )
    plain = {key: value for key, value in settings.items() if key != "world"}
    for error in validator.iter_errors(plain):
        where = ".".join(map(str, error.absolute_path))
        raise ConfigError(f"{path}: stage {stage}: {where}: {error.message}")


def _override(target: dict[str, Any], key: str, value: Any, path: Path) -> None:
    *parents, last = key.split(".")
    for parent in parents:
        target = target.get(parent, {}) if isinstance(target, dict) else {}
    if not isinstance(target, dict) or last not in target:
        raise ConfigError(f"{path}: override {key!r} names no key of the settings")
    target[last] = value
