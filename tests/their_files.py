"""Another system's files as it would hand them over, and the runs made from them."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from PIL import Image

from metrics.runs import VIEWS
from pipeline import external
from pipeline.artifacts import read_json

SIZE = 32
SETTINGS = {"size": SIZE, "samples": 8, "elevation": 15, "distance": 3.0, "fovy": 40}
SETTINGS |= {"turntable_frames": 4}
PART = {"left": 0.0, "top": 0.0, "right": 1.0, "bottom": 1.0}
CAR, HOUSE, ROBOT = "a red car", "a green house", "a blue robot"
PROMPTS = ["a red car", "a blue robot", "an orange chair", "a green house"]
COLOURS = {"front": (220, 30, 30), "left": (30, 200, 30), "back": (30, 30, 220)}
COLOURS |= {"right": (200, 200, 30)}


def drawn(view: str, background: tuple[int, ...] = (255, 255, 255), seed: int = 0) -> np.ndarray:
    """A square of the view's colour in the middle, with a hole of the background's colour."""
    image = np.empty((48, 48, 3), dtype=np.uint8)
    image[:] = background
    image[12:36, 12:36] = COLOURS[view]
    image[14 + seed : 16 + seed, 14:16] = (10 * seed, 90, 90)
    image[22:26, 22:26] = background
    return image


class Theirs:
    """A folder of files with its description; `run` makes the column's run folders."""

    def __init__(self, root: Path) -> None:
        self.root, self.folder = root, root / "files"
        self.out = root / "runs" / "theirs"
        self.folder.mkdir(parents=True)
        self.spec: dict[str, Any] = {
            "task": "geometry", "source": "a test", "licence": "CC0-1.0", "form": "images",
            "folder": "files", "file": "{slug}/{view}.png", "background": "white",
            "tolerance": 0.04, "cameras": "evaluated",
            "views": {"front": "0", "left": "90", "back": "180", "right": "270"},
        }  # fmt: skip

    def images(self, prompt: str, seed: int = 0, **background: tuple[int, ...]) -> Path:
        folder = self.folder / "_".join(prompt.split())
        folder.mkdir(exist_ok=True)
        for view, azimuth in VIEWS.items():
            picture = drawn(view, background.get(view, (255, 255, 255)), seed)
            Image.fromarray(picture).save(folder / f"{azimuth:.0f}.png")
        return folder

    def run(self, **changed: Any) -> dict[str, dict[str, Any]]:
        """The records by prompt."""
        spec = {k: v for k, v in (self.spec | changed).items() if v is not None}
        path = self.root / "theirs.yaml"
        path.write_text(yaml.safe_dump(spec), encoding="utf-8")
        told = ["--spec", path, "--column", "theirs", "--preset", "mini", "--task", "geometry"]
        told += ["--prompts", "toy6", "--limit", "4", "--settings", json.dumps(SETTINGS)]
        external.main([*map(str, told), "--out", str(self.out)])
        records = [read_json(path) for path in self.out.glob("*/seed0/external/run.json")]
        return {record["prompt"]: record for record in records}

    def of(self, prompt: str) -> Path:
        return next(
            path.parent
            for path in self.out.glob("*/seed0/external/run.json")
            if read_json(path)["prompt"] == prompt
        )
