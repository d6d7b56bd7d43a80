"""Power against statsmodels and simulation; components of variance against REML."""

import numpy as np
import pytest

from metrics import power, statistics


@pytest.mark.parametrize(("effect", "prompts", "alpha"), [(0.3, 81, 0.05), (0.8, 6, 0.05 / 6)])
def test_power_is_statsmodels(effect: float, prompts: int, alpha: float) -> None:
    from statsmodels.stats.power import TTestPower

    expected = TTestPower().power(effect, prompts, alpha)
    assert power.power(2 * effect, sd=2.0, prompts=prompts, alpha=alpha) == pytest.approx(expected)
    assert power.power(-effect, sd=1.0, prompts=prompts, alpha=alpha) == pytest.approx(expected)


def test_the_minimum_is_where_power_is_reached() -> None:
    from statsmodels.stats.power import TTestPower

    found = power.minimum_detectable(sd=3.0, prompts=81, alpha=0.05 / 6)
    expected = TTestPower().solve_power(nobs=81, alpha=0.05 / 6, power=0.8)
    assert found == pytest.approx(3.0 * expected, rel=1e-6)
    assert power.power(found, sd=3.0, prompts=81, alpha=0.05 / 6) == pytest.approx(0.8)
    # six prompts against six pairs: differences of two standard deviations and more
    assert power.minimum_detectable(sd=1.0, prompts=6, alpha=0.05 / 6) > 2.0


def test_a_difference_of_that_size_is_noticed_four_times_in_five() -> None:
    """Sign flips on simulated differences of 20 prompts: 80 % +- 4 standard errors of 300."""
    from metrics import resampling

    size = power.minimum_detectable(sd=1.0, prompts=20)
    draw = np.random.default_rng(0)
    differences = draw.normal(size, 1.0, size=(20, 300))
    noticed = (resampling.sign_flip_ps(differences, draw, resamples=1999) <= 0.05).mean()
    assert noticed == pytest.approx(0.8, abs=0.1)


def test_prompts_needed() -> None:
    needed = power.prompts_needed(0.3, sd=1.0)
    assert power.power(0.3, sd=1.0, prompts=needed, alpha=0.05) >= 0.8
    assert power.power(0.3, sd=1.0, prompts=needed - 1, alpha=0.05) < 0.8
    assert power.prompts_needed(50.0, sd=1.0) == 2
    with pytest.raises(ValueError, match="no number of prompts"):
        power.prompts_needed(0.0, sd=1.0)


def test_degenerate_designs() -> None:
    assert power.power(1.0, sd=1.0, prompts=1, alpha=0.05) == 0.0
    assert np.isnan(power.minimum_detectable(sd=1.0, prompts=1))
    assert power.minimum_detectable(sd=0.0, prompts=9) == 0.0
    assert power.power(0.1, sd=0.0, prompts=9, alpha=0.05) == 1.0
    assert power.power(0.0, sd=0.0, prompts=9, alpha=0.05) == 0.0


def test_twenty_discordant_objects_need_fifteen() -> None:
    assert power.smallest_majority(20) == 15
    assert power.smallest_majority(5) is None
    assert power.smallest_majority(6) == 6
    assert power.smallest_majority(0) is None
    for discordant in range(6, 40):
        least = power.smallest_majority(discordant)
        assert least is not None
        hits = np.arange(discordant)
        p = [
            statistics.mcnemar((hits < k).astype(float), (hits >= k).astype(float)).p
            for k in (least, least - 1)
        ]
        assert p[0] < 0.05 <= p[1]


def test_mcnemars_power_is_its_share_of_simulations() -> None:
    draw = np.random.default_rng(1)
    noticed = 0
    for _ in range(400):
        kind = draw.choice(3, size=60, p=[0.25, 0.08, 0.67])
        found = statistics.mcnemar((kind == 0).astype(float), (kind == 1).astype(float))
        noticed += found.p < 0.05
    # the standard error of the share is 2.5 %
    assert power.mcnemar_power(0.25, 0.08, objects=60) == pytest.approx(noticed / 400, abs=0.1)
    assert power.mcnemar_power(0.1, 0.1, objects=60) < 0.05
    with pytest.raises(ValueError, match="cannot be discordant"):
        power.mcnemar_power(0.0, 0.0, objects=9)


def test_components_of_variance_are_reml() -> None:
    import pandas
    from statsmodels.formula.api import mixedlm

    draw = np.random.default_rng(2)
    prompts = np.repeat(np.arange(40), 3)
    values = draw.normal(0, 1.0, size=40)[prompts] + draw.normal(0, 0.5, size=120)
    found = power.spread(values, prompts)
    frame = pandas.DataFrame({"value": values, "prompt": prompts})
    fitted = mixedlm("value ~ 1", frame, groups="prompt").fit(reml=True)
    assert found.within**2 == pytest.approx(fitted.scale, rel=1e-4)
    assert found.between**2 == pytest.approx(float(fitted.cov_re.iloc[0, 0]), rel=1e-3)
    assert found.icc == pytest.approx(0.8, abs=0.12)
    means = values.reshape(40, 3).mean(axis=1)
    error = means.std(ddof=1) / np.sqrt(40)
    assert found.of_mean(prompts=40, seeds=3) == pytest.approx(error)
    assert found.of_mean(prompts=40, seeds=30) < error


def test_components_with_uneven_and_single_seeds() -> None:
    draw = np.random.default_rng(3)
    prompts = np.repeat(np.arange(300), 1 + np.arange(300) % 3)
    values = draw.normal(0, 2.0, size=300)[prompts] + draw.normal(size=prompts.size)
    found = power.spread(values, prompts)
    assert (found.between, found.within) == (
        pytest.approx(2.0, rel=0.15),
        pytest.approx(1.0, rel=0.15),
    )
    single = power.spread(np.array([1.0, 2.0, 4.0]), np.arange(3))
    assert single.between == pytest.approx(np.std([1, 2, 4], ddof=1))
    assert np.isnan(single.within)
    # seeds differ, prompts do not: no negative variance
    assert power.spread(np.array([0.0, 1.0, 0.0, 1.0]), np.array([0, 0, 1, 1])).between == 0.0
    assert np.isnan(power.Spread(0.0, 0.0, 1.0).icc)
