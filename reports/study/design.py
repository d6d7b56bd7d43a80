"""Who sees what: balanced incomplete blocks over sets of columns x prompts, and each form's order.

A *cell* is one set of columns (a pair, or all of them) at one prompt. The cells stand in one cyclic
sequence, and form f takes the f-th stretch of it. Cell m of a round of Q sets x P prompts has set
m mod Q and prompt (m + m // lcm(P, Q)) mod P, which meets every cell once a round. Therefore,
over all forms, two cells are shown equally often or once more; within a form, sets differ by at
most one showing, and prompts by at most two (one, where lcm(P, Q) and the stretch divide one
another). The order within a cell rotates at every appearance of its set and from round to round.
"""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from reports.records import ReportError

MAIN, CHECK, REPEAT, TRAINING = "main", "check", "repeat", "training"


@dataclass(frozen=True)
class Picture:
    """What one option shows: a column's object for a prompt; `scramble` > 0 is its ruined copy."""

    prompt: int
    column: int
    scramble: int = 0


@dataclass(frozen=True)
class Trial:
    """Pictures side by side in reading order. `expected`: the position a check asks for.

    `label` numbers the form's main trials; a repeat has the label of the trial it repeats.
    """

    kind: str
    pictures: tuple[Picture, ...]
    label: int = -1
    expected: int | None = None


@dataclass(frozen=True)
class Plan:
    """The numbers that decide a study's size; `options` is 2 or all of the `columns`."""

    columns: int
    prompts: int
    options: int
    forms: int
    trials: int
    checks: int
    repeats: int


def check_plan(plan: Plan) -> None:
    """Raises ReportError, naming the number and what would be right, for an impossible plan."""
    if plan.columns < 2:
        raise ReportError("a study compares at least two columns; name more with --columns")
    if plan.options not in (2, plan.columns):
        raise ReportError(f"{plan.options} options of {plan.columns} columns: show 2 or all")
    if plan.options > 6:
        raise ReportError(f"{plan.options} pictures do not fit side by side; use --reading pairs")
    cells = len(column_sets(plan.columns, plan.options)) * plan.prompts
    if not 1 <= plan.trials <= cells:
        raise ReportError(f"--trials {plan.trials}: a form has 1 to {cells} different trials")
    if plan.forms < 1 or plan.checks < 0 or plan.repeats < 0:
        raise ReportError("--forms must be positive, --checks and --repeats not negative")
    if plan.repeats > max(1, plan.trials // 3):
        raise ReportError(f"--repeats {plan.repeats}: at most a third of {plan.trials} trials")


def column_sets(columns: int, options: int) -> list[tuple[int, ...]]:
    """All pairs, each column about as often first as second; or the one set of all columns."""
    if options == columns:
        return [tuple(range(columns))]
    found: list[tuple[int, ...]] = []
    for i, j in itertools.combinations(range(columns), 2):
        ahead = 2 * (j - i)  # a tournament on a circle: each beats the half that follows it
        first = ahead < columns or (ahead == columns and i % 2 == 0)
        found.append((i, j) if first else (j, i))
    return found


def rotated(items: Sequence[int], turns: int) -> tuple[int, ...]:
    """`items` moved on by `turns` places; of more than two, mirrored after every full turn."""
    n = len(items)
    shift = turns % n
    moved = (*items[shift:], *items[:shift])
    return moved[::-1] if n > 2 and (turns // n) % 2 else moved


def blocks(plan: Plan, rng: np.random.Generator) -> list[list[tuple[int, tuple[int, ...]]]]:
    """Each form's (prompt, columns in order shown), balanced as the module says, not yet shuffled.

    `rng` decides which column, prompt and set stand behind which number of the sequence.
    """
    column_names = rng.permutation(plan.columns)
    prompt_names = rng.permutation(plan.prompts)
    sets = column_sets(plan.columns, plan.options)
    q, p = len(sets), plan.prompts
    set_names = rng.permutation(q)
    common = math.lcm(p, q)
    forms = []
    for form in range(plan.forms):
        block = []
        for n in range(form * plan.trials, (form + 1) * plan.trials):
            turn, m = divmod(n, p * q)
            prompt = prompt_names[(m + m // common) % p]
            order = rotated(sets[set_names[m % q]], m // q + turn)
            block.append((int(prompt), tuple(int(column_names[c]) for c in order)))
        forms.append(block)
    return forms


def check_pool(
    usable: Sequence[tuple[int, int]], size: int, rng: np.random.Generator
) -> list[tuple[int, int]]:
    """`size` of the `usable` (prompt, column), the columns taking turns; all when there are fewer.

    Taking turns, so that no column is met more often than another as the whole picture of a check.
    """
    waiting: dict[int, list[tuple[int, int]]] = {}
    for i in rng.permutation(len(usable)):
        waiting.setdefault(usable[i][1], []).append(usable[i])
    turns = itertools.zip_longest(*(waiting[column] for column in sorted(waiting)))
    return [item for turn in turns for item in turn if item is not None][:size]


def check_trial(item: tuple[int, int], options: int, position: int, kind: str = CHECK) -> Trial:
    """A whole picture at `position` among ruined copies of itself."""
    prompt, column = item
    ruined = iter(range(1, options))
    pictures = tuple(
        Picture(prompt, column, 0 if place == position else next(ruined))
        for place in range(options)
    )
    return Trial(kind, pictures, expected=position)


def form_order(
    block: Sequence[tuple[int, tuple[int, ...]]],
    checks: Sequence[Trial],
    repeats: int,
    rng: np.random.Generator,
) -> list[Trial]:
    """The block's trials shuffled, checks spread evenly among them, repeats near the end.

    What is repeated comes from the first third and returns, every option in another place, in
    the last third.
    """
    shuffled = [block[i] for i in rng.permutation(len(block))]
    trials = [
        Trial(MAIN, tuple(Picture(prompt, column) for column in columns), label)
        for label, (prompt, columns) in enumerate(shuffled)
    ]
    third = max(1, len(trials) // 3)
    again = [trials[i] for i in rng.permutation(third)[:repeats]]
    for trial in again:
        moved = (*trial.pictures[1:], trial.pictures[0])
        place = int(rng.integers(len(trials) - third + 1, len(trials) + 1))
        trials.insert(place, Trial(REPEAT, moved, trial.label))
    stretch = len(trials) / max(1, len(checks))
    for i, trial in enumerate(checks):
        place = int((i + 0.2 + 0.7 * rng.random()) * stretch) + i
        trials.insert(min(len(trials), max(1, place)), trial)
    return trials


def study_forms(
    plan: Plan, usable: Sequence[tuple[int, int]], rng: np.random.Generator
) -> list[list[Trial]]:
    """Every form's trials in the order shown: two of training, then the rest.

    `usable`: the (prompt, column) whose pictures may serve as checks, those of finished runs.
    """
    check_plan(plan)
    if not usable:
        raise ReportError("no finished run, so nothing that a check trial could show")
    pool = check_pool(usable, 2 * plan.checks + 1, rng)
    training_check = check_trial(pool[-1], plan.options, 0, TRAINING)
    found = []
    for number, block in enumerate(blocks(plan, rng)):
        at = [(number * plan.checks + i) % len(pool) for i in range(plan.checks)]
        places = [(number + i) % plan.options for i in range(plan.checks)]
        checks = [check_trial(pool[i], plan.options, k) for i, k in zip(at, places, strict=True)]
        trials = form_order(block, checks, plan.repeats, rng)
        plain = Trial(TRAINING, next(t.pictures for t in trials[::-1] if t.kind == MAIN))
        found.append([training_check, plain, *trials])
    return found
