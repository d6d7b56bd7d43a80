"""The accepted answers as one table, unblinded; who is left out, by the rules fixed beforehand."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Int

from reports.study.answers import Sheet
from reports.study.design import CHECK, MAIN
from reports.study.texts import SAME, SIDES_NEEDED

if TYPE_CHECKING:
    import pandas

COLUMNS = (
    *("participant", "form", "order", "trial", "kind", "repeats", "question", "prompt_id"),
    *("shown", "choice", "position", "passed", "failed_shown"),
    *("rt_ms", "away_ms", "at_ms", "input", "revised"),
)


def responses(
    sheets: Sequence[Sheet], study: Mapping[str, Any], key: Mapping[str, Any]
) -> "pandas.DataFrame":
    """One row per answer. `shown`: columns from left to right, joined by |; `choice`: a column,
    or `same`, or "" where a scrambled picture was chosen; `position`: from 1, 0 for `same`;
    `passed`: of a check, whether the whole picture was chosen.
    """
    import pandas

    rows = []
    for sheet in sheets:
        trials = {trial["id"]: trial for trial in key["forms"][sheet.form - 1]}
        for order, answer in enumerate(sheet.answers, 1):
            known = {"participant": sheet.participant, "form": sheet.form, "order": order}
            rows.append(known | _row(answer, trials[answer["trial"]], key["pictures"]))
    return pandas.DataFrame(rows, columns=list(COLUMNS))


def _row(
    answer: Mapping[str, Any], trial: Mapping[str, Any], pictures: Mapping[str, Any]
) -> dict[str, Any]:
    shown, choice = answer["shown"], answer["choice"]
    undecided = choice == SAME
    ruined = not undecided and pictures[choice]["scrambled"]
    expected = trial.get("expected")
    return {
        "trial": answer["trial"],
        "kind": trial["kind"],
        "repeats": trial.get("repeats", ""),
        "question": answer["question"],
        "prompt_id": pictures[shown[0]]["prompt_id"],
        "shown": "|".join(pictures[name]["column"] for name in shown),
        "choice": SAME if undecided else "" if ruined else pictures[choice]["column"],
        "position": 0 if undecided else shown.index(choice) + 1,
        "passed": None if trial["kind"] != CHECK else choice == expected,
        "failed_shown": any(pictures[name]["status"] != "ok" for name in shown),
        **{name: answer[name] for name in ("rt_ms", "away_ms", "at_ms", "input", "revised")},
    }


def left_out(table: "pandas.DataFrame", rules: Mapping[str, float]) -> dict[str, list[str]]:
    """Participant -> the rules of study.json that they fall under, in words; only those who do."""
    found: dict[str, list[str]] = {}
    for participant, own in table.groupby("participant", sort=True):
        main = own[own["kind"] == MAIN]
        checks = own.loc[own["kind"] == CHECK, "passed"].astype(bool)
        reasons = []
        if len(checks) and checks.mean() < rules["check_share"]:
            reasons.append(f"{int(checks.sum())} of {len(checks)} check questions right")
        if (median := main["rt_ms"].median()) < rules["median_ms"]:
            reasons.append(f"median answer after {median:.0f} ms")
        places = main.loc[main["position"] > 0, "position"]
        share = places.value_counts(normalize=True).max() if len(places) >= SIDES_NEEDED else 0.0
        if share > rules["one_side_share"]:
            reasons.append(f"place {places.mode()[0]} in {100 * share:.0f} % of answers")
        if reasons:
            found[str(participant)] = reasons
    return found


def tally(
    table: "pandas.DataFrame",
    outcomes: Sequence[Sequence[str]],
    *,
    participants: Sequence[str],
    prompts: Sequence[str],
) -> Int[np.ndarray, "participants prompts sets outcomes"]:
    """How often each outcome of each set was chosen, by participant and prompt.

    `outcomes` lists, for each set of columns that is compared, its columns and `same` at the end
    where that is allowed; the set of a row is that of the columns shown. Main trials only.
    """
    sets = {frozenset(o) - {SAME}: i for i, o in enumerate(outcomes)}
    people = {name: i for i, name in enumerate(participants)}
    places = {name: i for i, name in enumerate(prompts)}
    shape = (len(participants), len(prompts), len(outcomes), max(map(len, outcomes)))
    counts = np.zeros(shape, dtype=np.int64)
    main = table[table["kind"] == MAIN]
    names = ("participant", "prompt_id", "shown", "choice")
    for person, prompt, shown, choice in zip(*(main[n] for n in names), strict=True):
        group = sets[frozenset(shown.split("|"))]
        counts[people[person], places[prompt], group, outcomes[group].index(choice)] += 1
    return counts
