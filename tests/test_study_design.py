"""Every comparison gets its turn: counts over forms, within forms, over places."""

import itertools
from collections import Counter

import numpy as np
import pytest

from reports.records import ReportError
from reports.study import design
from reports.study.design import CHECK, MAIN, REPEAT, TRAINING, Plan

# columns, prompts, options, forms, trials
SIZES = [
    (4, 6, 2, 30, 36),
    (4, 81, 2, 30, 54),
    (4, 81, 2, 30, 40),
    (5, 20, 2, 13, 25),
    (6, 15, 2, 20, 30),
    (2, 9, 2, 7, 9),
    (3, 81, 3, 30, 81),
    (5, 20, 5, 30, 20),
    (4, 6, 2, 7, 13),
]


def plan_of(size: tuple[int, ...], *, checks: int = 3, repeats: int = 2) -> Plan:
    columns, prompts, options, forms, trials = size
    return Plan(columns, prompts, options, forms, trials, checks, repeats)


@pytest.mark.parametrize("size", SIZES)
def test_comparisons_are_shown_equally_often_or_once_more(size: tuple[int, ...]) -> None:
    plan = plan_of(size)
    blocks = design.blocks(plan, np.random.default_rng(1))
    sets = list(itertools.combinations(range(plan.columns), plan.options))
    counts = Counter((prompt, tuple(sorted(c))) for block in blocks for prompt, c in block)
    shown = [counts[prompt, group] for prompt in range(plan.prompts) for group in sets]
    assert sum(shown) == plan.forms * plan.trials
    assert max(shown) - min(shown) <= 1


@pytest.mark.parametrize("size", SIZES)
def test_a_form_is_balanced_by_itself(size: tuple[int, ...]) -> None:
    plan = plan_of(size)
    q = len(design.column_sets(plan.columns, plan.options))
    common = np.lcm(plan.prompts, q)
    aligned = common % plan.trials == 0 or plan.trials % common == 0
    for block in design.blocks(plan, np.random.default_rng(2)):
        assert len({(prompt, tuple(sorted(c))) for prompt, c in block}) == plan.trials
        by_set = Counter(tuple(sorted(columns)) for _, columns in block)
        assert max(by_set.values()) - min(by_set.values(), default=0) <= 1 or len(by_set) < q
        by_prompt = [sum(p == prompt for p, _ in block) for prompt in range(plan.prompts)]
        assert max(by_prompt) - min(by_prompt) <= (1 if aligned else 2)
        places = np.zeros((plan.columns, plan.options))
        for _, columns in block:
            for place, column in enumerate(columns):
                places[column, place] += 1
        spread = places.max(axis=1) - places.min(axis=1)
        assert spread.max() <= 3  # a column's places, of its own showings in this form


@pytest.mark.parametrize("columns", [2, 3, 4, 5, 6])
def test_sides_are_balanced_within_every_comparison(columns: int) -> None:
    """Two whole rounds of the sequence: every comparison once in either order."""
    pairs = columns * (columns - 1) // 2
    plan = Plan(columns, 5, 2, forms=10, trials=pairs, checks=0, repeats=0)
    shown = Counter(item for b in design.blocks(plan, np.random.default_rng(0)) for item in b)
    assert set(shown.values()) == {1}
    assert len(shown) == 2 * pairs * 5


def test_every_place_is_every_columns_over_as_many_rounds_as_columns() -> None:
    plan = Plan(4, 7, 4, forms=8, trials=7, checks=0, repeats=0)
    blocks = design.blocks(plan, np.random.default_rng(0))
    counts = Counter((p, place, c) for b in blocks for p, own in b for place, c in enumerate(own))
    assert set(counts.values()) == {2}


@pytest.mark.parametrize("columns", range(2, 8))
def test_pairs_are_all_there_and_each_column_leads_half_of_its_own(columns: int) -> None:
    pairs = design.column_sets(columns, 2) if columns > 2 else [(0, 1)]
    assert {frozenset(p) for p in pairs} == {
        frozenset(p) for p in itertools.combinations(range(columns), 2)
    }
    first = Counter(a for a, _ in pairs)
    assert all(abs(2 * first[c] - (columns - 1)) <= 1 for c in range(columns))


def test_checks_repeats_and_training_stand_where_they_should() -> None:
    plan = plan_of((4, 6, 2, 12, 24), checks=4, repeats=3)
    usable = [(p, c) for p in range(6) for c in range(4)]
    for form in design.study_forms(plan, usable, np.random.default_rng(5)):
        kinds = [trial.kind for trial in form]
        assert kinds[:3] == [TRAINING, TRAINING, MAIN]
        assert Counter(kinds) == {TRAINING: 2, MAIN: 24, CHECK: 4, REPEAT: 3}
        checks = [i for i, kind in enumerate(kinds) if kind == CHECK]
        quarters = [int(4 * (i - 2) / (len(form) - 2)) for i in checks]
        assert len(set(quarters)) >= 3  # spread, not bunched
        for trial in form:
            if trial.kind == CHECK:
                assert trial.pictures[trial.expected].scramble == 0
                others = [p for i, p in enumerate(trial.pictures) if i != trial.expected]
                assert all(p.scramble > 0 for p in others)
                assert len({(p.prompt, p.column) for p in trial.pictures}) == 1
        main = {t.label: i for i, t in enumerate(form) if t.kind == MAIN}
        for i, trial in enumerate(form):
            if trial.kind == REPEAT:
                before = form[main[trial.label]]
                assert set(trial.pictures) == set(before.pictures)
                assert all(a != b for a, b in zip(trial.pictures, before.pictures, strict=True))
                assert main[trial.label] < len(form) / 2 < i


def test_checks_show_the_columns_equally_often() -> None:
    usable = [(p, c) for p in range(9) for c in range(4)]
    pool = design.check_pool(usable, 8, np.random.default_rng(0))
    assert Counter(c for _, c in pool) == {0: 2, 1: 2, 2: 2, 3: 2}
    assert len(set(pool)) == 8


def test_the_same_seed_gives_the_same_forms_and_another_others() -> None:
    plan, usable = plan_of((4, 6, 2, 5, 12)), [(0, 0), (1, 2)]
    first, again, other = (
        design.study_forms(plan, usable, np.random.default_rng(seed)) for seed in (3, 3, 4)
    )
    assert first == again
    assert first != other


@pytest.mark.parametrize(
    ("plan", "message"),
    [
        (Plan(1, 6, 2, 5, 6, 1, 1), "at least two columns"),
        (Plan(4, 6, 3, 5, 6, 1, 1), "show 2 or all"),
        (Plan(7, 6, 7, 5, 6, 1, 1), "side by side"),
        (Plan(4, 6, 2, 5, 37, 1, 1), "1 to 36 different"),
        (Plan(4, 6, 2, 0, 6, 1, 1), "--forms"),
        (Plan(4, 6, 2, 5, 12, 1, 5), "at most a third"),
    ],
)
def test_impossible_plans_say_what_would_be_possible(plan: Plan, message: str) -> None:
    with pytest.raises(ReportError, match=message):
        design.study_forms(plan, [(0, 0)], np.random.default_rng(0))


def test_a_study_of_failures_alone_is_refused() -> None:
    with pytest.raises(ReportError, match="no finished run"):
        design.study_forms(plan_of((4, 6, 2, 5, 6)), [], np.random.default_rng(0))
