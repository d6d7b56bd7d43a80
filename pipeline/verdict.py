"""Says which runs failed scientifically; the last word of a workflow, after its pages.

    python -m pipeline.verdict --runs DIR ... --out results/mini/verdict.txt
    python -m pipeline.verdict --runs @results/mini/lists/geometry.txt --out verdict.txt

@FILE stands for the folders in FILE, one a line. Writes the file and exits 0 when none failed; else
prints each failed run with its reason and exits 1, leaving no file, so that the next call says it
again.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from pipeline.artifacts import ArtifactError, read_json, write_text


def failures(runs: Sequence[Path]) -> list[str]:
    """One line per failed run. Raises ArtifactError for a run without a record."""
    lines = []
    for run in runs:
        record = read_json(run / "run.json")
        if record["status"] == "failed":  # another system's files may be refused; pages say so
            step = record["failed_step"]  # none where the stage before had failed
            when = "" if step is None else f" at step {step}"
            lines.append(f"{run}: failed{when}: {record['reason']}")
    return lines


def main(arguments: Sequence[str] | None = None) -> int:
    """The program."""
    parser = argparse.ArgumentParser(
        description=(__doc__ or "").splitlines()[0], fromfile_prefix_chars="@"
    )
    parser.add_argument("--runs", type=Path, nargs="+", required=True)
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args(arguments)
    try:
        runs = list(dict.fromkeys(given.runs))  # lists of several stages may share some
        failed = failures(runs)
        if not failed:
            write_text(given.out, f"{len(runs)} runs, none failed\n")
    except (ArtifactError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    for line in failed:
        print(line, file=sys.stderr)
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main())
