"""Table 2 of the paper: CLIP score and R-Precision of every column, beside the published numbers.

    python -m reports.paper.table2 --tables DIR --runs results/mini/lists/geometry.txt --out DIR

Reads `protocols` and `published` (metrics.protocols). Every number of a column is of one protocol,
the one named `paper`; published numbers stand in columns of their own, since nobody knows all of
theirs, each system with a verdict.
"""

import argparse
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.artifacts import read_table
from reports.paper import tables
from reports.paper.files import columns_of, listed_runs, made_from, not_run
from reports.records import ReportError, reported, rows_of

if TYPE_CHECKING:
    import pandas

READING = "paper"
QUANTITIES = {"clip_score": "CLIP score", "r_at_1": "R@1 %", "r_at_5": "R@5 %", "r_at_10": "R@10 %"}
TITLE = "Table 2: agreement with the text"
NONE = "–"
MEANING = (
    "Protocol paper: each of the four views is a query of its own; no prefix to the captions; CLIP "
    "score 250 x cosine, not clamped; a tie counts as a miss. Below each number its interval over "
    "prompts (intent to treat: a failed run counts with the last rank and score 0)."
)


def paper_rows(protocols: "pandas.DataFrame") -> "pandas.DataFrame":
    """Our numbers under the paper's protocol, R@k in per cent. Raises ReportError where numbers of
    one quantity are of several protocols: they must not share a column.
    """
    own = protocols[
        (protocols["protocol"] == READING) & (protocols["population"] == "intent_to_treat")
    ].copy()
    for quantity, rows in own.groupby("quantity"):
        ids = sorted(set(rows["protocol_id"]))
        if len(ids) != 1:
            raise ReportError(
                f"table2: {quantity} is of {len(ids)} protocols ({', '.join(ids)}), which must not "
                "share a column; score the runs in one call"
            )
    hits = own["quantity"] != "clip_score"
    for name in ("value", "lower", "upper"):
        own[name] = own[name].where(~hits, 100.0 * own[name])
    return own[own["quantity"].isin(list(QUANTITIES))]


def number(row: Any) -> str:
    """A value, and its interval in a second line."""
    if row is None or not math.isfinite(row.value):
        return NONE
    if not math.isfinite(row.lower):
        return f"{row.value:.1f}\nno interval"
    return f"{row.value:.1f}\n{row.lower:.1f} – {row.upper:.1f}".replace("-", "−")


def measured(own: "pandas.DataFrame", columns: Sequence[str]) -> tables.Table:
    """Our columns."""
    by_key = {(row.column, row.quantity): row for row in rows_of(own)}
    counts = {row.column: row for row in rows_of(own)}
    rows = []
    for column in columns:
        count = counts.get(column)
        n = NONE if count is None else f"{count.n_prompts} prompts\n{count.n_failed} failed"
        cells = [number(by_key.get((column, quantity))) for quantity in QUANTITIES]
        rows.append([column, *cells, n])
    heads = ["column", *QUANTITIES.values(), "n"]
    return tables.Table("Measured here, protocol paper", heads, rows, frozenset({0}))


def published(beside: "pandas.DataFrame") -> tuple[tables.Table, list[str]]:
    """What the paper printed with a verdict a system, and the reasons as notes."""
    rows, notes = [], []
    for system, own in beside.groupby("system", sort=False):
        values = dict(zip(own["quantity"], own["published"], strict=True))
        column = str(own["column"].iloc[0])
        short, reason = verdict(dict(zip(own["quantity"], own["verdict"], strict=True)))
        if reason:
            notes.append(f"{system}: {short}, since {reason}.")
        cells = [f"{values[quantity]:.1f}" for quantity in QUANTITIES]
        rows.append([str(system), *cells, column, short])
    heads = ["system", *QUANTITIES.values(), "column beside it", "verdict on it"]
    table = tables.Table("Printed by the paper, no intervals", heads, rows, frozenset({0, 6}))
    return table, notes


def verdict(verdicts: dict[str, str]) -> tuple[str, str]:
    """(short verdict, reason) of one system's quantities."""
    if len(set(verdicts.values())) == 1:
        short, _, reason = next(iter(verdicts.values())).partition(": ")
        return short, reason
    said = [f"{QUANTITIES[name]} {text}" for name, text in verdicts.items()]
    return "; ".join(said), ""


def main(arguments: Sequence[str] | None = None) -> None:
    """table2.csv, .html, .md, .png, .svg and .txt."""
    parser = argparse.ArgumentParser(prog="reports.paper.table2", description=__doc__)
    parser.add_argument("--tables", type=Path, required=True, help="of metrics.protocols")
    parser.add_argument("--runs", type=Path, help="list or folder of runs")
    parser.add_argument("--columns", nargs="+", help="in this order")
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args(arguments)
    if args.runs is None:
        not_run(args.out, "table2", "this preset has no task 'geometry'")
    runs = listed_runs(args.runs, task="geometry", columns=args.columns)
    columns = columns_of(runs, args.columns)
    own = paper_rows(read_table(args.tables / "protocols", "protocols"))
    own = own[own["column"].isin(columns)]
    if own.empty:
        raise ReportError(f"{args.tables}: no number under protocol {READING}; score the runs")
    beside = read_table(args.tables / "published", "published")
    theirs, reasons = published(beside)
    ids = ", ".join(
        f"{QUANTITIES[str(q)]} {rows['protocol_id'].iloc[0]}"
        for q, rows in own.groupby("quantity", sort=False)
    )
    notes = [MEANING, f"Protocol ids: {ids}.", *reasons, str(beside["source"].iloc[0]) + "."]
    pool = own.loc[own["n_candidates"] > 0, ["candidates", "n_candidates"]].drop_duplicates()
    among = [f"Candidates: {row.candidates} ({row.n_candidates})." for row in rows_of(pool)]
    kept = ["source", "system", "quantity", "published", "column", "verdict", "evidence"]
    numbers = own.merge(beside[kept], how="outer", on=["column", "quantity"])
    tables.write(
        args.out,
        "table2",
        TITLE,
        [measured(own, columns), theirs],
        numbers=numbers,
        notes=[*notes, *among, *made_from(runs).splitlines()],
    )


if __name__ == "__main__":
    reported(main)
