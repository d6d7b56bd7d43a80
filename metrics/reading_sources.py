"""What readings are computed from, and every reading's values of every run.

Everything comes from files: run records, the views' embeddings, the captions' embeddings. Cosines
are formed once for each (prefix, background, pool), which many readings share.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from metrics import clip_score, readings
from metrics.embeddings import EMBEDDINGS, Captions, read_captions, read_embeddings
from metrics.protocol import Setup, of_reading
from metrics.readings import Reading
from metrics.runs import Run, view_size
from pipeline.artifacts import ArtifactError

Group = tuple[str, str, str]  # preset, stage, column


@dataclass(frozen=True)
class Sources:
    """What readings are computed from: runs, the embeddings of those that worked, captions."""

    runs: Sequence[Run]
    embedded: Mapping[Path, Mapping[str, Float[np.ndarray, "views d"]]]
    captions: Captions
    pools: Mapping[str, list[str]]
    prefixes: Sequence[str]
    backgrounds: Sequence[str]
    model: str
    setup: Setup

    def groups(self) -> dict[Group, list[Run]]:
        """The runs of each column, in the order of prompt and seed."""
        found: dict[Group, list[Run]] = {}
        for run in sorted(self.runs, key=lambda run: (run.prompt_id, run.seed)):
            found.setdefault((run.preset, run.stage, run.column), []).append(run)
        return dict(sorted(found.items()))

    def readings(self) -> dict[Reading, str]:
        """Every reading, with the name of its protocol where publications use it."""
        where = {"background": self.setup.background, "candidates": next(iter(self.pools))}
        names = {r: name for name, found in readings.named(**where).items() for r in found}
        every = readings.all_readings(
            prefixes=self.prefixes, backgrounds=self.backgrounds, pools=list(self.pools)
        )
        return {reading: names.get(reading, "") for reading in every}

    def left_out(self) -> dict[Reading, str]:
        """Readings of publications that need what was not embedded."""
        where = {"background": self.setup.background, "candidates": next(iter(self.pools))}
        return {
            reading: name
            for name, found in readings.named(**where).items()
            for reading in found
            if reading.prefix not in self.prefixes
        }


@dataclass(frozen=True)
class Column:
    """The runs of a column in the order of prompt and seed, and each reading's values of them.

    Values are (runs, n), n = 4 for one a view and 1 for one an object; failed runs have the worst.
    """

    runs: Sequence[Run]
    values: Mapping[Reading, Float[np.ndarray, "runs n"]]

    @property
    def prompt_ids(self) -> list[str]:
        """Of each run."""
        return [run.prompt_id for run in self.runs]

    @property
    def one_seed(self) -> bool:
        """Whether no prompt was run twice."""
        return len(set(self.prompt_ids)) == len(self.runs)


def read_sources(
    runs: Sequence[Run],
    *,
    texts: Path,
    model: str,
    pools: Sequence[str],
    prefixes: Sequence[str],
    background: str,
    cameras: Mapping[str, Any],
) -> Sources:
    """Embeddings of all runs and captions of all pools.

    Raises ArtifactError for what was not embedded, and for prompts that a pool lacks.
    """
    try:
        named = {name: readings.pool_texts(name, [run.prompt for run in runs]) for name in pools}
    except ValueError as error:
        raise ArtifactError(str(error)) from error
    every = [prefix + text for prefix in prefixes for pool in named.values() for text in pool]
    captions = read_captions(texts, every, [], model=model)
    embedded = {run.folder: read_embeddings(run, captions) for run in runs if not run.failed}
    common = list(next(iter(embedded.values()), {background: None}))
    for folder, found in embedded.items():
        if background not in found or list(found) != common:
            raise ArtifactError(
                f"{folder / EMBEDDINGS}: has backgrounds {', '.join(found)}; needs {background} "
                f"and the others' {', '.join(common)}; embed all runs with the same"
            )
    setup = Setup(
        cameras=cameras,
        size=view_size(runs),
        model_sha256=captions.identity["model_sha256"],
        preprocessing=captions.identity["preprocessing"],
        background=background,
        ties="",
        candidates=[],
        strict_candidates=[],
        truth={},
    )
    return Sources(runs, embedded, captions, named, prefixes, common, model, setup)


def protocol_of(reading: Reading, sources: Sources) -> dict[str, Any]:
    """All that decides `reading`'s number; its hash is the protocol_id, as in `scores`."""
    setup = replace(
        sources.setup,
        background=reading.background,
        prefix=reading.prefix,
        ties=reading.ties,
        candidates=sources.pools.get(reading.candidates, []),
    )
    return of_reading(reading.quantity, reading.unit, setup)


def read_columns(sources: Sources) -> dict[Group, Column]:
    """Each column under every reading."""
    groups = sources.groups()
    return {group: Column(runs, _run_values(runs, sources)) for group, runs in groups.items()}


def _run_values(
    runs: Sequence[Run], sources: Sources
) -> dict[Reading, Float[np.ndarray, "runs n"]]:
    worked = [i for i, run in enumerate(runs) if not run.failed]
    cosines: dict[tuple[str, str, str], np.ndarray] = {}
    found = {}
    for reading in sources.readings():
        views = reading.unit == "view"
        pool = sources.pools.get(reading.candidates, [])
        worst = readings.worst(reading, candidates=len(pool) or 1)
        values = np.full((len(runs), 4 if views else 1), worst)
        if worked:
            values[worked] = _worked([runs[i] for i in worked], reading, sources, cosines)
        found[reading] = values
    return found


def _worked(
    runs: Sequence[Run],
    reading: Reading,
    sources: Sources,
    known: dict[tuple[str, str, str], np.ndarray],
) -> Float[np.ndarray, "runs n"]:
    """Values of runs that worked; cosines are kept in `known`, many readings share them."""
    images = np.stack([sources.embedded[run.folder][reading.background] for run in runs])
    if not reading.retrieves:
        own = sources.captions.rows([reading.prefix + run.prompt for run in runs])
        return readings.similarities(images, own, reading)
    pool = sources.pools[reading.candidates]
    key = (reading.prefix, reading.background, reading.candidates)
    if key not in known:
        texts = sources.captions.rows([reading.prefix + text for text in pool])
        flat = clip_score.cosines(images.reshape(-1, images.shape[-1]), texts)
        known[key] = flat.reshape(*images.shape[:2], -1)
    targets = np.array([pool.index(run.prompt) for run in runs])
    return readings.retrieved(known[key], targets, reading)
