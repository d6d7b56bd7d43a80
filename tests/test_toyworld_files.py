"""The toy world's files: image bank, world.json and truth."""

import json

import pytest
import torch

from pipeline.artifacts import load_safetensors, read_json
from pipeline.cameras import orbit
from pipeline.toyworld import bank, truth
from pipeline.toyworld.render import compose
from pipeline.toyworld.vocabulary import (
    COLOURS,
    DEGRADATIONS,
    SHAPES,
)
from pipeline.toyworld.world import (
    composed,
    drawn,
    instances,
    main_colour,
)

CAMERA = {
    "azimuth": [-180, 180],
    "elevation": [-10, 45],
    "distance": [2.8, 3.2],
    "fovy": [40, 40],
}


def run_bank(out, *parts, seed=4, **counts):
    settings = ["--size", "16", "--diversity", "1", "--camera", json.dumps(CAMERA)]
    settings += ["--seed", str(seed), "--counts", json.dumps(counts)]
    bank.main([*parts, *settings, "--out", str(out)])
    return out


def test_bank_file_holds_the_renders_to_half_a_level(tmp_path):
    folder = run_bank(tmp_path, "duck", duck=20)
    tensors, metadata = load_safetensors(folder / "duck.safetensors")
    assert metadata["schema_version"].startswith("1.")
    assert tensors["base"].shape == (20, 4, 16, 16)
    assert tensors["base"].dtype == tensors["tint"].dtype == torch.uint8
    assert tensors["instance"].tolist() == [k % 16 for k in range(20)]
    cameras = orbit(*(tensors[k] for k in ("azimuth_deg", "elevation_deg", "distance", "fovy_deg")))
    objects = instances("duck", seed=4, diversity=1.0)
    layers, shade = drawn(objects, tensors["instance"].long(), cameras, 16)
    direct = compose(layers, main_colour("pink", shade))
    # base and tint are each rounded to 1/255; degrees to radians and back may move a ray by 1e-6
    error = (composed(tensors, "pink") - direct).abs()
    assert error.median() <= 1 / 255
    assert (error > 1.01 / 255).float().mean() < 0.01
    assert ((tensors["azimuth_deg"] >= -180) & (tensors["azimuth_deg"] <= 180)).all()


def test_same_seed_same_bits_and_other_seed_other_bits(tmp_path):
    def tensors(name, *parts, seed=4):
        folder = run_bank(tmp_path / name, *parts, seed=seed, duck=3, car=9, degraded=45)
        return load_safetensors(folder / "car.safetensors")[0]

    one, two = tensors("a", "car"), tensors("b", "duck", "degraded", "car", "world")
    assert all(torch.equal(one[name], two[name]) for name in one)
    other = tensors("c", "car", seed=5)
    assert not torch.equal(one["base"], other["base"])
    assert not torch.equal(one["azimuth_deg"], other["azimuth_deg"])


def test_degraded_bank_is_balanced_and_indexed(tmp_path):
    folder = run_bank(tmp_path, "degraded", degraded=405)
    tensors, _ = load_safetensors(folder / "degraded.safetensors")
    assert tensors["rgba"].shape == (405, 4, 16, 16)
    assert tensors["rgba"].dtype == torch.float16
    cases = torch.stack([tensors[k] for k in ("shape", "colour", "kind")], -1)
    assert len(cases.unique(dim=0)) == 9 * 9 * 5
    noisy = tensors["rgba"][tensors["kind"] == DEGRADATIONS.index("noisy")]
    assert noisy.min() < 0
    rest = tensors["rgba"][tensors["kind"] != DEGRADATIONS.index("noisy")]
    assert rest.min() >= 0
    assert rest.max() <= 1


def test_world_file_lists_what_the_integers_mean(tmp_path):
    counts = {"car": 9, "degraded": 405}
    world = read_json(run_bank(tmp_path, "world", **counts) / "world.json")
    assert world["shapes"] == list(SHAPES)
    assert world["degradations"] == list(DEGRADATIONS)
    assert world["colours"]["red"] == list(COLOURS["red"])
    assert world["counts"] == counts
    assert world["camera"] == CAMERA


@pytest.mark.parametrize("parts", [["lamp"], ["car"], []])
def test_bank_program_refuses_bad_calls(tmp_path, parts, capsys):
    with pytest.raises(SystemExit) as stopped:
        run_bank(tmp_path, *parts, lamp=1)
    assert stopped.value.code == 2
    assert "error" in capsys.readouterr().err


def test_truth_holds_the_banks_instances_from_the_four_views(tmp_path):
    options = ["--shapes", "duck", "house", "--size", "24", "--seed", "4", "--diversity", "1"]
    truth.main([*options, "--out", str(tmp_path)])
    tensors, _ = load_safetensors(tmp_path / "house.safetensors")
    assert (tmp_path / "duck.safetensors").is_file()
    assert tensors["base"].shape == (16, 5, 4, 4, 24, 24)
    assert tensors["tint"].shape == (16, 5, 4, 1, 24, 24)
    objects = instances("house", seed=4, diversity=1.0)
    layers, _ = drawn(objects, torch.tensor([7, 7]), orbit([5.0, 185.0], 15.0, 3.0, 40.0), 24)
    stored = tensors["base"][7, 3, [0, 2], 3:].float() / 255  # offset +5; front, back
    torch.testing.assert_close(stored, layers.alpha, atol=0.51 / 255, rtol=0)
    torch.testing.assert_close(tensors["shade"], objects.shade)
