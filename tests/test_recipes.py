"""Columns as recipes: sweeps, chains of their own, what differs at one stage."""

import copy
from typing import Any

import pytest
from conftest import RED_CAR

from pipeline import config, recipes
from prompts.load import load_set


@pytest.fixture
def two(tiny: dict[str, Any]) -> dict[str, Any]:
    """The chain nerf -> refine; csd_neg has a schedule of its own at the second stage."""
    preset = copy.deepcopy(tiny)
    preset["tasks"]["geometry"]["chain"] = ["nerf", "refine"]
    preset["stages"]["refine"] = copy.deepcopy(preset["stages"]["nerf"])
    second = {"omega_1": 1.0, "omega_2": [1.0, 0.5, 6]}
    refine = {"settings": second, "overrides": {"optimizer.grid": 0.5}}
    preset["columns"]["csd_neg"]["stages"] = {"refine": refine}
    return preset


@pytest.fixture(scope="module")
def both() -> dict[str, Any]:
    """The miniature: both tasks, two stages of geometry."""
    return config.load_preset("mini")


def _job(name: str, column: str, stage: str) -> config.Job:
    return config.job(name, column=column, stage=stage, prompt_id=RED_CAR, seed=0)


def test_a_stage_may_have_settings_of_its_own(presets, two, tiny):
    name = presets("two", two)
    first, second = (_job(name, "csd_neg", stage) for stage in ("nerf", "refine"))
    assert first.method_settings == tiny["columns"]["csd_neg"]["settings"]
    assert second.method_settings["omega_2"] == [1.0, 0.5, 6]
    rates = [job.settings["optimizer"]["grid"] for job in (first, second)]
    assert rates == [tiny["stages"]["nerf"]["optimizer"]["grid"], 0.5]
    assert _job(name, "csd", "refine").settings["optimizer"]["grid"] == rates[0]


def test_a_stage_of_another_method_inherits_no_settings(presets, two):
    two["columns"]["vsd"]["stages"] = {"refine": {"method": "csd", "settings": {}}}
    name = presets("two", two)
    assert _job(name, "vsd", "nerf").method == "vsd"
    other = _job(name, "vsd", "refine")
    assert (other.method, other.method_settings) == ("csd", {})


def test_a_column_may_take_a_chain_of_its_own(presets, two):
    two["columns"]["csd"]["chains"] = {"geometry": ["nerf"]}
    name = presets("two", two)
    assert list(recipes.chains(config.load_preset(name))) == [
        ("geometry", "csd", ["nerf"]),
        ("geometry", "csd_neg", ["nerf", "refine"]),
        ("geometry", "vsd", ["nerf", "refine"]),
    ]
    with pytest.raises(config.ConfigError, match=r"no stage 'refine' of column csd; it takes nerf"):
        _job(name, "csd", "refine")


def test_what_is_shown_is_where_columns_end_and_what_they_go_on_from(two, tiny, both):
    assert recipes.shown(tiny) == ["geometry"]
    assert recipes.shown(two) == ["geometry", "geometry.nerf"]
    assert recipes.shown(both) == ["geometry", "geometry.nerf", "texture"]
    assert recipes.tasks(both) == ["geometry", "texture"]
    assert recipes.task_of(both, "texture") == "texture"
    assert recipes.task_of(both, "none") is None


def test_a_stage_belongs_to_one_task(presets, two, both):
    both = copy.deepcopy(both)
    both["tasks"]["texture"]["chain"] = ["nerf"]
    with pytest.raises(config.ConfigError, match="stage 'nerf' is in the chains of two tasks"):
        config.load_preset(presets("both", both))
    two["tasks"] = {"texture": two["tasks"]["geometry"]}
    with pytest.raises(config.ConfigError, match=r"its stages' scenes are \['nerf'"):
        config.load_preset(presets("painted", two))


def test_results_beside_a_truth_are_seen_from_one_place(presets, two):
    two["stages"]["refine"]["views"]["elevation"] += 5
    with pytest.raises(config.ConfigError, match="views differ in elevation, distance, fovy"):
        config.load_preset(presets("two", two))


def test_a_swept_setting_reaches_every_stage_of_the_method(presets, two):
    two["sweeps"] = {"end": {"column": "csd_neg", "key": "method.omega_1", "values": [2.0]}}
    name = presets("swept", two)
    for stage in ("nerf", "refine"):
        assert _job(name, "csd_neg-end-2.0", stage).method_settings["omega_1"] == 2.0
        assert _job(name, "csd_neg", stage).method_settings["omega_1"] == 1.0


def test_sweeps_become_columns_after_the_others(presets, tiny):
    preset = copy.deepcopy(tiny)
    preset["sweeps"] = {
        "omega": {"column": "vsd", "key": "method.omega", "values": [0, 7.5]},
        "rate": {"column": "csd", "key": "optimizer.grid", "values": [0.5]},
        "null": {"column": "csd", "key": "priors.mixture.null_prompt", "values": ["heldout"]},
    }
    name = presets("swept", preset)
    columns = recipes.columns(config.load_preset(name))
    assert list(columns) == [
        *("csd", "csd_neg", "vsd"),
        *("vsd-omega-0", "vsd-omega-7.5", "csd-rate-0.5", "csd-null-heldout"),
    ]

    def job(column: str) -> config.Job:
        return config.job(name, column=column, stage="nerf", prompt_id=RED_CAR, seed=0)

    assert job("vsd-omega-7.5").method_settings == {"omega": 7.5}
    assert job("vsd").method_settings == {"omega": 6.5}
    assert job("csd-rate-0.5").settings["optimizer"]["grid"] == 0.5
    assert job("csd-null-heldout").prior["null_prompt"] == "heldout"
    assert job("csd").prior["null_prompt"] == preset["priors"]["mixture"]["null_prompt"]


def test_limit_takes_the_first_prompts_of_the_set(presets, tiny):
    preset = copy.deepcopy(tiny)
    every = load_set("toy6").prompts
    for limit in (1, 4, None, 99):
        preset["tasks"]["geometry"]["limit"] = limit
        assert recipes.prompts(preset, "geometry") == every[:limit]
