"""A short table of one preset's results in Markdown: the README's numbers come from a command.

    python -m reports.readme_table --tables results/mini/tables --runs results/mini/runs.txt
    python -m reports.readme_table --tables TABLES --runs RUNS --page README.md

Prints the table, with --pairs also the paired comparisons behind it; with --page it also replaces
what stands between the page's two markers.
"""

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from pipeline.artifacts import ArtifactError, write_text
from reports import summary
from reports.records import (
    ReportError,
    Run,
    Tables,
    choose_stage,
    find_runs,
    read_tables,
    rows_of,
)

MARK = "mini-table"
# The summary's name of each number -> its heading
SHOWN = {
    "r_at_1": "R@1, view",
    "r_at_1_object": "R@1, object",
    "strict_hit_object": "strict hit",
    "truth_iou": "IoU",
    "truth_psnr": "PSNR",
    "front_back": "front ≠ back",
}


def chosen(tables: Tables, names: Sequence[str]) -> list[summary.Reading]:
    """The reading of each of `names` that the tables hold, in that order.

    Raises ReportError for two protocols under one name: they must not share a table column.
    """
    held = summary.readings(tables)
    for name in names:
        protocols = [r.protocol_id for r in held if r.name == name]
        if len(protocols) > 1:
            raise ReportError(
                f"{name} was measured under {len(protocols)} protocols: show one only"
            )
    return [reading for name in names for reading in held if reading.name == name]


def markdown(tables: Tables, runs: Sequence[Run], *, columns: Sequence[str]) -> str:
    """One row per column, means over prompts with intervals, failed runs counted; then the floors.

    Raises ReportError when the tables hold none of the numbers.
    """
    shown = chosen(tables, list(SHOWN))
    if not shown:
        raise ReportError(f"the summary holds none of {', '.join(SHOWN)}; score the runs first")
    table = summary.metrics_table(
        tables, shown, columns=columns, population=summary.INTENT_TO_TREAT
    )
    costs = summary.costs(runs, columns)
    counts = summary.counts(tables, columns)
    headings = [f"{SHOWN[r.name]} {r.shown.unit}".strip() for r in shown]
    lines = [_row(["column", "finished", *headings, "s a run"])]
    lines.append("|---" * (len(shown) + 3) + "|")
    for column in columns:
        n = counts[column]
        finished = f"{n['n_runs'] - n['n_failed']} of {n['n_runs']}"
        numbers = [_cell(number) for number in table[column]]
        lines.append(_row([f"`{column}`", finished, *numbers, costs[column][0].text]))
    lines += _floor_rows(table)
    return "\n".join([*lines, "", _note(tables, shown, columns)])


def pairs_markdown(tables: Tables, *, columns: Sequence[str]) -> str:
    """One row per number of the table and pair of columns: difference, interval, p and verdict."""
    lines = [_row(["number", "a", "b", "a − b", "p", "p, Holm", "verdict"]), "|---" * 7 + "|"]
    for name, heading in SHOWN.items():
        for row in rows_of(tables.pairs[tables.pairs["metric"] == name]):
            if row.column_a not in columns or row.column_b not in columns:
                continue
            difference = f"{row.difference:+.3g} ({row.lower:+.3g}–{row.upper:+.3g})"
            verdict = row.verdict.replace("a above b", f"`{row.column_a}` above `{row.column_b}`")
            verdict = verdict.replace("b above a", f"`{row.column_b}` above `{row.column_a}`")
            numbers = [difference, f"{row.p:.2g}", f"{row.p_holm:.2g}", verdict]
            lines.append(_row([heading, f"`{row.column_a}`", f"`{row.column_b}`", *numbers]))
    return "\n".join(lines)


def _floor_rows(table: Mapping[str, Sequence[summary.Number]]) -> list[str]:
    """What ignoring the prompt gives: a property of the prompts, the same for every column."""
    known = [numbers for numbers in table.values() if any(n.floors for n in numbers)]
    if not known:
        return []
    floors = [number.floors for number in known[0]]
    names = list(dict.fromkeys(name for named in floors for name in named))
    return [
        _row([f"*{name}*", "", *(named[name][0] if name in named else "" for named in floors), ""])
        for name in names
    ]


def _note(tables: Tables, shown: Sequence[summary.Reading], columns: Sequence[str]) -> str:
    rows = tables.summary
    prompts, level = int(rows["n_prompts"].max()), round(100 * float(rows["level"].iloc[0]))
    text = (
        f"Means over prompts (n = {prompts}), {level} % intervals in brackets, failed runs counted."
    )
    verdicts = summary.verdicts(tables, shown, columns=columns)
    if verdicts and verdicts["all_small"]:
        text += (
            f" **n too small to rank**: the smallest p that a paired comparison can reach is "
            f"{verdicts['smallest_p']}, {verdicts['holm']} after Holm."
        )
    return f"{text} `summary.parquet` {tables.checksums['summary.parquet'][:12]}."


def _cell(number: summary.Number) -> str:
    interval = number.interval.replace(" – ", "–")
    return f"{number.text} ({interval})" if interval else number.text


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def between_markers(page: str, text: str, mark: str = MARK) -> str:
    """`page` with `text` between its markers. Raises ReportError unless each stands there once."""
    first, last = f"<!-- {mark} -->", f"<!-- /{mark} -->"
    if page.count(first) != 1 or page.count(last) != 1 or page.index(first) > page.index(last):
        raise ReportError(f"the page needs one {first} and, below it, one {last}")
    before, rest = page.split(first)
    return f"{before}{first}\n{text}\n{last}{rest.split(last)[1]}"


def main(arguments: Sequence[str] | None = None) -> int:
    """The program."""
    parser = argparse.ArgumentParser(
        prog="reports.readme_table", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("--tables", type=Path, required=True, help="results/<preset>/tables")
    parser.add_argument("--runs", type=Path, required=True, help="their list or their folder")
    parser.add_argument("--task", default="geometry")
    parser.add_argument("--stage")
    parser.add_argument("--columns", nargs="+", help="which columns, in this order; default: all")
    parser.add_argument("--pairs", action="store_true", help="also every paired comparison")
    parser.add_argument("--page", type=Path, help="a page with markers to write the table into")
    parser.add_argument("--mark", default=MARK, help="the markers' name; default: %(default)s")
    given = parser.parse_args(arguments)
    try:
        tables = read_tables(given.tables)
        runs = find_runs(given.runs, task=given.task, columns=given.columns)
        runs = choose_stage(runs, given.stage)
        columns = given.columns or list(dict.fromkeys(run.key[0] for run in runs))
        text = markdown(tables, runs, columns=columns)
        if given.pairs:
            text += "\n\n" + pairs_markdown(tables, columns=columns)
        if given.page is not None:
            page = given.page.read_text(encoding="utf-8")
            write_text(given.page, between_markers(page, text, given.mark))
    except (ArtifactError, ReportError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
