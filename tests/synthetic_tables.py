"""Tables that fit `synthetic_results`: plausible numbers, true to the formats, computed from
nothing.
"""

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pandas

from pipeline import artifacts

VIEWS = ("front", "left", "back", "right")


def protocol(metric: str, view: str) -> str:
    """A protocol_id: per-view and per-object readings of one metric never share one."""
    return artifacts.digest([metric, "object" if view == "object" else "view"])[:12]


def _rows(
    run: dict[str, Any], skill: float, generator: np.random.Generator
) -> list[dict[str, Any]]:
    key = {k: run[k] for k in ("preset", "column", "stage", "prompt_id", "seed", "status")}
    failed = run["status"] == "failed"
    rows = []

    def add(view: str, metric: str, value: float) -> None:
        rows.append(
            key
            | {"view": view, "metric": metric, "protocol_id": protocol(metric, view)}
            | {"value": float(value)}
        )

    for view in (*VIEWS, "object"):
        cosine = 0.0 if failed else 0.22 + 0.1 * skill + 0.02 * generator.normal()
        rank = 81 if failed else 1 + int(generator.poisson(4 * (1 - skill)))
        add(view, "clip_cos", cosine)
        add(view, "clip_score", 250 * cosine)
        add(view, "rank", rank)
        for k in (1, 5, 10):
            add(view, f"r_at_{k}", rank <= k)
        strict = 243 if failed else rank + int(generator.poisson(1))
        add(view, "strict_rank", strict)
        add(view, "strict_hit", strict == 1)
    if run["task"] == "texture":
        if not failed:
            add("object", "seam", (2 - skill) * (1 + 0.1 * generator.normal()))
        return rows
    good = 0.0 if failed else skill + 0.05 * generator.normal()
    add("object", "truth_iou", max(0.0, good))
    add("object", "iou_floor", 0.42)
    for view in VIEWS:
        add(view, "truth_iou", max(0.0, good))
    add("object", "truth_psnr", 10 + 12 * max(0.0, good))
    add("object", "front_back", 0.0 if failed else float(generator.random() < skill))
    for metric, value in {"chroma": 42, "clipped": 0.03, "sharpness": 0.05, "opacity": 0.3}.items():
        add("object", metric, value * (2 - skill) * (1 + 0.05 * generator.normal()))
    return rows


def _measured(scores: pandas.DataFrame) -> pandas.DataFrame:
    """Object rows of a metric that is also measured per view bear the name summaries use."""
    kept = scores.copy()
    of_object = kept["view"] == "object"
    kept = kept[~(of_object & kept["metric"].isin(["clip_cos", "clip_score", "truth_iou"]))]
    of_object = kept["view"] == "object"
    both = of_object & kept["metric"].isin(set(kept.loc[~of_object, "metric"]))
    kept.loc[both, "metric"] += "_object"
    return kept


def _summary(scores: pandas.DataFrame) -> pandas.DataFrame:
    rows = []
    keys = ["preset", "stage", "column", "metric", "protocol_id"]
    scores = _measured(scores)
    for population in ("intent_to_treat", "completers"):
        chosen = scores if population == "intent_to_treat" else scores[scores.status == "ok"]
        for key, group in chosen.groupby(keys, sort=False):
            means = group.groupby("prompt_id").value.mean()
            half = 1.96 * means.std(ddof=1) / len(means) ** 0.5 if len(means) > 1 else np.nan
            failed = group[group.status == "failed"].drop_duplicates(["prompt_id", "seed"])
            runs = len(group.drop_duplicates(["prompt_id", "seed"]))
            rows.append(
                dict(zip(keys, key, strict=True))
                | {"population": population, "n_prompts": len(means), "n_runs": runs}
                | {"n_failed": len(failed), "mean": means.mean(), "level": 0.95}
                | {"lower": means.mean() - half, "upper": means.mean() + half}
            )
    return pandas.DataFrame(rows)


def _pairs(scores: pandas.DataFrame, columns: list[str]) -> pandas.DataFrame:
    rows = []
    for (preset, stage, metric, protocol_id), group in _measured(scores).groupby(
        ["preset", "stage", "metric", "protocol_id"], sort=False
    ):
        table = group.pivot_table(index="prompt_id", columns="column", values="value")
        small = len(table) < 12
        for a, b in itertools.combinations(columns, 2):
            if a not in table or b not in table:
                continue
            difference = (table[a] - table[b]).dropna()
            half = 1.96 * difference.std(ddof=1) / len(difference) ** 0.5
            mean = difference.mean()
            verdict = (
                "not separated" if abs(mean) < half else "a above b" if mean > 0 else "b above a"
            )
            rows.append(
                {"preset": preset, "stage": stage, "metric": metric, "protocol_id": protocol_id}
                | {"column_a": a, "column_b": b, "difference": mean, "lower": mean - half}
                | {"upper": mean + half, "p": 0.0625, "p_holm": 0.375}
                | {"smallest_p": 2.0 ** (1 - len(difference)), "n_prompts": len(difference)}
                | {"verdict": "n too small to rank" if small else verdict}
            )
    return pandas.DataFrame(rows)


def write_tables(
    folder: Path,
    runs: list[dict[str, Any]],
    generator: np.random.Generator,
    *,
    traced: int | None = None,
) -> None:
    """scores, summary, pairs and traces of `runs` in `folder`; of `traced` runs only, if given."""
    from synthetic_results import trace_frame

    columns = list(dict.fromkeys(run["column"] for run in runs))
    skills = {name: 0.45 + 0.45 * i / max(1, len(columns) - 1) for i, name in enumerate(columns)}
    scores = pandas.DataFrame(
        [row for run in runs for row in _rows(run, skills[run["column"]], generator)]
    )
    artifacts.write_table(scores, folder / "scores", "scores")
    artifacts.write_table(_summary(scores), folder / "summary", "summary")
    artifacts.write_table(_pairs(scores, columns), folder / "pairs", "pairs")
    frames = []
    for run in runs[:traced]:
        if run["status"] == "ok":
            key = {k: run[k] for k in ("preset", "column", "stage", "prompt_id", "seed")}
            frames.append(trace_frame(run["column"], generator).assign(**key))
    artifacts.write_table(pandas.concat(frames), folder / "traces", "traces")
