"""Distances between seeds by hand; instances of a procedural shape that seeds reach."""

from pathlib import Path

import numpy as np
import pytest
import torch
from metrics_world import COLOURS, object_views, run_folder, straight, truth_folder

from metrics import candidates, diversity, truth
from metrics.embeddings import EMBEDDINGS, write_arrays
from metrics.runs import VIEWS
from pipeline import artifacts

IDENTITY = {"model_id": "tiny", "model_sha256": "0", "preprocessing": "none"}


def test_distances_by_hand() -> None:
    x, y, z = np.eye(3)
    first, second = np.stack([x, x, x, x]), np.stack([x, y, 2 * x, -x])
    assert diversity.mean_distance([first, 3 * first]) == pytest.approx(0.0)
    assert diversity.mean_distance([first, second]) == pytest.approx((0 + 1 + 0 + 2) / 4)
    third = np.stack([z, z, z, z])
    assert diversity.mean_distance([first, second, third]) == pytest.approx((0.75 + 1 + 1) / 3)
    assert np.isnan(diversity.mean_distance([first]))
    assert np.isnan(diversity.mean_distance([]))


def two_instances(folder: Path) -> Path:
    """The towers of `truth_folder`, and a second one that stands a quarter to the right."""
    truth_folder(folder)
    tensors, _ = artifacts.load_safetensors(folder / "tower.safetensors")
    base, tint = object_views("tower", size=32, shift=0.25)
    for name, plane in (("base", base), ("tint", tint)):
        other = torch.from_numpy((plane * 255 + 0.5).astype(np.uint8)).expand_as(tensors[name])
        tensors[name] = torch.cat([tensors[name], other])
    tensors["shade"] = torch.zeros(2, 3)
    artifacts.save_safetensors(folder / "tower.safetensors", tensors)
    return folder


def test_the_nearest_instance_is_the_one_shown(tmp_path: Path) -> None:
    world = truth.read_world(two_instances(tmp_path))
    known = truth.read_truth(world, "tower", at_most=None)
    for shift, expected in ((0.0, 0), (0.0625, 0), (0.25, 1), (0.3, 1)):
        views = truth.premultiplied(straight("tower", "red", shift=shift), size=32)
        assert truth.nearest_instance(views, known, COLOURS["red"]) == expected


def embedded_run(root: Path, prompt: str, seed: int, shift: float | None, row: np.ndarray) -> Path:
    """A run that shows a tower with this shift and has this embedding in all views."""
    views = None if shift is None else straight("tower", "red", shift=shift)
    folder = run_folder(root, column="csd", prompt=prompt, views=views, seed=seed)
    names = [] if views is None else list(VIEWS)
    checksums = [artifacts.sha256(folder / "views" / f"{view}.png") for view in names]
    stored = {
        "embedding": np.tile(row, (len(names), 1)),
        "view": np.array(names, dtype=np.str_),
        "background": np.array(["grey"] * len(names), dtype=np.str_),
        "image_sha256": np.array(checksums, dtype=np.str_),
    }
    write_arrays(folder / EMBEDDINGS, stored | {k: np.array(v) for k, v in IDENTITY.items()})
    return folder


def test_the_program(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    texts = ["a red tower", "a red slab", "a red ship"]
    monkeypatch.setattr(candidates, "plain", lambda name: texts)
    captions = {"embedding": np.eye(3, dtype=np.float32), "text": np.array(texts)}
    write_arrays(tmp_path / "t.npz", captions | {k: np.array(v) for k, v in IDENTITY.items()})
    x, y, _ = np.eye(3)
    folders = [
        embedded_run(tmp_path, "a red tower", 0, 0.0, x),
        embedded_run(tmp_path, "a red tower", 1, 0.25, y),
        embedded_run(tmp_path, "a red tower", 2, 0.0625, x),
        embedded_run(tmp_path, "a red tower", 3, None, x),
        embedded_run(tmp_path, "a red ship", 0, 0.0, x),
        embedded_run(tmp_path, "a red ship", 1, 0.0, x),
        embedded_run(tmp_path, "a red slab", 0, 0.0, x),
    ]
    world = two_instances(tmp_path / "truth")
    options = ["--model", "tiny", "--texts", str(tmp_path / "t.npz"), "--candidates", "ours"]
    options += ["--out", str(tmp_path), "--runs", *map(str, folders)]
    diversity.main([*options, "--truth", str(world)])
    table = artifacts.read_table(tmp_path / "diversity", "diversity").set_index("prompt_id")
    tower, ship, slab = (
        table.loc[next(name for name in table.index if name.startswith(start))]
        for start in ("a-red-tower", "a-red-ship", "a-red-slab")
    )
    assert (tower["n_seeds"], tower["found"], tower["possible"]) == (3, 2, 2)
    assert tower["distance"] == pytest.approx(2 / 3)
    assert ship["distance"] == pytest.approx(0.0)
    assert np.isnan(ship["found"])  # no truth is known
    assert slab["n_seeds"] == 1
    assert np.isnan(slab["distance"])
    said = capsys.readouterr().out
    assert "csd: distance 0.333" in said
    assert "2 prompts; 2 of 2 instances" in said
    diversity.main([*options[:-7], str(folders[6])])
    assert "not run, no prompt has two finished seeds" in capsys.readouterr().out
    with pytest.raises(artifacts.ArtifactError, match="lacks background white"):
        diversity.main([*options, "--background", "white"])
