"""What the jobs of a preset's workflow cost: a table by rule, from Snakemake's benchmark files.

    python -m reports.jobs --results results/mini
    python -m reports.jobs --results results/mini --out results/mini/jobs.csv

Seconds are wall-clock and thread seconds of the job's process and its children, memory is the
largest resident set; a job that was repeated counts once, as it last ran.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.artifacts import write_text
from reports.records import ReportError, reported

if TYPE_CHECKING:
    import pandas

SUFFIX = ".benchmark.tsv"


def job_name(path: Path, results: Path) -> str:
    """The rule, of a run with its stage: `optimize mesh`, `views nerf`, `score`, `bank_shape`.

    A log or benchmark file is named after its rule, then a point, then its wildcards.
    """
    name = path.name.removesuffix(SUFFIX)
    if path.relative_to(results).parts[0] == "runs":
        return f"{name} {path.parent.name}"
    return name.partition(".")[0]


def job_times(results: Path) -> "pandas.DataFrame":
    """A row a kind of job, costliest first: jobs, s_total, s_mean, s_max, cpu_s_total, mb_max.

    Raises ReportError where no job has left its file.
    """
    import pandas

    rows = []
    for path in sorted(results.rglob(f"*{SUFFIX}")):
        last = pandas.read_csv(path, sep="\t").iloc[-1]
        numbers = {name: pandas.to_numeric(last[name], "coerce") for name in ("s", "cpu_time")}
        memory = pandas.to_numeric(last["max_rss"], "coerce")
        rows.append({"job": job_name(path, results), "memory": memory} | numbers)
    if not rows:
        raise ReportError(f"{results}: no *{SUFFIX} below it: has the workflow run?")
    table = pandas.DataFrame(rows).groupby("job", sort=False)
    found = table.agg(
        jobs=("s", "size"),
        s_total=("s", "sum"),
        s_mean=("s", "mean"),
        s_max=("s", "max"),
        cpu_s_total=("cpu_time", "sum"),
        mb_max=("memory", "max"),
    )
    found = found.sort_values(["s_total", "jobs"], ascending=False).round(1).reset_index()
    return found.astype({"s_total": float, "s_max": float, "cpu_s_total": float, "mb_max": float})


def main(arguments: Sequence[str] | None = None) -> None:
    """Prints the table; writes it as CSV where --out says."""
    parser = argparse.ArgumentParser(prog="reports.jobs", description=__doc__)
    parser.add_argument("--results", type=Path, required=True, help="results/<preset>")
    parser.add_argument("--out", type=Path, help="a CSV file")
    given = parser.parse_args(arguments)
    table = job_times(given.results)
    if given.out is not None:
        write_text(given.out, table.to_csv(index=False, lineterminator="\n"))
    total = f"{table['jobs'].sum()} jobs, {table['s_total'].sum():.0f} s one after the other"
    print(table.to_string(index=False), total, sep="\n", file=sys.stdout)


if __name__ == "__main__":
    reported(main)
