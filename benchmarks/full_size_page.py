"""The Markdown page of full-size costs: counts, what was measured, and by which commands."""

from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks import flops
from benchmarks.flops import Line, line_name

SPEED = 100.0  # TFLOP/s, for the sentence that turns a count into hours
DASH = "–"

Row = dict[str, Any]


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


def commands(preset: str, rows: Sequence[Row]) -> list[str]:
    """Markdown: command lines that measure these rows, one for equal options and commit."""
    groups: dict[tuple[str, str], list[str]] = {}
    for row in rows:
        if row["measured"] == "yes":
            name = line_name(row["column"], row["stage"], row["variant"])
            groups.setdefault((row["options"], row["commit"]), []).append(name)
    if not groups:
        return []
    lines = [
        "Measured with the options of these commands, together or one by one. The random weights "
        "are written to DIR.",
        "An option that a command lacks was not recorded.",
        "",
        "```sh",
    ]
    for (options, commit), names in groups.items():
        lines += [
            f"# commit {commit}",
            f"python -m benchmarks.full_size --preset {preset} --weights DIR {options} \\",
            f"    --only {' '.join(names)} --page docs/results/full_size.md --keep",
        ]
    return [*lines, "```", ""]


def page(preset: str, lines: Sequence[Line], rows: Sequence[Row]) -> str:
    """The whole page."""
    total = sum(row["all_eflop"] for row in rows)
    hours = total * 1e18 / (SPEED * 1e12) / 3600
    return "\n".join(
        [
            f"# Full size: what `preset={preset}` computes",
            "",
            f"Counted by `python -m benchmarks.full_size --preset {preset}`; measured by the "
            "commands at the end. **No weights of",
            "any model took part**: shapes alone where it is counted, random numbers in these "
            "shapes where it is measured.",
            "Nothing here is a result of a method.",
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
            "mapped weight files included; the device's is that of torch's own tensors: what "
            "tiny-cuda-nn and nvdiffrast",
            "allocate themselves comes on top.",
            "",
            *measured_table(rows),
            "",
            *commands(preset, rows),
        ]
    )


def _names(row: Mapping[str, Any]) -> tuple[str, str, str]:
    return row["column"], row["stage"], row["variant"] or DASH


def _head(words: str) -> list[str]:
    """A header: one-word titles, then after the first bar those of several words."""
    single, *several = words.split("|")
    titles = [*single.split(), *several]
    return [_cells(*titles), _cells(*["---"] * len(titles))]


def _cells(*cells: object) -> str:
    return "| " + " | ".join(str(cell) for cell in cells) + " |"
