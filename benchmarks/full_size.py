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
from benchmarks.stretch import Measured, Options, alone
from pipeline.artifacts import exit_status, write_text
from pipeline.config import ConfigError

NOT_RUN = "not run"
SPEED = 100.0  # TFLOP/s, for the sentence that turns a count into hours
DASH = "–"

Row = dict[str, Any]


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


def counts_table(rows: Sequence[Row]) -> list[str]:
    """Markdown: evaluations and FLOP."""
    head = (
        "column stage prompts runs views|frozen evaluations|particle|TFLOP an evaluation"
        "|TFLOP an encoding|TFLOP a step|PFLOP a run|EFLOP in all"
    )
    lines = _head(head)
    for row in rows:
        own = f"{row['particle_evaluations']:g} + {row['particle_trainings']:g}"
        lines.append(
            _cells(
                *_names(row),
                row["runs"],
                row["views"],
                f"{row['frozen_evaluations']:.4g}",
                own if row["particle_trainings"] else DASH,
                f"{row['evaluation_tflop']:.3g}",
                f"{row['encoding_tflop']:.3g}" if row["encoding_tflop"] else DASH,
                f"{row['step_tflop']:.3g}",
                f"{row['run_pflop']:.3g}",
                f"{row['all_eflop']:.3g}",
            )
        )
    return lines


def measured_table(rows: Sequence[Row]) -> list[str]:
    """Markdown: seconds a step and memory, beside the least ratio that the counts allow."""
    head = (
        "column stage prompts device|numbers|steps|warm-up|s a step|denoiser|encoding|the rest"
        "|step / denoiser|least by FLOP|step / networks|host, GB|device, GB"
    )
    lines = _head(head)
    for row in rows:
        least = f"{row['least_ratio']:.2f}"
        if row["measured"] != "yes":
            lines.append(_cells(*_names(row), row["measured"], *[""] * 8, least, "", "", ""))
            continue
        on_device = f"{row['device_mb'] / 1024:.1f}" if row["device_mb"] else DASH
        times = (f"{row[name]:.3g}" for name in ("step", "denoiser", "encoding", "rest"))
        lines.append(
            _cells(
                *_names(row),
                *(row[name] for name in ("device", "dtype", "measured_steps", "warm")),
                *times,
                f"{row['ratio']:.2f}",
                least,
                f"{row['ratio_networks']:.2f}",
                f"{row['host_mb'] / 1024:.1f}",
                on_device,
            )
        )
    return lines


def networks_table(lines: Sequence[Line]) -> list[str]:
    """Markdown: parameters and bytes of each prior's networks, from their shapes."""
    found = {line.job.prior["name"]: (line.job.prior, flops.networks(line.job)) for line in lines}
    table = _head("prior network parameters|weights, GB")
    for name, (prior, each) in found.items():
        for part, count in each.parameters.items():
            table.append(_cells(name, part, f"{count:,}", ""))
        weights = f"{each.weight_bytes / 2**30:.2f} ({prior['dtype']})"
        table.append(_cells(name, "all", f"{sum(each.parameters.values()):,}", weights))
    return table


def page(preset: str, lines: Sequence[Line], rows: Sequence[Row]) -> str:
    """The whole page."""
    total = sum(row["all_eflop"] for row in rows)
    hours = total * 1e18 / (SPEED * 1e12) / 3600
    return "\n".join(
        [
            f"# Full size: what `preset={preset}` computes",
            "",
            "Counted and measured by `python -m benchmarks.full_size`. **No weights of any model "
            "took part**: shapes alone",
            "where it is counted, random numbers in these shapes where it is measured. Nothing "
            "here is a result of a method.",
            "",
            "## Counted",
            "",
            "Evaluations are a step's mean for one view over all steps of a run, asked of the "
            "loop's own functions; the",
            "particle's are evaluations + trainings. A product and a sum are 2 FLOP. An encoding "
            "is the autoencoder's, forward",
            "and backward. The scene, the optimisers and the probes of the trace are not counted.",
            "",
            *counts_table(rows),
            "",
            f"In all **{total:.4g} EFLOP**: {hours:,.0f} hours of a device that keeps up "
            f"{SPEED:g} TFLOP/s in these networks, whichever",
            "that is.",
            "",
            *networks_table(lines),
            "",
            "Text encoders are not among them: they run once, into the cache of texts.",
            "",
            "## Measured",
            "",
            "Seconds a step of the real loop on dry weights, beside the same evaluations alone: "
            "the denoiser's (with the",
            "particle's), then the encoding's. The bar for an H200 is a step / denoiser of at most "
            "1.25 at 512 x 512 and 1.5 in",
            "the radiance field's stage. *Least by FLOP* is what that ratio comes to at equal "
            "speed if all but the networks",
            "were free: where an encoding is needed it lies above 1 before the scene has cost "
            "anything. Step / networks",
            "counts the encoding among what is needed. Times on a CPU are CPU time; memory is the "
            "process's peak, pages of",
            "mapped weight files included.",
            "",
            *measured_table(rows),
            "",
        ]
    )


def table_csv(rows: Sequence[Row]) -> str:
    """All rows as CSV; what was not measured is empty."""
    fields = list(dict.fromkeys(field for row in rows for field in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, fields, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(_rounded(row) for row in rows)
    return text.getvalue()


def kept(path: Path) -> dict[str, Measured]:
    """What a page's CSV says was measured, by the lines' names."""
    with path.open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["measured"] == "yes"]
    numbers = ("step", "denoiser", "encoding", "host_mb", "device_mb")
    return {
        line_name(row["column"], row["stage"], row["variant"]): Measured(
            device=row["device"],
            dtype=row["dtype"],
            steps=int(row["measured_steps"]),
            warm=int(row["warm"]),
            **{name: float(row[name]) for name in numbers},
        )
        for row in rows
    }


def _rounded(row: Mapping[str, Any]) -> Row:
    return {
        name: float(f"{value:.6g}") if isinstance(value, float) else value
        for name, value in row.items()
    }


def _names(row: Mapping[str, Any]) -> tuple[str, str, str]:
    return row["column"], row["stage"], row["variant"] or DASH


def _head(words: str) -> list[str]:
    """A header: one-word titles, then after the first bar those of several words."""
    single, *several = words.split("|")
    titles = [*single.split(), *several]
    return [_cells(*titles), _cells(*["---"] * len(titles))]


def _cells(*cells: object) -> str:
    return "| " + " | ".join(str(cell) for cell in cells) + " |"


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
        options = Options(**{name: getattr(given, name) for name in names})
        for line in lines:
            if given.only and line.name not in given.only:
                continue
            results[line.name] = alone(line.job, options)
            print(f"{line.name}: {results[line.name]}", file=sys.stderr, flush=True)
            publish(given.preset, lines, counts, results, given.page)  # a later one may not end
    print(publish(given.preset, lines, counts, results, given.page))


if __name__ == "__main__":
    sys.exit(exit_status(main, ConfigError))
