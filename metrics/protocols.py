"""Every reading of the retrieval numbers, from stored embeddings, with its interval.

    python -m metrics.protocols --model MODEL --texts OUT/texts.npz --candidates toy81 \
        [--pools dreamfusion415] [--prefixes "" "A photo depicts "] [--cameras JSON] \
        --out OUT --runs DIR ...

Reads `run.json`, `views/` and `embeddings.npz` of every run and the captions' embeddings (both of
metrics.embed, with the same --pools and --prefixes); no encoder is loaded. Writes to --out, as
parquet and csv,

- `protocols`: one row a (column, reading, population), with value, interval and n;
  `background_spread` is the range of the value over the backgrounds, all else equal;
- `comparisons`: every two columns of a reading under intent to treat, paired by prompt: sign flips
  with Holm's correction over the pairs of the reading, exact McNemar for hits of whole objects
  (one seed, no shared ties), and the difference that so many prompts would notice four times in
  five after that correction;
- `published`: published numbers beside ours, with a verdict (metrics.published);

and `readings.json`, which spells out every protocol_id. A run that failed counts with the last rank
and similarity 0 under `intent_to_treat` and is left out under `completers`; the number of runs is
always the planned one.
"""

import json
import sys
from collections.abc import Sequence
from pathlib import Path

from metrics import published
from metrics.arguments import parser as arguments_of
from metrics.comparisons import comparisons
from metrics.embeddings import BACKGROUNDS
from metrics.reading_sources import Sources, read_columns, read_sources
from metrics.reading_table import Statistics, table
from metrics.resampling import RESAMPLES
from metrics.runs import ELEVATION, VIEWS, counted, from_evaluated, read_runs
from pipeline.artifacts import exit_status, write_json, write_table
from prompts.load import PromptError

CAMERAS = {"azimuth_deg": VIEWS, "elevation_deg": ELEVATION}


def write(sources: Sources, chosen: Statistics, out: Path) -> str:
    """The three tables and readings.json in `out`; returns a line that says so."""
    columns = read_columns(sources)
    values, described = table(columns, sources, chosen)
    pairs = comparisons(columns, sources, chosen)
    ours = published.Ours(frozenset(run.prompt for run in sources.runs), sources.model)
    beside = published.beside(values, ours, published.read())
    for name, frame in (("protocols", values), ("comparisons", pairs), ("published", beside)):
        write_table(frame, out / name, name)
    write_json(out / "readings.json", described)
    failed = sum(run.failed for run in sources.runs)
    return f"{len(values)} readings of {len(sources.runs)} runs ({failed} failed) in {out}"


def main(arguments: Sequence[str] | None = None) -> None:
    """Reads, derives, writes."""
    parser = arguments_of("metrics.protocols")
    parser.add_argument("--runs", required=True, nargs="+", type=Path, help="run folders")
    parser.add_argument("--model", required=True, help="the encoder the embeddings were made with")
    parser.add_argument("--texts", required=True, type=Path, help="the captions' embeddings")
    parser.add_argument("--candidates", required=True, help="prompt set of the paper's protocol")
    parser.add_argument("--pools", nargs="*", default=[], help="further prompt sets to rank among")
    parser.add_argument("--prefixes", nargs="*", default=[""], help="words before each caption")
    parser.add_argument("--background", choices=BACKGROUNDS, default="grey", help="of `paper`")
    parser.add_argument("--cameras", type=json.loads, default=CAMERAS, help="JSON, for the id")
    parser.add_argument("--level", type=float, default=0.95, help="of the intervals")
    parser.add_argument("--resamples", type=int, default=RESAMPLES)
    parser.add_argument("--seed", type=int, default=0, help="of the resamples")
    parser.add_argument("--out", required=True, type=Path, help="folder of the tables")
    chosen = parser.parse_args(arguments)
    sources = read_sources(
        from_evaluated(counted(read_runs(chosen.runs))),
        texts=chosen.texts,
        model=chosen.model,
        pools=list(dict.fromkeys([chosen.candidates, *chosen.pools])),
        prefixes=list(dict.fromkeys(["", *chosen.prefixes])),
        background=chosen.background,
        cameras=chosen.cameras,
    )
    statistics = Statistics(level=chosen.level, resamples=chosen.resamples, seed=chosen.seed)
    print(write(sources, statistics, chosen.out))


if __name__ == "__main__":
    sys.exit(exit_status(main, PromptError))
