"""Other systems' files: what is scored is what they show, and what cannot be scored says why."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from their_files import CAR, COLOURS, HOUSE, PART, ROBOT, SETTINGS, SIZE, Theirs

from metrics.runs import counted, read_runs, read_view
from pipeline import external
from pipeline.artifacts import ArtifactError, read_json, read_png

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture
def theirs(tmp_path: Path) -> Theirs:
    return Theirs(tmp_path)


def test_images_become_runs_that_the_metrics_read(theirs: Theirs) -> None:
    asked = [prompt.text for prompt in external.load_set("toy6").prompts[:4]]
    for number, prompt in enumerate(asked):
        theirs.images(prompt, seed=number)
    records = theirs.run()
    assert set(records) == set(asked)
    assert {record["status"] for record in records.values()} == {"ok"}
    record = records[CAR]
    assert (record["kind"], record["stage"], record["column"]) == ("external", "external", "theirs")
    assert len(record["inputs"]) == 4
    assert all(len(checksum) == 64 for checksum in record["inputs"].values())
    runs = counted(read_runs([theirs.of(prompt) for prompt in asked]))
    assert len(runs) == 4
    view = read_view(runs[0], "front")
    assert view.shape == (SIZE, SIZE, 4)
    assert view[0, 0, 3] == 0.0
    assert view[SIZE // 2, SIZE // 2, 3] == 1.0  # the hole is enclosed: it belongs to the object
    np.testing.assert_allclose(view[20, 20, :3], np.array(COLOURS["front"]) / 255, atol=0.02)
    report = read_json(theirs.out / "external.json")
    assert (report["refused"], report["files_of_no_prompt"]) == ({}, 0)


def test_missing_views_and_prompts_are_refused(theirs: Theirs, capsys: Any) -> None:
    theirs.images(CAR)
    theirs.images(HOUSE, seed=1)
    (theirs.folder / "a_red_car" / "180.png").unlink()
    records = theirs.run()
    assert records[CAR]["reason"] == "missing back: no file a_red_car/180.png"
    assert records[ROBOT]["reason"].startswith("missing front, left, back, right")
    assert records[HOUSE]["status"] == "ok"
    assert "theirs: 1 of 4 prompts can be scored" in capsys.readouterr().out
    runs = read_runs([theirs.of(prompt) for prompt in records])
    assert [run.prompt for run in counted(runs)] == [HOUSE]
    assert "missing back" in capsys.readouterr().err
    assert read_png(theirs.of(CAR) / "poster.png")[..., 3].max() == 0.0


@pytest.mark.parametrize(
    ("background", "says"),
    [
        ({"back": (0, 0, 0)}, "180.png: declared white, but 100 % of its border is something else"),
        ({"left": (128, 128, 128)}, r"90.png: declared white, but 100 % .* rgb 0.50 0.50 0.50"),
    ],
)
def test_mixed_backgrounds_are_refused(
    theirs: Theirs, background: dict[str, Any], says: str
) -> None:
    theirs.images(CAR, **background)
    reason = theirs.run()[CAR]["reason"]
    assert re.match(says, reason), reason


def test_alpha_is_held_against_the_declaration(theirs: Theirs) -> None:
    folder = theirs.images(CAR)
    assert "its border is opaque" in theirs.run(background="transparent")[CAR]["reason"]
    for path in folder.iterdir():
        rgba = np.asarray(Image.open(path).convert("RGBA")).copy()
        rgba[..., 3] = np.where((rgba[..., :3] == 255).all(axis=2), 0, 255)
        Image.fromarray(rgba).save(path)
    assert "its border is transparent" in theirs.run()[CAR]["reason"]
    assert theirs.run(background="transparent")[CAR]["status"] == "ok"
    assert read_png(theirs.of(CAR) / "views" / "left.png")[0, 0, 3] == 0.0


def test_files_of_another_prompt_are_refused(theirs: Theirs) -> None:
    theirs.images(CAR)
    theirs.images(ROBOT)  # a copy of the car's
    theirs.images(HOUSE, seed=1)
    theirs.images("a purple whale", seed=2)
    records = theirs.run()
    for prompt in (CAR, ROBOT):
        assert records[prompt]["reason"].startswith("files of another prompt: 0.png has the bytes")
    report = read_json(theirs.out / "external.json")
    assert report["files_of_no_prompt"] == 4
    assert report["some_of_them"][0] == "a_purple_whale/0.png"
    folder = theirs.folder / "a_green_house"
    (folder / "prompt.txt").write_text("a green mouse\n")
    records = theirs.run(prompt_file="{slug}/prompt.txt")
    assert records[HOUSE]["reason"] == "files of another prompt: prompt.txt says 'a green mouse'"
    (folder / "180.png").write_bytes((folder / "0.png").read_bytes())
    assert "two views are one file's bytes" in theirs.run()[HOUSE]["reason"]


def test_names_stand_for_prompts(theirs: Theirs) -> None:
    theirs.images(CAR).rename(theirs.folder / "0001")
    named = {CAR: "0001", "a purple whale": "0002"}
    records = theirs.run(file="{name}/{view}.png", names=named)
    assert records[CAR]["status"] == "ok"
    assert records[HOUSE]["reason"] == "no file: `names` does not hold this prompt"
    assert read_json(theirs.out / "external.json")["names_of_no_prompt"] == ["a purple whale"]


def test_other_cameras_are_said(theirs: Theirs) -> None:
    theirs.images(CAR)
    theirs.run(cameras={"elevation": 0, "note": "from its website"})
    listing = read_json(theirs.of(CAR) / "views" / "views.json")
    assert listing["cameras"] == {"elevation": 0, "note": "from its website"}
    assert (listing["elevation"], listing["fovy"]) == (0, None)


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"background": None}, "'background' is a required property"),
        ({"views": None}, "'views' is a required property"),
        ({"form": "sculpture"}, "form: 'sculpture' is not one of"),
        ({"folder": "nowhere"}, "nowhere does not exist"),
        ({"file": "{object}.png"}, r"known words: \{text\}"),
        ({"crop": {"panels": 2, "panel": 3}}, "crop: panel 3 of 2: the first one is 0"),
        (
            {"crop": PART | {"left": 0.5, "right": 0.5}},
            "crop: left 0.5 must be less than right 0.5",
        ),
        (
            {"crop": PART | {"top": 1.0, "bottom": 0.0}},
            "crop: top 1.0 must be less than bottom 0.0",
        ),
        ({"form": "glb"}, "'mesh' is a required property|False schema"),
    ],
)
def test_descriptions_are_checked(theirs: Theirs, changed: dict[str, Any], says: str) -> None:
    with pytest.raises(ArtifactError, match=says):
        theirs.run(**changed)


def test_files_outside_the_folder_and_of_another_task_are_refused(theirs: Theirs) -> None:
    theirs.images(CAR)
    assert "leads out of" in theirs.run(file="../../{view}.png")[CAR]["reason"]
    wrong = theirs.run(task="texture")[CAR]["reason"]
    assert wrong == "the files are of task texture, not geometry"
    (theirs.folder / "a_red_car" / "0.png").write_bytes(b"no picture")
    assert "0.png: not a readable picture" in theirs.run()[CAR]["reason"]


def test_the_documented_example_can_be_scored(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spec = ROOT / "docs" / "external_example" / "renders.yaml"
    told = ["--spec", str(spec), "--column", "theirs", "--preset", "mini", "--task", "geometry"]
    told += ["--prompts", "toy6", "--settings", json.dumps(SETTINGS), "--out", str(tmp_path)]
    external.main(told)
    said = capsys.readouterr().out
    text = (ROOT / "docs" / "external_results.md").read_text(encoding="utf-8")
    shown = text.rsplit("```\n", 2)[1].splitlines()
    assert [line for line in shown if line != "..."] == [said.splitlines()[0], said.splitlines()[4]]
