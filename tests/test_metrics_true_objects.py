"""Runs against true objects alone, on towers and slabs drawn by hand."""

import metrics_world
import pytest

from metrics import true_objects
from pipeline.artifacts import ArtifactError, read_json


def test_true_renders_are_their_own_truth(tmp_path):
    folder = metrics_world.truth_folder(tmp_path / "truth")
    right = metrics_world.straight("tower", "red")
    for column, views in (("good", right), ("none", None)):
        metrics_world.run_folder(
            tmp_path / column, column=column, prompt="a red tower", views=views
        )
    out = tmp_path / "truth.json"
    found = sorted(str(p.parent) for p in tmp_path.rglob("run.json"))
    true_objects.main(["--runs", *found, "--truth", str(folder), "--out", str(out)])
    good, none = read_json(out)
    assert good["truth_iou"] == 1.0
    assert good["truth_psnr"] > 50
    assert none["failed"]
    assert none["truth_iou"] == 0.0
    assert good["iou_floor"] == none["iou_floor"]


def test_prompts_of_no_object_are_refused(tmp_path):
    folder = metrics_world.truth_folder(tmp_path / "truth")
    run = metrics_world.run_folder(tmp_path, column="good", prompt="a red zebra", views=None)
    with pytest.raises(ArtifactError, match="'a red zebra' names no object"):
        true_objects.main(["--runs", str(run), "--truth", str(folder), "--out", "unused.json"])
