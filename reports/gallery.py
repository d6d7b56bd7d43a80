"""The gallery: what every column made of every prompt, on one page that needs nothing but its
folder.

    python -m reports.gallery --task geometry --preset-name mini --columns sds csd csd_neg vsd \\
        --runs results/mini/runs.txt --tables results/mini/tables --out results/mini/geometry.html

The page names images by paths relative to itself and works from file://, without a network and,
posters and tables, without scripts. Nothing from a run reaches a script: texts are escaped into
markup, numbers travel as JSON data. The same inputs give the same bytes.
"""

import argparse
import base64
import hashlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pipeline.artifacts import write_text
from reports import summary
from reports.cells import Scores, cell, scores_by_run, shortened
from reports.records import (
    VIEWS,
    ReportError,
    Run,
    Tables,
    choose_stage,
    find_runs,
    read_tables,
    reported,
    source_remark,
)

HERE = Path(__file__).resolve().parent
# What rows can be sorted by: metric -> (label, the view it is read at; None = mean of the four)
SORTS: dict[str, tuple[str, str | None]] = {
    "clip_score": ("CLIP score", None),
    "rank": ("rank of the object", "object"),
    "strict_rank": ("strict rank", "object"),
    "truth_iou": ("IoU with the truth", "object"),
    "truth_psnr": ("PSNR to the truth", "object"),
    "chroma": ("chroma", None),
    "sharpness": ("sharpness", None),
    "seconds": ("seconds", None),
}


def rows(
    runs: Sequence[Run],
    scores: Scores,
    *,
    columns: Sequence[str],
    tags: Mapping[str, Sequence[str]],
    page: Path,
) -> list[dict[str, Any]]:
    """One row per (prompt, seed): prompts in the order of `tags`, then of their text; seeds
    ascending.
    """
    by_key = {run.key: run for run in runs}
    texts = {(run.key[1], run.key[2]): run.record["prompt"] for run in runs}
    order = {prompt_id: i for i, prompt_id in enumerate(tags)}
    many_seeds = len({seed for _, seed in texts}) > 1

    def place(key: tuple[str, int]) -> tuple[int, str, int]:
        return order.get(key[0], len(order)), texts[key], key[1]

    found = []
    for prompt_id, seed in sorted(texts, key=place):
        cells = [cell(by_key.get((c, prompt_id, seed)), c, scores, page) for c in columns]
        states = {c["state"] for c in cells}
        own = [
            *tags.get(prompt_id, ()),
            *(name for name in ("failed", "missing") if name in states),
        ]
        own += ["other sources"] if any(c.get("remark") for c in cells) else []
        text = texts[prompt_id, seed]
        found.append(
            {"id": f"{prompt_id}.{seed}", "prompt": text, "seed": seed if many_seeds else None}
            | {"short": shortened(text), "tags": own, "cells": cells}
        )
    return found


def sort_data(
    page_rows: Sequence[Mapping[str, Any]],
    runs: Sequence[Run],
    scores: Scores,
    columns: Sequence[str],
) -> dict[str, Any]:
    """What the script sorts by: the metrics on offer; per row and column, their values or null."""
    seconds = {run.key: run.seconds for run in runs}
    values = []
    offered = set()
    for row in page_rows:
        prompt_id, _, seed = row["id"].rpartition(".")
        own = []
        for column in columns:
            key = (column, prompt_id, int(seed))
            numbers = {m: _at(scores.get(key, {}), m, view) for m, (_, view) in SORTS.items()}
            numbers["seconds"] = seconds.get(key)
            offered |= {name for name, value in numbers.items() if value is not None}
            own.append([None if v is None else round(v, 5) for v in numbers.values()])
        values.append(own)
    labels = [[name, label, name in offered] for name, (label, _) in SORTS.items()]
    return {"columns": list(columns), "metrics": labels, "values": values}


def _at(values: Mapping[Any, float], metric: str, view: str | None) -> float | None:
    if view is not None:
        return values.get((metric, view))
    found = [values[metric, name] for name in VIEWS if (metric, name) in values]
    return sum(found) / len(found) if found else values.get((metric, "object"))


def provenance(runs: Sequence[Run], tables: Tables) -> dict[str, Any]:
    """Where the page's content comes from: commits, versions, devices, checksums, warnings."""

    def distinct(name: str) -> list[tuple[str, int]]:
        counts: dict[str, int] = {}
        for run in runs:
            value = run.record.get(name)
            counts[str(value)] = counts.get(str(value), 0) + (value is not None)
        return sorted((value, n) for value, n in counts.items() if n)

    versions: dict[str, set[str]] = {}
    for run in runs:
        for package, version in (run.record.get("versions") or {}).items():
            versions.setdefault(package, set()).add(str(version))
    remarks: dict[str, int] = {}
    for run in runs:
        if remark := source_remark(run):
            remarks[remark] = remarks.get(remark, 0) + 1
    return {
        "commits": distinct("commit"),
        "dirty": sum(bool(run.record.get("dirty")) for run in runs),
        "devices": distinct("device_name") or distinct("device"),
        "threads": distinct("threads"),
        "versions": {name: sorted(found) for name, found in sorted(versions.items())},
        "checksums": dict(tables.checksums),
        "remarks": sorted(remarks.items()),
    }


def priors(runs: Sequence[Run]) -> list[dict[str, Any]]:
    """The distinct priors of the runs, as they stand in the records."""
    found: list[dict[str, Any]] = []
    for run in runs:
        prior = run.record.get("prior") or {"name": "not recorded"}
        if prior not in found:
            found.append(dict(prior))
    return found


def prompt_tags(name: str | None) -> dict[str, tuple[str, ...]]:
    """prompt_id -> tags of the prompt set `name`, in its order; empty without a set."""
    if name is None:
        return {}
    from prompts.load import load_set

    return {prompt.prompt_id: prompt.tags for prompt in load_set(name).prompts}


def plot(tables: Tables, columns: Sequence[str]) -> str:
    """The gradient-norm figure as SVG that takes its colours from the page; "" without traces."""
    from reports import gradient_norms

    if tables.traces is None or tables.traces.empty:
        return ""
    present = [column for column in columns if column in set(tables.traces["column"])]
    if not present:
        return ""
    _, svg, _ = gradient_norms.draw_gradient_norms(tables.traces, columns=present)
    return gradient_norms.themed(
        svg, label="Gradient norms against optimisation step and noise level"
    )


def render(context: Mapping[str, Any]) -> str:
    """The page's HTML. Autoescaping is on; only our own CSS, script and figure are marked safe."""
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(HERE / "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    script = (HERE / "static" / "gallery.js").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(script.encode("utf-8")).digest()).decode()
    style = (HERE / "static" / "gallery.css").read_text(encoding="utf-8")
    template = environment.get_template("gallery.html.j2")
    return template.render(**context, script=script, script_digest=digest, style=style)


def page_context(
    runs: Sequence[Run],
    tables: Tables,
    *,
    task: str,
    preset_name: str,
    columns: Sequence[str],
    prompt_set: str | None,
    page: Path,
) -> dict[str, Any]:
    """Everything the template names. `runs` are of one stage, each (column, prompt, seed) once."""
    stage = str(runs[0].record["stage"])
    scores = scores_by_run(tables, stage=stage)
    page_rows = rows(runs, scores, columns=columns, tags=prompt_tags(prompt_set), page=page)
    shown = summary.readings(tables)
    counts = summary.counts(tables, columns)
    table = summary.metrics_table(
        tables, shown, columns=columns, population=summary.INTENT_TO_TREAT
    )
    completers = summary.metrics_table(
        tables, shown, columns=columns, population=summary.COMPLETERS
    )
    return {
        "task": task,
        "preset": preset_name,
        "stage": stage,
        "columns": list(columns),
        "rows": page_rows,
        "tags": sorted({tag for row in page_rows for tag in row["tags"]}),
        "n_prompts": len({run.key[1] for run in runs}),
        "n_seeds": len({run.key[2] for run in runs}),
        "n_runs": len(runs),
        "n_failed": sum(run.failed for run in runs),
        "priors": priors(runs),
        "readings": shown,
        "tables": summary.grouped(shown),
        "counts": counts,
        "table": table,
        "completers": completers,
        "costs": summary.costs(runs, columns),
        "cost_readings": summary.COSTS,
        "verdicts": summary.verdicts(tables, shown, columns=columns),
        "level": f"{100 * float(tables.summary['level'].max()):.3g}"
        if len(tables.summary)
        else "95",
        "plot": plot(tables, columns),
        "data": sort_data(page_rows, runs, scores, columns),
        "provenance": provenance(runs, tables),
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Write the page. Exits with a message that names what is missing."""
    parser = argparse.ArgumentParser(prog="reports.gallery", description=__doc__)
    parser.add_argument("--task", default="geometry")
    parser.add_argument("--runs", type=Path, required=True, help="their list or their folder")
    parser.add_argument("--tables", type=Path, required=True, help="results/<preset>/tables")
    parser.add_argument("--preset-name", required=True)
    parser.add_argument("--columns", nargs="+", required=True)
    parser.add_argument("--stage", help="needed where runs have several stages")
    parser.add_argument("--prompt-set", help="gives the rows' order and tags")
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args(arguments)
    runs = choose_stage(find_runs(args.runs, task=args.task, columns=args.columns), args.stage)
    foreign = sorted({str(r.record["preset"]) for r in runs} - {args.preset_name})
    if foreign:
        raise ReportError(
            f"{args.runs}: runs of preset {', '.join(foreign)}, not {args.preset_name}"
        )
    context = page_context(
        runs,
        read_tables(args.tables),
        task=args.task,
        preset_name=args.preset_name,
        columns=args.columns,
        prompt_set=args.prompt_set,
        page=Path(os.path.abspath(args.out)),
    )
    write_text(args.out, render(context))


if __name__ == "__main__":
    reported(main)
