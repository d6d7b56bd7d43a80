"""What protocols name a truth by: what made it, whatever bits the machine rounded to."""

import dataclasses
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from metrics_world import truth_folder

from metrics import measure
from metrics.protocol import Setup, describe, protocol_id
from pipeline.artifacts import (
    ArtifactError,
    load_safetensors,
    read_json,
    save_safetensors,
    write_json,
)
from pipeline.toyworld import truth as writer
from pipeline.toyworld.vocabulary import COLOURS

PROMPT = "a red car"
SHAPES = ("car", "duck")
SETUP = Setup(
    cameras={}, size=[16, 16], model_sha256="", preprocessing="", background="grey",
    ties="expected", candidates=[], strict_candidates=[], truth={},
)  # fmt: skip


def written(folder: Path, **changed: Any) -> Path:
    """The truth of two shapes as the program writes it, and a world.json of these shapes."""
    options = {"size": 16, "seed": 1, "diversity": 0.0} | changed
    told = [part for name, value in options.items() for part in (f"--{name}", str(value))]
    writer.main(["--shapes", *SHAPES, *told, "--out", str(folder)])
    world = {"schema_version": "1.0", "shapes": list(SHAPES), "directional": list(SHAPES)}
    write_json(folder / "world.json", world | {"colours": {k: list(v) for k, v in COLOURS.items()}})
    return folder


def named(folder: Path) -> str:
    """The protocol_id of an IoU with the truth in `folder`."""
    truths = measure.read_truths(folder, [PROMPT], at_most=None)
    setup = dataclasses.replace(SETUP, truth=truths.identity)
    return protocol_id(describe("truth_iou", "front", setup))


def changed(folder: Path, shape: str, change: Callable[[dict[str, Any], dict[str, str]], None]):
    """Rewrites a truth file after `change` of its tensors and metadata."""
    path = folder / f"{shape}.safetensors"
    tensors, metadata = load_safetensors(path)
    change(tensors, metadata)
    save_safetensors(path, tensors, metadata)


def test_another_rounding_is_the_same_truth(tmp_path):
    one, two = written(tmp_path / "one"), written(tmp_path / "two")

    def rounded(tensors: dict[str, Any], _: dict[str, str]) -> None:
        """As another machine may: a level here and there."""
        inner = (tensors["tint"] > 0) & (tensors["tint"] < 255)
        tensors["tint"][inner] += 1

    changed(two, "car", rounded)
    assert (one / "car.safetensors").read_bytes() != (two / "car.safetensors").read_bytes()
    assert named(one) == named(two)
    counts = read_json(two / "world.json") | {"counts": {"car": 300}, "size": 32}
    write_json(two / "world.json", counts)  # of the prior's bank, which no truth depends on
    assert named(one) == named(two)


@pytest.mark.parametrize(
    "other",
    [
        {"size": 24},
        {"seed": 2},
        {"diversity": 0.5},
        {"elevation": 20.0},
        {"distance": 3.1},
        {"fovy": 41.0},
    ],
)
def test_every_setting_is_another_truth(tmp_path, other):
    assert named(written(tmp_path / "one")) != named(written(tmp_path / "two", **other))


def test_code_colours_and_words_are_another_truth(tmp_path, monkeypatch):
    known = named(written(tmp_path / "known"))
    for key, value in (
        ("colours", {**{k: list(v) for k, v in COLOURS.items()}, "red": [0.7, 0.1, 0.1]}),
        ("directional", ["car"]),
    ):
        folder = written(tmp_path / key)
        write_json(folder / "world.json", read_json(folder / "world.json") | {key: value})
        assert named(folder) != known, key
    monkeypatch.setattr(writer, "VERSION", writer.VERSION + 1)
    assert named(written(tmp_path / "code")) != known
    monkeypatch.setattr(writer, "OFFSETS", (-5.0, 0.0, 5.0))
    assert named(written(tmp_path / "offsets")) not in (known, named(tmp_path / "code"))


def test_protocols_spell_out_what_made_the_truth(tmp_path):
    truths = measure.read_truths(written(tmp_path), [PROMPT], at_most=None)
    described = describe("truth_psnr", "front", dataclasses.replace(SETUP, truth=truths.identity))
    made = described["truth"]
    assert (made["version"], made["seed"], made["diversity"]) == (str(writer.VERSION), 1, 0.0)
    assert (made["size"], made["instances"]) == (16, 1)
    assert made["offset_deg"] == list(writer.OFFSETS)
    assert (made["elevation_deg"], made["distance"], made["fovy_deg"]) == ([15.0], [3.0], [40.0])


def test_files_that_do_not_say_what_made_them_are_known_by_their_bytes(tmp_path):
    one = truth_folder(tmp_path / "one")
    two = truth_folder(tmp_path / "two")

    def identity(folder: Path) -> dict[str, Any]:
        return dict(measure.read_truths(folder, [], at_most=None).identity)

    assert identity(one) == identity(two)
    assert set(identity(one)) == {"truth_sha256"}
    changed(two, "slab", lambda tensors, _: tensors["shade"].add_(0.01))
    assert identity(one) != identity(two)


def test_truths_of_different_making_are_refused(tmp_path):
    folder = written(tmp_path / "one")
    shutil.copy(written(tmp_path / "other", seed=2) / "duck.safetensors", folder)
    with pytest.raises(ArtifactError, match=r"duck.safetensors was made otherwise than car"):
        measure.read_truths(folder, [PROMPT], at_most=None)


def test_half_told_makings_are_refused(tmp_path):
    changed(written(tmp_path), "car", lambda _, metadata: metadata.pop("seed"))
    with pytest.raises(ArtifactError, match=r"car.safetensors: .*seed and diversity"):
        measure.read_truths(tmp_path, [PROMPT], at_most=None)
    changed(written(tmp_path), "car", lambda tensors, _: tensors.pop("fovy_deg"))
    with pytest.raises(ArtifactError, match=r"car.safetensors: lacks fovy_deg"):
        measure.read_truths(tmp_path, [PROMPT], at_most=None)
