"""Dry weights: the real models' shapes, random numbers, files that say they are no result."""

import pytest
import tiny_models as tiny
import torch
from safetensors.torch import load_file, save_file

from pipeline import config
from pipeline.artifacts import ArtifactError
from pipeline.guidance import dry
from pipeline.guidance.load import load_guidance, models

# Published: the model cards' 860 M, 866 M, 361 M, 84 M and 4.3 B, to the last one. DeepFloyd's own
# code (deepfloyd_if/model/unet.py at 704 channels) builds as many as diffusers'.
PARAMETERS = {
    ("stable-diffusion-v1-5/stable-diffusion-v1-5", "unet"): 859_520_964,
    ("stabilityai/stable-diffusion-2-1-base", "unet"): 865_910_724,
    ("stabilityai/stable-diffusion-2-1-base", "vae"): 83_653_863,
    ("stable-diffusion-v1-5/stable-diffusion-v1-5", "vae"): 83_653_863,
    ("lllyasviel/control_v11p_sd15_canny", ""): 361_279_120,
    ("lllyasviel/control_v11f1p_sd15_depth", ""): 361_279_120,
    ("DeepFloyd/IF-I-XL-v1.0", "unet"): 4_304_695_110,
}
WEIGHTS = dry.WEIGHTS


@pytest.mark.parametrize(("model", "part"), PARAMETERS)
def test_the_shapes_are_the_real_models(model, part):
    network = dry.network(dry.architecture({"hub": [model]})["parts"][part])
    assert sum(p.numel() for p in network.parameters()) == PARAMETERS[model, part]
    assert all(p.is_meta for p in network.parameters())


@pytest.mark.parametrize("preset", ["paper", "literature"])
def test_every_model_of_the_full_presets_has_an_architecture(preset):
    for prior in config.load_preset(preset)["priors"].values():
        for spec in (prior, *prior.get("controlnets", [])):
            assert spec["hub"][0] in dry.architecture(spec)["hub"]
    with pytest.raises(ArtifactError, match=r"owner/other.*add its config.json"):
        dry.architecture({"hub": ["owner/other"]})


@pytest.fixture(scope="module")
def tiny_architectures(tmp_path_factory):
    return tiny.architectures(tmp_path_factory.mktemp("tiny"))


@pytest.fixture
def small(tiny_architectures, monkeypatch):
    """The paper preset's models by their first names, of tiny shapes."""
    monkeypatch.setattr(dry, "_architectures", lambda: tiny_architectures)


def prior_of(name):
    return {"name": name, **config.load_preset("paper")["priors"][name]}


def test_dry_models_are_loaded_by_the_loaders_and_say_so(small, tmp_path, capsys):
    prior = prior_of("controlled")
    folders = dry.write_models(prior, tmp_path, dtype="fp16")
    assert [folder.name for folder in folders] == [
        "dry-stable-diffusion-v1-5-fp16",
        "dry-control_v11f1p_sd15_depth-fp16",
        "dry-control_v11p_sd15_canny-fp16",
    ]
    found = load_guidance(
        dry.dry_prior(prior, tmp_path, "fp16"), bank=None, prompt="", device="cpu"
    )
    assert capsys.readouterr().err.count("nothing made with them is a result") == 4
    stored = load_file(folders[0] / "unet" / WEIGHTS)
    loaded = found.denoiser.unet.state_dict()
    assert stored.keys() == loaded.keys()
    assert all(torch.equal(stored[name], loaded[name]) for name in stored)
    assert {value.dtype for value in stored.values()} == {torch.float16}
    assert all(value.startswith("dry:") for value in models(found).values())
    assert len(set(models(found).values())) == 3
    assert "dry: true" in (folders[1] / "README.md").read_text()


def test_no_preset_can_ask_for_dry_weights(small, tmp_path):
    prior = prior_of("controlled")
    dry.write_models(prior, tmp_path, dtype="fp32")
    spec = dry.dry_prior(prior, tmp_path, "fp32")
    plain = {key: value for key, value in spec.items() if key != "dry"}
    with pytest.raises(ArtifactError, match=rf"{WEIGHTS}: dry, random.*no result"):
        load_guidance({**plain, "controlnets": []}, bank=None, prompt="", device="cpu")
    preset = config.load_preset("paper")
    kept = {key: value for key, value in spec.items() if key not in ("name", "controlnets")}
    preset["priors"]["controlled"] = {**kept, "controlnets": [], "overrides": {}}
    with pytest.raises(config.ConfigError, match=r"priors.controlled.*dry"):
        config.check_preset(preset, config.PRESETS / "paper.yaml")


def test_dry_weights_are_known_wherever_they_are_put(small, tmp_path):
    """The mark lies in the weight files themselves."""
    prior = prior_of("deepfloyd")
    (dry_folder,) = dry.write_models(prior, tmp_path, dtype="fp32")
    real = tiny.deepfloyd_folder(tmp_path / "real")
    spec = tiny.spec("deepfloyd", real)
    load_guidance(spec, bank=None, prompt="", device="cpu")
    (real / "unet" / WEIGHTS).write_bytes((dry_folder / "unet" / WEIGHTS).read_bytes())
    with pytest.raises(ArtifactError, match="no result comes of them"):
        load_guidance(spec, bank=None, prompt="", device="cpu")
    save_file(load_file(real / "unet" / WEIGHTS), real / "unet" / WEIGHTS, {"format": "pt"})
    load_guidance(spec, bank=None, prompt="", device="cpu")  # it was the mark


def test_dry_weights_are_their_seeds_and_written_whole(small, tmp_path):
    prior = prior_of("deepfloyd")

    def written(folder, seed):
        (path,) = dry.write_models(prior, folder, dtype="bf16", seed=seed)
        return path, (path / "unet" / WEIGHTS).read_bytes()

    path, first = written(tmp_path / "a", 0)
    assert written(tmp_path / "b", 0)[1] == first
    assert written(tmp_path / "c", 1)[1] != first
    (path / "unet" / WEIGHTS).write_bytes(b"whole as long as the card is there")
    assert written(tmp_path / "a", 0)[1] != first
    (path / "README.md").unlink()
    assert written(tmp_path / "a", 0)[1] == first


def test_random_texts_are_equal_for_equal_texts():
    texts = dry.random_texts({"hub": ["DeepFloyd/IF-I-XL-v1.0"]}, seed=0, device="cpu")
    rows = texts.embed(["a car", "", "a car"])
    assert rows.shape == (3, 77, 4096)
    assert torch.equal(rows[0], rows[2])
    assert not torch.equal(rows[0], rows[1])
