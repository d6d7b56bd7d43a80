"""What stands in one cell of the gallery: a run's pictures with their numbers, as plain data.

Links are URLs relative to the page's folder. A cell is `ok`, `failed` (its pictures are
placeholders, its reason is shown) or `missing` (nothing was run).
"""

import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

from reports.records import VIEWS, Run, Tables, rows_of, source_remark

SHORT = 120  # characters of a prompt that stand in an alt text or before "more"
Scores = Mapping[tuple[str, str, int], Mapping[tuple[str, str], float]]


def scores_by_run(tables: Tables, *, stage: str) -> dict[tuple[str, str, int], dict[Any, float]]:
    """(column, prompt_id, seed) -> {(metric, view): value}; of two protocols, the first in the
    table.
    """
    found: dict[tuple[str, str, int], dict[Any, float]] = {}
    chosen = tables.scores[tables.scores["stage"] == stage]
    for row in rows_of(chosen):
        values = found.setdefault((row.column, row.prompt_id, int(row.seed)), {})
        if row.value is not None and math.isfinite(row.value):
            values.setdefault((row.metric, row.view), float(row.value))
    return found


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
    if run.seconds is not None:
        evaluations = f", {run.evaluations:,.0f} denoiser evaluations" if run.evaluations else ""
        lines.append(("time", f"{run.seconds:.0f} s", f"Wall clock of the run{evaluations}."))
    return lines


def cell(run: Run | None, column: str, scores: Scores, page: Path) -> dict[str, Any]:
    """What one column shows for a prompt: pictures and numbers, or why there are none."""
    if run is None:
        return {"column": column, "state": "missing", "views": [], "facts": []}
    values = scores.get(run.key, {})
    table = run.turntable()
    turn = None
    if table and table.frames > 1:
        turn = {"src": link(table.path, page), "frames": table.frames, "columns": table.columns}
        turn["rows"] = -(-table.frames // table.columns)
        turn["start"], turn["step"] = table.azimuths[0], table.azimuths[1] - table.azimuths[0]
    views = [view_cell(run, view, values, page) for view in VIEWS]
    return {
        "column": column,
        "state": "failed" if run.failed else "ok",
        "reason": str(run.record.get("reason") or "no reason given"),
        "remark": source_remark(run),
        "poster": link(run.beside("poster.png"), page) or views[0]["src"],
        "alt": f"turntable of “{shortened(run.record['prompt'])}” by {column}",
        "turntable": turn,
        "views": [view for view in views if view["src"]],
        "facts": facts(run, values),
    }
