"""Verdicts on hand-made tables, and the committed page against the committed tables."""

from pathlib import Path

import pandas
import pytest

from reports import claims, statements
from reports.claims import Check, Statement
from reports.records import ReportError
from reports.statements import Tables

ROOT = Path(__file__).resolve().parent.parent


def pair(verdict: str, difference: float = 1.0) -> pandas.DataFrame:
    row = {"metric": "clip_score", "column_a": "csd", "column_b": "sds", "difference": difference}
    row |= {"lower": difference - 0.5, "upper": difference + 0.5, "p_holm": 0.01}
    return pandas.DataFrame([{**row, "verdict": verdict}])


def summary(**means: tuple[float, float, float]) -> pandas.DataFrame:
    rows = [
        {"column": "csd", "metric": metric, "population": population, "n_prompts": 9}
        | {"mean": mean, "lower": lower, "upper": upper}
        for metric, (mean, lower, upper) in means.items()
        for population in ("intent_to_treat", "completers")
    ]
    names = ["column", "metric", "population", "n_prompts", "mean", "lower", "upper"]
    return pandas.DataFrame(rows, columns=names)


def norms(lower: float, upper: float) -> pandas.DataFrame:
    row = {"column": "sds", "quantity": "ratio", "third": "last", "value": (lower + upper) / 2}
    return pandas.DataFrame([{**row, "lower": lower, "upper": upper}])


ABOVE = Check("pair", "clip_score", "csd", "sds")
BELOW = Check("pair", "clip_score", "sds", "csd")


@pytest.mark.parametrize(
    ("check", "verdict", "no_worse", "expected"),
    [
        (ABOVE, "a above b", False, "holds"),
        (ABOVE, "b above a", False, "fails"),
        (ABOVE, "not separated", False, "fails"),
        (ABOVE, "not separated", True, "undecided"),
        (ABOVE, "n too small to rank", False, "undecided"),
        (BELOW, "a above b", False, "fails"),
        (BELOW, "b above a", False, "holds"),
    ],
)
def test_pairs(check: Check, verdict: str, no_worse: bool, expected: str) -> None:
    tables = Tables(summary(), pair(verdict), None)
    found, text = statements.judged(check, tables, no_worse=no_worse)
    assert found == expected
    signs = ("+1", "+0.5", "+1.5") if check is ABOVE else ("-1", "-1.5", "-0.5")
    assert f"clip_score {signs[0]} ({signs[1]} to {signs[2]})" in text


def test_floors_shares_and_norms() -> None:
    held = summary(truth_iou=(0.7, 0.65, 0.75), iou_floor=(0.6, 0, 1), r=(0.5, 0.4, 0.6))
    tables = Tables(held, pair("a above b"), norms(3.0, 5.0))

    def verdict(kind: str, metric: str, column: str, bound: str | float) -> str:
        check = Check(kind, metric, column, bound)
        return statements.judged(check, tables, no_worse=False)[0]

    assert verdict("floor", "truth_iou", "csd", "iou_floor") == "holds"
    assert verdict("floor", "iou_floor", "csd", "truth_iou") == "undecided"
    assert verdict("floor", "truth_iou", "csd", "iou_ball") == "not run"
    assert [verdict("share", "r", "csd", b) for b in (0.3, 0.5, 0.7)] == [
        "holds",
        "undecided",
        "fails",
    ]
    found = [verdict("norm", "ratio last", "sds", b) for b in (2.0, 4.0, 6.0)]
    assert found == ["holds", "undecided", "fails"]
    assert verdict("norm", "ratio first", "sds", 2.0) == "not run"
    assert verdict("pair", "r_at_1", "csd", "sds") == "not run"
    without = Tables(held, pair("a above b"), None)
    check = Check("norm", "ratio last", "sds", 2.0)
    assert statements.judged(check, without, no_worse=False) == ("not run", "")


def test_a_statement_puts_its_checks_together() -> None:
    tables = Tables(summary(), pair("a above b"), norms(3.0, 5.0))
    fails, absent = Check("norm", "ratio last", "sds", 9.0), Check("pair", "rank", "csd", "sds")

    def verdict(*checks: Check) -> str:
        return statements.verdict(Statement("here", "so", checks), tables)[0]

    assert verdict(ABOVE) == "holds"
    assert verdict(BELOW, fails) == "fails"
    assert verdict(ABOVE, fails) == "mixed"
    assert verdict(absent) == verdict() == "not run"
    assert verdict(ABOVE, absent) == "holds (in part not run)"
    assert statements.verdict(Statement("here", "so", (ABOVE,)), None) == ("not run", [])


def test_several_protocols_are_refused() -> None:
    twice = pandas.concat([pair("a above b"), pair("b above a")])
    with pytest.raises(ReportError, match="2 rows of several protocols"):
        statements.judged(ABOVE, Tables(summary(), twice, None), no_worse=False)


def test_a_folder_with_half_of_the_tables_is_refused(tmp_path: Path) -> None:
    assert statements.read(tmp_path / "nowhere") is None
    (tmp_path / "summary.csv").write_text("metric\n")
    with pytest.raises(ReportError, match=r"no .*pairs.csv; score the runs"):
        statements.read(tmp_path)


def test_the_page_is_what_the_committed_tables_say(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every number on it again, under the priors that it names."""
    page = (ROOT / "docs/results/statements.md").read_text(encoding="utf-8")
    results = ROOT / "docs" / "results"
    folders = {"marginal": "toy81", "heldout": "heldout", "learned": "learned"}
    priors = {name: statements.read(results / folder) for name, folder in folders.items()}
    start, end = statements.MARKERS
    assert page.split(start)[1].split(end)[0].strip() == statements.markdown(priors)
    copy = tmp_path / "page.md"
    copy.write_text(f"before {start} old {end} after", encoding="utf-8")
    named = [f"{name}={results / folder}" for name, folder in folders.items()]
    statements.main([*named, "--page", str(copy)])
    assert copy.read_text(encoding="utf-8").startswith("before ")
    assert copy.read_text(encoding="utf-8").endswith(" after")
    assert "marginal: 81 prompts" in capsys.readouterr().out
    copy.write_text("no markers", encoding="utf-8")
    with pytest.raises(ReportError, match="needs one"):
        statements.main([*named, "--page", str(copy)])
    with pytest.raises(SystemExit):
        statements.main(["toy81"])


def test_claims_of_not_below_are_those_of_keeping_and_of_doing_as_well() -> None:
    said = [statement.says for statement in claims.STATEMENTS if statement.no_worse]
    assert [" ".join(text.split()[:4]) for text in said] == [
        "An annealed negative prompt",
        "CSD does as well",
        "CSD is as good",
    ]


def speed(verdict: object, kind: str = "shared", reference: str = "csd") -> pandas.DataFrame:
    row = {"metric": "truth_iou", "kind": kind, "column": "csd_neg", "reference": reference}
    row |= {"difference": -9.0, "difference_lower": -12.0, "difference_upper": -6.0}
    row |= {"n_runs": 9, "n_not_reached": 1, "p_holm": 0.01}
    return pandas.DataFrame([{**row, "verdict": verdict}])


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        (speed("faster"), "holds"),
        (speed("slower"), "fails"),
        (speed("not separated"), "undecided"),
        (speed("n too small to rank"), "undecided"),
        (speed("no pair to compare"), "undecided"),
        (speed("faster", kind="own"), "not run"),
        (speed("faster", reference="sds"), "not run"),
        (None, "not run"),
    ],
)
def test_speed_is_judged_on_the_shared_way(rows: pandas.DataFrame | None, expected: str) -> None:
    tables = Tables(summary(), pair("a above b"), None, rows)
    check = Check("speed", "truth_iou", "csd_neg", "csd")
    found, text = statements.judged(check, tables, no_worse=False)
    assert found == expected
    told = "steps to nine tenths by truth_iou -9 (-12 to -6), 1 of 9 runs never there, p 0.01"
    assert (told in text) == (expected != "not run")
    (statement,) = [s for s in claims.STATEMENTS if "accelerates" in s.says]
    assert {(c.kind, c.a, c.b) for c in statement.checks} == {("speed", "csd_neg", "csd")}
    part = "" if expected == "not run" else " (in part not run)"  # there is no clip_score here
    assert statements.verdict(statement, tables)[0] == expected + part


def test_speed_is_found_where_the_workflow_puts_it(tmp_path: Path) -> None:
    folder = tmp_path / "tables" / "geometry"
    folder.mkdir(parents=True)
    summary(r=(0, 0, 1)).to_csv(folder / "summary.csv")
    pair("a above b").to_csv(folder / "pairs.csv")
    without = statements.read(folder)
    assert without is not None
    assert without.speed is None
    (tmp_path / "figures" / "speed").mkdir(parents=True)
    speed("faster").to_csv(tmp_path / "figures" / "speed" / "speed_summary.csv")
    for expected in ("faster", "slower"):  # one beside the other tables comes first
        found = statements.read(folder)
        assert found is not None
        assert found.speed is not None
        assert list(found.speed["verdict"]) == [expected]
        speed("slower").to_csv(folder / "speed_summary.csv")


def test_equal_cost_is_told_by_the_columns_of_one_budget() -> None:
    (statement,) = [s for s in claims.STATEMENTS if "equal cost" in s.says]
    rows = pair("b above a").assign(column_a="csd_2400", column_b="vsd_2400")
    both = pandas.concat([rows, rows.assign(metric="r_at_1", verdict="not separated")])
    assert statements.verdict(statement, Tables(summary(), rows, None))[0].startswith("fails")
    assert statements.verdict(statement, Tables(summary(), both, None))[0] == "mixed"
    other = pair("b above a").assign(column_b="vsd")
    assert statements.verdict(statement, Tables(summary(), other, None))[0] == "not run"


def test_a_preset_has_statements_of_its_own(tmp_path: Path) -> None:
    tables = ROOT / "docs" / "results" / "toy81"
    statements.main([f"ours={tables}", "--out", str(tmp_path / "evidence" / "ours.md")])
    text = (tmp_path / "evidence" / "ours.md").read_text(encoding="utf-8")
    assert text.startswith("# The paper's statements\n")
    assert "| ours |" in text
    assert text.count("\n| ") == len(claims.STATEMENTS) + 1
    assert text.endswith("ours: 81 prompts.\n")
