"""The equations of the paper as a table: what is compared, the largest residual, whether it holds.

    python -m reports.paper.equations --residuals residuals.csv --out DIR

Reads what `python -m pipeline.equations` measured. Ends with 1, after writing everything, when an
equation does not hold.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from reports.paper import tables
from reports.records import ReportError, reported, rows_of

TITLE = "Equations under the exact prior"
NOTE = (
    "Left and right side of each, on inputs drawn at random in float64; numbers of equations are "
    "those of arXiv 2310.19415 or its reference's. Right sides are gradients of densities that are "
    "added up from whole images, other forms of the equation, or closed forms. The tolerances of "
    "the former are the prior's own bound for leaving out negligible components."
)


def main(arguments: Sequence[str] | None = None) -> None:
    """equations.csv, .html, .md, .png, .svg and .txt."""
    import pandas

    parser = argparse.ArgumentParser(prog="reports.paper.equations", description=__doc__)
    parser.add_argument("--residuals", type=Path, required=True, help="of pipeline.equations")
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args(arguments)
    found = pandas.read_csv(args.residuals, dtype={"equation": str})
    rows = [
        [
            row.equation,
            row.compared,
            f"{row.residual:.1e}",
            f"{row.largest:.2g}",
            f"{row.tolerance:.0e}" if row.tolerance else "0",
            "holds" if row.holds else "FAILS",
        ]
        for row in rows_of(found)
    ]
    heads = ["equation", "both sides", "largest residual", "largest entry", "tolerance", ""]
    table = tables.Table(TITLE, heads, rows, frozenset({1}), wrap=78)
    draws = f"{found['draws'].iloc[0]} draws, seed {found['seed'].iloc[0]}."
    tables.write(args.out, "equations", TITLE, [table], numbers=found, notes=[NOTE, draws])
    broken = [f"{row.equation} ({row.compared})" for row in rows_of(found) if not row.holds]
    if broken:
        raise ReportError(f"{len(broken)} equations do not hold: {'; '.join(broken)}")


if __name__ == "__main__":
    reported(main)
