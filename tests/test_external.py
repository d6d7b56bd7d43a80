"""Other systems' files: what is scored is what they show, and what cannot be scored says why."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image

from metrics.runs import VIEWS, counted, read_runs, read_view
from pipeline import external, external_pictures
from pipeline.artifacts import ArtifactError, read_json, read_png
from pipeline.external_pictures import Refused

ROOT = Path(__file__).resolve().parent.parent
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


def turning(frames: int, clockwise: bool, panels: int = 1) -> list[Image.Image]:
    """Frames of a turn that show the nearest view's colour in the last panel."""
    found = []
    for i in range(frames):
        azimuth = (-1 if clockwise else 1) * 360 * i / frames % 360
        view = min(VIEWS, key=lambda v: abs((VIEWS[v] - azimuth + 180) % 360 - 180))
        blank = [np.full((48, 48, 3), 7, dtype=np.uint8)] * (panels - 1)
        picture = drawn(view)
        picture[0, 0] = 255 - i % 2  # no two frames are one, or a writer would join them
        found.append(Image.fromarray(np.concatenate([*blank, picture], axis=1)))
    return found


@pytest.mark.parametrize(("clockwise", "suffix"), [(False, "webp"), (True, "mp4")])
def test_videos_are_read_at_the_views(theirs: Theirs, clockwise: bool, suffix: str) -> None:
    frames = turning(24, clockwise, panels=3)
    path = theirs.folder / f"a_red_car.{suffix}"
    if suffix == "webp":
        frames[0].save(path, save_all=True, append_images=frames[1:], lossless=True)
    else:
        import cv2

        writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), 24, (144, 48))
        for frame in frames:
            writer.write(np.asarray(frame)[..., ::-1])
        writer.release()
    video = {"first": 0, "turn": 360, "closed": False}
    video["direction"] = "clockwise" if clockwise else "counterclockwise"
    changed = {"form": "videos", "views": None, "file": f"{{slug}}.{suffix}", "video": video}
    changed |= {"crop": {"panels": 3, "panel": 2}, "tolerance": 0.15}
    record = theirs.run(**changed)[CAR]
    assert (record["status"], record["remarks"]) == ("ok", []), record["reason"]
    for view, colour in COLOURS.items():
        pixel = read_png(theirs.of(CAR) / "views" / f"{view}.png")[20, 20]
        np.testing.assert_allclose(pixel[:3], np.array(colour) / 255, atol=0.12)
    listing = read_json(theirs.of(CAR) / "views" / "views.json")
    assert (listing["frames"], listing["azimuths"]) == (4, [0.0, 90.0, 180.0, 270.0])
    assert (theirs.of(CAR) / "turntable.webp").is_file()
    wrong = theirs.run(**(changed | {"crop": {"panels": 3, "panel": 0}}))[CAR]
    assert "declared white" in wrong["reason"]
    half = theirs.run(**(changed | {"video": video | {"turn": 120}}))[CAR]
    assert "no frame within 5 degrees of" in half["reason"]


def test_a_closed_turn_ends_where_it_began() -> None:
    """threestudio's 120 test frames go from 0 to 360 inclusive: frame 30 is at 90.76 degrees."""
    found = external_pictures.azimuths(120, first=0, clockwise=False, turn=360, closed=True)
    assert found[30] == pytest.approx(90.756, abs=1e-3)
    assert found[119] == pytest.approx(0.0)
    whole = external_pictures.azimuths(120, first=90, clockwise=True, turn=360, closed=False)
    assert (whole[30], whole[0]) == (0.0, 90.0)


def test_pictures_are_padded_and_resized_with_their_alpha() -> None:
    wide = np.zeros((16, 64, 4), dtype=np.float32)
    wide[..., :3] = (1.0, 0.0, 1.0)  # of transparent pixels: it must not leak
    wide[4:12, 16:48] = (0.0, 1.0, 0.0, 1.0)
    found = external_pictures.at_size(wide, 32)
    assert found.shape == (32, 32, 4)
    assert found[16, 16] == pytest.approx([0.0, 1.0, 0.0, 1.0], abs=1e-3)
    assert found[..., 0].max() < 1e-3
    assert found[..., 3].mean() == pytest.approx(8 * 32 / 64**2, rel=0.05)


def test_crops_are_panels_or_shares() -> None:
    image = np.arange(2 * 6).reshape(2, 6, 1).astype(np.float32)
    assert external_pictures.cropped(image, {"panels": 3, "panel": 1})[0, :, 0].tolist() == [2, 3]
    part = {"left": 0.5, "top": 0.5, "right": 1.0, "bottom": 1.0}
    assert external_pictures.cropped(image, part)[..., 0].tolist() == [[9, 10, 11]]
    with pytest.raises(Refused, match="6 pixels are not 4 panels"):
        external_pictures.cropped(image, {"panels": 4, "panel": 0})
    with pytest.raises(Refused, match="leaves nothing of 6 x 2 pixels"):
        external_pictures.cropped(image, PART | {"left": 0.01, "right": 0.02})


def test_an_oversized_picture_refuses_its_prompt_only(
    theirs: Theirs, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pillow refuses twice its limit: a small file may unpack to any number of pixels."""
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 48 * 48)
    Image.fromarray(np.zeros((80, 80), dtype=np.uint8)).save(theirs.images(CAR) / "90.png")
    theirs.images(HOUSE, seed=1)
    records = theirs.run()
    assert "90.png: not a readable picture (Image size (6400 pixels)" in records[CAR]["reason"]
    assert records[HOUSE]["status"] == "ok"
    video = {"first": 0, "turn": 360, "closed": False, "direction": "clockwise"}
    changed = {"form": "videos", "views": None, "file": "{slug}/90.png", "video": video}
    assert "90.png: not a readable picture" in theirs.run(**changed)[CAR]["reason"]


@pytest.mark.parametrize("suffix", ["webp", "mp4"])
def test_of_a_long_video_one_frame_is_held_at_a_time(tmp_path: Path, suffix: str) -> None:
    """Peak memory is that of a few frames, whatever the video's length."""
    import tracemalloc

    import cv2

    path, size, count = tmp_path / f"long.{suffix}", 256, 48
    shades = [np.full((size, size, 3), 5 * k, dtype=np.uint8) for k in range(count)]
    if suffix == "webp":
        first, *rest = map(Image.fromarray, shades)
        first.save(path, save_all=True, append_images=rest, lossless=True)
    else:
        writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), 24, (size, size))
        for shade in shades:
            writer.write(shade)
        writer.release()
    tracemalloc.start()
    assert external_pictures.frame_count(path) == count
    found = {k: image.mean() for k, image in external_pictures.read_frames(path, {40, 3, 12})}
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert list(found) == [3, 12, 40]
    for number, mean in found.items():
        assert mean == pytest.approx(5 * number / 255, abs=0.02)
    assert peak < 6 * size * size * 3 * 4


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
