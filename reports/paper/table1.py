"""Table 1 of the paper, the user study: shares of preferences, beside the published ones.

    python -m reports.paper.table1 --study results/mini/study/results --out DIR
    python -m reports.paper.table1 --out DIR

Reads `study.csv` (python -m reports.study analyse). Without it, or where nobody has answered, our
part of the table says that it was not run, and how to run it. Shares of answers have the intervals
of independent answers, Goodman's (all columns at once) or Wilson's (pairs): the published ones can
have no others.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from reports.paper import tables
from reports.records import ReportError, reported, rows_of
from reports.study.results import KEPT
from reports.study.section import interval, percent, published

if TYPE_CHECKING:
    import pandas

TITLE = "Table 1: user study"
NOT_RUN = "not run"
HOW = (
    "Our study was not run: no answers yet. `python -m reports.study build` freezes a study, "
    "people answer its page, `analyse` makes the tables; see docs/user_study.md."
)
PAPER = (
    "The paper: 30 people picked the best of three objects, 2,289 answers; wording, design and "
    "exclusions are not stated. Its intervals here are Goodman's as if every answer were "
    "independent, which answers of one person are not. Of textures it prints 57.7 % for CSD among "
    "five systems, 537 answers; two of the other shares are no multiples of 1/537, so that they "
    "are no plain pooled shares."
)
BESIDE = (
    "Ours stands beside, not against it: other prompts, other systems, another page. Ours is after "
    "the exclusions fixed before the first answer; study_results.html has every other reading."
)


def read_study(folder: Path | None) -> "pandas.DataFrame | None":
    """The kept population's rows of study.csv; None where there is no file or no answer."""
    import pandas

    if folder is None:
        return None
    path = folder / "study.csv"
    if not path.is_file():
        raise ReportError(f"{path}: no such table; run python -m reports.study analyse first")
    table = pandas.read_csv(path, keep_default_na=False, na_values=[""])
    own = table[table["population"] == KEPT]
    return own if len(own) else None


def theirs() -> tables.Table:
    """What the paper printed of text-to-3D."""
    rows = [[row["name"], f"{row['share']}\n{row['range']}"] for row in published()]
    return tables.Table("Printed by the paper", ["system", "preferred %"], rows, frozenset({0}))


def ours(study: "pandas.DataFrame | None") -> list[tables.Table]:
    """A table a question; of pairs one more with every pair."""
    if study is None:
        rows = [["every column", NOT_RUN]]
        return [tables.Table("Measured here", ["column", "preferred %"], rows, frozenset({0}))]
    found = []
    for question, own in study.groupby("question", sort=False):
        by_quantity = {str(name): rows_of(rows) for name, rows in own.groupby("quantity")}
        if "share" in by_quantity:
            found.append(_shares(f"Measured here: {question}, all at once", by_quantity["share"]))
            continue
        found.append(_expected(f"Measured here: {question}", by_quantity["first_choice"]))
        found.append(_pairs(f"Measured here: {question}, pairs", by_quantity["preferred"]))
    return found


def _shares(title: str, rows: Sequence[Any]) -> tables.Table:
    cells = [
        [r.column_a, f"{percent(r.value)}\n{interval(r.lower, r.upper)}", str(r.n)] for r in rows
    ]
    heads = ["column", "preferred %, Goodman", "answers"]
    return tables.Table(title, heads, cells, frozenset({0}))


def _expected(title: str, rows: Sequence[Any]) -> tables.Table:
    cells = [
        [r.column_a, f"{percent(r.value)}\n{interval(r.both_lower, r.both_upper)}", str(r.n)]
        for r in rows
    ]
    heads = ["column", "first choices expected %, people and prompts", "answers"]
    return tables.Table(title, heads, cells, frozenset({0}))


def _pairs(title: str, rows: Sequence[Any]) -> tables.Table:
    cells = [
        [
            f"{r.column_a} over {r.column_b}",
            f"{percent(r.value)}\n{interval(r.lower, r.upper)}",
            str(r.n),
            {"a above b": f"{r.column_a} preferred", "b above a": f"{r.column_b} preferred"}.get(
                r.verdict, str(r.verdict)
            ),
        ]
        for r in rows
    ]
    heads = ["pair", "preferred %, Wilson", "decided answers", "verdict after Holm"]
    return tables.Table(title, heads, cells, frozenset({0, 3}))


def numbers(study: "pandas.DataFrame | None") -> "pandas.DataFrame":
    """Published shares, then our rows; or one row that says `not run`."""
    import pandas

    rows = [
        {"source": "paper", "column_a": row["name"], "quantity": "share"}
        | {"value": float(row["share"]) / 100, "status": "published"}
        for row in published()
    ]
    if study is None:
        return pandas.DataFrame([*rows, {"source": "here", "status": NOT_RUN}])
    return pandas.concat(
        [pandas.DataFrame(rows), study.assign(source="here", status="ok")], ignore_index=True
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """table1.csv, .html, .md, .png, .svg and .txt."""
    parser = argparse.ArgumentParser(prog="reports.paper.table1", description=__doc__)
    parser.add_argument("--study", type=Path, help="folder of python -m reports.study analyse")
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args(arguments)
    study = read_study(args.study)
    tables.write(
        args.out,
        "table1",
        TITLE,
        [theirs(), *ours(study)],
        numbers=numbers(study),
        notes=[PAPER, HOW if study is None else BESIDE],
    )


if __name__ == "__main__":
    reported(main)
