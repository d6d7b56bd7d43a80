"""What a stage adds to the one before it: prompts that got better, and by how much, in Markdown.

    python -m reports.stage_gain --before results/mini/tables/geometry.nerf \\
        --after results/mini/tables/geometry

Values of one object are paired by column, prompt and seed. Both tables must have measured a metric
by the same protocol; what either failed to measure is left out of n.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from reports.records import ReportError, read_tables, reported

if TYPE_CHECKING:
    import pandas

METRICS = {"truth_iou": ("IoU", 3), "truth_psnr": ("PSNR dB", 2)}
KEY = ["column", "prompt_id", "seed"]


def differences(before: "pandas.DataFrame", after: "pandas.DataFrame") -> "pandas.DataFrame":
    """Rows column, prompt_id, seed, metric, difference (after - before) of two score tables.

    Raises ReportError where they measured a metric by different protocols.
    """
    rows = [t[(t["view"] == "object") & t["metric"].isin(list(METRICS))] for t in (before, after)]
    both = rows[0].merge(rows[1], on=[*KEY, "metric"], suffixes=("", "_after"))
    if (both["protocol_id"] != both["protocol_id_after"]).any():
        raise ReportError("the two stages were measured by different protocols: not comparable")
    both["difference"] = both["value_after"] - both["value"]
    return both.dropna(subset=["difference"])[[*KEY, "metric", "difference"]]


def table(found: "pandas.DataFrame", columns: Sequence[str]) -> str:
    """One line a column: of each metric how many objects got better, and the mean difference."""
    heads = [f"{name} better | mean Δ" for name, _ in METRICS.values()]
    lines = [f"| column | {' | '.join(heads)} |", "|---|" + "---|---|" * len(heads)]
    for column in columns:
        cells = []
        for metric, (_, digits) in METRICS.items():
            own = found[(found["column"] == column) & (found["metric"] == metric)]["difference"]
            cells.append(f"{int((own > 0).sum())} of {len(own)} | {own.mean():+.{digits}f}")
        lines.append(f"| `{column}` | {' | '.join(cells)} |")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(prog="reports.stage_gain", description=__doc__)
    for name in ("before", "after"):
        parser.add_argument(f"--{name}", type=Path, required=True, help="tables of a stage")
    given = parser.parse_args(arguments)
    before, after = (read_tables(folder).scores for folder in (given.before, given.after))
    print(table(differences(before, after), list(dict.fromkeys(after["column"]))))


if __name__ == "__main__":
    reported(main)
