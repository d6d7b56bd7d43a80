"""How large the two parts of a direction are against each other, by column and third of the run.

    python -m metrics.norms --traces results/toy81/tables/traces.parquet --out norms.csv

Rows: `ratio`, the mean norm of the generative part e(y) - eps over the mean norm of the classifier
part e(y) - e(null), as logged (one noise each, both of the same images), and `cosine`, of the
direction with the classifier part, of means over many noises. A value a prompt; then the median
(`ratio`) or mean (`cosine`) over prompts with its interval. A prompt whose classifier part is zero
throughout a third has an infinite ratio, which a median can bear.
"""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from metrics import resampling, statistics
from metrics.arguments import parser as arguments_of
from pipeline.artifacts import exit_status, read_table, write_text

if TYPE_CHECKING:
    import pandas

THIRDS = ("first", "middle", "last")
COSINE = "probe/cosine/direction/classifier"


def by_prompt(traces: "pandas.DataFrame") -> "pandas.DataFrame":
    """Rows preset, stage, column, third, quantity, prompt_id, value; both parts at the same steps.

    A quantity that no step of a third logged is left out.
    """
    import pandas

    key = ["preset", "stage", "column", "third", "prompt_id"]
    steps = traces.groupby(["preset", "stage"])["step"].transform("max") + 1
    third = np.array(THIRDS)[(traces["step"] * 3 // steps).to_numpy()]
    rows = traces.assign(third=third)
    parts = rows[rows["term"].isin(["generative", "classifier"])].dropna(subset=["norm"])
    both = parts.groupby([*key, "step", "term"])["norm"].mean().unstack("term").dropna()
    means = both.groupby(level=key).mean()
    ratio = np.divide(
        means["generative"],
        means["classifier"],
        out=np.full(len(means), np.inf),
        where=means["classifier"].to_numpy() > 0.0,
    )
    cosine = rows[rows["term"] == COSINE].dropna(subset=["norm"]).groupby(key)["norm"].mean()
    values = {"ratio": pandas.Series(ratio, index=means.index), "cosine": cosine}
    found = [v.rename("value").reset_index().assign(quantity=k) for k, v in values.items()]
    return pandas.concat(found, ignore_index=True)


def table(
    values: "pandas.DataFrame", *, level: float = 0.95, seed: int = 0
) -> list[dict[str, Any]]:
    """One row a (preset, stage, column, third, quantity)."""
    rows = []
    names = ["preset", "stage", "column", "third", "quantity"]
    for key, group in values.groupby(names, sort=True):
        words = list(map(str, key))
        known: dict[str, Any] = dict(zip(names, words, strict=True))
        found = group.sort_values("prompt_id")["value"].to_numpy(dtype=np.float64)
        rng = statistics.generator(seed, *words)
        if known["quantity"] == "ratio":
            weights = resampling.resampled_weights(np.arange(found.size), rng)
            bounds = resampling.median_interval(found[:, None], weights, level=level)
        else:
            mean = statistics.mean_interval(found, rng, level=level)
            bounds = (mean.mean, mean.lower, mean.upper)
        value, lower, upper = bounds
        known |= {"value": value, "lower": lower, "upper": upper, "n_prompts": found.size}
        rows.append({**known, "level": level})
    return rows


def main(arguments: Sequence[str] | None = None) -> None:
    """Reads traces, writes a csv."""
    parser = arguments_of("metrics.norms")
    parser.add_argument("--traces", required=True, type=Path, help="tables/traces.parquet")
    parser.add_argument("--level", type=float, default=0.95, help="of the intervals")
    parser.add_argument("--seed", type=int, default=0, help="of the resamples")
    parser.add_argument("--out", required=True, type=Path, help="csv")
    chosen = parser.parse_args(arguments)
    values = by_prompt(read_table(chosen.traces, "traces"))
    rows = table(values, level=chosen.level, seed=chosen.seed)
    lines = [",".join(rows[0])] if rows else []
    lines += [",".join(_text(value) for value in row.values()) for row in rows]
    write_text(chosen.out, "\n".join(lines) + "\n")
    print(f"{len(rows)} rows in {chosen.out}")


def _text(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)


if __name__ == "__main__":
    sys.exit(exit_status(main))
