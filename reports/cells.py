"""What stands in one cell of the gallery: a run's pictures with their numbers, as plain data.

Links are URLs relative to the page's folder. A cell is `ok`, `failed` (its pictures are
placeholders, its reason is shown), `refused` (another system's files that cannot be scored: a
reason and no pictures) or `missing` (nothing was run).
"""

import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from reports.records import VIEWS, Run, Tables, rows_of, source_remark

SHORT = 120  # characters of a prompt that stand in an alt text or before "more"
STAGES = {"nerf": "NeRF"}  # where a stage's name is not how it is written
Scores = Mapping[tuple[str, str, int], Mapping[tuple[str, str], float]]


def scores_by_run(
    tables: Tables, runs: Sequence[Run]
) -> dict[tuple[str, str, int], dict[Any, float]]:
    """(column, prompt_id, seed) -> {(metric, view): value}, of the stage that its run is of; of two
    protocols, the first in the table.
    """
    stages = {run.key: str(run.record["stage"]) for run in runs}
    found: dict[tuple[str, str, int], dict[Any, float]] = {}
    for row in rows_of(tables.scores):
        key = (row.column, row.prompt_id, int(row.seed))
        if stages.get(key) != row.stage:
            continue
        values = found.setdefault(key, {})
        if row.value is not None and math.isfinite(row.value):
            values.setdefault((row.metric, row.view), float(row.value))
    return found


def named(stage: str) -> str:
    """A stage as a reader sees it."""
    return STAGES.get(stage, stage)


def link(path: Path | None, page: Path) -> str:
    """`path` as a URL relative to the folder of `page`; "" for None."""
    return quote(os.path.relpath(path, page.parent)) if path else ""


def shortened(text: str) -> str:
    """`text` itself, or its first SHORT characters and an ellipsis."""
    return text if len(text) <= SHORT else text[:SHORT].rstrip() + "…"


def view_cell(run: Run, view: str, values: Mapping[Any, float], page: Path) -> dict[str, Any]:
    """What stands at one view: picture, normal map, alt text, score, cosine and rank."""
    score, cosine = values.get(("clip_score", view)), values.get(("clip_cos", view))
    rank = values.get(("rank", view))
    what = f"{view} view of “{shortened(run.record['prompt'])}” by {run.record['column']}"
    return {
        "name": view,
        "src": link(run.picture(view), page),
        "normal": link(run.picture(view, "normal"), page),
        "alt": f"placeholder of a failed run: {what}" if run.failed else what,
        "score": "" if score is None else f"{score:.1f}",
        "cosine": "" if cosine is None else f"{cosine:.4f}",
        "rank": "" if rank is None else f"{rank:g}",
    }


def facts(run: Run, values: Mapping[Any, float]) -> list[tuple[str, str, str]]:
    """(label, value, explanation) of the object as a whole, for the line below its pictures."""
    lines = []
    for metric, label, help_text in (
        ("rank", "rank", "Rank of the prompt by the mean cosine of the four views."),
        (
            "strict_rank",
            "strict",
            "Worst rank of a view among every candidate with each view word.",
        ),
    ):
        if (metric, "object") in values:
            lines.append((label, f"#{values[metric, 'object']:g}", help_text))
    if ("truth_iou", "object") in values:
        floor = values.get(("iou_floor", "object"))
        beside = f" ({floor:.2f})" if floor is not None else ""
        text = "Silhouette overlap with the true object; in brackets the best wrong shape's."
        lines.append(("IoU", f"{values['truth_iou', 'object']:.2f}{beside}", text))
    if ("truth_psnr", "object") in values:
        text = "Colour error against the true object."
        lines.append(("PSNR", f"{values['truth_psnr', 'object']:.1f} dB", text))
    if ("front_back", "object") in values:
        told = "found" if values["front_back", "object"] >= 0.5 else "not found"
        text = "Whether the front view resembles the true front more than the true back."
        lines.append(("front", told, text))
    if ("seam", "object") in values:
        text = "Mean colour jump across the texture's seams, over that elsewhere; 1 is unseen."
        lines.append(("seam", f"{values['seam', 'object']:.2f}", text))
    if faces := run.surface.get("faces"):
        kind = {"vertex": "a colour at each vertex", "texture": "colours in a texture"}
        text = f"Triangles; {kind.get(str(run.surface.get('colours')), 'no colours')}."
        lines.append(("faces", f"{faces:,}", text))
    if run.seconds is not None:
        evaluations = f", {run.evaluations:,.0f} denoiser evaluations" if run.evaluations else ""
        lines.append(("time", f"{run.seconds:.0f} s", f"Wall clock of the run{evaluations}."))
    return lines


def spin(run: Run, page: Path) -> dict[str, Any] | None:
    """The turntable as the script reads it: address, frames, layout and angles in degrees."""
    table = run.turntable()
    if table is None or table.frames < 2:
        return None
    return {
        "src": link(table.path, page),
        "frames": table.frames,
        "columns": table.columns,
        "rows": -(-table.frames // table.columns),
        "start": table.azimuths[0],
        "step": table.azimuths[1] - table.azimuths[0],
    }


def cell(
    run: Run | None, column: str, scores: Scores, page: Path, models: Mapping[Path, str]
) -> dict[str, Any]:
    """What one column shows for a prompt: pictures and numbers, or why there are none.

    `models` are the buttons of runs with a mesh, by run folder.
    """
    if run is None:
        return {"column": column, "state": "missing", "views": [], "facts": []}
    reason = str(run.record.get("reason") or "no reason given")
    if run.refused:
        return {"column": column, "state": "refused", "reason": reason, "views": [], "facts": []}
    values = scores.get(run.key, {})
    views = [view_cell(run, view, values, page) for view in VIEWS]
    return {
        "column": column,
        "state": "failed" if run.failed else "ok",
        "stage": named(str(run.record["stage"])),
        "reason": reason,
        "log": run.log_tail() if run.failed else "",
        "remark": source_remark(run),
        "poster": link(run.beside("poster.png"), page) or views[0]["src"],
        "alt": f"turntable of “{shortened(run.record['prompt'])}” by {column}",
        "turntable": spin(run, page),
        "model": models.get(run.folder, ""),
        "views": [view for view in views if view["src"]],
        "facts": facts(run, values),
    }


def bare(runs: Sequence[Run], page: Path, mesh: Mapping[str, Any]) -> dict[str, Any]:
    """The mesh that all of `runs` painted: normals from the first that shows it, its 3D button, and
    what its record `mesh` says.
    """
    views: list[dict[str, str]] = []
    for run in runs:
        pictures = {view: run.picture(view, "normal") for view in VIEWS}
        if run.failed or None in pictures.values():
            continue
        what = f"of the bare mesh for “{shortened(run.record['prompt'])}”"
        views = [
            {"name": view, "src": link(path, page), "alt": f"normals, {view} view {what}"}
            for view, path in pictures.items()
        ]
        break
    origin = mesh.get("origin") or {}
    lines = [("faces", mesh.get("faces")), ("file", mesh.get("file"))]
    lines += [(name, origin.get(name)) for name in ("name", "author", "licence", "uid")]
    return {
        "views": views,
        "model": mesh.get("model", ""),
        "reason": mesh.get("reason") or "",
        "changes": list(mesh.get("changes") or ()),
        "facts": [(n, f"{v:,}" if isinstance(v, int) else str(v)) for n, v in lines if v],
    }
