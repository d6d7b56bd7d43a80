"""Verdicts on hand-made tables, and the committed page against the committed tables."""

from pathlib import Path
from typing import Any

import pandas
import pytest

from metrics.statistics import smallest_p
from reports import claims, statements
from reports.claims import Check, Statement
from reports.records import ReportError
from reports.statement_checks import Found, Table, judged, too_few

ROOT = Path(__file__).resolve().parent.parent
MANY = 81  # prompts, with which anything can be decided


def table(*rows: dict[str, Any], record: str = "x.csv") -> Table:
    return Table(pandas.DataFrame(list(rows)), record)


def pair(verdict: str, difference: float = 1.0, n: int = MANY) -> dict[str, Any]:
    row = {"metric": "clip_score", "column_a": "csd", "column_b": "sds", "difference": difference}
    row |= {"lower": difference - 0.5, "upper": difference + 0.75, "p_holm": 0.01}
    return {**row, "protocol_id": "p", "n_prompts": n, "verdict": verdict}


def means(n: int = MANY, **found: tuple[float, float, float]) -> Table:
    return table(
        *(
            {"column": "csd", "metric": metric, "population": population, "n_prompts": n}
            | {"mean": mean, "lower": lower, "upper": upper}
            for metric, (mean, lower, upper) in found.items()
            for population in ("intent_to_treat", "completers")
        )
    )


def norm(lower: float, upper: float, n: int = MANY) -> Table:
    row = {"column": "sds", "quantity": "ratio", "third": "last", "value": (lower + upper) / 2}
    return table({**row, "lower": lower, "upper": upper, "n_prompts": n})


def found(check: Check, known: Table, tests: int = 1) -> Found:
    result = judged(check, {check.table: known}, tests=tests)
    assert result is not None
    return result


ABOVE = Check("pair", "pairs", "clip_score", "csd", "sds")
BELOW = Check("pair", "pairs", "clip_score", "sds", "csd")


@pytest.mark.parametrize(
    ("check", "verdict", "expected"),
    [
        (ABOVE, "a above b", "holds"),
        (ABOVE, "not separated", "undecided"),
        (ABOVE, "n too small to rank", "undecided"),
        (BELOW, "a above b", "fails"),
        (BELOW, "not separated", "undecided"),
    ],
)
def test_pairs_follow_their_table_and_are_never_decided_by_not_separated(
    check: Check, verdict: str, expected: str
) -> None:
    one = found(check, table(pair(verdict)))
    assert one.verdict == expected
    assert one.value == ("+1 (+0.5 to +1.75)" if check is ABOVE else "−1 (−1.75 to −0.5)")
    assert one.points == (1 if check is ABOVE else -1)
    lost = table(pair("b above a", difference=-2.0))
    assert found(ABOVE, lost).verdict == "fails"
    assert found(BELOW, lost).verdict == "holds"


def test_floors_shares_and_norms_are_judged_by_whole_intervals() -> None:
    known = means(iou=(0.7, 0.65, 0.75), low=(0.5, 0.4, 0.6), near=(0.6, 0.5, 0.68))

    def floor(a: str, b: str) -> str:
        return found(Check("floor", "summary", a, "csd", b), known).verdict

    assert [floor("iou", "low"), floor("low", "iou"), floor("iou", "near")] == [
        "holds", "fails", "undecided"
    ]  # fmt: skip
    absent = Check("floor", "summary", "iou", "csd", "iou_ball")
    assert judged(absent, {"summary": known}, tests=1) is None
    shares = [Check("share", "summary", "low", "csd", bound) for bound in (0.3, 0.5, 0.7)]
    assert [found(c, known).verdict for c in shares] == ["holds", "undecided", "fails"]
    ratios = [Check("norm", "norms", "ratio last", "sds", bound) for bound in (2.0, 4.0, 6.0)]
    assert [found(c, norm(3.0, 5.0)).verdict for c in ratios] == ["holds", "undecided", "fails"]
    first = Check("norm", "norms", "ratio first", "sds", 2.0)
    assert judged(first, {"norms": norm(3.0, 5.0)}, tests=1) is None
    assert judged(first, {}, tests=1) is None


def test_an_interval_is_widened_for_the_checks_beside_it() -> None:
    """Of four checks each asks for 98.75 %: 2.498 standard errors instead of 1.960."""
    check = Check("share", "summary", "hit", "csd", 0.5)
    for lower, expected in ((0.521, "undecided"), (0.523, "holds")):  # 0.6 - 1.274 * 0.0785 = 0.5
        known = means(hit=(0.6, lower, 0.7))
        assert found(check, known, tests=4).verdict == expected
        assert found(check, known, tests=1).verdict == "holds"
    endless = table(dict(norm(3.0, 5.0).frame.iloc[0]) | {"value": float("inf"), "upper": 1e999})
    assert found(Check("norm", "norms", "ratio last", "sds", 2.0), endless, 4).verdict == "holds"


@pytest.mark.parametrize("tests", [1, 2, 4, 20])
def test_few_prompts_decide_nothing_and_the_page_says_how_many_could(tests: int) -> None:
    """Whatever an interval says: the smallest p of n prompts, 2 / 2^n, times the tests."""
    enough = min(n for n in range(1, 30) if 2.0 / 2**n * tests <= 0.05)
    check = Check("norm", "norms", "ratio last", "sds", 2.0)
    few = found(check, norm(3.0, 3.1, n=enough - 1), tests)
    assert few.verdict == "undecided"
    assert few.points == 1
    assert few.why == too_few(enough - 1, tests)
    assert f"{enough} could decide" in few.why
    assert found(check, norm(3.0, 3.1, n=enough), tests).verdict == "holds"
    rows = [pair("n too small to rank", n=6) | {"column_b": str(i)} for i in range(tests - 1)]
    ranked = found(ABOVE, table(pair("n too small to rank", n=6), *rows))
    assert ("6 prompts are too few" in ranked.why) == (smallest_p(6) * tests > 0.05)


def edits(*gains: float) -> Table:
    rows = [
        {"edit": f"e{i}", "column": "source", "seed": 0, "psnr": 10.0} for i in range(len(gains))
    ]
    for seed in (0, 1):  # of one edit: averaged, not counted twice
        rows += [
            {"edit": f"e{i}", "column": "csd", "seed": seed, "psnr": 10.0 + gain + seed - 0.5}
            for i, gain in enumerate(gains)
        ]
    return table(*rows)


def test_no_number_of_prompts_decides_among_very_many_comparisons():
    assert too_few(6, 300).endswith("no number could, among 300 comparisons")


def test_objects_are_tested_by_exact_sign_flips() -> None:
    gain = Check("units", "fig6", "gain", "csd psnr", "source psnr")
    one = found(gain, edits(1.0, 2.0))
    assert (one.verdict, one.n, one.units, one.points) == ("undecided", 2, "edits", 1)
    assert one.value == "+1.5 (+1 to +2)"
    assert one.p == "0.5"
    six = found(gain, edits(1.0, 2.0, 1.0, 2.0, 1.0, 2.0))
    assert (six.verdict, six.p) == ("holds", "0.031")
    assert found(gain, edits(*[1.0, 2.0] * 3), tests=2).verdict == "undecided"
    assert found(gain, edits(*[-1.0, -2.0] * 4), tests=2).verdict == "fails"
    mixed = found(gain, edits(*[1.0, -1.0] * 5))
    assert (mixed.verdict, mixed.why, mixed.points) == ("undecided", "not separated", 0)
    bound = Check("units", "fig6", "short of 20 dB", 20.0, "csd psnr")
    assert found(bound, edits(1.0, 2.0)).value == "+8.5 (+8 to +9)"
    absent = Check("units", "fig6", "gain", "vsd psnr", "source psnr")
    assert judged(absent, {"fig6": edits(1.0)}, tests=1) is None


def beside(verdict: str) -> dict[str, Any]:
    row = {"column": "csd", "measure": "clipped", "difference": 0.4, "low": 0.3, "high": 0.5}
    return row | {"p_holm": 0.01, "prompts": MANY, "verdict": verdict}


@pytest.mark.parametrize(
    ("verdict", "difference", "expected"),
    [
        ("2d above 3d", 0.4, "holds"),
        ("3d above 2d", -0.4, "fails"),
        ("not separated", 0.4, "undecided"),
        ("n too small to rank", 0.4, "undecided"),
    ],
)
def test_pictures_beside_objects(verdict: str, difference: float, expected: str) -> None:
    check = Check("beside", "fig_2d", "clipped", "csd", 0.0)
    row = beside(verdict) | {"difference": difference}
    assert found(check, table(row, row | {"measure": "chroma"})).verdict == expected


def speed(verdict: object, kind: str = "shared", reference: str = "csd") -> Table:
    row = {"metric": "truth_iou", "kind": kind, "column": "csd_neg", "reference": reference}
    row |= {"difference": 9.0 if verdict == "slower" else -9.0}
    row |= {"difference_lower": -12.0, "difference_upper": -6.0}
    row |= {"n_runs": MANY, "n_pairs": MANY, "n_not_reached": 1, "p_holm": 0.01}
    return table({**row, "verdict": verdict})


@pytest.mark.parametrize(
    ("known", "expected"),
    [
        (speed("faster"), "holds"),
        (speed("slower"), "fails"),
        (speed("not separated"), "undecided"),
        (speed("n too small to rank"), "undecided"),
        (speed("no pair to compare"), "undecided"),
        (speed("faster", kind="own"), None),
        (speed("faster", reference="sds"), None),
    ],
)
def test_speed_is_judged_on_the_shared_way(known: Table, expected: str | None) -> None:
    one = judged(Check("speed", "speed", "truth_iou", "csd_neg", "csd"), {"speed": known}, tests=1)
    assert (one.verdict if one else None) == expected
    if expected == "holds":
        assert one is not None
        assert one.value == "+9 (+6 to +12)"  # steps saved
        assert one.number == "steps saved by IoU (1 of 81 never there)"


def test_a_statement_puts_its_checks_together() -> None:
    tables = {"pairs": table(pair("a above b")), "norms": norm(3.0, 5.0)}
    fails = Check("norm", "norms", "ratio last", "sds", 9.0)
    absent = Check("pair", "pairs", "rank", "csd", "sds")

    def verdict(*checks: Check, otherwise: tuple[Check, ...] = ()) -> statements.Judged:
        return statements.verdict(Statement("here", "so", "why", checks, otherwise), tables)

    assert verdict(ABOVE).verdict == "holds"
    assert verdict(BELOW, fails).verdict == "fails"
    assert verdict(ABOVE, fails).verdict == "mixed"
    assert verdict(absent).verdict == verdict().verdict == "not run"
    assert verdict(ABOVE, absent).in_part
    assert not verdict(ABOVE).in_part
    assert statements.cell(verdict(ABOVE, absent)).endswith("<br>rest not run")
    assert verdict(absent, otherwise=(fails,)).verdict == "fails"
    assert verdict(ABOVE, otherwise=(fails,)).verdict == "holds"
    assert statements.verdict(Statement("here", "so", "why", (ABOVE,)), {}).verdict == "not run"


def test_a_cell_says_how_many_what_and_which_way() -> None:
    statement = Statement("here", "so", "why", (ABOVE,))
    one = statements.verdict(statement, {"pairs": table(pair("a above b"))})
    assert statements.cell(one) == "**holds**, 81 prompts<br>CLIP score: +1"
    few = statements.verdict(statement, {"pairs": table(pair("n too small to rank", -1.0, n=3))})
    told = "**undecided**, 3 prompts (too few), points against<br>CLIP score: −1"
    assert statements.cell(few) == told


def test_several_protocols_are_refused() -> None:
    twice = table(pair("a above b"), pair("b above a"))
    with pytest.raises(ReportError, match="2 rows of several protocols"):
        judged(ABOVE, {"pairs": twice}, tests=1)


def test_a_folder_with_half_of_the_tables_is_refused(tmp_path: Path) -> None:
    assert statements.read(tmp_path / "nowhere") == {}
    (tmp_path / "summary.csv").write_text("metric\n")
    with pytest.raises(ReportError, match=r"no .*pairs.csv; score the runs"):
        statements.read(tmp_path)


def test_speed_is_found_where_the_workflow_puts_it(tmp_path: Path) -> None:
    folder = tmp_path / "tables" / "geometry"
    folder.mkdir(parents=True)
    means(r=(0, 0, 1)).frame.to_csv(folder / "summary.csv")
    table(pair("a above b")).frame.to_csv(folder / "pairs.csv")
    assert "speed" not in statements.read(folder)
    (tmp_path / "figures" / "speed").mkdir(parents=True)
    speed("faster").frame.to_csv(tmp_path / "figures" / "speed" / "speed_summary.csv")
    for expected in ("faster", "slower"):  # one beside the other tables comes first
        assert list(statements.read(folder)["speed"].frame["verdict"]) == [expected]
        speed("slower").frame.to_csv(folder / "speed_summary.csv")


def test_records_name_priors_and_columns_as_the_statements_do(tmp_path: Path) -> None:
    rows = [{"prior": prior, "prompt_id": "a", "omega": "csd", "x": 1} for prior in ("m", "n")]
    pandas.DataFrame(rows).to_csv(tmp_path / "fig2b.csv", index=False)
    theirs = norm(3.0, 5.0).frame.assign(column="sds7.5-n")
    theirs.to_csv(tmp_path / "norms.csv", index=False)
    plan = tmp_path / "records.yaml"
    text = "ours: {names: [n], columns: {sds7.5-n: sds}, tables: {norms: norms.csv, "
    plan.write_text(text + "fig2b: [fig2b.csv, fig2b.csv], pairs: absent.csv}}\n")
    tables = statements.read_records(plan)["ours"]
    assert list(tables["norms"].frame["column"]) == ["sds"]
    assert list(tables["fig2b"].frame["prior"]) == ["n", "n"]
    assert tables["norms"].record == "[norms.csv](norms.csv)"
    assert "pairs" not in tables
    plan.write_text("ours: {tables: {norm: norms.csv}}\n")
    with pytest.raises(ReportError, match="has a table 'norm', not of"):
        statements.read_records(plan)


def test_the_page_is_what_the_committed_tables_say(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every number on it again, under the priors that it names."""
    results = ROOT / "docs" / "results"
    page = (results / "statements.md").read_text(encoding="utf-8")
    records = results / "statements.yaml"
    start, end = statements.MARKERS
    text = statements.markdown(statements.read_records(records))
    assert page.split(start)[1].split(end)[0].strip() == text
    copy = tmp_path / "page.md"
    copy.write_text(f"before {start} old {end} after", encoding="utf-8")
    statements.main(["--records", str(records), "--page", str(copy)])
    assert copy.read_text(encoding="utf-8") == f"before {start}\n{text}\n{end} after"
    assert "**fails**, 81 prompts" in capsys.readouterr().out
    copy.write_text("no markers", encoding="utf-8")
    with pytest.raises(ReportError, match="needs one"):
        statements.main(["--records", str(records), "--page", str(copy)])
    for wrong in (["toy81"], [], ["a=b", "--records", str(records)]):
        with pytest.raises(SystemExit):
            statements.main(wrong)


def test_no_committed_verdict_rests_on_few_objects() -> None:
    """Fewer than six decide nothing under any test; nor do six, read beside another check."""
    priors = statements.read_records(ROOT / "docs" / "results" / "statements.yaml")
    for statement in claims.STATEMENTS:
        for tables in priors.values():
            one = statements.verdict(statement, tables)
            if one.verdict not in ("undecided", "not run"):
                assert min(result.n for result in one.found) > 6


def test_equal_cost_is_told_by_the_columns_of_one_budget() -> None:
    (statement,) = [s for s in claims.STATEMENTS if "equal cost" in s.says]
    row = pair("b above a", -1.0) | {"column_a": "csd_2400", "column_b": "vsd_2400"}
    tied = row | {"metric": "r_at_1", "verdict": "not separated"}
    assert statements.verdict(statement, {"cost": table(row)}).verdict == "fails"
    assert statements.verdict(statement, {"cost": table(row, tied)}).verdict == "mixed"
    other = table(row | {"column_b": "vsd"})
    assert statements.verdict(statement, {"cost": other}).verdict == "not run"


def test_a_preset_has_statements_of_its_own(tmp_path: Path) -> None:
    tables = ROOT / "docs" / "results" / "toy81"
    statements.main([f"ours={tables}", "--out", str(tmp_path / "evidence" / "ours.md")])
    text = (tmp_path / "evidence" / "ours.md").read_text(encoding="utf-8")
    assert text.startswith("# The paper's statements\n")
    assert "| ours |" in text
    assert text.count("<details>") == len(claims.STATEMENTS)
