"""Pictures of known numbers: the metric code gives them, and what breaks it is seen."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from metrics import encoders, goldens, measure, truth
from pipeline.artifacts import ArtifactError, read_json, write_json

GOLDENS = Path(__file__).resolve().parent.parent / "baselines" / "goldens"


def test_the_metric_code_gives_the_known_numbers() -> None:
    assert goldens.problems(GOLDENS) == []
    known = goldens.read(GOLDENS)
    assert len(known.views) == 2
    assert known.images.shape[0] == 2 * 4 * 2


def test_goldens_see_a_metric_that_broke(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def broken(where: Any, name: str, value: Any) -> str:
        with monkeypatch.context() as patch:
            patch.setattr(where, name, value)
            return "; ".join(goldens.problems(GOLDENS))

    right, embedded = goldens.composited, encoders.embed_images
    over = broken(goldens, "composited", lambda rgba, b: right(rgba[..., [2, 1, 0, 3]], b))
    assert "embeddings of the views" in over  # red and blue exchanged

    def lopsided(*arguments: Any) -> np.ndarray:
        """Rows that depend on what stands beside them, as with a norm over the batch."""
        rows = embedded(*arguments)
        rows = rows - 0.1 * rows.mean(axis=0)
        return rows / np.linalg.norm(rows, axis=1, keepdims=True)

    said = broken(encoders, "embed_images", lopsided)
    assert "one picture a batch" in said
    assert "another order of pictures" not in said  # 16 pictures are one batch in either order
    over_union = truth.intersection_over_union
    said = broken(truth, "intersection_over_union", lambda a, b: over_union(~a, ~b))
    assert said.count("/truth_iou is") == 10
    assert "psnr" not in said
    said = broken(truth, "GREY", 1.0)
    assert (said.count("/truth_psnr is"), said.count("/truth_iou is")) == (10, 0)
    assert "front_back is 0, known as 1" in broken(truth, "front_told_from_back", lambda *_: 0.0)
    monkeypatch.setitem(measure.clip_score.SCALES, "clip_score", lambda cosine: 100.0 * cosine)
    assert any("clip_score is" in problem for problem in goldens.problems(GOLDENS))
    monkeypatch.undo()
    copy = Path(shutil.copytree(GOLDENS, tmp_path / "goldens"))
    described = read_json(copy / "goldens.json")
    write_json(copy / "goldens.json", {**described, "schema_version": "9.0"})
    with pytest.raises(ArtifactError, match="schema_version"):
        goldens.read(copy)
