"""The gallery's rows as plain data: one per prompt (or given mesh) and seed, a cell per column and
stage, and the numbers that rows are sorted by.

A page shows where its columns end and, through a switch, what they were after earlier stages.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from reports.cells import Scores, bare, cell, named, scores_by_run, shortened
from reports.records import VIEWS, Run, Tables

Key = tuple[str, str, int]  # column, prompt_id, seed
ENDS = "where each column ends"
# What rows can be sorted by: metric -> (label, the view it is read at; None = mean of the four,
# whether more (1) or less (-1) is better; 0: neither)
SORTS: dict[str, tuple[str, str | None, int]] = {
    "clip_score": ("CLIP score", None, 1),
    "rank": ("rank of the object", "object", -1),
    "strict_rank": ("strict rank", "object", -1),
    "truth_iou": ("IoU with the truth", "object", 1),
    "truth_psnr": ("PSNR to the truth", "object", 1),
    "seam": ("seam", "object", -1),
    "chroma": ("chroma", None, 0),
    "sharpness": ("sharpness", None, 0),
    "seconds": ("seconds", None, -1),
}


@dataclass(frozen=True)
class Shown:
    """What one choice of stage shows: each (column, prompt, seed) at most once, and its tables."""

    runs: Sequence[Run]
    tables: Tables

    @cached_property
    def by_key(self) -> Mapping[Key, Run]:
        return {run.key: run for run in self.runs}

    @cached_property
    def scores(self) -> Scores:
        return scores_by_run(self.tables, self.runs)

    @property
    def stage(self) -> str:
        """The stage that all runs are of, other systems' files apart; "last" where columns end in
        different ones.
        """
        every = {str(run.record["stage"]) for run in self.runs}
        found = {str(run.record["stage"]) for run in self.runs if not run.external} or every
        return found.pop() if len(found) == 1 else "last"

    @property
    def mixed(self) -> bool:
        """Whether the columns end in different stages."""
        return self.stage == "last"

    @property
    def label(self) -> str:
        """The stage as a reader sees it."""
        return ENDS if self.mixed else named(self.stage)

    @property
    def after(self) -> str:
        """The label as the end of a heading."""
        return self.label if self.mixed else f"after {self.label}"


def run_after(parts: Sequence[Shown], place: int, key: Key) -> Run | None:
    """The run that part `place` shows: its own, or the last one where a column ends there."""
    own = parts[place].by_key.get(key)
    last = parts[0].by_key.get(key)
    ends_here = last is not None and last.record["stage"] == parts[place].stage
    return own or (last if ends_here else None)


def rows(
    parts: Sequence[Shown],
    *,
    columns: Sequence[str],
    tags: Mapping[str, Sequence[str]],
    page: Path,
    models: Mapping[Path, str],
    meshes: Mapping[str, Mapping[str, Any]] | None = None,
) -> list[dict[str, Any]]:
    """One row per (prompt, seed): prompts in the order of `tags`, then of their text; seeds
    ascending. `cells` holds, for each column, what each of `parts` shows; the last stage is first.

    `meshes` (prompt_id -> its record) makes rows begin with the bare mesh that they paint.
    """
    texts = {run.key[1:]: run.record["prompt"] for part in parts for run in part.runs}
    order = {prompt_id: i for i, prompt_id in enumerate(tags)}
    many_seeds = len({seed for _, seed in texts}) > 1

    def place(key: tuple[str, int]) -> tuple[int, str, int]:
        return order.get(key[0], len(order)), texts[key], key[1]

    found = []
    for prompt_id, seed in sorted(texts, key=place):
        cells = []
        for column in columns:
            own = [run_after(parts, i, (column, prompt_id, seed)) for i in range(len(parts))]
            named = zip(own, parts, strict=True)
            cells.append([cell(run, column, part.scores, page, models) for run, part in named])
        text = texts[prompt_id, seed]
        row = {
            "id": f"{prompt_id}.{seed}",
            "prompt": text,
            "short": shortened(text),
            "seed": seed if many_seeds else None,
            "tags": [*tags.get(prompt_id, ()), *_states(cells)],
            "cells": cells,
            "bare": None,
        }
        if meshes is not None:
            painted = [run for c in columns if (run := parts[0].by_key.get((c, prompt_id, seed)))]
            row["bare"] = bare(painted, page, meshes.get(prompt_id, {}))
        found.append(row)
    return found


def _states(cells: Sequence[Sequence[Mapping[str, Any]]]) -> list[str]:
    """What of the row can be filtered for: failures, gaps where the columns end, what is not
    scored, runs of other sources. A stage that a column does not pass through is no gap.
    """
    states = {
        c["state"]
        for shown in cells
        for i, c in enumerate(shown)
        if c["state"] != "missing" or not i
    }
    tags = {"failed": "failed", "refused": "not scored", "missing": "missing"}
    found = [tag for state, tag in tags.items() if state in states]
    return found + ["other sources"] * any(c.get("remark") for shown in cells for c in shown)


def sort_data(
    page_rows: Sequence[Mapping[str, Any]], parts: Sequence[Shown], columns: Sequence[str]
) -> dict[str, Any]:
    """What the script sorts by: the metrics on offer, and for each stage, row and column their
    values or null.
    """
    offered: set[str] = set()
    values: list[list[list[list[float | None]]]] = []
    for place in range(len(parts)):
        values.append([])
        for row in page_rows:
            prompt_id, _, seed = row["id"].rpartition(".")
            keys = [(column, prompt_id, int(seed)) for column in columns]
            numbers = [_numbers(parts, place, key) for key in keys]
            offered |= {m for own in numbers for m, value in own.items() if value is not None}
            values[-1].append([list(own.values()) for own in numbers])
    metrics = [[m, label, m in offered, better] for m, (label, _, better) in SORTS.items()]
    stages = [part.stage for part in parts]
    return {"columns": list(columns), "stages": stages, "metrics": metrics, "values": values}


def _numbers(parts: Sequence[Shown], place: int, key: Key) -> dict[str, float | None]:
    run = run_after(parts, place, key)
    part = parts[place] if key in parts[place].by_key else parts[0]
    own = part.scores.get(key, {}) if run else {}
    found = {metric: _at(own, metric, view) for metric, (_, view, _) in SORTS.items()}
    found["seconds"] = run.seconds if run else None
    return {name: None if v is None else round(v, 5) for name, v in found.items()}


def _at(values: Mapping[Any, float], metric: str, view: str | None) -> float | None:
    if view is not None:
        return values.get((metric, view))
    found = [values[metric, name] for name in VIEWS if (metric, name) in values]
    return sum(found) / len(found) if found else values.get((metric, "object"))
