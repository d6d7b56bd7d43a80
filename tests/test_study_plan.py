"""How many people: the closed form against the exact test, simulation, and its own inverse."""

import math

import numpy as np
import pytest

from reports.study import __main__ as program
from reports.study import plan


def exact_powers(effect: float, n: int, alpha: float) -> tuple[float, float]:
    """Power of the exact two-sided binomial test, summed over all outcomes; and of the one that
    rejects one more outcome on either side, whose level is just above alpha.
    """
    from scipy.stats import binom, binomtest

    rejects = np.array([binomtest(k, n).pvalue < alpha for k in range(n + 1)])
    wider = rejects | np.roll(rejects, 1) | np.roll(rejects, -1)
    chances = binom.pmf(np.arange(n + 1), n, effect)
    return float(chances[rejects].sum()), float(chances[wider].sum())


@pytest.mark.parametrize(("effect", "power"), [(0.6, 0.8), (0.6, 0.9), (0.7, 0.8), (0.35, 0.8)])
def test_independent_answers_agree_with_the_exact_binomial_test(effect: float, power: float):
    n = math.ceil(plan.independent_answers(effect, power=power, alpha=0.05))
    low, high = exact_powers(effect, n, 0.05)
    assert low - 0.01 <= power <= high + 0.01
    assert high - low < 0.12


def test_a_textbook_number() -> None:
    """p = 0.6 against 0.5, 80 % power, 5 % two-sided: (0.98 + 0.8416 * 0.4899)^2 / 0.01 = 193.8."""
    assert plan.independent_answers(0.6, power=0.8, alpha=0.05) == pytest.approx(193.8, abs=0.1)


@pytest.mark.parametrize("icc", [0.0, 0.05, 0.2])
def test_variance_of_simulated_shares_is_the_design_effects(icc: float) -> None:
    rng = np.random.default_rng(0)
    means = plan.person_means(0.6, (20000, 10), 12, icc, rng).mean(axis=1)
    expected = 0.6 * 0.4 / 120 * plan.design_effect(12, icc)
    assert means.mean() == pytest.approx(0.6, abs=0.002)
    assert means.var() == pytest.approx(expected, rel=0.04)  # 4 sd of a variance of 20,000


@pytest.mark.parametrize(("icc", "answers"), [(0.0, 9), (0.05, 9), (0.2, 6)])
def test_simulated_studies_have_the_power_asked_for(icc: float, answers: int) -> None:
    """Within three points: a t test on people, against the normal approximation."""
    need = plan.people(0.6, power=0.8, alpha=0.05, comparisons=1, answers=answers, icc=icc)
    rng = np.random.default_rng(1)
    settings = {"participants": need.people, "answers": answers, "icc": icc, "rng": rng}
    assert plan.simulated_power(0.6, alpha=0.05, **settings) == pytest.approx(0.8, abs=0.03)
    assert plan.simulated_power(0.5, alpha=0.05, **settings) == pytest.approx(0.05, abs=0.015)


def test_the_detectable_share_is_the_inverse() -> None:
    settings = {"power": 0.8, "alpha": 0.05, "comparisons": 6, "answers": 5.4, "icc": 0.05}
    need = plan.people(0.62, **settings)
    assert plan.detectable(need.people, **settings) == pytest.approx(0.62, abs=0.002)
    assert plan.detectable(1, **settings | {"answers": 1.0}) == 1.0


def test_correlated_answers_and_more_comparisons_need_more_people() -> None:
    base = {"power": 0.8, "alpha": 0.05, "comparisons": 1, "answers": 10.0, "icc": 0.0}
    people = plan.people(0.6, **base).people
    assert plan.people(0.6, **base | {"icc": 0.1}).people == pytest.approx(1.9 * people, rel=0.1)
    assert plan.people(0.6, **base | {"comparisons": 6}).people > people


def test_answers_a_person_count_pairs_and_undecided() -> None:
    own = {"trials": 36, "columns": 4, "same_share": 0.1}
    assert plan.answers_a_person(options=2, **own) == pytest.approx(5.4)
    assert plan.answers_a_person(options=4, **own) == pytest.approx(16.2)


@pytest.mark.parametrize(
    "wrong", [{"effect": 0.5}, {"effect": 1.2}, {"power": 1.0}, {"icc": -0.1}, {"answers": 0.0}]
)
def test_impossible_questions_name_the_number(wrong: dict[str, float]) -> None:
    own = {"effect": 0.6, "power": 0.8, "alpha": 0.05, "comparisons": 1, "answers": 5, "icc": 0.0}
    asked = own | wrong
    name = next(iter(wrong))
    with pytest.raises(ValueError, match=name):
        plan.people(asked.pop("effect"), **asked)


def test_the_program_prints_a_line_per_number_of_trials(capsys: pytest.CaptureFixture) -> None:
    program.main(["plan", "--effect", "0.6", "--power", "0.8", "--trials", "36", "60"])
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3
    assert lines[1].startswith("68 people x 36 trials (5.4 decided answers a comparison)")
    program.main(["plan", "--participants", "30", "--trials", "36"])
    assert "finds 64.9 % or more" in capsys.readouterr().out
