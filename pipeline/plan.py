"""The runs that a preset asks for, one run folder a line: what tables and pages show, and no other.

    python -m pipeline.plan --preset mini
    python -m pipeline.plan --preset mini --out results/mini/lists --external geometry:theirs

Folders of prompts, seeds or columns that the preset no longer has may still lie under runs/; they
are not listed. lists/geometry.txt is where each column ends, lists/geometry.nerf.txt that stage.
"""

import argparse
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pipeline.artifacts import exit_status, write_text
from pipeline.config import ConfigError, load_preset
from pipeline.recipes import chain, columns, prompts, shown
from prompts.load import PromptError, load_set

RUN = "results/{preset}/runs/{task}/{column}/{prompt_id}/seed{seed}/{stage}"
EXTERNAL = "external"  # in the place of a stage, for what another system made


def run_folders(
    name: str, preset: Mapping[str, Any], what: str, *, column: str | None = None
) -> list[str]:
    """The run folders of `what` (one of `recipes.shown`), of one column or of all.

    Other systems' columns stand among those where columns end, with one seed.
    """
    task, _, stage = what.partition(".")
    ends = [
        (found, stage or own[-1], seed)
        for found, own in _chains(preset, task)
        if not stage or stage in own
        for seed in preset["seeds"]
    ]
    if not stage:
        ends += [(found, EXTERNAL, 0) for found in preset["tasks"][task].get("external", {})]
    names = {"preset": name, "task": task}
    return [
        RUN.format(**names, column=found, prompt_id=prompt.prompt_id, seed=seed, stage=last)
        for found in dict.fromkeys(found for found, _, _ in ends)
        if column in (None, found)
        for prompt in prompts(preset, task)
        for other, last, seed in ends
        if other == found
    ]


def _chains(preset: Mapping[str, Any], task: str) -> Iterator[tuple[str, list[str]]]:
    for name, column in columns(preset).items():
        yield name, chain(preset, task, column)


def check_candidates(preset: Mapping[str, Any]) -> None:
    """Returns if every prompt is among the texts that retrieval ranks; else it would have no rank.

    Raises ConfigError naming the first that is not.
    """
    for task, spec in preset["tasks"].items():
        ranked = {prompt.text for prompt in load_set(spec["candidates"]).prompts}
        strays = [p.text for p in prompts(preset, task) if p.text not in ranked]
        if strays:
            raise ConfigError(
                f"tasks.{task}.candidates: {strays[0]!r} of {spec['prompts']} is not in "
                f"{spec['candidates']} ({len(strays)} in all): name a set that holds every prompt"
            )


def main(arguments: Sequence[str] | None = None) -> None:
    """Prints the lists, or writes them."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--preset", required=True)
    parser.add_argument("--out", type=Path, help="a folder instead of standard output")
    parser.add_argument("--external", nargs="*", default=[], help="TASK:COLUMN, not of the preset")
    given = parser.parse_args(arguments)
    preset = load_preset(given.preset)
    for task, _, name in (one.partition(":") for one in given.external):
        preset["tasks"][task].setdefault("external", {})[name] = ""
    for what in shown(preset):
        folders = run_folders(given.preset, preset, what)
        if given.out is None:
            print(f"# {what}", *folders, sep="\n")
        else:
            write_text(given.out / f"{what}.txt", "".join(f"{folder}\n" for folder in folders))


if __name__ == "__main__":
    sys.exit(exit_status(main, ConfigError, PromptError))
