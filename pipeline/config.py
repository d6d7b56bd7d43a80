"""A preset is one complete YAML file; a job's settings are what is left of it for one run.

`presets/<name>.yaml` holds every key (`presets/schema.yaml` checks them; there are no defaults in
code). `job()` resolves it for one (column, stage, prompt, seed): the stage's settings, then the
overrides of the prompt's tags, the column and the sweep. Only the Snakefile and `pipeline.optimize`
read presets. `mini+learned` is the first task of `mini` with every stage under its prior `learned`.
"""

import copy
import functools
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jsonschema
import torch
import yaml

from methods.distill import METHODS, SOURCE_TEXT, SOURCE_UNCOND
from methods.weights import WEIGHTS
from pipeline import recipes
from pipeline.artifacts import digest
from pipeline.recipes import RecipeError, chain, chains, columns, recipe, stages, tasks
from prompts.load import load_set

PRESETS = Path(__file__).resolve().parent.parent / "presets"
EVALUATED = ("elevation", "distance", "fovy")  # where the views of every result are seen from


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
        described = {name: value for name, value in vars(self).items() if name != "device"}
        settings = {name: value for name, value in self.settings.items() if name != "views"}
        if (world := settings["world"]) is not None:
            settings["world"] = {k: v for k, v in world.items() if k != "truth_size"}
        return digest(described | {"settings": settings})


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

    `name+prior` is the preset's first task with every stage under that one of its priors; another
    task has a prior that suits it and stays out.
    """
    return copy.deepcopy(_shared(name))


def _shared(name: str) -> dict[str, Any]:
    """The preset `name`; every caller gets the same object, to be read only."""
    return _checked(PRESETS, name)


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
    own = {preset["stages"][stage]["prior"] for stage in stages(preset, tasks(preset)[0])}
    return name if own == {prior} else f"{name}+{prior}"


@functools.lru_cache(maxsize=16)  # a workflow resolves hundreds of jobs of one preset
def _checked(folder: Path, name: str) -> dict[str, Any]:
    base, _, prior = name.partition("+")
    if base not in preset_names():
        raise ConfigError(f"unknown preset {base!r}; there are {', '.join(preset_names())}")
    path = folder / f"{base}.yaml"
    preset = check_preset(_read(path), path)
    if not prior:
        return preset
    preset = copy.deepcopy(preset)
    first = tasks(preset)[0]
    preset["tasks"] = {first: preset["tasks"][first]}
    for stage in stages(preset, first):
        preset["stages"][stage]["prior"] = prior
    return check_preset(preset, path)


def check_preset(preset: Any, path: Path) -> dict[str, Any]:
    """`preset` itself, when it fits the schema and what it names exists. Raises ConfigError."""
    validator = jsonschema.Draft202012Validator(_read(PRESETS / "schema.yaml"))
    problems = sorted(validator.iter_errors(preset), key=lambda e: list(map(str, e.absolute_path)))
    if problems:
        first = problems[0]
        where = ".".join(map(str, first.absolute_path)) or "the top level"
        raise ConfigError(f"{path}: {where}: {first.message} ({len(problems)} problem(s) in all)")
    try:
        found = list(chains(preset))
    except RecipeError as error:
        raise ConfigError(f"{path}: {error}") from error
    for task, name, own in found:
        for stage in own:
            if recipes.task_of(preset, stage) != task:
                raise ConfigError(f"{path}: stage {stage!r} is in the chains of two tasks")
            _check_method(recipe(columns(preset)[name], stage), f"{path}: column {name}")
            _resolve(preset, columns(preset)[name], stage, tuple(preset["variants"]), path)
    named = {f"column {name}": c.get("stages", {}) for name, c in preset["columns"].items()}
    named |= {f"variants.{tag}": variant for tag, variant in preset["variants"].items()}
    for where, of_stages in named.items():
        if unknown := sorted(set(of_stages) - set(preset["stages"])):
            raise ConfigError(f"{path}: {where}: there is no stage {', '.join(unknown)}")
    _check_tasks(preset, path)
    return preset


def _check_method(found: Mapping[str, Any], where: str) -> None:
    if found["method"] not in METHODS:
        known = ", ".join(METHODS)
        raise ConfigError(f"{where}: no method {found['method']!r}; known: {known}")
    try:
        row = METHODS[found["method"]].make(**found["settings"])(0, torch.zeros(1).long())
    except (TypeError, ValueError) as error:
        raise ConfigError(f"{where}: settings: {error}") from error
    if not row.keys().isdisjoint((SOURCE_TEXT, SOURCE_UNCOND)):
        raise ConfigError(
            f"{where}: {found['method']} compares with a source picture, which text-to-3D has not"
        )


def _check_tasks(preset: Mapping[str, Any], path: Path) -> None:
    """Raises ConfigError or PromptError unless what each task names exists and fits."""
    for task, spec in preset["tasks"].items():
        kinds = {preset["stages"][stage]["scene"]["kind"] for stage in stages(preset, task)}
        if (task == "texture") != (kinds == {"texture"}):
            raise ConfigError(f"{path}: tasks.{task}: its stages' scenes are {sorted(kinds)}")
        for key in ("prompts", "candidates", "strict_extra"):
            if spec[key] is not None:
                load_set(spec[key])
        strict = set(spec["strict_views"])
        if strict and not strict >= {"front", "side", "back"}:  # the words of the evaluated views
            raise ConfigError(
                f"{path}: tasks.{task}.strict_views: needs front, side and back, or nothing"
            )
    seen = [preset["stages"][stage]["views"] for _, _, own in chains(preset) for stage in own]
    cameras = {tuple(views[key] for key in EVALUATED) for views in seen}
    if preset["world"] is not None and len(cameras) > 1:
        raise ConfigError(
            f"{path}: stages: views differ in {', '.join(EVALUATED)}; the truth is seen from one"
        )


def job(preset_name: str, *, column: str, stage: str, prompt_id: str, seed: int) -> Job:
    """The resolved settings of one run. Raises ConfigError for a name the preset does not hold."""
    preset = _shared(preset_name)
    path = PRESETS / f"{preset_name.partition('+')[0]}.yaml"
    known = columns(preset)
    if column not in known:
        raise ConfigError(f"{path}: no column {column!r}; there are {', '.join(known)}")
    task = recipes.task_of(preset, stage)
    if task is None or stage not in chain(preset, task, known[column]):
        own = ", ".join(s for _, name, found in chains(preset) if name == column for s in found)
        raise ConfigError(f"{path}: no stage {stage!r} of column {column}; it takes {own}")
    prompt = next((p for p in recipes.prompts(preset, task) if p.prompt_id == prompt_id), None)
    if prompt is None:
        set_name = preset["tasks"][task]["prompts"]
        raise ConfigError(f"{path}: no prompt {prompt_id!r} in {set_name}; see prompts/sets/")
    settings, prior = copy.deepcopy(_resolved(preset_name, path, column, stage, prompt.tags))
    found = recipe(known[column], stage)
    method = METHODS[found["method"]]
    return Job(
        preset=preset_name,
        task=task,
        column=column,
        stage=stage,
        prompt=prompt.text,
        prompt_id=prompt_id,
        seed=int(seed),
        device=preset["device"],
        method=method.name,
        method_version=method.version,
        method_settings=copy.deepcopy(found["settings"]),
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


@functools.lru_cache(maxsize=256)
def _resolved(
    preset_name: str, path: Path, column: str, stage: str, tags: tuple[str, ...]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """As `_resolve`, once for all prompts of the same tags; to be read only."""
    preset = _shared(preset_name)
    return _resolve(preset, columns(preset)[column], stage, tags, path)


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
    overrides = recipe(column, stage)["overrides"]
    layers = [*(preset["variants"].get(tag, {}).get(stage, {}) for tag in tags), overrides]
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
    if (weight := settings["weight"]) not in WEIGHTS:
        known = ", ".join(WEIGHTS)
        raise ConfigError(f"{path}: stage {stage}: no weight {weight!r}; known: {known}")
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
