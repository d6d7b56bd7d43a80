"""Trying a method: settings, what is run again, directions at fixed pictures, the card's page."""

import copy
import json
import re
from dataclasses import asdict, replace

import pandas
import pytest
import torch

from methods import distill
from metrics import true_objects
from pipeline import config, fixed_pictures, try_method
from pipeline.artifacts import load_safetensors, read_json, write_json
from pipeline.guidance.load import load_guidance
from pipeline.toyworld import bank, truth
from pipeline.toyworld.whole import write_world
from reports import method_card

WORLD = {"size": 8, "count": 5, "count_others": 3, "count_degraded": 45, "truth_size": 8}
WORLD |= {"diversity": 1.0, "seed": 4}
CAMERA = {"azimuth": [-180, 180], "elevation": [-10, 45], "distance": [3, 3], "fovy": [40, 40]}
VIEWS = {"elevation": 15, "distance": 3.0, "fovy": 40}


def test_every_method_has_settings_or_says_which_it_needs():
    known = ("sds", "sds_uncentred", "csd", "csd_neg", "vsd", "nfsd")
    for name in known:
        distill.METHODS[name].make(**try_method.settings_of(name, None))
    for name in set(distill.METHODS) - set(known):
        said = f"^{name} (needs settings: .*; give --settings|compares with a source picture)"
        with pytest.raises(config.ConfigError, match=said):
            try_method.settings_of(name, None)


@pytest.mark.parametrize(
    ("name", "given", "message"),
    [
        ("nfds", None, "no method 'nfds'.* nfsd"),
        ("dds_cls", None, r"needs settings: omega; give --settings '{\"omega\": ...}'"),
        ("nfsd", {"omega": 1.0}, "needs settings: neg_from"),
        ("sds", {"omega": "7"}, "omega must be a finite number"),
        ("csd", {"omega": 7.5}, "csd: settings: .*unexpected keyword"),
        ("dds_omega0", None, "source picture"),
    ],
)
def test_what_cannot_be_tried_is_said(name, given, message):
    with pytest.raises(config.ConfigError, match=message):
        try_method.settings_of(name, given)


def test_given_settings_replace_the_presets():
    assert try_method.settings_of("sds", None) == {"omega": 7.5}
    assert try_method.settings_of("sds", {"omega": 40.0}) == {"omega": 40.0}


@pytest.mark.parametrize("text", ["{omega: 3}", "7.5", "[1]"])
def test_settings_are_a_json_object(text, capsys):
    with pytest.raises(SystemExit):
        try_method.main(["--method", "sds", "--settings", text])
    assert f'{text} is not a JSON object such as {{"omega": 7.5}}' in capsys.readouterr().err


def test_a_world_in_one_call_is_the_rules_world(tmp_path):
    asked = {"cameras": CAMERA, "views": VIEWS, "prompts": ["a red car"]}
    assert write_world(tmp_path, WORLD, **asked)
    assert not write_world(tmp_path, WORLD, **asked)
    common = ["--seed", "4", "--diversity", "1.0"]
    camera = ["--size", "8", "--camera", json.dumps(CAMERA)]
    counts = ["--counts", json.dumps({"car": 5, "degraded": 45})]
    rules = tmp_path / "rules"
    bank.main(["car", "degraded", *counts, *common, *camera, "--out", str(rules)])
    for part in ("car", "degraded"):
        found, _ = load_safetensors(tmp_path / "bank" / f"{part}.safetensors")
        expected, _ = load_safetensors(rules / f"{part}.safetensors")
        assert all(torch.equal(found[name], tensor) for name, tensor in expected.items())
    options = [f"--{name}={VIEWS[name]}" for name in ("elevation", "distance", "fovy")]
    truth.main(["--shapes", "car", "--size", str(WORLD["truth_size"]), *common, *options,
                "--out", str(rules / "truth")])  # fmt: skip
    found, made = load_safetensors(tmp_path / "truth" / "car.safetensors")
    expected, said = load_safetensors(rules / "truth" / "car.safetensors")
    assert made == said
    assert all(torch.equal(found[name], tensor) for name, tensor in expected.items())
    described = read_json(tmp_path / "truth" / "world.json")
    assert described["counts"]["car"] == 5
    assert described["counts"]["duck"] == 3
    assert write_world(tmp_path, WORLD | {"seed": 5}, **asked)
    assert {p.stem for p in (tmp_path / "truth").glob("*.safetensors")} == set(truth.SHAPES)


def test_a_finished_run_is_known_by_all_its_settings(tiny_job, tmp_path):
    one = tiny_job("csd")
    assert not try_method.finished(tmp_path, one)
    write_json(tmp_path / "run.json", asdict(one))
    write_json(tmp_path / "views" / "views.json", {})
    assert try_method.finished(tmp_path, one)
    assert not try_method.finished(tmp_path, replace(one, method_version=9))
    changed = replace(one, settings={**one.settings, "steps": 13})
    assert not try_method.finished(tmp_path, changed)


def test_directions_at_fixed_pictures(tiny_job, tiny_bank, tmp_path):
    """CSD follows the classifier part alone, SDS without guidance the generative part alone; both
    see the same noises; at a render of its own the exact prior's generative part has no mean.
    """
    tables = {}
    for name, settings in (("csd", {}), ("sds", {"omega": 0.0})):
        own = {"trace": {"every": 1, "extra_every": 0, "probes": 0, "probe_noises": 16}}
        one = replace(tiny_job("csd", **own), method=name, method_settings=settings)
        guidance = load_guidance(one.prior, bank=tiny_bank, prompt=one.prompt, device="cpu")
        rows = fixed_pictures.directions(one, guidance, tiny_bank, tmp_path / name)
        tables[name] = pandas.DataFrame(rows).set_index(["picture", "t", "term"])["norm"]
    csd, sds = tables["csd"], tables["sds"]
    for t in fixed_pictures.LEVELS:
        at = ("start", t)
        assert csd[*at, "probe/cosine/direction/classifier"] == pytest.approx(1.0, abs=1e-5)
        assert sds[*at, "probe/cosine/direction/generative"] == pytest.approx(1.0, abs=1e-5)
        for kind in ("mean", "spread"):
            assert csd[*at, f"probe/generative/{kind}"] == sds[*at, f"probe/direction/{kind}"]
    assert (
        sds["goal", 450, "probe/direction/mean"] < 0.2 * sds["start", 450, "probe/direction/mean"]
    )
    assert (tmp_path / "csd" / "goal.png").exists()


def test_a_method_is_tried_and_gets_its_card(presets, tiny, tmp_path, monkeypatch, capsys):
    """The three programs of `make try`, then the first again: only the method runs anew."""
    preset = copy.deepcopy(tiny)
    preset["columns"]["sds"] = {"method": "sds", "settings": {"omega": 7.5}, "overrides": {}}
    presets("try", preset)
    out = tmp_path / "cards"
    arguments = ["--method", "vsd", "--cores", "1", "--out", str(out)]
    monkeypatch.setattr(fixed_pictures, "UPDATES", 2)
    try_method.main(arguments)
    said = capsys.readouterr().out
    assert [line.split(":")[0] for line in said.splitlines()] == ["vsd", "csd", "sds"]
    runs, shared = out / "vsd" / "runs.txt", out / "shared"
    table = out / "vsd" / "truth.json"
    true_objects.main(["--runs", f"@{runs}", "--truth", f"{shared}/truth", "--out", str(table)])
    assert all(0 <= row["truth_iou"] <= 1 for row in read_json(table))
    method_card.main(["--method", "vsd", "--folder", str(out)])
    text = (out / "vsd.html").read_text()
    assert (out / "vsd.png").stat().st_size > 50_000
    assert not re.search(r'(src|href)="(?!data:|#)', text.replace('xlink:href="#', 'href="#'))
    assert "omega = 6.5" in text
    assert text.count("<img") == 3  # one prompt, three methods
    assert "particle training 1" in text
    capsys.readouterr()
    try_method.main(arguments)
    assert [line.split(":")[0] for line in capsys.readouterr().out.splitlines()] == ["vsd"]
