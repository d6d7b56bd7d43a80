"""Estimators against libraries, closed forms, slow loops; intervals against simulated studies."""

import itertools

import choix
import numpy as np
import pytest
from scipy import optimize, stats
from statsmodels.stats import inter_rater, proportion

from reports.study import preferences as pref


@pytest.mark.parametrize(
    ("hits", "count"), [(0, 7), (7, 7), (3, 10), (59, 90), (1, 1), (400, 1000)]
)
@pytest.mark.parametrize("level", [0.9, 0.95])
def test_wilson_is_that_of_scipy_and_statsmodels(hits: int, count: int, level: float) -> None:
    found = pref.wilson(hits, count, level=level)
    reference = stats.binomtest(hits, count).proportion_ci(level, method="wilson")
    assert found == pytest.approx((reference.low, reference.high), abs=1e-12)
    other = proportion.proportion_confint(hits, count, alpha=1 - level, method="wilson")
    assert found == pytest.approx(other, abs=1e-12)


def test_wilson_covers_as_it_says() -> None:
    """The exact chance of holding the truth, averaged over truths, is 95 % to a point (n = 40)."""
    n, truths = 40, np.linspace(0.02, 0.98, 193)
    bounds = np.array([pref.wilson(k, n) for k in range(n + 1)])
    held = (bounds[:, :1] <= truths) & (truths <= bounds[:, 1:])
    coverage = (stats.binom.pmf(np.arange(n + 1)[:, None], n, truths) * held).sum(axis=0)
    assert coverage.mean() == pytest.approx(0.95, abs=0.01)
    assert coverage.min() > 0.83


def test_wilson_of_nothing_is_nothing() -> None:
    assert np.isnan(pref.wilson(0, 0)).all()
    assert np.isnan(pref.goodman(np.zeros(3))).all()


@pytest.mark.parametrize("counts", [[694, 236, 1359], [5, 0, 12, 3], [1, 1]])
def test_goodman_is_statsmodels(counts: list[int]) -> None:
    reference = proportion.multinomial_proportions_confint(counts, method="goodman")
    assert np.allclose(pref.goodman(np.array(counts, dtype=float)), reference, atol=1e-12)


def test_goodman_of_the_papers_table_1() -> None:
    """59.4, 30.3 and 10.3 % of 2289: 56.9-61.8 and 8.9-11.9, to the digit."""
    found = 100 * pref.goodman(np.array([1359.0, 694.0, 236.0]))
    assert np.allclose(found[0], [56.9, 61.8], atol=0.05)
    assert np.allclose(found[2], [8.9, 11.9], atol=0.05)


def matrices(draws: int, columns: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    wins = rng.poisson(rng.gamma(1.0, 4.0, (draws, columns, columns))).astype(float)
    return wins * (1 - np.eye(columns))


@pytest.mark.parametrize("columns", [2, 3, 5, 6])
def test_bradley_terry_is_choix(columns: int) -> None:
    wins = matrices(40, columns)
    wins[0] = 0  # nobody decided anything
    wins[1, 0] = 0  # the first never wins ...
    wins[1, 1:, 0] = 60  # ... and always loses
    prior = pref.VIRTUAL * (1 - np.eye(columns))
    for own, found in zip(wins, pref.bradley_terry(wins), strict=True):
        reference = choix.ilsr_pairwise_dense(own + prior, max_iter=10000, tol=1e-11)
        assert np.allclose(found, reference - reference.mean(), atol=1e-6)


def test_bradley_terry_is_what_a_slow_optimiser_finds() -> None:
    wins = matrices(3, 4, seed=1)
    for own, found in zip(wins, pref.bradley_terry(wins), strict=True):

        def loss(free: np.ndarray, own: np.ndarray = own) -> float:
            s = np.append(free, 0.0)
            pairs = itertools.permutations(range(4), 2)
            return -sum((own[i, j] + 0.5) * -np.log1p(np.exp(s[j] - s[i])) for i, j in pairs)

        slow = np.append(optimize.minimize(loss, np.zeros(3), tol=1e-12).x, 0.0)
        assert np.allclose(found, slow - slow.mean(), atol=1e-4)


def test_strengths_of_two_columns_are_the_log_odds() -> None:
    wins = np.array([[[0.0, 30.0], [10.0, 0.0]]])
    a, b = pref.bradley_terry(wins)[0]
    assert a - b == pytest.approx(np.log(30.5 / 10.5))
    assert np.allclose(pref.first_choices(np.array([[a, b]])), [[30.5 / 41, 10.5 / 41]])


def test_luce_of_always_the_same_set_is_choix() -> None:
    counts = np.array([7, 2, 15])
    data = [(w, [i for i in range(3) if i != w]) for w, n in enumerate(counts) for _ in range(n)]
    reference = choix.ilsr_top1(3, data)
    found = pref.luce(counts[None] - pref.VIRTUAL)[0]  # the library adds none
    assert np.allclose(found, reference - reference.mean(), atol=1e-6)


def test_the_papers_shares_read_as_luces_strengths() -> None:
    shares = pref.luce(np.array([[59.4, 30.3, 10.3]]) * 1e6)[0]
    chance = 1 / (1 + np.exp(shares - shares[0]))
    assert np.allclose(chance[1:], [0.66, 0.85], atol=0.005)


def test_win_matrices_share_what_shows_no_difference() -> None:
    wins = pref.win_matrices(np.array([[[3, 1, 4], [0, 2, 1]]]), [(0, 1), (2, 1)], 3)
    assert np.array_equal(wins[0], [[0, 5, 0], [3, 0, 2.5], [0, 0.5, 0]])


def test_bootstrap_totals_are_those_of_a_loop() -> None:
    rng = np.random.default_rng(3)
    counts = rng.integers(0, 3, (4, 3, 2, 3))
    for weights in pref.resampled(4, 3, rng, draws=5).values():
        assert (weights.participants.sum(axis=1) == 4).all()
        assert (weights.prompts.sum(axis=1) == 3).all()
        expected = np.zeros((5, 2, 3))
        for d, i, j in itertools.product(range(5), range(4), range(3)):
            expected[d] += weights.participants[d, i] * weights.prompts[d, j] * counts[i, j]
        assert np.allclose(pref.bootstrap_counts(counts, weights), expected)


def test_people_intervals_cover_where_wilsons_do_not() -> None:
    """Twenty-five people, twenty answers each that correlate by 0.2: design effect 4.8.

    Wilson's half width is then too small by its root, 2.2: it covers 63 %. The bootstrap over
    people covers about 93 % (percentiles of 25 units are a little short).
    """
    rng = np.random.default_rng(0)
    truth, icc, held = 0.6, 0.2, {"wilson": 0, "people": 0}
    studies = 250
    for _ in range(studies):
        own = rng.beta(truth * (1 - icc) / icc, (1 - truth) * (1 - icc) / icc, 25)
        hits = rng.binomial(20, own)
        low, high = pref.wilson(hits.sum(), 500)
        held["wilson"] += low <= truth <= high
        counts = np.stack([hits, 20 - hits], axis=1)[:, None, None]
        weights = pref.resampled(25, 1, rng, draws=300)["people"]
        draws = pref.bootstrap_counts(counts, weights)[:, 0]
        low, high = pref.percentiles(draws[:, 0] / draws.sum(axis=1))
        held["people"] += low <= truth <= high
    assert held["wilson"] / studies < 0.75
    assert held["people"] / studies > 0.88


def test_percentiles_leave_out_draws_without_a_value() -> None:
    values = np.stack([np.arange(101.0), np.full(101, np.nan)], axis=1)
    values[0, 0] = np.nan
    low, high = pref.percentiles(values, level=0.8)
    assert low[0] == pytest.approx(10.9)
    assert high[0] == pytest.approx(90.1)
    assert np.isnan([low[1], high[1]]).all()


def test_place_bias_is_the_binomial_or_chi_square_test() -> None:
    assert pref.place_bias(np.array([0] * 12 + [1] * 28), 2) == pytest.approx(
        stats.binomtest(12, 40).pvalue
    )
    assert pref.place_bias(np.array([0] * 5 + [2] * 10), 3) == pytest.approx(
        stats.chisquare([5, 0, 10]).pvalue
    )
    assert np.isnan(pref.place_bias(np.array([], dtype=int), 2))


# Krippendorff (2011), four observers A to D and twelve units; "" is not observed.
OBSERVED = {
    "A": "1 2 3 3 2 1 4 1 2 - - -",
    "B": "1 2 3 3 2 2 4 1 2 5 - 3",
    "C": "- 3 3 3 2 3 4 2 2 5 1 -",
    "D": "1 2 3 3 2 4 4 1 2 5 1 -",
}


def test_krippendorffs_alpha_is_that_of_his_example() -> None:
    rows = [row.split() for row in OBSERVED.values()]
    units = [[v for v in unit if v != "-"] for unit in zip(*rows, strict=True)]
    assert pref.krippendorff(units) == pytest.approx(0.743, abs=0.0005)


def test_krippendorffs_alpha_of_complete_answers_is_fleiss_kappa_corrected() -> None:
    """alpha = 1 - (1 - kappa)(1 - 1 / (units x people)): the same, for a finite sample."""
    rng = np.random.default_rng(0)
    answers = rng.integers(0, 3, (20, 5))
    answers[:, 1:3] = answers[:, :1]
    table, _ = inter_rater.aggregate_raters(answers)
    kappa = inter_rater.fleiss_kappa(table)
    found = pref.krippendorff([[str(v) for v in unit] for unit in answers])
    assert found == pytest.approx(1 - (1 - kappa) * (1 - 1 / 100))


def test_krippendorffs_alpha_at_its_ends() -> None:
    assert pref.krippendorff([["a", "a"], ["b", "b"]]) == 1
    assert pref.krippendorff([["a", "a"], ["a", "a"]]) == 1
    assert pref.krippendorff([["a", "b"], ["b", "a"]]) < 0
    assert np.isnan(pref.krippendorff([["a"], ["b"]]))
