"""Presets: complete, checked, resolved; what does not fit is refused by name."""

import copy
from pathlib import Path

import jsonschema
import pytest
import yaml
from conftest import RED_CAR

from methods.distill import METHODS
from methods.weights import WEIGHTS
from pipeline import config, recipes
from pipeline.config import ConfigError
from prompts.load import PromptError, load_set

ROOT = Path(__file__).resolve().parent.parent


def _keys(value: object, prefix: str = "") -> set[str]:
    """Dotted paths of the keys that every preset shares; names of its own choice end a path."""
    free = ("tasks", "columns", "sweeps", "variants", "stages", "priors")
    if not isinstance(value, dict):
        return set()
    found = set()
    for key, inner in value.items():
        path = f"{prefix}.{key}" if prefix else key
        found.add(path)
        if path not in free and path != "world":
            found |= _keys(inner, path)
    return found


@pytest.mark.parametrize("name", config.preset_names())
def test_every_preset_loads_and_every_job_resolves(name):
    preset = config.load_preset(name)
    for task, column, chain in recipes.chains(preset):
        for stage in chain:
            for prompt in recipes.prompts(preset, task)[:2]:
                job = config.job(
                    name, column=column, stage=stage, prompt_id=prompt.prompt_id, seed=0
                )
                assert (job.task, job.prompt) == (task, prompt.text)
                assert (job.column, job.stage) == (column, stage)
                METHODS[job.method].make(**job.method_settings)
                assert job.settings["weight"] in WEIGHTS


def test_presets_have_the_same_keys_and_stages_the_same_keys():
    presets = {name: config.load_preset(name) for name in config.preset_names()}
    first = next(iter(presets.values()))
    for name, preset in presets.items():
        assert _keys(preset) == _keys(first), name
        for stage in preset["stages"].values():
            assert set(stage) == set(next(iter(first["stages"].values()))), name


@pytest.mark.parametrize("name", config.preset_names())
def test_a_preset_lacking_any_one_key_is_refused(name):
    """There are no defaults: the schema requires every key at every level that it fixes."""
    schema = yaml.safe_load((config.PRESETS / "schema.yaml").read_text(encoding="utf-8"))
    validator = jsonschema.Draft202012Validator(schema)
    preset = config.load_preset(name)
    assert validator.is_valid(preset)
    stage = next(iter(preset["stages"]))
    task = recipes.tasks(preset)[0]
    of_stage = {f"stages.{stage}.{key}" for key in preset["stages"][stage]}
    of_task = {f"tasks.{task}.{key}" for key in preset["tasks"][task]}
    for path in sorted(_keys(preset) | of_stage | of_task):
        broken = copy.deepcopy(preset)
        *parents, last = path.split(".")
        inner = broken
        for parent in parents:
            inner = inner[parent]
        del inner[last]
        assert not validator.is_valid(broken), path


def test_unknown_names_are_refused_with_what_there_is(presets, tiny):
    name = presets("tiny", tiny)
    good = {"column": "csd", "stage": "nerf", "prompt_id": RED_CAR, "seed": 0}
    with pytest.raises(ConfigError, match=r"unknown preset 'large'; there are tiny"):
        config.job("large", **good)
    with pytest.raises(ConfigError, match=r"no column 'cds'; there are csd, csd_neg, vsd"):
        config.job(name, **{**good, "column": "cds"})
    with pytest.raises(ConfigError, match=r"no stage 'mesh' of column csd; it takes nerf"):
        config.job(name, **{**good, "stage": "mesh"})
    with pytest.raises(ConfigError, match=r"no prompt 'a-dog-00000000' in toy6"):
        config.job(name, **{**good, "prompt_id": "a-dog-00000000"})
    for path in ("../tiny", "schema", "", "tiny.yaml"):
        with pytest.raises(ConfigError, match="unknown preset"):
            config.load_preset(path)


def test_an_unknown_prompt_set_names_the_known_ones(presets, tiny):
    for key in ("prompts", "candidates", "strict_extra"):
        preset = copy.deepcopy(tiny)
        preset["tasks"]["geometry"][key] = "toy7"
        with pytest.raises(PromptError, match=r"toy7.*toy6"):
            config.load_preset(presets("broken", preset))


@pytest.mark.parametrize("text", ["a: [1", "a: b: c", "\t- x", "!!python/object:os.system {}"])
def test_malformed_yaml_names_the_file(presets, text):
    presets("broken", text)
    with pytest.raises(ConfigError, match=r"broken\.yaml: not YAML"):
        config.load_preset("broken")


@pytest.mark.parametrize("text", ["", "42", "[a, b]", "just words"])
def test_yaml_that_is_no_preset_is_refused(presets, text):
    presets("broken", text)
    with pytest.raises(ConfigError, match=r"broken\.yaml: the top level"):
        config.load_preset("broken")


WRONG = [
    (("variants",), {"directional": {"nerf": {"stepz": 3}}}, r"override 'stepz' names no key"),
    (
        ("variants",),
        {"directional": {"nurf": {"steps": 3}}},
        r"directional: there is no stage",
    ),
    (("columns", "csd", "stages"), {"mesh": {"settings": {}}}, r"csd: there is no stage mesh"),
    (("columns", "csd", "stages"), {"nerf": {"method": "sds"}}, r"'settings' is a dependency"),
    (("columns", "csd", "chains"), {"geometry": ["mesh"]}, r"chain names stage 'mesh', but"),
    (("stages", "nerf", "steps"), "500", r"stages\.nerf\.steps: '500' is not of type 'integer'"),
    (("stages", "nerf", "steps"), 0, r"stages\.nerf\.steps"),
    (("stages", "nerf", "cameras", "azimuth"), [0], r"stages\.nerf\.cameras\.azimuth"),
    (("stages", "nerf", "perp_neg"), {"reference": "none", "scale": 1}, r"perp_neg"),
    (("stages", "nerf", "weight"), "sdss", r"no weight 'sdss'; known: sds"),
    (("stages", "nerf", "prior"), "imagen", r"no prior 'imagen'; known: mixture"),
    (("columns", "csd", "method"), "cds", r"column csd: no method 'cds'; known: sds"),
    (("columns", "csd", "colour"), "red", r"columns\.csd"),
    (("columns", "csd", "overrides"), {"stepz": 3}, r"override 'stepz' names no key"),
    (("columns", "csd", "overrides"), {"steps": "3"}, r"steps: '3' is not of type 'integer'"),
    (("columns", "csd", "overrides"), {"steps.x": 3}, r"override 'steps\.x' names no key"),
    (
        ("tasks", "geometry", "chain"),
        ["nerf", "mesh"],
        r"chain names stage 'mesh', but",
    ),
    (("seeds",), [0, 0], r"seeds"),
    (("device",), "gpu", r"device: 'gpu' is not one of"),
    (("evaluation", "clip"), "ViT-B-32", r"evaluation\.clip"),
    (("typo",), 1, r"the top level: .*'typo' was unexpected"),
    (
        ("sweeps",),
        {"omega": {"column": "none", "key": "steps", "values": [1]}},
        r"no column 'none'",
    ),
    (
        ("sweeps",),
        {"word": {"column": "csd", "key": "negative_prompt", "values": ["../../x"]}},
        r"sweep word: 'csd-word-\.\./\.\./x' cannot be",
    ),
    (
        ("sweeps",),
        {"twice": {"column": "csd", "key": "steps", "values": [1, "1"]}},
        r"sweep twice: 'csd-twice-1' cannot be another column's name",
    ),
    (
        ("columns", "csd"),
        {"method": "csd", "settings": {}, "overrides": {"world.diversity": 1.0}},
        r"'world\.diversity': all columns share one world",
    ),
    (
        ("columns", "csd"),
        {"method": "dds", "settings": {"omega": 1.0}, "overrides": {}},
        r"column csd: dds compares with a source picture",
    ),
    (("tasks", "geometry", "strict_views"), ["front", "back"], r"needs front, side and back"),
]


@pytest.mark.parametrize(("path", "value", "message"), WRONG)
def test_a_wrong_value_is_named_with_its_file_and_key(presets, tiny, path, value, message):
    preset = copy.deepcopy(tiny)
    inner = preset
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    with pytest.raises(ConfigError, match=message):
        config.load_preset(presets("broken", preset))


def test_overrides_of_tags_then_of_columns(presets, tiny):
    preset = copy.deepcopy(tiny)
    prompts = load_set("dreamfusion81").prompts[:20]
    tags = {prompt.prompt_id: prompt.tags for prompt in prompts}
    tag = "directional"
    assert 0 < sum(tag in prompt_tags for prompt_tags in tags.values()) < 20
    preset["variants"] = {tag: {"nerf": {"steps": 7, "batch": 3}}}
    preset["columns"]["csd"]["overrides"] = {"steps": 9}
    preset["tasks"]["geometry"] |= {"prompts": "dreamfusion81", "limit": None}
    name = presets("varied", preset)
    for prompt_id, prompt_tags in tags.items():
        for column, steps in (("csd", 9), ("vsd", 7 if tag in prompt_tags else 12)):
            job = config.job(name, column=column, stage="nerf", prompt_id=prompt_id, seed=0)
            assert job.settings["steps"] == steps
            assert job.settings["batch"] == (3 if tag in prompt_tags else 2)


def _keys_of_jobs(name: str) -> dict[str, str]:
    preset = config.load_preset(name)
    return {
        column: config.job(name, column=column, stage="nerf", prompt_id=RED_CAR, seed=0).key()
        for column in recipes.columns(preset)
    }


def test_one_changed_key_changes_that_columns_jobs_only(presets, tiny):
    before = _keys_of_jobs(presets("tiny", tiny))
    changed = copy.deepcopy(tiny)
    changed["columns"]["csd"]["overrides"] = {"optimizer.grid": 0.123}
    after = _keys_of_jobs(presets("tiny", changed))
    assert {name for name in before if before[name] != after[name]} == {"csd"}
    changed["stages"]["nerf"]["steps"] += 1
    last = _keys_of_jobs(presets("tiny", changed))
    assert all(after[name] != last[name] for name in after)


def test_comments_and_order_and_description_change_no_job(presets, tiny):
    before = _keys_of_jobs(presets("tiny", tiny))
    text = yaml.safe_dump(tiny | {"description": "other words"}, sort_keys=True)
    assert _keys_of_jobs(presets("tiny", "# a comment\n" + text + "# another\n")) == before


def test_key_depends_on_everything_that_decides_scene_and_trace(tiny_job):
    job = tiny_job("csd")
    other = {
        "seed": 1,
        "prompt": "a blue car",
        "column": "x",
        "method_version": 99,
        "method_settings": {"omega": 1},
        "prior": {"name": "other"},
        "settings": {**job.settings, "steps": 1 + job.settings["steps"]},
    }
    for name, value in other.items():
        assert config.Job(**{**vars(job), name: value}).key() != job.key(), name
    looks = {**job.settings, "views": {}, "world": {**job.settings["world"], "truth_size": 8}}
    for name, value in {"device": "cuda", "settings": looks}.items():
        assert config.Job(**{**vars(job), name: value}).key() == job.key(), name


def test_a_loaded_preset_is_the_callers_own(presets, tiny):
    name = presets("tiny", tiny)
    config.load_preset(name)["columns"].clear()
    config.job(name, column="csd", stage="nerf", prompt_id=RED_CAR, seed=0).settings["steps"] = 1
    assert config.load_preset(name) == tiny


def test_presets_lie_beside_the_packages():
    assert (Path(config.__file__).parent.parent / "presets") == config.PRESETS
