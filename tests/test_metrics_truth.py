"""Truth metrics on objects whose answers are known, and on slow loops."""

from pathlib import Path

import numpy as np
import pytest
import torch
from metrics_world import COLOURS, straight, truth_folder

from metrics import measure, truth
from metrics.runs import VIEWS
from pipeline import artifacts

RED = COLOURS["red"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return truth_folder(tmp_path_factory.mktemp("truth"))


@pytest.fixture(scope="module")
def tower(folder: Path) -> truth.Truth:
    return truth.read_truth(truth.read_world(folder), "tower", at_most=None)


def seen(shape: str, colour: str = "red", *, shift: float = 0.0) -> np.ndarray:
    """What a run that reproduces the object shows, as the metrics compare it."""
    return truth.premultiplied(straight(shape, colour, shift=shift), size=32)


def iou(views: np.ndarray, known: truth.Truth) -> np.ndarray:
    return truth.intersection_over_union(views[:, 3] >= truth.SILHOUETTE, known.silhouettes)


def test_the_object_itself_is_perfect(tower: truth.Truth) -> None:
    np.testing.assert_array_equal(iou(seen("tower"), tower), 1.0)
    # truth files and run pictures are rounded to 8 bits each, within a factor two of 58.9 dB
    assert (truth.psnr(seen("tower"), tower, RED) > 50).all()
    assert truth.front_told_from_back(seen("tower"), tower, RED) == 1.0


def test_a_small_turn_is_found(tower: truth.Truth) -> None:
    """A shift by 1/16 is the truth at another offset; by 1/4 it is none of them."""
    np.testing.assert_array_equal(iou(seen("tower", shift=0.0625), tower), 1.0)
    assert (iou(seen("tower", shift=0.25), tower) < 0.5).all()


def test_the_turn_is_one_for_all_views(tower: truth.Truth) -> None:
    """Two views turned left and two right: no single offset fits, although each view has one."""
    views = seen("tower", shift=0.125)
    views[2:] = seen("tower", shift=-0.125)[2:]
    found = iou(views, tower)
    assert found.mean() < 0.8
    best = max(
        np.mean([_slow_iou(views[v, 3], tower.base[0, o, v, 3]) for v in range(4)])
        for o in range(5)
    )
    assert found.mean() == pytest.approx(best)


def _slow_iou(found: np.ndarray, true: np.ndarray) -> float:
    both = either = 0
    for a, b in zip(found.ravel() >= 0.5, true.ravel() >= 0.5, strict=True):
        both += a and b
        either += a or b
    return both / either


def test_psnr_is_the_definition_on_the_union(tower: truth.Truth) -> None:
    rng = np.random.default_rng(0)
    views = seen("slab")
    views[:, :3] *= rng.random(views[:, :3].shape).astype(np.float32)
    found = truth.psnr(views, tower, RED)
    true = tower.over_grey(RED)
    per_offset = []
    for offset in range(5):
        values = []
        for v in range(4):
            union = (views[v, 3] >= 0.5) | (tower.base[0, offset, v, 3] >= 0.5)
            over_grey = views[v, :3] + (1 - views[v, 3]) * 0.5
            squared = ((over_grey - true[0, offset, v]) ** 2)[:, union]
            values.append(-10 * np.log10(squared.mean()))
        per_offset.append(values)
    best = max(per_offset, key=np.mean)
    np.testing.assert_allclose(found, best, rtol=1e-4)


def test_psnr_sees_colour_where_iou_does_not(tower: truth.Truth) -> None:
    blue = seen("tower", "blue")
    np.testing.assert_array_equal(iou(blue, tower), 1.0)
    assert (truth.psnr(blue, tower, RED) < 10).all()


def test_a_turned_object_is_noticed(tower: truth.Truth) -> None:
    views = seen("tower")
    assert truth.front_told_from_back(views[[2, 3, 0, 1]], tower, RED) == 0.0


def test_a_second_face_is_noticed(tower: truth.Truth) -> None:
    views = seen("tower")
    views[2] = views[0]
    assert truth.front_told_from_back(views, tower, RED) == 0.0


def test_nothing_at_all_scores_zero(tower: truth.Truth) -> None:
    nothing = np.zeros((4, 4, 32, 32), np.float32)
    np.testing.assert_array_equal(iou(nothing, tower), 0.0)
    assert truth.front_told_from_back(nothing, tower, RED) == 0.0


def test_the_floor_is_the_best_wrong_shape(folder: Path, tower: truth.Truth) -> None:
    slab = truth.read_truth(truth.read_world(folder), "slab", at_most=None)
    name, values = truth.wrong_shape_iou(tower, {"slab": slab})
    assert name == "slab"
    np.testing.assert_array_equal(values, iou(seen("slab"), tower))
    name, values = truth.wrong_shape_iou(tower, {"slab": slab, "copy": tower})
    assert name == "copy"
    np.testing.assert_array_equal(values, 1.0)


def test_the_ball_floor_is_the_best_disc(tower: truth.Truth) -> None:
    edge = (np.arange(32) + 0.5) / 32 - 0.5
    distance = np.hypot(edge[:, None], edge[None])
    best = max(
        _slow_iou((distance <= radius).astype(float), tower.base[0, 2, 0, 3])
        for radius in np.linspace(0.05, 0.7, 27)
    )
    assert best - 0.01 <= truth.ball_iou(tower).mean() <= 1.0


def test_larger_pictures_are_averaged_down(folder: Path) -> None:
    world = truth.read_world(folder)
    small = truth.read_truth(world, "tower", at_most=16)
    assert small.size == 16
    large = truth.read_truth(world, "tower", at_most=None)
    blocks = large.base.reshape(1, 5, 4, 4, 16, 2, 16, 2).mean(axis=(-3, -1))
    np.testing.assert_allclose(small.base, blocks, atol=1e-6)
    views = truth.premultiplied(straight("tower", "red", size=64), size=16)
    assert iou(views, small).min() > 0.85  # edges fall elsewhere in the coarser truth


def test_captions_name_shape_and_colour(folder: Path) -> None:
    world = truth.read_world(folder)
    assert world.objects["a red tower"] == ("tower", "red")
    assert len(world.objects) == 4
    assert "a red tower, front view" not in world.objects


def test_a_world_may_name_the_shapes_with_a_front(tmp_path: Path) -> None:
    truths = measure.read_truths(
        truth_folder(tmp_path, directional=("slab",)), ["a red slab"], at_most=16
    )
    assert truths.has_front("a red slab")
    assert not truths.has_front("a red tower")


def test_a_world_that_lacks_something_is_refused(tmp_path: Path) -> None:
    """Guessing which shapes have a front would count tree and mushroom among them."""
    truth_folder(tmp_path)
    path = tmp_path / "world.json"
    whole = artifacts.read_json(path)
    for name in ("shapes", "colours", "directional"):
        artifacts.write_json(path, {k: v for k, v in whole.items() if k != name})
        with pytest.raises(artifacts.ArtifactError, match=rf"world.json: lacks .*{name}"):
            truth.read_world(tmp_path)
    artifacts.write_json(path, whole | {"directional": ["tower", "ship"]})
    with pytest.raises(artifacts.ArtifactError, match="has no shapes ship"):
        truth.read_world(tmp_path)
    artifacts.write_json(path, whole | {"directional": []})
    assert truth.read_world(tmp_path).directional == ()


def test_colour_jitter_of_each_instance_is_added(tmp_path: Path) -> None:
    """Two instances: the second is lighter by 0.1, and a lighter run matches that one."""
    truth_folder(tmp_path)
    path = tmp_path / "tower.safetensors"
    tensors, _ = artifacts.load_safetensors(path)
    for name in ("base", "tint"):
        tensors[name] = tensors[name].repeat(2, 1, 1, 1, 1, 1)
    tensors["shade"] = torch.tensor([[0.0, 0.0, 0.0], [0.1, 0.1, 0.1]])
    artifacts.save_safetensors(path, tensors)
    known = truth.read_truth(truth.read_world(tmp_path), "tower", at_most=None)
    lighter = tuple(value + 0.1 for value in RED)
    plain = truth.read_truth(truth.read_world(truth_folder(tmp_path)), "tower", at_most=None)
    np.testing.assert_allclose(
        known.over_grey(RED)[1],
        plain.over_grey(lighter)[0],
        atol=1e-6,  # type: ignore[arg-type]
    )


def test_broken_truth_files_are_named(tmp_path: Path) -> None:
    world = truth.read_world(truth_folder(tmp_path))
    path = tmp_path / "tower.safetensors"
    whole, _ = artifacts.load_safetensors(path)

    def refused(tensors: dict[str, torch.Tensor], says: str) -> None:
        artifacts.save_safetensors(path, tensors)
        with pytest.raises(artifacts.ArtifactError, match=rf"tower.safetensors: .*{says}"):
            truth.read_truth(world, "tower", at_most=None)

    refused({k: v for k, v in whole.items() if k != "shade"}, "lacks shade")
    refused(whole | {"base": whole["base"][:, :, :3]}, "base has shape")
    refused(whole | {"azimuth_deg": torch.tensor([0.0, 270.0, 180.0, 90.0])}, "views are not")
    refused(whole | {"base": torch.zeros_like(whole["base"])}, "shows nothing")
    path.unlink()
    with pytest.raises(artifacts.ArtifactError, match="no such file"):
        truth.read_truth(world, "tower", at_most=None)


def test_the_toy_worlds_own_truth_is_perfect(tmp_path: Path) -> None:
    """The files that pipeline.toyworld writes, read here and composed as its renderer composes."""
    from pipeline.toyworld import truth as writer
    from pipeline.toyworld.vocabulary import COLOURS as RGB
    from pipeline.toyworld.world import composed

    tensors = writer.truth_images("car", 32, seed=0, diversity=0.0)
    artifacts.save_safetensors(tmp_path / "car.safetensors", tensors)
    world = truth.World(tmp_path, ("car",), RGB, {"a red car": ("car", "red")}, ("car",))
    known = truth.read_truth(world, "car", at_most=None)
    flat = {"base": tensors["base"][0, 2], "tint": tensors["tint"][0, 2]}
    rgba = composed(flat | {"shade": tensors["shade"]}, "red").numpy()
    np.testing.assert_array_equal(iou(rgba, known), 1.0)
    assert (truth.psnr(rgba, known, RGB["red"]) == truth.LARGEST_PSNR).all()
    assert truth.front_told_from_back(rgba, known, RGB["red"]) == 1.0
    assert truth.front_told_from_back(rgba[[2, 3, 0, 1]], known, RGB["red"]) == 0.0
    assert list(VIEWS) == ["front", "left", "back", "right"]
