"""Many intervals at once: equal to scipy's, to slow loops, and covering at every level."""

import itertools

import numpy as np
import pytest

from metrics import resampling, statistics


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def intervals(
    values: np.ndarray,
    prompts: np.ndarray,
    *,
    seed: int = 0,
    resamples: int = 999,
    **options: float,
) -> resampling.Intervals:
    weights = resampling.resampled_weights(prompts, rng(seed), resamples=resamples)
    return resampling.mean_intervals(values, prompts, weights, **options)


@pytest.mark.parametrize("kind", ["normal", "skewed", "hits", "shares"])
def test_one_seed_a_prompt_is_scipys_bootstrap(kind: str) -> None:
    """The same generator draws the same resamples, so that the bounds agree to rounding."""
    from scipy.stats import bootstrap

    draw = rng(1)
    values = {
        "normal": draw.normal(size=(30, 3)),
        "skewed": draw.exponential(size=(30, 3)),
        "hits": draw.integers(0, 2, size=(30, 3)).astype(float),
        "shares": draw.integers(0, 5, size=(30, 3)) / 4.0,
    }[kind]
    found = intervals(values, np.arange(30), seed=7, resamples=2000, level=0.9)
    for column in range(3):
        expected = bootstrap(
            (values[:, column],),
            np.mean,
            n_resamples=2000,
            confidence_level=0.9,
            method="BCa",
            rng=rng(7),
        ).confidence_interval
        assert found.mean[column] == pytest.approx(values[:, column].mean())
        assert found.lower[column] == pytest.approx(expected.low, abs=1e-9)
        assert found.upper[column] == pytest.approx(expected.high, abs=1e-9)


def test_weights_are_a_slow_loops() -> None:
    """Three prompts with 1, 2 and 3 seeds, numbered out of order: every draw by hand."""
    prompts = np.array([2, 0, 2, 1, 1, 2])
    found = resampling.resampled_weights(prompts, rng(3), resamples=50)
    draw = rng(3)
    chosen = draw.integers(0, 3, size=(50, 3))
    seeds = [draw.random((50, 3)) for _ in range(3)]  # one for each place within a prompt
    expected = np.zeros((50, 6))
    for row in range(50):
        for column in range(3):
            runs = np.flatnonzero(prompts == chosen[row, column])
            for k in range(len(runs)):
                run = runs[int(seeds[k][row, column] * len(runs))]
                expected[row, run] += 1 / 3 / len(runs)
    np.testing.assert_allclose(found, expected, atol=1e-15)
    np.testing.assert_allclose(found.sum(axis=1), 1.0)


def test_weights_on_average_are_those_of_the_mean() -> None:
    prompts = np.array([0, 0, 0, 1, 2, 2])
    found = resampling.resampled_weights(prompts, rng(), resamples=20_000).mean(axis=0)
    # each prompt weighs a third whatever its seeds; the standard error is below 0.003
    np.testing.assert_allclose(found, [1 / 9] * 3 + [1 / 3] + [1 / 6] * 2, atol=0.012)


def clustered(draw: np.random.Generator, prompts: int, seeds: int) -> np.ndarray:
    """True mean 1; prompts differ by 1, seeds by 0.7 and views by nothing."""
    between = draw.normal(1.0, 1.0, size=(prompts, 1))
    return (between + 0.7 * draw.normal(size=(prompts, seeds))).ravel()


def coverage(*, by_run: bool, seeds: int = 3, trials: int = 300) -> float:
    """Share of simulated tables of 25 prompts whose interval holds the true mean."""
    covered = 0
    prompts = np.repeat(np.arange(25), seeds)
    units = np.arange(prompts.size) if by_run else prompts
    for trial in range(trials):
        values = clustered(rng(1000 + trial), 25, seeds)[:, None]
        found = intervals(values, units, seed=trial, resamples=499)
        covered += bool(found.lower[0] <= 1.0 <= found.upper[0])
    return covered / trials


def test_intervals_cover_when_runs_of_a_prompt_agree() -> None:
    """95 % intends; BCa at 25 prompts loses 1 to 3, drawing seeds anew gives about 1 back.

    The standard error of the share is 1.3 %.
    """
    assert 0.89 <= coverage(by_run=False) <= 0.99


def test_intervals_that_ignore_prompts_are_too_narrow() -> None:
    """Taking the three seeds of a prompt for three prompts covers about 76 %."""
    assert coverage(by_run=True) < 0.85


def test_the_second_level_never_narrows() -> None:
    values = clustered(rng(4), 40, 5)[:, None]
    prompts = np.repeat(np.arange(40), 5)
    nested = intervals(values, prompts, resamples=4000)
    means = resampling.prompt_means(values, prompts)
    flat = intervals(means, np.arange(40), resamples=4000)
    assert nested.mean == pytest.approx(flat.mean)
    ratio = (nested.upper - nested.lower) / (flat.upper - flat.lower)
    # variance of a prompt's mean 1 + .49 / 5; seeds drawn anew add .49 / 5 x 4 / 5
    assert ratio[0] == pytest.approx(np.sqrt(1 + 0.49 / 5 * 0.8 / (1 + 0.49 / 5)), abs=0.05)


def test_quantities_do_not_touch_each_other() -> None:
    values = rng(5).normal(size=(20, 450))  # more than one matrix product holds
    prompts = np.arange(20)
    together = intervals(values, prompts)
    for column in (0, 199, 200, 449):
        alone = intervals(values[:, [column]], prompts)
        assert together.lower[column] == pytest.approx(alone.lower[0], abs=1e-12)
        assert together.upper[column] == pytest.approx(alone.upper[0], abs=1e-12)


def test_the_same_seed_gives_the_same_interval() -> None:
    values, prompts = rng(6).normal(size=(12, 2)), np.repeat(np.arange(6), 2)
    first, again, other = (intervals(values, prompts, seed=seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first.lower, again.lower)
    assert (first.lower != other.lower).all()


def test_degenerate_quantities() -> None:
    values = np.stack([np.full(8, 0.1 + 0.2), np.ones(8), np.arange(8.0)], axis=1)
    found = intervals(values, np.arange(8))
    assert found.lower[:2] == pytest.approx([0.3, 1.0])
    assert found.upper[:2] == pytest.approx([0.3, 1.0])
    assert found.lower[2] < found.mean[2] < found.upper[2]
    one = intervals(np.array([[0.4], [0.6]]), np.zeros(2, dtype=int))
    assert one.mean == pytest.approx([0.5])
    assert np.isnan([one.lower[0], one.upper[0]]).all()


def test_bad_input_is_refused() -> None:
    with pytest.raises(ValueError, match="without gaps"):
        resampling.resampled_weights(np.array([0, 2]), rng())
    with pytest.raises(ValueError, match="without gaps"):
        resampling.resampled_weights(np.array([], dtype=int), rng())
    weights = resampling.resampled_weights(np.arange(2), rng(), resamples=9)
    with pytest.raises(ValueError, match="finite values"):
        resampling.mean_intervals(np.array([[1.0], [np.nan]]), np.arange(2), weights)


def test_medians_are_numpys_on_every_resample() -> None:
    values = rng(8).integers(1, 20, size=(9, 4)).astype(float)
    weights = resampling.resampled_weights(np.arange(9), rng(2), resamples=400)
    median, lower, upper = resampling.median_interval(values, weights, level=0.8)
    drawn = rng(2).integers(0, 9, size=(400, 9))
    medians = np.median(values[drawn].reshape(400, -1), axis=1)
    assert median == np.median(values)
    assert lower == np.quantile(medians, 0.1, method="lower")
    assert upper == np.quantile(medians, 0.9, method="higher")
    values[:2] = np.inf
    assert np.isfinite(resampling.median_interval(values, weights, level=0.8)[0])
    assert resampling.median_interval(values, weights, level=0.99)[2] == np.inf
    alone = resampling.median_interval(values[:1], np.ones((5, 1)))
    assert np.isnan(alone[1:]).all()


@pytest.mark.parametrize("n", [1, 2, 6, 10])
def test_few_prompts_are_enumerated(n: int) -> None:
    differences = rng(n).normal(0.4, size=(n, 3))
    found = resampling.sign_flip_ps(differences, rng())
    signs = np.array(list(itertools.product((-1, 1), repeat=n)))
    for column in range(3):
        means = signs @ differences[:, column]
        observed = differences[:, column].sum()
        tails = [(means >= observed - 1e-12).mean(), (means <= observed + 1e-12).mean()]
        assert found[column] == pytest.approx(min(1.0, 2 * min(tails)))
        assert found[column] == pytest.approx(statistics.sign_flip_p(differences[:, column], rng()))


def test_many_prompts_are_sampled_as_scipy_samples_them() -> None:
    differences = rng(3).normal([[0.0, 0.2, 0.4]], size=(40, 3))
    found = resampling.sign_flip_ps(differences, rng(1))
    for column in range(3):
        # two independent sets of 9999 flips: the standard error of a p near .5 is 0.7 %
        p = statistics.sign_flip_p(differences[:, column], rng(2))
        assert found[column] == pytest.approx(p, abs=0.03)
    assert resampling.sign_flip_ps(np.ones((40, 1)), rng())[0] == statistics.smallest_p(40)


def test_no_difference_is_no_evidence() -> None:
    assert (resampling.sign_flip_ps(np.zeros((30, 2)), rng()) == 1.0).all()
    assert np.isnan(resampling.sign_flip_ps(np.zeros((0, 2)), rng())).all()


def test_p_values_are_uniform_without_a_difference() -> None:
    """Views of a prompt agree; flipping prompts keeps the level: 5 % +- 4 standard errors."""
    draw = rng(9)
    differences = draw.normal(size=(30, 1000)) * draw.exponential(size=(30, 1))
    assert (resampling.sign_flip_ps(differences, rng()) <= 0.05).mean() == pytest.approx(
        0.05, abs=0.028
    )
