"""The preset `cost` gives every method the same number of denoiser evaluations, counted from the
coefficients step by step as the loop counts them.
"""

import pytest
import torch

from methods import distill
from pipeline import config, recipes

PRESET = config.load_preset("cost")


def evaluations(column):
    """Of one run: a frozen or particle's prediction a view each; VSD's particle also learns."""
    job = config.job("cost", column=column, stage="nerf", prompt_id="a-red-car-4ff7ca0b", seed=0)
    coefficients = distill.METHODS[job.method].make(**job.method_settings)
    total, t = 0, torch.tensor([500])
    for step in range(job.settings["steps"]):
        names = distill.needed(coefficients(step, t))
        total += job.settings["batch"] * (len(names) + (distill.PARTICLE in names))
    return total


@pytest.mark.parametrize("column", recipes.columns(PRESET))
def test_a_column_spends_the_budget_that_its_name_says(column):
    budget = int(column.rpartition("_")[2])
    assert evaluations(column) == pytest.approx(budget, rel=0.002)


def test_every_method_has_both_budgets():
    names = {column.rpartition("_")[::2] for column in recipes.columns(PRESET)}
    methods = {method for method, _ in names}
    assert methods == {"sds", "csd", "csd_neg", "vsd"}
    assert names == {(method, budget) for method in methods for budget in ("1200", "2400")}


def test_what_follows_the_step_is_stretched_with_the_run():
    for column in recipes.columns(PRESET):
        job = config.job(
            "cost", column=column, stage="nerf", prompt_id="a-red-car-4ff7ca0b", seed=0
        )
        settings = job.settings
        steps = settings["steps"]
        ends = [*settings["timesteps"].values(), settings["optimizer"]["decay"]]
        assert {ramp[2] for ramp in ends} == {steps}
        assert settings["cameras"]["front_back_until"] == steps // 10
        assert settings["normalize"]["steps"] == round(steps / 6)
        if job.method == "csd_neg":
            assert job.method_settings["omega_2"] == [0.0, 1.0, steps // 2]
