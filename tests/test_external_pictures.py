"""Other systems' pictures and videos: how they are read, cropped and brought to size."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from their_files import CAR, COLOURS, HOUSE, PART, Theirs, drawn

from metrics.runs import VIEWS
from pipeline import external_pictures
from pipeline.artifacts import read_json, read_png
from pipeline.external_pictures import Refused


@pytest.fixture
def theirs(tmp_path: Path) -> Theirs:
    return Theirs(tmp_path)


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
