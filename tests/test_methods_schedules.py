import math

import pytest
import torch

from methods.schedules import OMEGA_2, check_ramp, ramp, sample_t, t_range


def test_a_number_is_a_constant():
    assert {ramp(step, 0.3) for step in (0, 1, 10**6)} == {0.3}


def test_three_numbers_run_from_step_zero():
    values = [ramp(step, [2.0, 4.0, 4]) for step in range(7)]
    assert values == [2.0, 2.5, 3.0, 3.5, 4.0, 4.0, 4.0]


def test_four_numbers_wait_for_their_start():
    assert [ramp(step, [2, 1.0, 0.0, 4]) for step in range(6)] == [1.0, 1.0, 1.0, 0.5, 0.0, 0.0]


def test_a_jump_as_in_the_released_config():
    """max_step_percent: [5000, 0.98, 0.5, 5001] of csd-if.yaml."""
    jump = [5000, 0.98, 0.5, 5001]
    assert [ramp(step, jump) for step in (0, 5000, 5001, 9999)] == [0.98, 0.98, 0.5, 0.5]


def test_ramps_end_exactly_whatever_the_rounding():
    for first, last, end in [(0.1, 0.7, 3), (0.98, 0.6, 7), (1 / 3, 2 / 3, 11)]:
        assert ramp(0, [first, last, end]) == first
        assert ramp(end, [first, last, end]) == last


def test_omega_2_of_both_stages():
    assert [ramp(step, OMEGA_2["nerf"]) for step in (0, 2500, 5000, 9999)] == [0, 0.5, 1, 1]
    assert [ramp(step, OMEGA_2["mesh"]) for step in (0, 5000, 10000)] == [1, 0.75, 0.5]


@pytest.mark.parametrize(
    "values",
    [
        *("abc", "abcd", True, None, {}, math.nan),
        *(
            [1, 2],
            [1, 2, 3, 4, 5],
            ["0", "1", "5"],
            [0, True, 5],
            [0, math.nan, 5],
            [0, 1, math.inf],
        ),
    ],
)
def test_what_is_no_ramp_is_refused_by_name(values):
    with pytest.raises(ValueError, match=r"omega_2 must be a number, \[first, last, end\]"):
        check_ramp("omega_2", values)


@pytest.mark.parametrize("values", [[0, 1, 0], [0, 1, -3], [5, 0, 1, 5]])
def test_ramps_that_never_run_are_refused(values):
    with pytest.raises(ValueError, match="omega_2 must end after step"):
        check_ramp("omega_2", values)


@pytest.mark.parametrize("values", [0.5, 1, [0, 1, 5000], (1.0, 0.5, 1), [5000, 0.98, 0.5, 5001]])
def test_what_is_a_ramp_is_taken(values):
    check_ramp("omega_2", values)


def test_the_timestep_range_of_the_papers_nerf_stage():
    """t in [0.02, 0.98] of 1000 up to step 5000, in [0.02, 0.5] afterwards (appendix A.4)."""
    ranges = {s: t_range(s, 1000, low=0.02, high=[5000, 0.98, 0.5, 5001]) for s in (0, 5000, 5001)}
    assert ranges == {0: (20, 980), 5000: (20, 980), 5001: (20, 500)}


def test_annealed_timestep_ranges():
    low, high = [0.02, 0.02, 500], [0.98, 0.6, 500]
    assert t_range(0, 1000, low=low, high=high) == (20, 980)
    assert t_range(250, 1000, low=low, high=high) == (20, 790)
    assert t_range(499, 1000, low=low, high=high) == (20, 600)
    assert t_range(500, 1000, low=low, high=high) == (20, 600)


def test_whole_percentages_are_their_integers():
    """0.29 * 100 is 28.999...: the integer part alone would be one too low."""
    for percent in range(100):
        assert t_range(0, 1000, low=percent / 100, high=1.0)[0] == 10 * percent
        assert t_range(0, 100, low=percent / 100, high=1.0)[0] == percent


def test_the_highest_timestep_is_the_last_one():
    assert t_range(0, 1000, low=0.0, high=1.0) == (0, 999)
    assert t_range(0, 1000, low=1.0, high=1.0) == (999, 999)


@pytest.mark.parametrize(("low", "high"), [(0.5, 0.4), (-0.1, 0.5), (0.1, 1.01)])
def test_ranges_out_of_order_are_refused(low, high):
    with pytest.raises(ValueError, match="0 <= low <= high <= 1"):
        t_range(0, 1000, low=low, high=high)


def test_a_range_that_is_no_ramp_names_which():
    with pytest.raises(ValueError, match="high must be a number"):
        t_range(0, 1000, low=0.1, high="0.9")


def test_timesteps_are_uniform_over_the_closed_range():
    t = sample_t(torch.Generator().manual_seed(0), 3, 7, batch=10_000)
    counts = torch.bincount(t, minlength=10)
    assert counts[:3].sum() == counts[8:].sum() == 0
    # 2,000 expected each, standard deviation 40: five of them.
    assert ((counts[3:8] - 2000).abs() < 200).all()


def test_timesteps_follow_the_generator_alone():
    def draw(seed: int) -> list[int]:
        torch.manual_seed(seed + 17)
        return sample_t(torch.Generator().manual_seed(0), 20, 980, batch=4).tolist()

    assert draw(0) == draw(1)
    assert sample_t(torch.Generator().manual_seed(1), 5, 5, batch=2).tolist() == [5, 5]
