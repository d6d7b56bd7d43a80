"""From simulated people to the page of results: what they prefer is found, how they answer too."""

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas
import pytest
import study_people as people

from pipeline import artifacts
from reports.study import __main__ as program
from reports.study import answers, responses, results
from reports.study.preferences import consistency

COLUMNS = ("one", "two", "three")
WEIGHTS = {"one": 1.0, "two": 2.0, "three": 4.0}
PROMPTS = ("a red car", "a yellow duck", 'a "green" house, <b>small</b>')


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = people.write_runs(tmp_path_factory.mktemp("study"), prompts=PROMPTS, columns=COLUMNS)
    given = ["--runs", str(folder / "runs"), "--columns", *COLUMNS, "--size", "16"]
    given += ["--forms", "40", "--seed", "1"]
    program.main(["build", *given, "--out", str(folder / "pairs")])
    program.main(["build", *given, "--reading", "best", "--out", str(folder / "best")])
    return folder


def read(folder: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    study = answers.read_study(folder / "study.json")
    return study, answers.read_key(folder / "key.json", study)


def asked(folder: Path, where: Path, persons: Sequence[people.Person], seed: int = 0) -> list[Path]:
    """The files of `persons`, who take the forms in order."""
    study, key = read(folder)
    rng = np.random.default_rng(seed)
    return [
        people.write(where, people.answers(study, key, form, person, rng))
        for form, person in enumerate(persons, 1)
    ]


def analyse(folder: Path, out: Path, paths: Sequence[Path]) -> pandas.DataFrame:
    own = ["--study", str(folder / "study.json"), "--key", str(folder / "key.json")]
    program.main(["analyse", *map(str, paths), *own, "--out", str(out), "--resamples", "300"])
    return pandas.read_parquet(out / "study.parquet")


def of(table: pandas.DataFrame, quantity: str, **where: str) -> pandas.DataFrame:
    where = {"population": "kept", "quantity": quantity} | where
    for name, value in where.items():
        table = table[table[name] == value]
    return table


def test_known_preferences_are_recovered_from_pairs(root: Path, tmp_path: Path) -> None:
    paths = asked(root / "pairs", tmp_path, [people.Person(WEIGHTS, same=0.15)] * 40)
    table = analyse(root / "pairs", tmp_path / "out", paths)
    truth = np.log(np.array([1.0, 2.0, 4.0]))
    truth -= truth.mean()
    for question in ("fit", "quality"):
        own = of(table, "strength", question=question).set_index("column_a")
        # Half a win to each side for no difference pulls strengths together: 15 % of ties give
        # odds (0.85 p + 0.075) / (0.85 q + 0.075) in place of p / q.
        shrunk = own.loc[list(COLUMNS), "value"].to_numpy()
        assert list(np.argsort(shrunk)) == [0, 1, 2]
        assert np.corrcoef(shrunk, truth)[0, 1] > 0.98
        preferred = of(table, "preferred", question=question).set_index(["column_a", "column_b"])
        for a, b in (("one", "two"), ("one", "three"), ("two", "three")):
            row = preferred.loc[(a, b)]
            expected = WEIGHTS[a] / (WEIGHTS[a] + WEIGHTS[b])
            assert row.value == pytest.approx(expected, abs=4 * np.sqrt(0.24 / row.n))
            assert row.lower < row.value < row.upper
            assert row.people_lower < row.value < row.people_upper
            assert row.verdict == "b above a"
        undecided = of(table, "no_difference", question=question)["value"]
        assert undecided.mean() == pytest.approx(0.15, abs=0.05)
    # Everyone answers by the same weights, independently: agreement is small, but not none.
    assert 0 < of(table, "agreement")["value"].iloc[0] < 0.4
    assert of(table, "first_place")["p"].min() > 0.01


def test_known_preferences_are_recovered_from_best_of_all(root: Path, tmp_path: Path) -> None:
    paths = asked(root / "best", tmp_path, [people.Person(WEIGHTS)] * 40)
    table = analyse(root / "best", tmp_path / "out", paths)
    share = of(table, "share").set_index("column_a")
    assert (share["n"] == 120).all()
    for column, weight in WEIGHTS.items():
        row = share.loc[column]
        assert row.value == pytest.approx(weight / 7, abs=4 * np.sqrt(0.25 / 120))
        assert row.lower < row.value < row.upper
    for name in ("share_by_people", "share_by_prompts"):  # balanced: all three means are one
        means = of(table, name).set_index("column_a")["value"]
        assert np.allclose(means, share["value"].loc[means.index])
    strength = of(table, "strength").set_index("column_a")["value"]
    assert strength["three"] - strength["one"] == pytest.approx(np.log(4), abs=0.6)
    assert of(table, "preferred_luce").iloc[1].verdict == "b above a"  # one, three


def test_means_over_people_and_prompts_differ_from_the_pooled_share() -> None:
    """Ann answers twice as often as Bob and prefers another column."""
    rows = [("ann", "p", "one")] * 2 + [("ann", "q", "one")] * 2
    rows += [("bob", "p", "two"), ("bob", "q", "two")]
    frame = pandas.DataFrame(rows, columns=["participant", "prompt_id", "choice"])
    frame = frame.assign(kind="main", shown="one|two", position=1, question="q", trial="t")
    rng = np.random.default_rng(0)
    sample = results.read_sample(frame, [["one", "two"]], rng, draws=50)
    found = {
        (r["quantity"], r["column_a"]): r["value"]
        for r in results.best_rows(sample, ["one", "two"], rng)
        if "value" in r
    }
    assert found["share", "one"] == pytest.approx(4 / 6)
    assert found["share_by_people", "one"] == pytest.approx(1 / 2)
    assert found["share_by_prompts", "one"] == pytest.approx(4 / 6)


def test_those_who_answer_by_place_are_seen_and_left_out(root: Path, tmp_path: Path) -> None:
    usual = people.Person(WEIGHTS)
    careless = people.Person(WEIGHTS, careful=False)
    sided = people.Person(WEIGHTS, first_place=1.0)
    hasty = people.Person(WEIGHTS, milliseconds=600)
    paths = asked(root / "pairs", tmp_path, [usual] * 12 + [careless, sided, hasty])
    study, key = read(root / "pairs")
    sheets, _ = answers.read_answers(paths, study)
    frame = responses.responses(sheets, study, key)
    excluded = responses.left_out(frame, study["exclusions"])
    names = {s.form: s.participant for s in sheets}
    assert names[14] in excluded
    assert re.search(r"place 1 in 100 % of answers", "; ".join(excluded[names[14]]))
    assert re.match(r"median answer after \d+ ms", excluded[names[15]][0])
    assert not {names[form] for form in range(1, 13)} & set(excluded)
    table = analyse(root / "pairs", tmp_path / "out", paths)
    assert set(table["population"]) == {"kept", "all"}
    everyone = of(table, "first_place", population="all")
    assert (everyone["n"].to_numpy() > of(table, "first_place")["n"].to_numpy()).all()


def test_answering_by_place_is_found_where_the_rules_let_it_pass(
    root: Path, tmp_path: Path
) -> None:
    paths = asked(root / "pairs", tmp_path, [people.Person(WEIGHTS, first_place=0.4)] * 30)
    study, key = read(root / "pairs")
    frame = responses.responses(answers.read_answers(paths, study)[0], study, key)
    table = pandas.DataFrame(
        results.result_rows(
            frame, questions=["fit"], columns=COLUMNS, reading="pairs", excluded=[], draws=20
        )
    )
    bias = of(table, "first_place").iloc[0]
    assert bias.value == pytest.approx(0.7, abs=0.1)  # 0.4 by place, half of the other 0.6
    assert bias.p < 1e-3
    same, by_place, otherwise = consistency(frame[frame["question"] == "fit"])
    assert same + by_place + otherwise == 30 * study["design"]["repeats"]
    assert by_place > 0
    assert otherwise == 0  # of two places, a change is always to the same one


def test_who_never_minds_the_place_repeats_what_they_said(root: Path, tmp_path: Path) -> None:
    certain = people.Person({"one": 1.0, "two": 1e9, "three": 1e18})
    paths = asked(root / "pairs", tmp_path, [certain] * 6)
    table = analyse(root / "pairs", tmp_path / "out", paths)
    assert (of(table, "consistency")["value"] == 1).all()
    assert (of(table, "agreement")["value"] == 1).all()
    assert np.isfinite(of(table, "strength")["value"]).all()  # though some never win


def test_counts_are_those_of_a_loop(root: Path, tmp_path: Path) -> None:
    paths = asked(root / "pairs", tmp_path, [people.Person(WEIGHTS, same=0.2)] * 5)
    study, key = read(root / "pairs")
    sheets, _ = answers.read_answers(paths, study)
    frame = responses.responses(sheets, study, key)
    frame = frame[frame["question"] == "fit"]
    sets = results.outcome_sets(COLUMNS, "pairs")
    names = sorted({s.participant for s in sheets})
    prompts = sorted(set(frame["prompt_id"]))
    counts = responses.tally(frame, sets, participants=names, prompts=prompts)
    expected = np.zeros_like(counts)
    for sheet in sheets:
        kinds = {t["id"]: t["kind"] for t in key["forms"][sheet.form - 1]}
        for answer in sheet.answers:
            if answer["question"] == "fit" and kinds[answer["trial"]] == "main":
                shown = [key["pictures"][name]["column"] for name in answer["shown"]]
                choice = answer["choice"]
                named = "same" if choice == "same" else key["pictures"][choice]["column"]
                group = next(i for i, s in enumerate(sets) if set(s) == {*shown, "same"})
                prompt = prompts.index(key["pictures"][answer["shown"][0]]["prompt_id"])
                person = names.index(sheet.participant)
                expected[person, prompt, group, sets[group].index(named)] += 1
    assert np.array_equal(counts, expected)
    assert counts.sum() == 5 * study["design"]["trials"]


def test_the_order_of_files_changes_nothing(root: Path, tmp_path: Path) -> None:
    paths = asked(root / "pairs", tmp_path, [people.Person(WEIGHTS)] * 4)
    first = analyse(root / "pairs", tmp_path / "a", paths)
    second = analyse(root / "pairs", tmp_path / "b", paths[::-1])
    pandas.testing.assert_frame_equal(first, second)
    for name in ("study.csv", "study_figure.csv", "study_figure.svg", "study_results.html"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


@pytest.mark.parametrize("reading", ["pairs", "best"])
def test_without_answers_it_says_that_it_was_not_run(
    root: Path, tmp_path: Path, reading: str
) -> None:
    table = analyse(root / reading, tmp_path, [])
    assert list(table.columns) == list(results.COLUMNS)
    assert table.empty
    page = (tmp_path / "study_results.html").read_text(encoding="utf-8")
    assert "Not run." in page
    assert "not run" in (tmp_path / "study_figure.svg").read_text(encoding="utf-8")
    assert (tmp_path / "study_responses.csv").read_text().startswith("participant,form,")


def test_the_page_counts_refusals_and_escapes_names(root: Path, tmp_path: Path) -> None:
    paths = asked(root / "pairs", tmp_path, [people.Person(WEIGHTS)] * 3)
    edited = tmp_path / "<i>edited & co.json"
    document = json.loads(paths[0].read_text())
    document["answers"][0]["choice"] = "same"
    edited.write_text(json.dumps(document))
    analyse(root / "pairs", tmp_path / "out", [*paths, edited])
    page = (tmp_path / "out" / "study_results.html").read_text(encoding="utf-8")
    assert "4, 1 refused, 0 left out" in page
    assert "&lt;i&gt;edited &amp; co.json</code> tampered: its digest does not fit" in page
    assert "n too small to rank" in page  # three people cannot separate three pairs
    assert "30.3 % (28.1 to 32.7), Magic3D 10.3 % (8.9 to 11.9), CSD 59.4 % (56.9 to 61.8)" in page
    assert not re.search(r"https?://", page)


def test_tables_carry_their_schema(root: Path, tmp_path: Path) -> None:
    import pyarrow.parquet

    analyse(root / "pairs", tmp_path, [])
    for name in ("study", "study_responses"):
        metadata = pyarrow.parquet.read_schema(tmp_path / f"{name}.parquet").metadata
        assert metadata[b"schema_version"].decode() == artifacts.SCHEMA_VERSION
