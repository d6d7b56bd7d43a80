"""Intervals cover, tests are exact, corrections are right, degenerate data is handled."""

import itertools

import numpy as np
import pytest

from metrics import statistics


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


@pytest.mark.parametrize(("skewed", "lowest"), [(False, 0.90), (True, 0.86)])
def test_intervals_cover_the_mean(
    monkeypatch: pytest.MonkeyPatch, skewed: bool, lowest: float
) -> None:
    """Of 300 simulated sets of 30 prompts, nearly 95 % hold the true mean.

    The bootstrap is known to cover a little less at 30 values, 92 % for exponential ones; the
    standard error of the share found is 1.3 to 1.6 %, and the bounds lie four of them away.
    """
    monkeypatch.setattr(statistics, "RESAMPLES", 999)
    draw = rng(1)
    covered = 0
    for trial in range(300):
        values = draw.exponential(size=30) if skewed else draw.normal(1.0, size=30)
        interval = statistics.mean_interval(values, rng(trial))
        covered += interval.lower <= 1.0 <= interval.upper
    assert lowest <= covered / 300 <= 0.99


def test_intervals_shrink_with_the_level() -> None:
    values = rng().normal(size=20)
    wide = statistics.mean_interval(values, rng())
    narrow = statistics.mean_interval(values, rng(), level=0.5)
    assert wide.lower < narrow.lower < values.mean() < narrow.upper < wide.upper
    assert narrow.mean == pytest.approx(values.mean())
    # at 20 normal values the 50 % interval of the mean is 0.67 standard errors each way
    spread = 0.67 * values.std() / np.sqrt(20)
    assert narrow.upper - narrow.lower == pytest.approx(2 * spread, rel=0.1)


def test_the_same_seed_gives_the_same_interval() -> None:
    values = rng().normal(size=12)
    assert statistics.mean_interval(values, rng(5)) == statistics.mean_interval(values, rng(5))
    assert statistics.mean_interval(values, rng(5)) != statistics.mean_interval(values, rng(6))


def test_every_row_of_a_table_has_its_own_generator() -> None:
    first = statistics.generator(0, "csd", "rank").random(4)
    np.testing.assert_array_equal(first, statistics.generator(0, "csd", "rank").random(4))
    for other in [(1, "csd", "rank"), (0, "sds", "rank"), (0, "csdrank"), (0, "rank", "csd")]:
        assert (first != statistics.generator(other[0], *other[1:]).random(4)).all()


def test_too_few_values_have_no_interval() -> None:
    one, none = (statistics.mean_interval(np.full(n, 0.4), rng()) for n in (1, 0))
    assert one.mean == 0.4
    assert np.isnan([one.lower, one.upper, none.mean, none.lower, none.upper]).all()


def test_equal_values_have_a_point() -> None:
    interval = statistics.mean_interval(np.array([0.1 + 0.2, 0.3, 0.3]), rng())
    assert interval.lower == interval.upper == interval.mean == pytest.approx(0.3)


def test_all_hits_are_not_certain() -> None:
    """Wilson's bound for n of n is n / (n + z^2): 0.61 for 6 and z = 1.96."""
    six = statistics.hit_interval(np.ones(6), rng())
    assert (six.mean, six.upper) == (1.0, 1.0)
    assert six.lower == pytest.approx(6 / (6 + 1.959964**2), abs=1e-4)
    none = statistics.hit_interval(np.zeros(6), rng())
    assert (none.mean, none.lower) == (0.0, 0.0)
    assert none.upper == pytest.approx(1 - six.lower)


def test_mixed_hits_are_bootstrapped() -> None:
    values = np.array([1.0, 0.25, 1.0, 0.5, 0.0, 1.0])
    assert statistics.hit_interval(values, rng(3)) == statistics.mean_interval(values, rng(3))
    assert np.isnan(statistics.hit_interval(np.array([]), rng()).mean)
    # equal but neither all nor none: a point
    half = statistics.hit_interval(np.full(5, 0.5), rng())
    assert half.lower == half.upper == 0.5


def enumerated_p(differences: np.ndarray) -> float:
    """Two-sided p over all sign patterns, twice the smaller tail as scipy defines it."""
    signs = np.array(list(itertools.product((-1, 1), repeat=len(differences))))
    means = (signs * differences).mean(axis=1)
    observed = differences.mean()
    tails = [(means >= observed - 1e-12).mean(), (means <= observed + 1e-12).mean()]
    return min(1.0, 2 * min(tails))


@pytest.mark.parametrize("seed", range(6))
def test_the_permutation_test_is_exact(seed: int) -> None:
    differences = rng(seed).normal(0.3, size=6)
    assert statistics.sign_flip_p(differences, rng()) == pytest.approx(enumerated_p(differences))


def test_six_prompts_reach_two_in_64() -> None:
    always = np.array([0.1, 0.5, 0.2, 0.9, 0.4, 0.3])
    assert statistics.sign_flip_p(always, rng()) == 2 / 64
    assert statistics.sign_flip_p(-always, rng()) == 2 / 64
    assert statistics.smallest_p(6) == 2 / 64
    assert statistics.smallest_p(6) == pytest.approx(0.031, abs=5e-4)


def test_many_prompts_are_sampled() -> None:
    differences = rng(2).normal(0.25, size=40)
    p = statistics.sign_flip_p(differences, rng(0))
    assert p == statistics.sign_flip_p(differences, rng(0))
    from scipy.stats import ttest_1samp

    # for normal data the t test is close; 9999 flips add an error of 0.003 at most
    assert p == pytest.approx(ttest_1samp(differences, 0).pvalue, abs=0.02)
    assert statistics.sign_flip_p(np.full(81, 1.0), rng()) == statistics.smallest_p(81) == 2e-4


def test_smallest_p_by_size() -> None:
    assert [statistics.smallest_p(n) for n in (0, 1, 2, 5)] == [1.0, 1.0, 0.5, 0.0625]
    assert statistics.smallest_p(13) == 2 / 8192
    assert statistics.smallest_p(14) == 2e-4


def test_tests_without_evidence() -> None:
    assert np.isnan(statistics.sign_flip_p(np.array([]), rng()))
    assert statistics.sign_flip_p(np.array([0.7]), rng()) == 1.0
    assert statistics.sign_flip_p(np.zeros(6), rng()) == 1.0


def test_holm_is_the_definition_and_statsmodels() -> None:
    from statsmodels.stats.multitest import multipletests

    p_values = np.array([0.01, 0.04, 0.03, 0.2, 0.005, 0.6])
    found = statistics.holm(p_values)
    np.testing.assert_allclose(found, multipletests(p_values, method="holm")[1], rtol=1e-15)
    order = np.argsort(p_values)
    running = 0.0
    for place, index in enumerate(order):
        running = max(running, min(1.0, (6 - place) * p_values[index]))
        assert found[index] == pytest.approx(running)


def test_holm_does_not_count_what_was_not_tested() -> None:
    found = statistics.holm(np.array([0.02, np.nan, 0.03]))
    np.testing.assert_allclose(found, [0.04, np.nan, 0.04])
    assert np.isnan(statistics.holm(np.array([np.nan]))).all()
    assert statistics.holm(np.array([])).size == 0


def test_verdicts() -> None:
    verdict = statistics.verdict
    # 6 * 0.031 = 0.19 > 0.05: nothing that six prompts do can separate six pairs
    assert verdict(1.0, 0.19, prompts=6, tests=6) == "n too small to rank"
    assert verdict(1.0, 0.031, prompts=6, tests=1) == "a above b"
    assert verdict(1.0, 0.004, prompts=81, tests=6) == "a above b"
    assert verdict(-1.0, 0.004, prompts=81, tests=6) == "b above a"
    assert verdict(1.0, 0.06, prompts=81, tests=6) == "not separated"
    assert verdict(1.0, float("nan"), prompts=81, tests=6) == "not separated"
    assert verdict(1.0, float("nan"), prompts=0, tests=6) == "n too small to rank"
    assert verdict(1.0, 0.06, prompts=81, tests=6, level=0.9) == "a above b"


@pytest.mark.parametrize("values", [[1.0, np.nan], [np.inf, 1.0], [[1.0], [2.0]]])
def test_values_that_are_not_one_number_a_prompt_are_refused(values: list) -> None:
    with pytest.raises(ValueError, match="one finite value a prompt"):
        statistics.mean_interval(np.array(values), rng())


@pytest.mark.parametrize(("a_only", "b_only"), [(15, 5), (3, 0), (0, 9), (7, 7), (1, 0)])
def test_mcnemar_is_statsmodels(a_only: int, b_only: int) -> None:
    from statsmodels.stats.contingency_tables import mcnemar

    a = np.repeat([1.0, 0.0, 1.0, 0.0], [a_only, b_only, 30, 11])
    b = np.repeat([0.0, 1.0, 1.0, 0.0], [a_only, b_only, 30, 11])
    found = statistics.mcnemar(a, b)
    expected = mcnemar([[30, a_only], [b_only, 11]], exact=True).pvalue
    assert (found.a_only, found.b_only) == (a_only, b_only)
    assert found.p == pytest.approx(expected)
    assert statistics.mcnemar(b, a).p == found.p


def test_mcnemar_needs_discordant_objects() -> None:
    assert statistics.mcnemar(np.ones(5), np.ones(5)) == statistics.Discordant(0, 0, 1.0)
    assert statistics.mcnemar(np.array([]), np.array([])).p == 1.0


@pytest.mark.parametrize("other", [[0.5, 1.0], [1.0], [2.0, 0.0]])
def test_mcnemar_refuses_shares_and_unequal_lengths(other: list[float]) -> None:
    with pytest.raises(ValueError, match="one hit, 0 or 1"):
        statistics.mcnemar(np.array([1.0, 0.0]), np.array(other))
