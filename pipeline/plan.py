"""The runs that a preset asks for, one run folder a line: what tables and pages show, and no other.

    python -m pipeline.plan --preset mini
    python -m pipeline.plan --preset mini --out results/mini/runs.txt

Folders of prompts, seeds or columns that the preset no longer has may still lie under runs/; they
are not listed. Lists the last stage of the chain, which --stage replaces.
"""

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pipeline.artifacts import exit_status, write_text
from pipeline.config import ConfigError, columns, load_preset, prompts, task
from prompts.load import PromptError, load_set

RUN = "results/{preset}/runs/{task}/{column}/{prompt_id}/seed{seed}/{stage}"


def run_folders(
    name: str, preset: Mapping[str, Any], *, stage: str | None = None, column: str | None = None
) -> list[str]:
    """The run folders of one stage (default: the chain's last) of one column, or of all."""
    return [
        RUN.format(
            preset=name,
            task=task(preset),
            column=c,
            prompt_id=prompt.prompt_id,
            seed=seed,
            stage=chosen,
        )
        for chosen in [stage or preset["chain"][-1]]
        for c in ([column] if column else columns(preset))
        for prompt in prompts(preset, task(preset))
        for seed in preset["seeds"]
    ]


def check_candidates(preset: Mapping[str, Any]) -> None:
    """Returns if every prompt is among the texts that retrieval ranks; else it would have no rank.

    Raises ConfigError naming the first that is not.
    """
    spec = preset["prompts"]
    ranked = {prompt.text for prompt in load_set(spec["candidates"]).prompts}
    strays = [p.text for p in prompts(preset, task(preset)) if p.text not in ranked]
    if strays:
        raise ConfigError(
            f"prompts.candidates: {strays[0]!r} of {spec[task(preset)]} is not in "
            f"{spec['candidates']} ({len(strays)} in all): name a set that holds every prompt"
        )


def main(arguments: Sequence[str] | None = None) -> None:
    """Prints the list, or writes it."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--preset", required=True)
    parser.add_argument("--stage", help="of the chain; the last unless given")
    parser.add_argument("--out", type=Path, help="a file instead of standard output")
    given = parser.parse_args(arguments)
    preset = load_preset(given.preset)
    if given.stage is not None and given.stage not in preset["chain"]:
        chain = ", ".join(preset["chain"])
        raise ConfigError(f"no stage {given.stage!r} in the chain {chain} of {given.preset}")
    text = "".join(f"{folder}\n" for folder in run_folders(given.preset, preset, stage=given.stage))
    if given.out is None:
        print(text, end="")
    else:
        write_text(given.out, text)


if __name__ == "__main__":
    sys.exit(exit_status(main, ConfigError, PromptError))
