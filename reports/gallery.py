"""The gallery: what every column made of every prompt, on one page that needs nothing but its
folder.

    python -m reports.gallery --task geometry --preset-name mini --columns sds csd csd_neg vsd \\
        --runs results/mini/lists/geometry.txt --tables results/mini/tables/geometry \\
        --earlier results/mini/lists/geometry.nerf.txt results/mini/tables/geometry.nerf \\
        --prompt-set toy6 --out results/mini/geometry.html

The page names images by paths relative to itself and works from file://, without a network and,
posters and tables, without scripts. Nothing from a run reaches a script: texts are escaped into
markup, numbers travel as JSON data. The same inputs give the same bytes.
"""

import argparse
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pipeline.artifacts import write_text
from reports import pages, summary, viewer
from reports.chains import chains, differences
from reports.gallery_rows import Shown, rows, sort_data
from reports.models import write_bare, write_models
from reports.provenance import priors, provenance
from reports.records import ReportError, Tables, choose_stage, find_runs, read_tables, reported

TEXTURE = "texture"  # the task whose rows are given meshes
SCRIPTS = [f"gallery_{part}.js" for part in ("state", "turntables", "rows", "wipe", "keys")]
CSP = (  # of a page without models
    "default-src 'none'; img-src 'self' file: data:; style-src 'unsafe-inline'; "
    "script-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
)


def prompt_tags(name: str | None) -> dict[str, tuple[str, ...]]:
    """prompt_id -> tags of the prompt set `name`, in its order; empty without a set."""
    if name is None:
        return {}
    from prompts.load import load_set

    return {prompt.prompt_id: prompt.tags for prompt in load_set(name).prompts}


def plot(tables: Tables, columns: Sequence[str], *, name: str) -> str:
    """The gradient-norm figure as SVG that takes its colours from the page, its ids marked by
    `name`; "" without traces.
    """
    from reports import gradient_norms

    if tables.traces is None or tables.traces.empty:
        return ""
    present = [column for column in columns if column in set(tables.traces["column"])]
    if not present:
        return ""
    _, svg, _ = gradient_norms.draw_gradient_norms(tables.traces, columns=present)
    label = "Gradient norms against optimisation step and noise level"
    themed = gradient_norms.themed(svg, label=label)
    return re.sub(r'(id="|url\(#|href="#)', rf"\g<1>{name}-", themed)


def numbers(
    shown: Shown, readings: Sequence[summary.Reading], columns: Sequence[str], *, place: int
) -> dict[str, Any]:
    """The tables and the figure of one stage, as the template names them."""
    tables = shown.tables
    populations = (summary.INTENT_TO_TREAT, summary.COMPLETERS)
    means = [
        summary.metrics_table(tables, readings, columns=columns, population=population)
        for population in populations
    ]
    return {
        "label": shown.label,
        "after": shown.after,
        "mixed": shown.mixed,
        "readings": readings,
        "tables": summary.grouped(readings),
        "counts": summary.counts(tables, columns),
        "table": means[0],
        "completers": means[1],
        "costs": summary.costs(shown.runs, columns),
        "n_failed": sum(run.failed and not run.refused for run in shown.runs),
        "verdicts": summary.verdicts(tables, readings, columns=columns),
        "plot": plot(tables, columns, name=f"stage{place}"),
    }


def page_context(
    parts: Sequence[Shown],
    *,
    task: str,
    preset_name: str,
    columns: Sequence[str],
    prompt_set: str | None,
    meshes: Path | None,
    page: Path,
) -> dict[str, Any]:
    """Everything the template names; writes the sidecars of 3D models beside `page`."""
    runs = list({run.folder.resolve(): run for part in parts for run in part.runs}.values())
    models = write_models(runs, page)
    given = None
    if task == TEXTURE:
        texts = {run.key[1]: run.record["prompt"] for run in runs}
        given = write_bare(meshes, texts, page) if meshes else {}
    page_rows = rows(
        parts,
        columns=columns,
        tags=prompt_tags(prompt_set),
        page=page,
        models=models,
        meshes=given,
    )
    readings = summary.numbered([summary.readings(part.tables) for part in parts])
    named = zip(parts, readings, strict=True)
    checksums = {
        f"{part.label}, {name}" if len(parts) > 1 else name: digest
        for part in parts
        for name, digest in part.tables.checksums.items()
    }
    levels = parts[0].tables.summary["level"]
    return {
        "task": task,
        "preset": preset_name,
        "columns": list(columns),
        "rows": page_rows,
        "tags": sorted({tag for row in page_rows for tag in row["tags"]}),
        "n_prompts": len({run.key[1] for run in runs}),
        "n_seeds": len({run.key[2] for run in runs}),
        "n_runs": len(runs),
        "n_failed": sum(run.failed and not run.refused for run in runs),
        "n_refused": sum(run.refused for run in runs),
        "has_models": bool(models) or any("model" in mesh for mesh in (given or {}).values()),
        "given_meshes": given is not None,
        "priors": priors(runs),
        "stages": [part.label for part in parts],
        "chains": chains(parts, columns),
        "differences": differences(parts, columns),
        "parts": [numbers(*pair, columns, place=i) for i, pair in enumerate(named)],
        "protocols": summary.protocols(readings),
        "cost_readings": summary.COSTS,
        "level": f"{100 * float(levels.max()):.3g}" if len(levels) else "95",
        "data": sort_data(page_rows, parts, columns),
        "provenance": provenance(runs, checksums),
    }


def render(context: Mapping[str, Any]) -> str:
    """The page's HTML."""
    models = context["has_models"]
    script = pages.scoped(*SCRIPTS) + (viewer.script() if models else "")
    policy = (viewer.CSP if models else CSP).format(digest=pages.digest(script))
    sheets = ["gallery.css", *(["viewer.css"] if models else [])]
    style = pages.style(*sheets)
    return pages.render("gallery.html.j2", **context, script=script, policy=policy, style=style)


def shown(runs: Path, tables: Path, *, task: str, preset: str, columns: Sequence[str]) -> Shown:
    """The runs that the list `runs` names, and their tables. Raises ReportError."""
    found = choose_stage(find_runs(runs, task=task, columns=columns), None)
    foreign = sorted({str(r.record["preset"]) for r in found} - {preset})
    if foreign:
        raise ReportError(f"{runs}: runs of preset {', '.join(foreign)}, not {preset}")
    return Shown(found, read_tables(tables))


def main(arguments: Sequence[str] | None = None) -> None:
    """Write the page. Exits with a message that names what is missing."""
    parser = argparse.ArgumentParser(prog="reports.gallery", description=__doc__)
    parser.add_argument("--task", default="geometry")
    parser.add_argument("--runs", type=Path, required=True, help="list or folder of last stages")
    parser.add_argument("--tables", type=Path, required=True, help="the folder of their tables")
    parser.add_argument(
        "--earlier",
        type=Path,
        nargs=2,
        action="append",
        default=[],
        metavar=("RUNS", "TABLES"),
        help="an earlier stage's; the first stage first",
    )
    parser.add_argument("--preset-name", required=True)
    parser.add_argument("--columns", nargs="+", required=True)
    parser.add_argument("--meshes", type=Path, help="the folder of given meshes, of task texture")
    parser.add_argument("--prompt-set", help="gives the rows' order and tags")
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args(arguments)
    known = {"task": args.task, "preset": args.preset_name, "columns": args.columns}
    context = page_context(
        [shown(*pair, **known) for pair in [(args.runs, args.tables), *reversed(args.earlier)]],
        task=args.task,
        preset_name=args.preset_name,
        columns=args.columns,
        prompt_set=args.prompt_set,
        meshes=args.meshes,
        page=Path(os.path.abspath(args.out)),
    )
    write_text(args.out, render(context))


if __name__ == "__main__":
    reported(main)
