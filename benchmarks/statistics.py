"""CPU seconds of the statistics of the whole paper preset: 324 views x 4 columns, one thread.

    python -m benchmarks.statistics

Random numbers stand for the measurements; their size is the paper's: 81 prompts, 4 views, 4
columns, two pools of candidates (81 and 415), two prefixes, three backgrounds, 10,000 resamples.
Rows: the `summary` and `pairs` tables of metrics.score, the `protocols` and `comparisons` tables of
metrics.protocols. The bar is 30 s for all of them.
"""

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas

from metrics import comparisons, reading_sources, reading_table, statistics, tables
from metrics.embeddings import Captions
from metrics.measure import EVERYWHERE
from metrics.protocol import Setup
from metrics.readings import CLIPSCORE_PREFIX
from metrics.resampling import RESAMPLES
from metrics.runs import VIEWS, Run
from prompts.load import load_set

COLUMNS = ("sds", "csd", "csd_neg", "vsd")
WIDTH = 512  # of ViT-B/32's embeddings
BACKGROUNDS = ("white", "grey", "black")
METRICS = ("clip_cos", "clip_score", "rank", "r_at_1", "r_at_5", "r_at_10")
METRICS += tuple(f"{m}@{b}" for m in ("clip_score", "r_at_1") for b in BACKGROUNDS[1:])
METRICS += ("strict_rank", "strict_hit", "chroma", "clipped", "sharpness", "opacity")
BAR = 30.0


def runs() -> list[Run]:
    """One seed of each prompt in each column."""
    every = load_set("dreamfusion81").prompts
    return [
        Run(Path(column, p.prompt_id), "paper", column, "nerf", p.text, p.prompt_id, 0, False)
        for column in COLUMNS
        for p in every
    ]


def scores(rng: np.random.Generator) -> pandas.DataFrame:
    """A `scores` table of random numbers: one a (run, view, metric)."""
    rows = [
        {**run.key, "view": view, "metric": metric, "protocol_id": metric, "status": "ok"}
        for run in runs()
        for metric in METRICS
        for view in EVERYWHERE
    ]
    values = rng.integers(0, 5, size=len(rows)) / 4.0  # hits and shares, with the ties they have
    return pandas.DataFrame(rows).assign(value=values)


def sources(rng: np.random.Generator) -> reading_sources.Sources:
    """Random embeddings of the views and of every caption of both pools."""
    pools = {n: [p.text for p in load_set(n).prompts] for n in ("dreamfusion81", "dreamfusion415")}
    prefixes = ("", CLIPSCORE_PREFIX)
    texts = [prefix + text for prefix in prefixes for text in pools["dreamfusion415"]]
    embedding = dict(zip(texts, rng.normal(size=(len(texts), WIDTH)), strict=True))
    identity = {"model_sha256": "", "preprocessing": ""}
    setup = Setup({}, [512, 512], "", "", "white", "", [], [], None)
    embedded = {
        run.folder: {name: rng.normal(size=(len(VIEWS), WIDTH)) for name in BACKGROUNDS}
        for run in runs()
    }
    captions = Captions(texts, [], embedding, identity)
    return reading_sources.Sources(
        runs(), embedded, captions, pools, prefixes, BACKGROUNDS, "", setup
    )


def timed(name: str, work: Callable[[], object]) -> float:
    """CPU seconds of `work`, printed."""
    start = time.process_time()
    result = work()
    seconds = time.process_time() - start
    size = f"{len(result)} rows" if isinstance(result, pandas.DataFrame) else ""
    print(f"{name:<40}{seconds:8.2f} s   {size}")
    return seconds


def main() -> None:
    """Prints one row a table and the sum."""
    rng = np.random.default_rng(0)
    statistics.RESAMPLES = RESAMPLES
    table, source = scores(rng), sources(rng)
    chosen = reading_table.Statistics(level=0.95, resamples=RESAMPLES, seed=0)
    columns: dict[reading_sources.Group, reading_sources.Column] = {}
    total = timed("summary (scipy's bootstrap, row by row)", lambda: tables.summary(table))
    total += timed("pairs (scipy's bootstrap and flips)", lambda: tables.pairs(table))
    total += timed(
        "values of every reading", lambda: columns.update(reading_sources.read_columns(source))
    )
    total += timed("protocols", lambda: reading_table.table(columns, source, chosen)[0])
    total += timed("comparisons", lambda: comparisons.comparisons(columns, source, chosen))
    print(f"{'all':<40}{total:8.2f} s   the bar is {BAR:.0f} s; {RESAMPLES} resamples")


if __name__ == "__main__":
    main()
