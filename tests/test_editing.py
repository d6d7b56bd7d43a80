"""Edits of finished runs and of pictures: what begins where, what differs, what is refused."""

import copy
import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from conftest import RED_CAR

from metrics import bank_renders, fig6, fig7
from metrics.truth import read_world
from pipeline import edit, edit_image, picture_files
from pipeline.artifacts import read_json, read_png, write_json
from pipeline.config import PRESETS, ConfigError
from pipeline.guidance.captions import VocabularyError
from pipeline.picture_loop import PictureFailure, made
from pipeline.toyworld.truth import truth_images
from prompts.load import prompt_id

PLANS = PRESETS / "figures"
CAMERA = {"azimuth": 90.0, "elevation": 15.0, "distance": 3.0, "fovy": 40.0}


def test_changes_replace_values_mapping_by_mapping_and_name_a_stray() -> None:
    base = {"a": {"b": 1, "c": 2}, "d": [1, 2]}
    assert edit.changed(base, {"a": {"b": 3}, "d": [4]}, "x") == {"a": {"b": 3, "c": 2}, "d": [4]}
    assert base["a"] == {"b": 1, "c": 2}
    with pytest.raises(ConfigError, match=r"x\.a: 'z' names no key; there are b, c"):
        edit.changed(base, {"a": {"z": 1}}, "x")


@pytest.fixture
def edited(
    tiny_job: Callable[..., Any], program: Any, tiny_bank: Path, tmp_path: Path
) -> tuple[Path, Path, dict[str, Any]]:
    """(a finished tiny run, its edit, the plan)."""
    tiny_job("csd", snapshots=[])
    run, out = tmp_path / "runs" / "nerf", tmp_path / "edits" / "colour" / "csd_edit" / "seed0"
    options = ["--preset", "tiny", "--column", "csd", "--stage", "nerf", "--prompt-id", RED_CAR]
    options += ["--seed", "0", "--bank", tiny_bank]
    assert program("pipeline.optimize", *options, "--out", run) == 0
    plan = yaml.safe_load((PLANS / "fig6.yaml").read_text(encoding="utf-8"))
    plan["changes"]["settings"] |= {"steps": 3, "regularizers": {"sparsity": [0.0, 0.0, 1]}}
    plan["changes"]["priors"]["mixture"]["others_per_caption"] = 4
    path = tmp_path / "plan.yaml"
    path.write_text(yaml.safe_dump(plan), encoding="utf-8")
    options = ["--plan", path, "--edit", "colour", "--column", "csd_edit", "--run", run]
    assert program("pipeline.edit", *options, "--bank", tiny_bank, "--out", out) == 0
    return run, out, plan


def test_an_edit_is_a_run_of_the_target_that_begins_at_the_finished_scene(
    edited: tuple[Path, Path, dict[str, Any]], program: Any, tiny_bank: Path, tmp_path: Path
) -> None:
    run, out, plan = edited
    before, record = read_json(run / "run.json"), read_json(out / "run.json")
    began = record["inputs"]["init_from/scene.safetensors"]
    assert began == before["outputs"]["scene.safetensors"]
    assert (record["prompt"], record["prompt_id"]) == ("a blue car", prompt_id("a blue car"))
    assert (record["stage"], record["column"], record["status"]) == ("edit", "csd_edit", "ok")
    assert record["settings"]["negative_prompt"] == plan["edits"]["colour"]["remove"] == "red"
    assert record["evaluations"] == dict.fromkeys(("text", "uncond", "neg"), 6)
    kept = ("batch", "size", "weight", "scene")
    assert [record["settings"][k] for k in kept] == [before["settings"][k] for k in kept]

    views = json.dumps(before["settings"]["views"])
    for folder in (run, out):
        assert program("pipeline.render_views", "--run", folder, "--settings", views) == 0
    truth = tmp_path / "truth"
    from pipeline.artifacts import save_safetensors

    images = truth_images("car", 16, seed=1, diversity=0.0)
    save_safetensors(truth / "car.safetensors", images, {})
    write_json(truth / "world.json", read_json(tiny_bank / "world.json"))
    stale = tmp_path / "edits" / "colour" / "forgotten" / "seed0"  # not asked for: in no table
    shutil.copytree(out, stale)
    tables = ["--runs", out, "--truth", truth, "--out", tmp_path / "tables"]
    assert program("metrics.fig6", *tables, "--sources", run) == 0
    import pandas

    table = pandas.read_csv(tmp_path / "tables" / "fig6.csv").set_index("column")
    assert table.index.tolist() == ["source", "csd_edit"]
    assert table.loc["source", "iou_source"] == 1.0
    assert table.loc["source", "psnr_stay"] == 60.0
    assert 0.0 < table.loc["csd_edit", "iou_source"] <= 1.0
    figure = ["--tables", tmp_path / "tables", "--runs", tmp_path / "edits", "--sources", run]
    assert program("reports.paper.fig6", *figure, "--out", tmp_path / "tables") == 0
    assert "'red'" in (tmp_path / "tables" / "fig6.txt").read_text(encoding="utf-8")
    other = ["--sources", out, "--out", tmp_path / "x"]
    assert program("metrics.fig6", *tables[:4], *other) == 1
    missing = ["--runs", tmp_path / "edits" / "colour" / "sds" / "seed0", *tables[2:]]
    assert program("metrics.fig6", *missing, "--sources", run) == 1


def test_an_edit_of_another_prompt_or_of_a_failed_run_is_refused() -> None:
    plan = edit.read_plan(PLANS / "fig6.yaml")
    record = {"prompt": "a yellow duck", "status": "ok"}
    with pytest.raises(ConfigError, match="finished run of 'a red car', not at one of 'a yellow"):
        edit.edit_job(record, plan, edit="colour", column="sds")
    with pytest.raises(ConfigError, match="ended 'failed'"):
        edit.edit_job(
            {"prompt": "a red car", "status": "failed"}, plan, edit="colour", column="sds"
        )


@pytest.mark.parametrize(
    ("name", "read", "error"),
    [("fig6", edit.read_plan, ConfigError), ("fig7", edit_image.read_plan, edit_image.PlanError)],
)
def test_plans_are_complete_or_refused_by_name(
    tmp_path: Path, name: str, read: Callable[[Path], Any], error: type[Exception]
) -> None:
    plan = read(PLANS / f"{name}.yaml")
    with pytest.raises(error, match="no such plan"):
        read(tmp_path / "none.yaml")
    faults: list[tuple[Callable[[Any], Any], str]] = [
        (lambda p: p.pop("columns"), "needs exactly the keys"),
        (lambda p: next(iter(p["columns"].values())).update(method="magic"), "no method 'magic'"),
        (lambda p: p["edits"]["colour"].pop("source"), "edit colour: needs exactly source"),
    ]
    for break_it, message in faults:
        broken = copy.deepcopy(plan)
        break_it(broken)
        path = tmp_path / "broken.yaml"
        path.write_text(yaml.safe_dump(broken), encoding="utf-8")
        with pytest.raises(error, match=message):
            read(path)


def test_a_toy_picture_is_the_truth_seen_from_the_same_camera(tiny_bank: Path) -> None:
    """The left view of the truth file, at its middle offset, composed by another path."""
    found = edit_image.toy_picture(tiny_bank, "a red car", CAMERA, size=16, grey=0.5)
    images = {name: t.numpy() for name, t in truth_images("car", 16, seed=1, diversity=0.0).items()}
    base, tint = images["base"][0, 2, 1] / 255.0, images["tint"][0, 2, 1] / 255.0
    red = np.array(read_world(tiny_bank).colours["red"])[:, None, None]
    expected = base[:3] + tint * red + (1 - base[3:]) * 0.5
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-5)
    with pytest.raises(VocabularyError, match="'red' names no object"):
        edit_image.toy_picture(tiny_bank, "red", CAMERA, size=16, grey=0.5)


@pytest.fixture
def figure_7(tiny: dict[str, Any], tiny_bank: Path, tmp_path: Path) -> tuple[list[Any], Path]:
    """(what pipeline.edit_image is asked for, the folder of its pictures)."""
    plan = edit_image.read_plan(PLANS / "fig7.yaml")
    plan["settings"] |= {"steps": 2, "size": 16}
    plan["seeds"] = [0]
    path, out = tmp_path / "plan.yaml", tmp_path / "pictures" / "mixture"
    path.write_text(yaml.safe_dump(plan), encoding="utf-8")
    prior = {**tiny["priors"]["mixture"], "others_per_caption": 4}
    del prior["overrides"]
    options = ["--plan", path, "--prior", json.dumps({"name": "mixture", **prior})]
    return [*options, "--bank", tiny_bank, "--out", out], out


def test_source_and_target_are_told_by_equally_many_renders(
    figure_7: tuple[list[Any], Path], program: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else the source's score pulls its own picture away, and DDS keeps what it should subtract."""
    renders = []

    def counted(task: Any, guidance: Any, *rest: Any, **more: Any) -> Any:
        rows = guidance.embed([task.source_text, task.text])
        renders.append((rows > 0).sum(1).tolist())
        return made(task, guidance, *rest, **more)

    monkeypatch.setattr(picture_files, "made", counted)
    assert program("pipeline.edit_image", *figure_7[0]) == 0
    assert len(renders) == 8
    for source, target in renders:
        assert source > 4  # what every other object has at most
        assert target / 2 < source < target * 2  # the view's word leaves some of each


def test_a_picture_that_fails_is_a_result_and_the_others_are_made(
    figure_7: tuple[list[Any], Path],
    program: Any,
    tiny_bank: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def broken(task: Any, *rest: Any, **more: Any) -> Any:
        if task.method == "dds_cls":
            raise PictureFailure("dds_cls: the direction", 7)
        return made(task, *rest, **more)

    monkeypatch.setattr(picture_files, "made", broken)
    options, out = figure_7
    assert program("pipeline.edit_image", *options) == 0
    failed = read_json(out / "colour" / "dds_cls" / "seed0" / "picture.json")
    ended = {"status": "failed", "failed_step": 7, "placeholder": True}
    assert {name: failed[name] for name in ended} == ended
    assert failed["reason"] == "dds_cls: the direction at step 7 is not finite"
    assert np.ptp(read_png(out / "colour" / "dds_cls" / "seed0" / "picture.png")) == 0.0
    assert read_json(out / "shape" / "dds" / "seed0" / "picture.json")["status"] == "ok"

    pictures = ["--pictures", *sorted(path.parent for path in out.glob("*/*/*/picture.json"))]
    tables = ["--bank", tiny_bank, "--out", tmp_path]
    assert program("metrics.fig7", *pictures, *tables) == 0
    import pandas

    table = pandas.read_csv(tmp_path / "fig7_pictures.csv")
    assert table.loc[table["status"] == "failed", "column"].tolist() == ["dds_cls"] * 2
    own = table.loc[table["status"] == "failed", list(fig7.MEASURES)]
    assert own.isna().all(axis=None)
    summary = pandas.read_csv(tmp_path / "fig7.csv")
    assert set(summary.loc[summary["column"] == "dds_cls", "n"]) == {0}
    assert summary.groupby("column")["failed"].max()["dds_cls"] == 1
    assert program("reports.paper.fig7", "--tables", tmp_path, *pictures, "--out", tmp_path) == 0
    assert "; 2 failed, in no mean." in (tmp_path / "fig7.txt").read_text(encoding="utf-8")


def test_figure_7_from_plan_to_picture(
    figure_7: tuple[list[Any], Path], tiny_bank: Path, tmp_path: Path, program: Any
) -> None:
    options, out = figure_7
    assert program("pipeline.edit_image", *options) == 0
    record = read_json(out / "colour" / "dds" / "seed0" / "picture.json")
    assert record["text"] == "a blue car, side view"
    assert record["source_text"] == "a red car, side view"
    assert set(record["evaluations"]) == {"text", "source_text", "uncond", "source_uncond"}
    assert program("pipeline.edit_image", *options, "--edits", "shade") == 1

    planned = sorted(path.parent for path in out.glob("*/*/*/picture.json"))
    shutil.copytree(planned[0], out / "colour" / "forgotten" / "seed0")  # asked for by nobody
    record |= {"commit": "0123456789abcdef", "dirty": True}
    write_json(out / "colour" / "dds" / "seed0" / "picture.json", record)
    tables = ["--bank", tiny_bank, "--out", tmp_path, "--pictures", *planned]
    assert program("metrics.fig7", *tables) == 0
    import pandas

    table = pandas.read_csv(tmp_path / "fig7_pictures.csv")
    assert "forgotten" not in set(table["column"])
    assert len(table) == 12
    ends = table[table["edit"] == "colour"].set_index("column")
    assert ends.loc["source", ["psnr_source", "edited"]].tolist() == [60.0, 0.0]
    assert ends.loc["target", ["psnr_target", "edited"]].tolist() == [60.0, 1.0]
    summary = pandas.read_csv(tmp_path / "fig7.csv")
    own = summary[(summary["column"] == "dds") & (summary["measure"] == "psnr_target")]
    assert own["n"].tolist() == [1, 1]
    figure = ["--tables", tmp_path, "--pictures", *planned, "--out", tmp_path]
    assert program("reports.paper.fig7", *figure) == 0
    caption = (tmp_path / "fig7.txt").read_text(encoding="utf-8")
    assert "n = 8 pictures" in caption
    assert "0123456789" in caption
    assert "with uncommitted changes" in caption
    assert read_png(tmp_path / "fig7.png").ndim == 3


def test_what_should_stay_is_where_both_true_objects_are_alike() -> None:
    pair = {"source": np.full((3, 4, 4), 0.5), "target": np.full((3, 4, 4), 0.5)}
    pair["target"][0, 0] = 0.9
    render = bank_renders.Renders(pair["source"][None], np.ones((1, 4, 4)))
    known = {"source": render, "target": bank_renders.Renders(pair["target"][None], render.alpha)}
    found = fig7.measured(pair["target"], pair, known)
    assert (found["psnr_stay"], found["edited"], found["to_target"]) == (60.0, 1.0, 0.0)
    expected = -10 * math.log10(0.4**2 * 4 / 48)
    assert found["psnr_source"] == pytest.approx(expected)
    views = np.zeros((4, 4, 8, 8))
    assert fig6.kept(views, views, np.zeros((4, 8, 8), dtype=bool)) is None
    assert fig6.kept(views, views, np.ones((4, 8, 8), dtype=bool)) == 60.0
