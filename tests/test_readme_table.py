"""The README's table: its numbers are the summary's; it replaces what the markers hold only."""

from pathlib import Path

import pytest
import synthetic_results as synthetic

from reports import readme_table
from reports.records import ReportError, Run, Tables, find_runs, read_tables


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return synthetic.write_results(tmp_path_factory.mktemp("results"), size=8)


@pytest.fixture(scope="module")
def results(root: Path) -> tuple[Tables, list[Run]]:
    return read_tables(root / "tables"), find_runs(root / "runs", task="geometry")


def test_every_number_is_the_summarys(results: tuple[Tables, list[Run]]) -> None:
    tables, runs = results
    lines = readme_table.markdown(tables, runs, columns=["csd", "sds"]).splitlines()
    headings = [cell.strip() for cell in lines[0].strip("|").split("|")]
    cells = dict(zip(headings, (c.strip() for c in lines[2].strip("|").split("|")), strict=True))
    assert cells["column"] == "`csd`"
    rows = tables.summary.query("column == 'csd' and population == 'intent_to_treat'")
    (iou,) = rows.loc[rows["metric"] == "truth_iou"].itertuples()
    assert cells["IoU"] == f"{iou.mean:.2f} ({iou.lower:.2f}–{iou.upper:.2f})"
    (hit,) = rows.loc[rows["metric"] == "r_at_1_object"].itertuples()
    assert cells["R@1, object %"].split()[0] == f"{100 * hit.mean:.1f}"


def test_a_failed_run_is_not_counted_as_finished(results: tuple[Tables, list[Run]]) -> None:
    tables, runs = results
    by_column: dict[str, list[bool]] = {}
    for run in runs:
        by_column.setdefault(run.key[0], []).append(run.failed)
    failing = next(column for column, failed in by_column.items() if any(failed))
    text = readme_table.markdown(tables, runs, columns=[failing])
    failed = by_column[failing]
    assert f"| {len(failed) - sum(failed)} of {len(failed)} |" in text


def test_pairs_are_the_tables_pairs_of_the_columns_asked_for(
    results: tuple[Tables, list[Run]],
) -> None:
    tables, _ = results
    text = readme_table.pairs_markdown(tables, columns=["csd", "sds"])
    rows = [line for line in text.splitlines()[2:] if line]
    pairs = tables.pairs.query("column_a in ['csd', 'sds'] and column_b in ['csd', 'sds']")
    shown = pairs[pairs["metric"].isin(readme_table.SHOWN)]
    assert len(rows) == len(shown) > 0
    (iou,) = shown[shown["metric"] == "truth_iou"].itertuples()
    (row,) = [line for line in rows if line.startswith("| IoU |")]
    assert f"{iou.difference:+.3g} (" in row
    assert f"| {iou.p_holm:.2g} |" in row


def test_every_row_has_as_many_cells(results: tuple[Tables, list[Run]]) -> None:
    tables, runs = results
    lines = readme_table.markdown(tables, runs, columns=list(synthetic.COLUMNS)).splitlines()
    rows = [line for line in lines if line.startswith("|")]
    assert len({row.count("|") for row in rows}) == 1
    assert any("wrong shape" in row for row in rows)


def test_the_floors_stand_even_below_a_column_that_was_not_run(
    results: tuple[Tables, list[Run]],
) -> None:
    tables, runs = results
    text = readme_table.markdown(tables, runs, columns=["not_run", "csd"])
    assert "| `not_run` | 0 of 0 | – |" in text
    assert "*wrong shape*" in text


def test_two_protocols_of_one_number_are_refused(results: tuple[Tables, list[Run]]) -> None:
    tables, _ = results
    other = tables.summary[tables.summary["metric"] == "truth_iou"].assign(protocol_id="another")
    import pandas

    both = pandas.concat([tables.summary, other])
    mixed = Tables(**{**vars(tables), "summary": both})
    with pytest.raises(ReportError, match="truth_iou was measured under 2 protocols"):
        readme_table.chosen(mixed, list(readme_table.SHOWN))


def test_the_program_writes_between_the_markers_and_only_there(root: Path, tmp_path: Path) -> None:
    first, last = "<!-- mini-table -->", "<!-- /mini-table -->"
    page = tmp_path / "README.md"
    page.write_text(f"above\n{first}\nold\n{last}\nbelow\n", encoding="utf-8")
    where = ["--tables", str(root / "tables"), "--runs", str(root / "runs")]
    assert readme_table.main([*where, "--page", str(page)]) == 0
    once = page.read_text(encoding="utf-8")
    assert readme_table.main([*where, "--page", str(page)]) == 0
    assert page.read_text(encoding="utf-8") == once
    assert once.startswith(f"above\n{first}\n| column")
    assert once.endswith(f"{last}\nbelow\n")
    assert "old" not in once


def test_a_page_may_hold_several_tables() -> None:
    page = "<!-- a -->\n<!-- /a -->\n<!-- b -->\n<!-- /b -->\n"
    found = readme_table.between_markers(page, "text", "b")
    assert found == "<!-- a -->\n<!-- /a -->\n<!-- b -->\ntext\n<!-- /b -->\n"


@pytest.mark.parametrize("page", ["", "<!-- /mini-table --><!-- mini-table -->"])
def test_a_page_without_markers_in_order_is_an_error(page: str) -> None:
    with pytest.raises(ReportError, match="the page needs"):
        readme_table.between_markers(page, "text")


def test_missing_tables_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    where = ["--tables", str(tmp_path), "--runs", str(tmp_path)]
    assert readme_table.main(where) == 1
    assert "run the rule that writes it" in capsys.readouterr().err
