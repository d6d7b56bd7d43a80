"""When a score that grows with the steps of a run has come nine tenths of its way.

A curve is a score at the steps at which the scene was kept (pipeline.snapshots) and at the end,
straight between them. The way is counted from the run's own start, since a ball scores above zero:
nine tenths of the score itself may be reached before the first step.

- `own`: nine tenths of the way to the run's own end. It says how a run spends its steps; a column
  that ends low gets there early.
- `shared`: nine tenths of the way to where the reference column ends on the same prompt and seed.
  It says who is faster to the same place; whoever never gets there counts with all its steps, a
  lower bound, and is counted as not reached.

Where the end of that way is not above its start there is nothing to time: nan, and counted.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float

from metrics import statistics

if TYPE_CHECKING:
    import pandas

SHARE = 0.9
KINDS = ("own", "shared")
_RUN = ["column", "prompt_id", "seed"]


def crossing(
    steps: Float[np.ndarray, " n"], values: Float[np.ndarray, " n"], target: float
) -> float:
    """The first step at which the curve reaches `target`; nan where it never does."""
    reached = np.flatnonzero(values >= target)
    if not reached.size:
        return float("nan")
    i = int(reached[0])
    if i == 0:
        return float(steps[0])
    share = (target - values[i - 1]) / (values[i] - values[i - 1])
    return float(steps[i - 1] + share * (steps[i] - steps[i - 1]))


def times(scores: "pandas.DataFrame", *, reference: str) -> "pandas.DataFrame":
    """One row a run, metric and kind: start, end of the way, step at nine tenths of it, reached.

    `scores`: column, prompt_id, seed, metric, step, value. `step` is nan where there is no way, and
    the run's last step where `reached` is False.
    """
    import pandas

    ordered = scores.sort_values("step")
    ends = ordered.groupby(["metric", *_RUN])["value"].last()
    rows = []
    for (metric, column, prompt_id, seed), run in ordered.groupby(["metric", *_RUN], sort=True):
        steps, values = (run[name].to_numpy(dtype=np.float64) for name in ("step", "value"))
        goals = {
            "own": float(values[-1]),
            "shared": float(ends.get((metric, reference, prompt_id, seed), np.nan)),
        }
        for kind, goal in goals.items():
            row: dict[str, Any] = {"metric": metric, "column": column, "prompt_id": prompt_id}
            row |= {"seed": seed, "kind": kind, "start": values[0], "end": goal}
            way = goal - values[0]
            found = crossing(steps, values, values[0] + SHARE * way) if way > 0 else float("nan")
            reached = bool(np.isfinite(found))
            late = way > 0 and not reached
            rows.append(row | {"reached": reached, "step": float(steps[-1]) if late else found})
    return pandas.DataFrame(rows)


def time_summary(found: "pandas.DataFrame", *, reference: str, level: float) -> "pandas.DataFrame":
    """Mean step over prompts with its interval, and against the reference column: paired difference
    (column minus reference, so that negative is faster), p, p after Holm, verdict.
    """
    import pandas

    rows: list[dict[str, Any]] = []
    for (metric, kind), family in found.groupby(["metric", "kind"], sort=False):
        names = (str(metric), str(kind))
        means = {str(c): _by_prompt(own) for c, own in family.groupby("column", sort=False)}
        own_rows = [
            {
                "metric": metric,
                "kind": kind,
                "column": column,
                **_counts(family[family["column"] == column]),
                **_mean(steps, (*names, column), level),
                **_against(steps, means.get(reference), (*names, column, reference), level),
            }
            for column, steps in means.items()
        ]
        others = [row for row in own_rows if row["column"] != reference]
        corrected = statistics.holm(np.array([row["p"] for row in others]))
        for row, p_holm in zip(others, corrected, strict=True):
            row["p_holm"] = float(p_holm)
            row["verdict"] = _verdict(row, tests=len(others), level=level)
        rows += own_rows
    return pandas.DataFrame(rows)


def _by_prompt(own: "pandas.DataFrame") -> "pandas.Series":
    return own.dropna(subset=["step"]).groupby("prompt_id", sort=True)["step"].mean()


def _counts(own: "pandas.DataFrame") -> dict[str, int]:
    """n_runs, those without a way, and those that did not reach its nine tenths."""
    no_way = int(own["step"].isna().sum())
    late = int((~own["reached"]).sum()) - no_way
    return {"n_runs": len(own), "n_no_way": no_way, "n_not_reached": late}


def _mean(steps: "pandas.Series", names: Sequence[str], level: float) -> dict[str, Any]:
    found = statistics.mean_interval(
        steps.to_numpy(), statistics.generator(0, "speed", *names), level=level
    )
    bounds = {"steps": found.mean, "lower": found.lower, "upper": found.upper}
    return {**bounds, "n_prompts": int(steps.size)}


def _against(
    steps: "pandas.Series", theirs: "pandas.Series | None", names: Sequence[str], level: float
) -> dict[str, Any]:
    pairs = np.empty(0) if theirs is None else (steps - theirs).dropna().to_numpy()
    rng = statistics.generator(0, "speed pair", *names)
    found = statistics.mean_interval(pairs, rng, level=level)
    return {
        "difference": found.mean,
        "difference_lower": found.lower,
        "difference_upper": found.upper,
        "n_pairs": int(pairs.size),
        "p": statistics.sign_flip_p(pairs, rng),
    }


def _verdict(row: dict[str, Any], *, tests: int, level: float) -> str:
    said = statistics.verdict(
        -row["difference"], row["p_holm"], prompts=row["n_pairs"], tests=tests, level=level
    )
    words = {"a above b": "faster", "b above a": "slower"}
    return words.get(said, said) if row["n_pairs"] else "no pair to compare"


def curves(scores: "pandas.DataFrame", *, level: float) -> "pandas.DataFrame":
    """Mean over prompts with its interval of every column, metric and step; and what it had cost:
    mean evaluations and seconds of the runs until then.
    """
    import pandas

    rows = []
    for key, own in scores.groupby(["metric", "column", "step"], sort=True):
        metric, column, step = map(str, key)
        means = own.groupby("prompt_id", sort=True)["value"].mean().to_numpy()
        rng = statistics.generator(0, "curve", metric, column, step)
        found = statistics.mean_interval(means, rng, level=level)
        row: dict[str, Any] = {"metric": metric, "column": column, "step": int(step)}
        row |= {"mean": found.mean, "lower": found.lower, "upper": found.upper}
        row |= {"n_prompts": means.size, "evaluations": float(own["evaluations"].mean())}
        rows.append(row | {"seconds": float(own["seconds"].mean())})
    return pandas.DataFrame(rows)
