"""Makes plain pictures of a preset's prompt by its columns: each method without anything in 3D.

    python -m pipeline.optimize_image --preset mini --stage nerf --prompt-id ID --seed 0 \\
        --columns sds csd --views front left --optimizer JSON --bank results/mini/bank \\
        --out results/mini/figures/fig_2d/pictures

A picture has the prior, method, steps, batch, t, w(t), normalisation and negative prompt of the
column's run at that stage; Adam's settings are its own (JSON: betas, eps, image, decay). It is
asked for under the view's word, in front of mid-grey. Writes
<column>/<prompt_id>/seed<k>/<view>/{picture.png, picture.json}; a picture that fails is a record
that says so, and the next is made.
"""

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from pipeline.artifacts import ArtifactError, exit_status
from pipeline.cameras import FOUR_VIEWS
from pipeline.config import ConfigError, Job, job, located
from pipeline.guidance.captions import VocabularyError
from pipeline.guidance.load import load_guidance
from pipeline.picture_files import make
from pipeline.picture_loop import Task
from prompts.load import PromptError
from prompts.views import view_word, with_view

BACKGROUND = 0.5  # as the views are scored


def task_of(run: Job, view: str, optimizer: Mapping[str, Any]) -> Task:
    """The picture of one view that belongs to a run. Raises ConfigError for a run with Perp-Neg,
    which a picture of one view has no use for.
    """
    if run.settings["perp_neg"] is not None:
        raise ConfigError(
            f"{run.preset}: {run.column}: stage {run.stage} has perp_neg, which tells the views of "
            "an object apart; a plain picture has one view and would be another method's: compare "
            "columns with perp_neg: null"
        )
    taken = ("steps", "batch", "size", "weight", "timesteps", "normalize", "negative_prompt")
    seen = run.settings["views"]
    camera = {name: seen[name] for name in ("elevation", "distance", "fovy")}
    settings = {name: run.settings[name] for name in (*taken, "particle")}
    settings |= {"background": BACKGROUND, "optimizer": dict(optimizer)}
    settings["camera"] = {"azimuth": FOUR_VIEWS[view], **camera}
    word = view_word(FOUR_VIEWS[view], camera["elevation"], **run.settings["view_words"])
    return Task(
        method=run.method,
        method_settings=run.method_settings,
        text=with_view(run.prompt, word),
        source_text=None,
        seed=run.seed,
        settings=settings,
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Every column's pictures of one prompt and seed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    for name in ("preset", "stage", "prompt-id"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--columns", nargs="+", required=True)
    parser.add_argument("--views", nargs="+", choices=list(FOUR_VIEWS), required=True)
    parser.add_argument("--optimizer", required=True, help="Adam's settings, as JSON")
    parser.add_argument("--bank", type=Path, help="the image bank of the mixture prior")
    parser.add_argument("--texts", type=Path, help="the folder of a learned prior's embedded texts")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args(arguments)
    torch.set_num_threads(given.threads)
    optimizer = json.loads(given.optimizer)
    place = {"stage": given.stage, "prompt_id": given.prompt_id, "seed": given.seed}
    for column in given.columns:
        run = job(given.preset, column=column, **place)
        guidance = load_guidance(
            located(run.prior),
            bank=given.bank,
            prompt=run.prompt,
            device=run.device,
            text_cache=given.texts,
        )
        for view in given.views:
            task = task_of(run, view, optimizer)
            folder = given.out / column / run.prompt_id / f"seed{run.seed}" / view
            about = {"preset": given.preset, "prompt": run.prompt, "prompt_id": run.prompt_id}
            about |= {"view": view}
            ended = make(folder, task, guidance, column=column, prior=run.prior, **about)
            print(f"{column} {view}: {ended}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(exit_status(main, ConfigError, PromptError, VocabularyError, ArtifactError))
