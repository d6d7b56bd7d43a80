"""What is frozen: it tells nothing of the columns, cannot be changed, and shows the runs."""

import hashlib
import io
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import study_people as people
import synthetic_results as synthetic

from pipeline import artifacts
from reports.contact_sheet import composited
from reports.records import ReportError, find_runs
from reports.study import __main__ as program
from reports.study import build, pictures

COLUMNS = ("method_zebra", "method_walrus", "method_yak")
Build = Callable[..., Path]


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("a folder #1")
    prompts = (*synthetic.PLAIN[:3], synthetic.NASTY[1])
    return people.write_runs(root, prompts=prompts, columns=COLUMNS)


@pytest.fixture
def frozen(results: Path, tmp_path: Path) -> Build:
    def make(name: str = "study", *options: str, root: Path = results) -> Path:
        given = ["--runs", str(root / "runs"), "--columns", *COLUMNS, "--out", str(tmp_path / name)]
        program.main(["build", *given, "--size", "32", "--forms", "6", "--seed", "5", *options])
        return tmp_path / name

    return make


def test_nothing_for_participants_names_a_column(frozen: Build) -> None:
    out = frozen()
    key = (out / "key.json").read_text(encoding="utf-8")
    assert all(column in key for column in COLUMNS)
    public = [out / "study.json", *(p for p in (out / "participants").rglob("*") if p.is_file())]
    assert len(public) > 12
    for path in public:
        for column in COLUMNS:
            animal = column.partition("_")[2]
            assert animal.encode() not in path.read_bytes()
            assert animal not in path.name
    assert "key" not in {p.stem for p in (out / "participants").rglob("*")}
    study = artifacts.read_json(out / "study.json")
    assert "check" not in json.dumps(study["forms"])  # nor which trials are checks
    seed = str(artifacts.read_json(out / "key.json")["seed"])
    assert f'"seed": {seed}' not in (out / "study.json").read_text(encoding="utf-8")


def test_opaque_names_follow_from_the_seed(frozen: Build) -> None:
    first, other = frozen("one"), frozen("two", "--seed", "6")
    ids = [set(artifacts.read_json(p / "study.json")["pictures"]) for p in (first, other)]
    assert not ids[0] & ids[1]
    assert all(re.fullmatch("[0-9a-f]{12}", name) for name in ids[0])
    drawn = [frozen(name, "--seed", seed) for name, seed in (("three", "5"), ("four", "7"))]
    assert (drawn[0] / "key.json").read_bytes() == (first / "key.json").read_bytes()


def test_without_a_seed_one_is_drawn_and_kept(results: Path, tmp_path: Path) -> None:
    for name in ("one", "two"):
        given = ["--runs", str(results / "runs"), "--columns", *COLUMNS, "--size", "16"]
        program.main(["build", *given, "--out", str(tmp_path / name)])
    seeds = [artifacts.read_json(tmp_path / name / "key.json")["seed"] for name in ("one", "two")]
    assert seeds[0] != seeds[1]


def test_checksums_cover_pictures_key_and_content(frozen: Build) -> None:
    out = frozen()
    study, key = (artifacts.read_json(out / f"{n}.json") for n in ("study", "key"))
    content = {name: value for name, value in study.items() if name != "study_sha256"}
    assert study["study_sha256"] == artifacts.digest(content)
    assert study["key_sha256"] == artifacts.digest(key)
    for name, digest in study["pictures"].items():
        data = (out / "participants" / "pictures" / f"{name}.png").read_bytes()
        assert hashlib.sha256(data).hexdigest() == digest
    assert set(study["pictures"]) == set(key["pictures"])


def test_the_same_study_again_is_the_same_bytes_and_another_is_refused(frozen: Build) -> None:
    out = frozen()
    before = {p: p.read_bytes() for p in out.rglob("*") if p.is_file()}
    frozen()
    assert before == {p: p.read_bytes() for p in out.rglob("*") if p.is_file()}
    with pytest.raises(ReportError, match="another study is frozen here"):
        frozen("study", "--forms", "7")
    assert before == {p: p.read_bytes() for p in out.rglob("*") if p.is_file()}


def test_what_the_page_holds_is_the_frozen_study_escaped(frozen: Build) -> None:
    out = frozen()
    page = (out / "participants" / "study.html").read_text(encoding="utf-8")
    block = page.partition('id="study">')[2].partition("</script>")[0]
    assert "<" not in block  # a prompt with markup stays data
    assert json.loads(block) == artifacts.read_json(out / "study.json")
    assert synthetic.NASTY[1] in json.loads(block)["prompts"]
    script = page.rpartition("<script>")[2].partition("</script>")[0]
    import base64

    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in page
    assert not re.search(r"https?://", page)


def test_one_file_holds_its_pictures(frozen: Build) -> None:
    out, apart = frozen("one", "--single-file"), frozen("two")
    assert [p.name for p in (out / "participants").iterdir()] == ["study.html"]
    assert (out / "study.json").read_bytes() == (apart / "study.json").read_bytes()
    page = (out / "participants" / "study.html").read_text(encoding="utf-8")
    assert page.count("data:image/png;base64,") == len(
        list((apart / "participants/pictures").iterdir())
    )


def test_pictures_are_the_four_views_on_one_grey(results: Path, frozen: Build) -> None:
    from PIL import Image

    out = frozen()
    key = artifacts.read_json(out / "key.json")
    runs = {run.key: run for run in find_runs(results / "runs", task="geometry")}
    whole = {n: k for n, k in key["pictures"].items() if not k["scrambled"]}
    assert len(whole) == 12
    for name, known in whole.items():
        with Image.open(out / "participants" / "pictures" / f"{name}.png") as file:
            assert not file.info  # no text chunk tells where it came from
            image = np.asarray(file)
        run = runs[known["column"], known["prompt_id"], known["seed"]]
        corners = {"front": (0, 0), "left": (0, 34), "back": (34, 0), "right": (34, 34)}
        for view, (y, x) in corners.items():
            expected = composited(run.folder / f"views/{view}.png", size=32, background=0.75)
            assert np.array_equal(image[y : y + 32, x : x + 32], expected)


def test_scrambled_pictures_keep_the_pixels_but_not_the_object() -> None:
    rng = np.random.default_rng(0)
    image = np.kron(rng.integers(0, 255, (16, 16, 3)), np.ones((8, 8, 1))).astype(np.uint8)
    scrambled = pictures.scrambled(image, rng)
    assert scrambled.shape == image.shape
    tiles = [
        a.reshape(16, 8, 16, 8, 3).mean(axis=(1, 3)).reshape(-1, 3) for a in (image, scrambled)
    ]
    assert (np.abs(tiles[0] - tiles[1]).max(axis=1) < 12).mean() < 0.05  # few tiles stay in place
    distance = np.abs(tiles[1][:, None] - tiles[0][None]).max(axis=2).min(axis=1)
    assert distance.max() < 12  # yet each is one of the picture's: noise of 20 over 64 pixels


def test_trials_show_one_prompt_in_pairs_of_its_columns(frozen: Build) -> None:
    out = frozen()
    study, key = (artifacts.read_json(out / f"{n}.json") for n in ("study", "key"))
    for form, kinds in zip(study["forms"], key["forms"], strict=True):
        assert len({t["id"] for t in form}) == len(form)
        for trial, known in zip(form, kinds, strict=True):
            assert trial["id"] == known["id"]
            shown = [key["pictures"][name] for name in trial["shown"]]
            assert len({s["prompt_id"] for s in shown}) == 1
            columns = {s["column"] for s in shown}
            assert len(columns) == (1 if "expected" in known else 2)
            assert ("training" in trial) == (known["kind"] == "training")


def changed(results: Path, root: Path, change: Callable[[Path], Any]) -> Path:
    """A copy of the results in which `change` has seen one run folder."""
    import shutil

    shutil.copytree(results, root)
    change(next((root / "runs/geometry" / COLUMNS[1]).glob("*/seed0/nerf")))
    return root


def test_a_missing_run_or_view_is_named(results: Path, tmp_path: Path, frozen: Build) -> None:
    root = changed(results, tmp_path / "a", lambda folder: (folder / "run.json").unlink())
    with pytest.raises(ReportError, match=f"no run of {COLUMNS[1]} of .*every option must exist"):
        frozen(root=root)
    root = changed(results, tmp_path / "b", lambda folder: (folder / "views/left.png").unlink())
    with pytest.raises(ReportError, match="no left view"):
        frozen(root=root)


def test_a_failed_run_is_shown_as_it_is_but_never_as_a_check(
    results: Path, tmp_path: Path, frozen: Build, capsys: pytest.CaptureFixture
) -> None:
    def fail(folder: Path) -> None:
        record = artifacts.read_json(folder / "run.json") | {"status": "failed", "reason": "NaN"}
        artifacts.write_json(folder / "run.json", record)
        for view in (folder / "views").glob("*.png"):
            view.unlink()

    out = frozen(root=changed(results, tmp_path / "c", fail))
    assert "1 failed runs are shown" in capsys.readouterr().out
    key = artifacts.read_json(out / "key.json")
    failed = [k for k in key["pictures"].values() if k["status"] != "ok"]
    assert [k["scrambled"] for k in failed] == [False]
    name = next(n for n, k in key["pictures"].items() if k["status"] != "ok")
    data = (out / "participants/pictures" / f"{name}.png").read_bytes()
    from PIL import Image

    grey = np.asarray(Image.open(io.BytesIO(data)))
    assert np.array_equal(grey[..., 0], grey[..., 1])


def test_two_seeds_need_a_choice(tmp_path: Path) -> None:
    root = people.write_runs(tmp_path, prompts=("a red car",), columns=COLUMNS[:2], seeds=(0, 1))
    runs = find_runs(root / "runs", task="geometry")
    with pytest.raises(ReportError, match="--run-seed"):
        build.grid(runs, COLUMNS[:2])
    assert len(build.grid([r for r in runs if r.key[2] == 1], COLUMNS[:2])[0]) == 2
