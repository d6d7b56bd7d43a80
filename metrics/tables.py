"""From one number a (run, view) to means with intervals and paired comparisons.

`scores` has one row a (run, view, metric). Names of metrics in `summary` and `pairs` are those of
`scores`; the rows with view `object` of a metric that also exists per view are called
`<metric>_object`, so that a mean never mixes the two.

Populations: `intent_to_treat` counts a failed run with the worst rank and score 0, `completers`
leaves it out. Pairs are of the first. Metrics without a worst value (image statistics, seams) have
completers only, in both tables.

`stage` says where a column ends; columns of one table may end in different ones (systems as
published), and the stage of their pair is then `a's/b's`.
"""

from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float

from metrics import statistics
from metrics.measure import SEAM, WITHOUT_WORST
from pipeline.artifacts import TABLES, ArtifactError

if TYPE_CHECKING:
    import pandas

LOWER_IS_BETTER = ("rank", "strict_rank", SEAM)
HITS = ("r_at_1", "r_at_5", "r_at_10", "strict_hit", "front_back")
# Their object rows are the means of their views, so that a mean over prompts is the same number.
AVERAGED = ("clip_cos", "clip_score", "truth_iou", "truth_psnr", "iou_floor", "iou_ball")
REFERENCES = ("iou_floor", "iou_ball")  # properties of the prompt: no column can be better at them
_GROUP = ["preset", "metric", "protocol_id"]


def base(metric: str) -> str:
    """The metric without what says where it was measured: `r_at_1` of `r_at_1_object@white`."""
    return metric.split("@")[0].removesuffix("_object")


def of_whole(metric: str) -> str:
    """The name of a metric's object rows: `r_at_1_object@white` for `r_at_1@white`."""
    name, at, background = metric.partition("@")
    return f"{name}_object{at}{background}"


def measured(scores: "pandas.DataFrame") -> "pandas.DataFrame":
    """`scores` to be summarised: applicable, and the object rows of per-view metrics renamed."""
    of_object = scores["view"] == "object"
    repeated = of_object & scores["metric"].map(base).isin(AVERAGED)
    kept = scores[(scores["status"] != "not applicable") & ~repeated].copy()
    per_view = set(kept.loc[kept["view"] != "object", "metric"])
    renamed = (kept["view"] == "object") & kept["metric"].isin(per_view)
    kept.loc[renamed, "metric"] = kept.loc[renamed, "metric"].map(of_whole)
    return kept


def populations(metric: str, rows: "pandas.DataFrame") -> dict[str, "pandas.DataFrame"]:
    """The rows that each population of `metric` counts."""
    completers = rows[rows["status"] == "ok"]
    if base(metric) in WITHOUT_WORST:
        return {"completers": completers}
    return {"intent_to_treat": rows, "completers": completers}


def one_protocol(rows: "pandas.DataFrame") -> str:
    """The protocol_id that all `rows` share. Raises ArtifactError for several: their numbers mean
    different things and must not share a column, a mean or a test.
    """
    found = sorted(set(rows["protocol_id"]))
    if len(found) != 1:
        raise ArtifactError(
            f"{len(found)} protocols in one column ({', '.join(found[:4])}): choose one; "
            "protocols.json and readings.json say how they differ"
        )
    return str(found[0])


def stage_of(rows: "pandas.DataFrame") -> str:
    """The stage that all `rows` of one column share. Raises ArtifactError for several."""
    found = sorted(set(map(str, rows["stage"])))
    if len(found) != 1:
        raise ArtifactError(f"one column with runs of the stages {', '.join(found)}: choose one")
    return found[0]


def pair_stage(a: str, b: str) -> str:
    """Where the two columns of a pair end: the stage, or both when they differ."""
    return a if a == b else f"{a}/{b}"


def side_by_side(
    rows: "pandas.DataFrame", *, index: str, columns: str = "column", value: str = "value"
) -> "pandas.DataFrame":
    """`rows` as a grid; raises ArtifactError unless they share one protocol and fill each cell
    once.
    """
    one_protocol(rows)
    if rows.duplicated([index, columns]).any():
        raise ArtifactError(f"several rows for one {index} and {columns}: choose one of them")
    return rows.pivot(index=index, columns=columns, values=value)


def prompt_means(rows: "pandas.DataFrame") -> "pandas.Series":
    """Mean over the views and seeds of each prompt, indexed by prompt_id in sorted order.

    Raises ArtifactError for rows of several protocols.
    """
    if len(rows):
        one_protocol(rows)
    return rows.groupby("prompt_id", sort=True)["value"].mean()


def summary(
    scores: "pandas.DataFrame", *, level: float = 0.95, seed: int = 0
) -> "pandas.DataFrame":
    """The `summary` table: mean over prompts of each (column, metric, protocol, population)."""
    import pandas

    rows: list[dict[str, Any]] = []
    for key, group in measured(scores).groupby([*_GROUP, "column"], sort=True):
        preset, metric, protocol_id, column = map(str, key)
        names = {"preset": preset, "stage": stage_of(group), "metric": metric}
        names |= {"protocol_id": protocol_id, "column": column}
        runs = group[["prompt_id", "seed", "status"]].drop_duplicates()
        failed = int((runs["status"] == "failed").sum())
        for population, chosen in populations(metric, group).items():
            means = prompt_means(chosen)
            rng = statistics.generator(seed, *names.values(), population)
            interval = _interval(metric, means.to_numpy(), rng, level)
            counts = {"n_prompts": means.size, "n_runs": len(runs), "n_failed": failed}
            rows.append({**names, "population": population, **counts, **vars(interval)})
    return pandas.DataFrame(rows, columns=list(TABLES["summary"]))


def pairs(scores: "pandas.DataFrame", *, level: float = 0.95, seed: int = 0) -> "pandas.DataFrame":
    """The `pairs` table: every two columns of a metric, over the prompts that both have.

    `difference` is mean a - mean b; a is `above` when it is better, which for ranks means smaller.
    Holm's correction is over the pairs of one (preset, metric, protocol).
    """
    import pandas

    found: list[dict[str, Any]] = []
    rows = measured(scores)
    for key, group in rows[~rows["metric"].isin(REFERENCES)].groupby(_GROUP, sort=True):
        names: dict[str, Any] = dict(zip(_GROUP, key, strict=True))
        counted = next(iter(populations(names["metric"], group).values()))
        columns = {str(column): rows for column, rows in counted.groupby("column")}
        means = {column: prompt_means(rows) for column, rows in columns.items()}
        stages = {column: stage_of(rows) for column, rows in columns.items()}
        family = []
        for a, b in combinations(means, 2):
            stage = pair_stage(stages[a], stages[b])
            words = (names["preset"], stage, names["metric"], names["protocol_id"], a, b)
            family.append(
                {**names, "stage": stage, **_pair(means[a], means[b], words, level, seed)}
                | {"column_a": a, "column_b": b}
            )
        corrected = statistics.holm(np.array([row["p"] for row in family]))
        sign = -1.0 if base(names["metric"]) in LOWER_IS_BETTER else 1.0
        for row, p_holm in zip(family, corrected, strict=True):
            row["p_holm"] = float(p_holm)
            row["verdict"] = statistics.verdict(
                sign * row["difference"],
                row["p_holm"],
                prompts=row["n_prompts"],
                tests=len(family),
                level=level,
            )
        found += family
    return pandas.DataFrame(found, columns=list(TABLES["pairs"]))


def _pair(
    a: "pandas.Series", b: "pandas.Series", names: tuple[str, ...], level: float, seed: int
) -> dict[str, Any]:
    differences = (a - b).dropna().to_numpy()  # aligned by prompt_id
    interval = statistics.mean_interval(
        differences, statistics.generator(seed, *names, "interval"), level=level
    )
    return {
        "difference": interval.mean,
        "lower": interval.lower,
        "upper": interval.upper,
        "p": statistics.sign_flip_p(differences, statistics.generator(seed, *names, "test")),
        "smallest_p": statistics.smallest_p(differences.size),
        "n_prompts": differences.size,
    }


def _interval(
    metric: str, values: Float[np.ndarray, " prompts"], rng: np.random.Generator, level: float
) -> statistics.Interval:
    if base(metric) in HITS:
        return statistics.hit_interval(values, rng, level=level)
    return statistics.mean_interval(values, rng, level=level)
