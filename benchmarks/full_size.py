"""What a step of every column and stage costs at full size: counted, and measured on dry weights.

    python -m benchmarks.full_size --preset paper                # counted: a minute, no weights
    python -m benchmarks.full_size --preset paper --weights DIR --device cuda
    python -m benchmarks.full_size ... --only csd:mesh csd:nerf:directional --page docs/PAGE.md

Counted: benchmarks/flops.py, the same on every machine. Measured: benchmarks/stretch.py, on random
weights of the real shapes, which are written to DIR where they are missing (15 GB in half
precision). What was not measured says so. --page writes PAGE.md and, beside it, PAGE.csv; --keep
leaves there what was measured before and is not measured now.
"""

import argparse
import csv
import io
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks import flops
from benchmarks.flops import Line, denoiser_flop, line_name, run_flop
from benchmarks.full_size_page import Row, page
from benchmarks.stretch import Measured, Options, alone
from pipeline import record
from pipeline.artifacts import exit_status, write_text
from pipeline.config import ConfigError

NOT_RUN = "not run"


def counted(line: Line) -> Row:
    """What one line's runs compute, by the names of the CSV."""
    job, counts, each = line.job, flops.asked(line.job), flops.networks(line.job)
    steps, batch, whole = job.settings["steps"], job.settings["batch"], run_flop(line.job)
    return {
        "task": line.task,
        "column": line.column,
        "stage": line.stage,
        "variant": line.variant,
        "runs": line.runs,
        "steps": steps,
        "views": batch,
        "size": job.settings["size"],
        "frozen_evaluations": counts.frozen / steps,
        "particle_evaluations": counts.particle / steps,
        "particle_trainings": counts.training / steps,
        "evaluation_tflop": each.evaluation / 1e12,
        "encoding_tflop": each.encoding / 1e12,
        "training_tflop": each.training / 1e12 if counts.training else 0.0,
        "weights_mb": each.weight_bytes / 2**20,
        "step_tflop": whole / steps / 1e12,
        "run_pflop": whole / 1e15,
        "all_eflop": line.runs * whole / 1e18,
        "least_ratio": whole / denoiser_flop(job),
    }


def joined(row: Row, found: Measured | str) -> Row:
    """The row with what was measured of it, or with the words that say why nothing was."""
    if isinstance(found, str):
        return {**row, "measured": found}
    networks = found.denoiser + found.encoding
    return {
        **row,
        "measured": "yes",
        **vars(found),
        "steps": row["steps"],
        "measured_steps": found.steps,
        "ratio": found.step / found.denoiser,
        "ratio_networks": found.step / networks,
        "rest": found.step - networks,
    }


def table_csv(rows: Sequence[Row]) -> str:
    """All rows as CSV; what was not measured is empty."""
    fields = list(dict.fromkeys(field for row in rows for field in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, fields, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(_rounded(row) for row in rows)
    return text.getvalue()


def kept(path: Path) -> dict[str, Measured]:
    """What a page's CSV says was measured, by the lines' names; nothing where there is none yet.

    Raises ConfigError for a CSV that an older version wrote.
    """
    if not path.exists():
        return {}
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    texts = ("device", "dtype", "options", "commit")
    numbers = ("step", "denoiser", "encoding", "host_mb", "device_mb")
    try:
        return {
            line_name(row["column"], row["stage"], row["variant"]): Measured(
                steps=int(row["measured_steps"]),
                warm=int(row["warm"]),
                **{name: row[name] for name in texts},
                **{name: float(row[name]) for name in numbers},
            )
            for row in rows
            if row["measured"] == "yes"
        }
    except KeyError as error:
        raise ConfigError(
            f"{path}: no column {error}, so what it says was measured cannot be kept: "
            "measure again, without --keep"
        ) from error


def _rounded(row: Mapping[str, Any]) -> Row:
    return {
        name: float(f"{value:.6g}") if isinstance(value, float) else value
        for name, value in row.items()
    }


def commit() -> str:
    """Of these sources, in words."""
    state = record.source_state()
    return f"{state['commit'] or 'unknown'}{' and changes' if state['dirty'] else ''}"


def publish(
    preset: str,
    lines: Sequence[Line],
    counts: Sequence[Row],
    results: Mapping[str, Measured | str],
    path: Path | None,
) -> str:
    """The page of what is known so far; with a path, also there and as CSV beside it."""
    rows = [
        joined(row, results.get(line.name, NOT_RUN))
        for line, row in zip(lines, counts, strict=True)
    ]
    text = page(preset, lines, rows)
    if path is not None:
        write_text(path, text)
        write_text(path.with_suffix(".csv"), table_csv(rows))
    return text


def main(arguments: Sequence[str] | None = None) -> None:
    """The program."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--preset", default="paper")
    parser.add_argument("--weights", type=Path, help="measure as well; a folder of dry weights")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", help="fp32, fp16 or bf16 in place of the preset's")
    parser.add_argument("--steps", type=int, default=20, help="measured of each line")
    parser.add_argument("--warm", type=int, default=3, help="steps before those measured")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--only", nargs="+", default=[], metavar="COLUMN:STAGE[:VARIANT]")
    parser.add_argument("--page", type=Path, help="write this .md, and a .csv beside it")
    parser.add_argument("--keep", action="store_true", help="what that page measured before")
    given = parser.parse_args(arguments)
    if given.keep and given.page is None:
        raise ConfigError("--keep: of which page? give --page as well")
    lines = flops.lines(given.preset)
    if unknown := sorted(set(given.only) - {line.name for line in lines}):
        known = ", ".join(line.name for line in lines)
        raise ConfigError(f"--only {unknown[0]}: this preset has {known}")
    counts = [counted(line) for line in lines]
    before = kept(given.page.with_suffix(".csv")) if given.keep else {}
    results: dict[str, Measured | str] = dict(before)
    if given.weights is not None:
        names = ("weights", "device", "dtype", "steps", "warm", "threads")
        chosen = {name: getattr(given, name) for name in names}
        options = Options(**chosen, commit=commit())
        for line in lines:
            if given.only and line.name not in given.only:
                continue
            results[line.name] = alone(line.job, options)
            print(f"{line.name}: {results[line.name]}", file=sys.stderr, flush=True)
            publish(given.preset, lines, counts, results, given.page)  # a later one may not end
    print(publish(given.preset, lines, counts, results, given.page))


if __name__ == "__main__":
    sys.exit(exit_status(main, ConfigError))
