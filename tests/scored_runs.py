"""Runs of true, wrong and failed objects with all that embeds and scores them."""

from pathlib import Path

import numpy as np
import pandas
import pytest
from metrics_world import run_folder, straight, tiny_clip, truth_folder

from metrics import candidates, embed, score

PROMPTS = ["a red tower", "a blue tower", "a red slab", "a red car"]
STRICT = ["front", "side", "back"]


class Bench:
    """A folder of runs with what both programs need to score them."""

    def __init__(self, root: Path) -> None:
        self.root, self.model = root, f"local-dir:{tiny_clip(root / 'clip')}"
        self.truth = truth_folder(root / "truth", directional=("tower",))
        self.folders: list[Path] = []

    def add(self, column: str, prompt: str, views: np.ndarray | None, seed: int = 0) -> Path:
        folder = run_folder(
            self.root / "runs", column=column, prompt=prompt, views=views, seed=seed
        )
        self.folders.append(folder)
        return folder

    def options(self) -> list[str]:
        """What both programs are told."""
        return [
            *("--model", self.model, "--candidates", "ours", "--strict-views", *STRICT),
            *("--strict-extra", "lumps", "--texts", str(self.root / "texts.npz")),
        ]

    def embed(self, backgrounds: tuple[str, ...] = ("grey", "white")) -> None:
        embed.main(
            [*self.options(), "--backgrounds", *backgrounds, "--runs", *map(str, self.folders)]
        )

    def score(self, *extra: str, out: str = "tables", truth: bool = True) -> Path:
        folder = self.root / out
        known = ["--truth", str(self.truth)] if truth else []
        ours = [*self.options(), *known, *extra, "--out", str(folder)]
        score.main([*ours, "--runs", *map(str, self.folders)])
        return folder


def values(frame: pandas.DataFrame, column: str, prompt: str, metric: str) -> dict[str, float]:
    from prompts.load import prompt_id

    chosen = frame[(frame["column"] == column) & (frame["metric"] == metric)]
    chosen = chosen[chosen["prompt_id"] == prompt_id(prompt)]
    return dict(zip(chosen["view"], chosen["value"], strict=True))


def own_prompts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Prompt sets of the test's own objects; the last is unknown to its world."""

    def plain(name: str) -> list[str]:
        return {"ours": PROMPTS, "lumps": ["a red blob"]}[name]

    monkeypatch.setattr(candidates, "plain", plain)
    monkeypatch.setattr(candidates, "with_front", lambda name: frozenset(["a red car"]))


def filled(root: Path) -> Bench:
    """Two columns: one makes true objects, one a wrong colour, a wrong shape, a failure."""
    bench = Bench(root)
    for prompt in PROMPTS[:3]:
        _, colour, shape = prompt.split()
        bench.add("good", prompt, straight(shape, colour))
    bench.add("good", "a red car", straight("slab", "red"))
    bench.add("bad", "a red tower", straight("tower", "blue")[[2, 3, 0, 1]])
    bench.add("bad", "a blue tower", straight("slab", "blue"))
    bench.add("bad", "a red slab", None)
    bench.add("bad", "a red car", straight("tower", "red"))
    bench.embed()
    return bench
