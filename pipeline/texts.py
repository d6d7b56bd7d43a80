"""Every text that the runs of a preset put to one of its learned priors, as a JSON list.

    python -m pipeline.texts --preset mini --prior learned --out texts.json
    python -m pipeline.texts --preset mini --prior learned --cache DIR --out texts.json

With --cache they are embedded there first (`pipeline.guidance.embeddings`), once for all runs, so
that no optimisation loads a text encoder.
"""

import argparse
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pipeline.artifacts import exit_status, write_json
from pipeline.config import ConfigError, Job, job, load_preset, located
from pipeline.guidance.captions import VocabularyError
from pipeline.predictions import condition_texts
from pipeline.recipes import chains, prompts, tasks


def learned_priors(name: str, preset: Mapping[str, Any]) -> list[str]:
    """The preset's priors that some run uses and that read text by a network, in its order."""
    used = {one.prior["name"] for _, _, jobs in _kinds(name, preset) for one in jobs}
    return [p for p, spec in preset["priors"].items() if p in used and spec["kind"] != "mixture"]


def texts(name: str, preset: Mapping[str, Any], prior: str) -> list[str]:
    """Each text once, in the order of tasks and prompts."""
    kinds = {(task, tags): jobs for task, tags, jobs in _kinds(name, preset)}
    found: dict[str, None] = {}
    for task in tasks(preset):
        for prompt in prompts(preset, task):
            for one in kinds[task, prompt.tags]:
                if one.prior["name"] == prior:
                    found |= dict.fromkeys(condition_texts(prompt.text, one.settings))
    return list(found)


def _kinds(
    name: str, preset: Mapping[str, Any]
) -> Iterator[tuple[str, tuple[str, ...], list[Job]]]:
    """(task, tags, the jobs of one prompt with these tags): nothing else decides the settings."""
    seed = preset["seeds"][0]
    for task in tasks(preset):
        own = [(c, stage) for of, c, chain in chains(preset) if of == task for stage in chain]
        for tags, prompt_id in {p.tags: p.prompt_id for p in prompts(preset, task)}.items():
            yield (
                task,
                tags,
                [job(name, column=c, stage=s, prompt_id=prompt_id, seed=seed) for c, s in own],
            )


def main(arguments: Sequence[str] | None = None) -> None:
    """The program."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--preset", required=True)
    parser.add_argument("--prior", required=True)
    parser.add_argument("--cache", type=Path, help="the folder of embedded texts")
    parser.add_argument("--device", default="cpu", help="of the text encoder")
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args(arguments)
    preset = load_preset(given.preset)
    known = learned_priors(given.preset, preset)
    if given.prior not in known:
        raise ConfigError(
            f"{given.preset} has no learned prior {given.prior!r} in use; there are "
            f"{', '.join(known) or 'none'}"
        )
    listed = texts(given.preset, preset, given.prior)
    if given.cache is not None:
        from pipeline.guidance.embeddings import texts_of

        spec = located(preset["priors"][given.prior])
        texts_of(spec, cache=given.cache, device=given.device).embed(listed)
    write_json(given.out, listed)


if __name__ == "__main__":
    sys.exit(exit_status(main, ConfigError, VocabularyError))
