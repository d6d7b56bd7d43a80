"""Which files count: those the page wrote, once each; every other is refused with its reason."""

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import study_people as people

from pipeline import artifacts
from reports.records import ReportError
from reports.study import __main__ as program
from reports.study import answers

COLUMNS = ("one", "two", "three")
PERSON = people.Person({"one": 1.0, "two": 2.0, "three": 4.0}, same=0.1)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("study")
    people.write_runs(root, prompts=("a red car", "a yellow duck"), columns=COLUMNS)
    given = ["--runs", str(root / "runs"), "--columns", *COLUMNS, "--size", "16", "--forms", "5"]
    program.main(["build", *given, "--seed", "1", "--out", str(root / "a")])
    program.main(["build", *given, "--seed", "2", "--out", str(root / "b")])
    program.main(["build", *given, "--seed", "1", "--minimum-ms", "5", "--out", str(root / "c")])
    return root


@pytest.fixture(scope="module")
def study(folder: Path) -> dict[str, Any]:
    return answers.read_study(folder / "a" / "study.json")


def sheet(folder: Path, form: int = 1, *, of: str = "a", seed: int = 0) -> dict[str, Any]:
    own = [artifacts.read_json(folder / of / f"{name}.json") for name in ("study", "key")]
    return people.answers(own[0], own[1], form, PERSON, np.random.default_rng([seed, form]))


def test_what_the_page_writes_is_accepted(
    folder: Path, study: dict[str, Any], tmp_path: Path
) -> None:
    paths = [people.write(tmp_path, sheet(folder, form)) for form in (3, 1, 2)]
    accepted, refused = answers.read_answers(paths, study)
    assert [s.form for s in accepted] == [1, 2, 3]
    assert not refused


def edit(change: Callable[[dict[str, Any]], Any]) -> Callable[[dict[str, Any]], dict[str, Any]]:
    """`change` made, and the digest made to fit: what a careful forger would do."""

    def apply(document: dict[str, Any]) -> dict[str, Any]:
        document = copy.deepcopy(document)
        change(document)
        return people.signed(document)

    return apply


def first(**changes: Any) -> Callable[[dict[str, Any]], dict[str, Any]]:
    return edit(lambda d: d["answers"][0].update(changes))


REFUSED: dict[str, tuple[Callable[[dict[str, Any]], Any], str]] = {
    "one choice changed": (
        lambda d: d | {"answers": [d["answers"][0] | {"choice": "same"}, *d["answers"][1:]]},
        "tampered: its digest does not fit",
    ),
    "digest gone": (lambda d: {k: v for k, v in d.items() if k != "digest"}, "tampered"),
    "not finished": (edit(lambda d: d.update(finished=None)), "incomplete: not finished"),
    "stopped early": (edit(lambda d: d["answers"].__delitem__(slice(3, None))), "incomplete: 3 of"),
    "of nothing": (lambda d: {"kind": "recipe"}, "no answers of a study"),
    "a list": (lambda d: [d], "no answers of a study"),
    "of the future": (edit(lambda d: d.update(schema_version="2.0")), "schema_version '2.0'"),
    "of no form": (edit(lambda d: d.update(form=6)), "impossible: form 6 of 5"),
    "of form true": (edit(lambda d: d.update(form=True)), "impossible: form True"),
    "of nobody": (edit(lambda d: d.update(participant="")), "no participant code"),
    "answers missing": (edit(lambda d: d.update(answers={})), "its answers are no list"),
    "one too many": (
        edit(lambda d: d["answers"].append(d["answers"][0])),
        "impossible: 25 answers",
    ),
    "order changed": (edit(lambda d: d["answers"].reverse()), "answer 1 is to another question"),
    "other pictures": (first(shown=["x", "y"]), "answer 1 names pictures"),
    "no option": (first(choice="000000000000"), "answer 1 chooses what was not on offer"),
    "negative time": (first(rt_ms=-1), "answer 1 has rt_ms -1"),
    "broken time": (first(rt_ms=1.5), "answer 1 has rt_ms 1.5"),
    "no hand": (first(input="thought"), "answer 1 was given by neither"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_it_cannot_have_written_is_refused(
    name: str, folder: Path, study: dict[str, Any], tmp_path: Path
) -> None:
    change, reason = REFUSED[name]
    document = sheet(folder)
    n = len(document["answers"])
    reason = reason.replace("25", str(n + 1))
    path = artifacts.write_json(tmp_path / "answers.json", change(document))
    good = people.write(tmp_path, sheet(folder, 2))
    accepted, refused = answers.read_answers([path, good], study)
    assert [s.path for s in accepted] == [good]
    assert [r.path for r in refused] == [path]
    assert refused[0].reason.startswith(reason) or reason in refused[0].reason
    assert "\n" not in refused[0].reason


def test_files_that_cannot_be_read_are_refused(study: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "text.json").write_text("hello")
    (tmp_path / "bytes.json").write_bytes(b"\xff\xfe\x00")
    (tmp_path / "folder.json").mkdir()
    names = ["text.json", "bytes.json", "folder.json", "nowhere.json"]
    accepted, refused = answers.read_answers([tmp_path / n for n in names], study)
    assert not accepted
    assert len(refused) == 4
    assert all(r.reason.startswith("unreadable: ") for r in refused)


def test_foreign_answers_are_told_from_another_version(
    folder: Path, study: dict[str, Any], tmp_path: Path
) -> None:
    paths = [people.write(tmp_path, sheet(folder, of=of)) for of in ("b", "c")]
    accepted, refused = answers.read_answers(paths, study)
    assert not accepted
    reasons = sorted(r.reason for r in refused)
    assert reasons[1].startswith("foreign: of study geometry-mini-")
    assert reasons[0].startswith("foreign: of another version of geometry-mini-")


def test_of_two_files_the_one_finished_first_counts(
    folder: Path, study: dict[str, Any], tmp_path: Path
) -> None:
    one = sheet(folder, 1)
    copied = artifacts.write_json(tmp_path / "copy.json", one)
    later = people.signed(sheet(folder, 1, seed=9) | {"finished": "2025-01-02T10:00:00.000Z"})
    same_person = people.signed(
        sheet(folder, 2) | {"participant": one["participant"], "finished": "2025-01-03"}
    )
    paths = [
        artifacts.write_json(tmp_path / "a_person.json", same_person),
        artifacts.write_json(tmp_path / "b_later.json", later),
        copied,
        people.write(tmp_path, one),
    ]
    for order in (paths, paths[::-1]):
        accepted, refused = answers.read_answers(order, study)
        assert [s.path for s in accepted] == [copied]
        reasons = {r.path.name: r.reason for r in refused}
        assert reasons["a_person.json"].startswith("duplicated: participant")
        assert reasons["b_later.json"].startswith("duplicated: form 1 was finished earlier")
        assert len(refused) == 3


def test_a_study_changed_after_freezing_stops_the_analysis(folder: Path, tmp_path: Path) -> None:
    study = artifacts.read_json(folder / "a" / "study.json")
    study["exclusions"]["check_share"] = 0.0  # rules made kinder once the answers were seen
    path = artifacts.write_json(tmp_path / "study.json", study)
    with pytest.raises(ReportError, match="changed since it was frozen"):
        answers.read_study(path)


def test_a_key_that_is_not_the_frozen_one_stops_the_analysis(
    folder: Path, study: dict[str, Any], tmp_path: Path
) -> None:
    assert answers.read_key(folder / "a" / "key.json", study)["columns"] == list(COLUMNS)
    with pytest.raises(ReportError, match="not the key that geometry-mini"):
        answers.read_key(folder / "b" / "key.json", study)
    text = (folder / "a" / "key.json").read_text(encoding="utf-8")
    swapped = json.loads(text.replace('"one"', '"x"').replace('"two"', '"one"'))
    path = artifacts.write_json(tmp_path / "key.json", swapped)
    with pytest.raises(ReportError, match="not the key"):
        answers.read_key(path, study)
    with pytest.raises(ReportError, match="not a study key"):
        answers.read_key(folder / "a" / "study.json", study)
