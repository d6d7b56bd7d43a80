"""Embeds the views of many runs and the candidate captions, loading the encoder once.

    python -m metrics.embed --model local-dir:pipeline/toyworld/weights/toy_clip \
        --candidates toy81 [SET ...] --strict-views front side back --strict-extra toy_blobs \
        --backgrounds grey white --texts OUT/texts.npz --runs DIR ...

Writes `embeddings.npz` into each run folder and the captions' embeddings to --texts, in the formats
of metrics.embeddings. A failed run has no rows. One call serves all tasks of a preset: every set of
--candidates is embedded with every view word, a superset of what any one task ranks. --pools
(further prompt sets) and --prefixes (words before every caption) are what the readings of
metrics.protocols rank among.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from metrics import candidates, encoders
from metrics.arguments import parser as arguments_of
from metrics.embeddings import BACKGROUNDS, EMBEDDINGS, write_arrays
from metrics.runs import VIEWS, Run, composited, read_runs, read_view
from pipeline.artifacts import exit_status, sha256
from prompts.load import PromptError

RUNS_AT_ONCE = 16  # pictures held in memory: 16 runs x 4 views x 3 backgrounds x 512^2 is 150 MB


def identity(encoder: encoders.Encoder) -> dict[str, np.ndarray]:
    """What an embedding's file says of the encoder that made it."""
    return {
        "model_id": np.array(encoder.model_id),
        "model_sha256": np.array(encoder.model_sha256),
        "preprocessing": np.array(encoder.preprocessing),
    }


def embed_runs(
    encoder: encoders.Encoder, runs: Sequence[Run], *, backgrounds: Sequence[str]
) -> None:
    """Each run folder holds the embeddings of its views over these backgrounds."""
    labels = [(view, background) for view in VIEWS for background in backgrounds]
    pictures = []
    for run in runs:
        if not run.failed:
            views = {view: read_view(run, view) for view in VIEWS}
            pictures += [composited(views[view], BACKGROUNDS[name]) for view, name in labels]
    rows = encoders.embed_images(encoder, pictures) if pictures else np.empty((0, 0))
    start = 0
    for run in runs:
        here = [] if run.failed else labels
        write_arrays(
            run.folder / EMBEDDINGS,
            {
                "embedding": rows[start : start + len(here)].astype(np.float32),
                "view": np.array([view for view, _ in here], dtype=np.str_),
                "background": np.array([name for _, name in here], dtype=np.str_),
                "image_sha256": np.array(
                    [sha256(run.view(view)) for view, _ in here], dtype=np.str_
                ),
                **identity(encoder),
            },
        )
        start += len(here)


def embed_candidates(encoder: encoders.Encoder, texts: Sequence[str], path: Path) -> Path:
    """`path` holds the embeddings of `texts`, each once."""
    once = list(dict.fromkeys(texts))
    rows = encoders.embed_texts(encoder, once)
    return write_arrays(path, {"embedding": rows, "text": np.array(once), **identity(encoder)})


def captions(chosen: argparse.Namespace) -> list[str]:
    """Every caption that the options name; the same may come twice."""
    words, extra = chosen.strict_views, chosen.strict_extra
    sets = chosen.candidates
    strict = [text for c in sets for text in candidates.strict(c, view_words=words, extra=extra)]
    pools = [text for pool in (*sets, *chosen.pools) for text in candidates.plain(pool)]
    return [*pools, *strict, *(prefix + text for prefix in chosen.prefixes for text in pools)]


def main(arguments: Sequence[str] | None = None) -> None:
    """Embeds captions, then runs, in order."""
    parser = arguments_of("metrics.embed")
    parser.add_argument("--model", required=True, help="local-dir:PATH or MODEL:TAG")
    parser.add_argument("--runs", required=True, nargs="+", type=Path, help="run folders")
    parser.add_argument("--candidates", required=True, nargs="+", help="prompt sets to rank among")
    parser.add_argument("--strict-views", nargs="*", default=[], help="view words")
    parser.add_argument("--strict-extra", nargs="*", default=[], help="further prompt sets")
    parser.add_argument("--pools", nargs="*", default=[], help="further prompt sets to rank among")
    parser.add_argument("--prefixes", nargs="*", default=[], help="words before each caption")
    parser.add_argument("--backgrounds", nargs="+", choices=BACKGROUNDS, default=["grey"])
    parser.add_argument("--texts", required=True, type=Path, help="where captions' embeddings go")
    parser.add_argument("--device", default="cpu")
    chosen = parser.parse_args(arguments)
    runs = read_runs(dict.fromkeys(chosen.runs))
    encoder = encoders.load(chosen.model, device=chosen.device)
    embed_candidates(encoder, captions(chosen), chosen.texts)
    for start in range(0, len(runs), RUNS_AT_ONCE):
        part = runs[start : start + RUNS_AT_ONCE]
        embed_runs(encoder, part, backgrounds=chosen.backgrounds)
        print(f"embedded {start + len(part)} of {len(runs)} runs", flush=True)


if __name__ == "__main__":
    sys.exit(exit_status(main, encoders.EncoderError, PromptError))
