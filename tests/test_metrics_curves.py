"""Nine tenths of the way: closed forms, slow loops, and what counts where there is no way."""

import numpy as np
import pandas
import pytest

from metrics import curves, statistics


def table(values, *, metric="truth_iou"):
    """{(column, prompt, seed): {step: value}} as the table that metrics.speed makes."""
    return pandas.DataFrame(
        [
            {"column": column, "prompt_id": prompt, "seed": seed, "metric": metric}
            | {"step": step, "value": value, "evaluations": 4.0 * step, "seconds": 0.1 * step}
            for (column, prompt, seed), curve in values.items()
            for step, value in curve.items()
        ]
    )


def one(found, **keys):
    chosen = found[np.logical_and.reduce([found[name] == value for name, value in keys.items()])]
    assert len(chosen) == 1
    return chosen.iloc[0]


def test_crossing_is_where_a_fine_walk_along_the_curve_arrives():
    rng = np.random.default_rng(0)
    for _ in range(50):
        steps = np.cumsum(rng.integers(1, 30, size=6)).astype(float)
        values = rng.normal(size=6)
        target = float(rng.uniform(values.min(), values.max()))
        fine = np.linspace(steps[0], steps[-1], 200_001)
        walked = fine[np.argmax(np.interp(fine, steps, values) >= target)]
        found = curves.crossing(steps, values, target)
        assert found == pytest.approx(walked, abs=2e-3 * (steps[-1] - steps[0]))


def test_crossing_at_the_start_and_never():
    steps, values = np.array([0.0, 10.0]), np.array([0.5, 0.6])
    assert curves.crossing(steps, values, 0.4) == 0.0
    assert np.isnan(curves.crossing(steps, values, 0.7))


def test_a_straight_way_is_nine_tenths_done_at_nine_tenths():
    found = curves.times(table({("csd", "a", 0): {0: 0.3, 100: 0.8}}), reference="csd")
    assert found["step"].to_list() == pytest.approx([90.0, 90.0])
    assert found["reached"].all()


def test_the_way_starts_where_the_run_starts():
    """Nine tenths of the score itself, 0.72, is there from the first step on."""
    found = curves.times(table({("csd", "a", 0): {0: 0.72, 50: 0.76, 100: 0.8}}), reference="csd")
    assert one(found, kind="own").step == pytest.approx(90.0)


def test_shared_ends_are_the_references_on_the_same_prompt_and_seed():
    scores = table(
        {
            ("csd", "a", 0): {0: 0.0, 100: 1.0},
            ("csd", "b", 0): {0: 0.0, 100: 0.5},
            ("neg", "a", 0): {0: 0.0, 100: 2.0},
            ("neg", "b", 0): {0: 0.0, 100: 0.1},
        }
    )
    found = curves.times(scores, reference="csd")
    fast = one(found, column="neg", prompt_id="a", kind="shared")
    slow = one(found, column="neg", prompt_id="b", kind="shared")
    assert (fast.step, bool(fast.reached)) == (pytest.approx(45.0), True)
    assert (slow.step, bool(slow.reached)) == (100.0, False)
    assert one(found, column="neg", prompt_id="b", kind="own").step == pytest.approx(90.0)


def test_without_a_way_nothing_is_timed_and_the_run_is_counted():
    scores = table({("csd", "a", 0): {0: 0.7, 100: 0.6}, ("csd", "b", 0): {0: 0.2, 100: 0.6}})
    times = curves.times(scores, reference="csd")
    assert np.isnan(one(times, prompt_id="a", kind="own").step)
    summary = curves.time_summary(times, reference="csd", level=0.95)
    row = one(summary, kind="own")
    assert (row.n_runs, row.n_no_way, row.n_not_reached, row.n_prompts) == (2, 1, 0, 1)
    assert row.steps == pytest.approx(90.0)
    assert np.isnan(row.lower)


def eight(shift):
    """Eight prompts whose ways are done at 90 - 10 i steps, `shift` later."""
    found = {}
    for i in range(8):
        end = 100 - 10 * i + shift / 0.9
        found[f"p{i}"] = {0: 0.0, end: 1.0, 200: 1.0}
    return found


def test_the_summary_is_the_mean_over_prompts_with_paired_differences():
    values = {("csd", p, 0): c for p, c in eight(0.0).items()}
    values |= {("neg", p, 0): c for p, c in eight(-18.0).items()}
    times = curves.times(table(values), reference="csd")
    summary = curves.time_summary(times, reference="csd", level=0.95)
    row = one(summary, kind="own", column="neg")
    expected = [0.9 * (100 - 10 * i) - 18.0 for i in range(8)]
    assert row.steps == pytest.approx(np.mean(expected))
    interval = statistics.mean_interval(
        np.array(expected), statistics.generator(0, "speed", "truth_iou", "own", "neg")
    )
    assert (row.lower, row.upper) == (
        pytest.approx(interval.lower, rel=0.02),
        pytest.approx(interval.upper, rel=0.02),
    )
    assert row.difference == pytest.approx(-18.0)
    assert row.p_holm == pytest.approx(2 / 2**8)  # every prompt, in one direction
    assert row.verdict == "faster"
    slower = curves.time_summary(times, reference="neg", level=0.95)
    assert one(slower, kind="own", column="csd").verdict == "slower"


def test_few_prompts_order_nothing():
    values = {("csd", p, 0): c for p, c in list(eight(0.0).items())[:4]}
    values |= {("neg", p, 0): c for p, c in list(eight(-9.0).items())[:4]}
    times = curves.times(table(values), reference="csd")
    summary = curves.time_summary(times, reference="csd", level=0.95)
    assert one(summary, kind="own", column="neg").verdict == "n too small to rank"


def test_curves_average_seeds_within_a_prompt_first():
    values = {("csd", "a", 0): {10: 0.0}, ("csd", "a", 1): {10: 0.2}, ("csd", "b", 0): {10: 0.9}}
    (row,) = curves.curves(table(values), level=0.95).to_dict("records")
    assert row["mean"] == pytest.approx((0.1 + 0.9) / 2)
    assert (row["n_prompts"], row["evaluations"], row["step"]) == (2, 40.0, 10)
