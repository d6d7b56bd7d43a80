"""Presets and their priors: by name, with what goes with them, and the texts they are put."""

from pathlib import Path

import pytest
import yaml
from conftest import RED_CAR

from pipeline import config, texts
from pipeline.artifacts import load_safetensors, read_json
from pipeline.config import ConfigError
from pipeline.guidance.load import PRIORS

ROOT = Path(__file__).resolve().parent.parent


def test_the_schema_names_the_priors_that_the_loader_knows():
    schema = yaml.safe_load((ROOT / "presets" / "schema.yaml").read_text())
    kinds = schema["properties"]["priors"]["additionalProperties"]["properties"]["kind"]["enum"]
    assert set(PRIORS) == set(kinds)


def test_a_preset_runs_under_any_of_its_priors():
    """`mini+learned`: every stage under that prior, with the settings that go with it."""
    plain, other = config.load_preset("mini"), config.load_preset("mini+learned")
    assert plain["stages"]["nerf"]["prior"] == "mixture"
    assert other["stages"]["nerf"]["prior"] == "learned"
    wanted = {"column": "vsd", "stage": "nerf", "prompt_id": RED_CAR, "seed": 0}
    found = {name: config.job(name, **wanted) for name in ("mini", "mini+learned")}
    assert found["mini+learned"].prior["kind"] == "deepfloyd"
    assert found["mini+learned"].settings["particle"]["kind"] == "lora"
    assert found["mini"].settings["particle"]["kind"] == "residual"
    assert "overrides" not in found["mini+learned"].prior
    assert found["mini"].key() != found["mini+learned"].key()


def test_guidance_is_chosen_by_name():
    assert config.with_guidance("mini", None) == "mini"
    assert config.with_guidance("mini", "mixture") == "mini"
    assert config.with_guidance("mini", "learned") == "mini+learned"
    with pytest.raises(ConfigError, match=r"guidance=imagen: .* priors mixture, learned"):
        config.with_guidance("mini", "imagen")
    with pytest.raises(ConfigError, match="no prior 'imagen'; known: mixture, learned"):
        config.load_preset("mini+imagen")


def test_folders_of_priors_start_at_the_repository():
    spec = {"path": "a/b", "controlnets": [{"path": "/c"}, {"hub": ["d/e"]}]}
    found = config.located(spec)
    assert found["path"] == str(ROOT / "a/b")
    assert found["controlnets"] == [{"path": "/c"}, {"hub": ["d/e"]}]
    assert spec["path"] == "a/b"


def test_a_column_may_override_what_its_prior_brings():
    preset = config.load_preset("mini+learned")
    preset["columns"]["vsd"]["overrides"] = {"particle.width": 3}
    path = ROOT / "presets" / "mini.yaml"
    settings, _ = config._resolve(preset, preset["columns"]["vsd"], "nerf", (), path)
    assert settings["particle"] == {"kind": "lora", "width": 3, "learning_rate": 0.001}


def test_learned_priors_are_put_the_texts_that_the_runs_embed():
    assert texts.learned_priors("heldout", config.load_preset("heldout")) == []
    assert texts.learned_priors("mini", config.load_preset("mini")) == ["latent"]
    preset = config.load_preset("mini+learned")
    assert texts.learned_priors("mini+learned", preset) == ["learned"]
    found = texts.texts("mini+learned", preset, "learned")
    assert len(found) == 6 * 3 + 2
    assert {"", "a red car, side view", preset["stages"]["nerf"]["negative_prompt"]} <= set(found)


def test_what_the_program_lists_it_has_embedded(tmp_path, program):
    out, cache = tmp_path / "texts.json", tmp_path / "cache"
    given = ("--preset", "smoke", "--prior", "latent", "--cache", cache)
    assert program("pipeline.texts", *given, "--out", out) == 0
    listed = read_json(out)
    assert listed == texts.texts("smoke", config.load_preset("smoke"), "latent")
    held = [load_safetensors(path)[1]["text"] for path in cache.glob("*.safetensors")]
    assert sorted(held) == sorted(listed)
