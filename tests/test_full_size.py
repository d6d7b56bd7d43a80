"""Full-size costs: real shapes, evaluations as the loop makes them, weights that are no result."""

import copy
import csv
import dataclasses
import json

import pytest
import tiny_models as tiny
import torch
from safetensors.torch import load_file, save_file

from benchmarks import cost, flops, full_size, stretch
from pipeline import config
from pipeline.artifacts import ArtifactError, write_text
from pipeline.distillation import one_step, problem_of, start_run
from pipeline.guidance import dry
from pipeline.guidance.load import load_guidance, models
from pipeline.recipes import prompts

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
def lines():
    return {line.name: line for line in flops.lines("paper")}


def per_step(line):
    found = flops.asked(line.job)
    steps = line.job.settings["steps"]
    return found.frozen / steps, found.particle / steps, found.training / steps


def test_lines_are_the_runs_of_the_preset(lines):
    preset = config.load_preset("paper")
    for task, last in (("geometry", "mesh"), ("texture", "texture")):
        of_task = [line for line in lines.values() if line.stage == last]
        assert sum(line.runs for line in of_task) == 4 * len(prompts(preset, task))
    assert lines["csd:nerf:directional"].runs == 21
    assert lines["csd:nerf:directional"].job.settings["batch"] == 1
    assert lines["csd:nerf"].job.settings["batch"] == 4


def test_perp_neg_and_the_annealed_negative_prompt_share_predictions(lines):
    """Text, null, negative and two views while omega_2 grows, then null has no coefficient."""
    assert per_step(lines["csd_neg:nerf:directional"]) == (4.5, 0, 0)
    released = 5  # the released code always asks for all five
    assert per_step(lines["csd:nerf:directional"]) == (released, 0, 0)


def test_other_columns_ask_for_what_their_row_holds(lines):
    # step 0 has no negative prompt, the others of the first half three, the second half two
    assert per_step(lines["csd_neg:nerf"]) == ((2 + 4999 * 3 + 5000 * 2) / 10_000, 0, 0)
    # of the mesh the null text is not asked for at step 0, where omega_2 = omega_1
    assert per_step(lines["csd_neg:mesh"]) == ((2 + 9999 * 3) / 10_000, 0, 0)
    assert per_step(lines["sds:texture"]) == (2, 0, 0)
    assert per_step(lines["vsd:mesh"]) == (2, 1, 1)  # 3 forwards and a training


def test_flop_are_two_a_product():
    a, b = torch.empty(3, 5, device="meta"), torch.empty(5, 7, device="meta")
    assert flops.flop(lambda: a @ b) == 2 * 3 * 5 * 7
    weight = torch.empty(6, 4, 3, 3, device="meta")
    x = torch.empty(1, 4, 8, 8, device="meta", requires_grad=True)
    forward = 2 * 6 * 4 * 9 * 64

    def both():
        torch.nn.functional.conv2d(x, weight, padding=1).sum().backward()

    assert flops.flop(both) == 2 * forward  # of the input alone: the weights are frozen


# -- a small model in the place of each real one


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """The paper preset's models by their first names, of tiny shapes."""
    folder = tmp_path_factory.mktemp("tiny")
    pixel = tiny.deepfloyd_folder(folder / "pixel")
    latent = tiny.latent_folder(folder / "latent", prediction="epsilon")
    control = tiny.control_folder(folder / "control", latent, seed=0)

    def parts(root, names):
        found = {name: json.loads((root / name / "config.json").read_text()) for name in names}
        scheduler = json.loads((root / "scheduler" / "scheduler_config.json").read_text())
        return found | {"scheduler": scheduler}

    text = {"tokens": tiny.TOKENS, "width": tiny.WIDTH}
    own = {
        "DeepFloyd/IF-I-XL-v1.0": parts(pixel, ["unet"]),
        "stable-diffusion-v1-5/stable-diffusion-v1-5": parts(latent, ["unet", "vae"]),
    }
    nets = {"": json.loads((control / "config.json").read_text())}
    own |= dict.fromkeys(
        ("lllyasviel/control_v11f1p_sd15_depth", "lllyasviel/control_v11p_sd15_canny"), nets
    )
    return {hub: {"hub": [hub], "text": text, "parts": each} for hub, each in own.items()}


@pytest.fixture
def shrunk(small, lines, monkeypatch):
    """Jobs of the paper preset with 8 steps, at the tiny models' sizes."""
    monkeypatch.setattr(dry, "_architectures", lambda: small)
    flops._networks.cache_clear()
    monkeypatch.setattr(stretch, "FACES", 100)

    def job(name):
        one = copy.deepcopy(lines[name].job)
        settings = one.settings
        settings |= {"steps": 8, "size": tiny.PIXELS, "batch": 2}
        settings["scene"]["grid"] |= {"levels": 2, "log2_entries": 8}
        if "samples" in settings["scene"]:
            settings["scene"]["samples"] = 16
        if one.method == "csd_neg":
            one.method_settings["omega_2"] = [0.0, 1.0, 4]
        return one

    yield job
    flops._networks.cache_clear()


@pytest.mark.parametrize("name", ["csd_neg:nerf:directional", "csd_neg:nerf", "vsd:texture"])
def test_counted_evaluations_are_those_the_loop_makes(shrunk, name, tmp_path):
    job = stretch.undisturbed(shrunk(name))
    dry.write_models(job.prior, tmp_path, dtype="fp32")
    spec = dry.dry_prior(job.prior, tmp_path, "fp32")
    prior = load_guidance(spec, bank=None, prompt="", device="cpu")
    texts = dry.random_texts(job.prior, seed=0, device="cpu")
    problem = problem_of(job, dataclasses.replace(prior, texts=texts))
    mesh = stretch.toy_folder(tmp_path) if job.task == "texture" else None
    run = start_run(problem, "cpu", None, mesh)
    for step in range(job.settings["steps"]):
        one_step(step, run, problem)
    made, counted = run.evaluations, flops.asked(job)
    particle, training = made.pop("particle", 0), made.pop("particle_training", 0)
    views = job.settings["batch"]
    assert sum(made.values()) == views * counted.frozen
    assert (particle, training) == (views * counted.particle, views * counted.training)


@pytest.mark.parametrize(("name", "dtype"), [("csd:nerf", "fp32"), ("vsd:texture", "bf16")])
def test_a_stretch_asks_the_networks_again(shrunk, name, dtype, tmp_path):
    job = shrunk(name)
    dry.write_models(job.prior, tmp_path, dtype=dtype)
    found = stretch.stretch(job, stretch.Options(tmp_path, "cpu", dtype, 2, 1, 1))
    assert (found.dtype, found.steps, found.warm, found.device_mb) == (dtype, 2, 1, 0)
    assert 0 < found.denoiser < found.step
    assert 0 < found.encoding < found.step
    assert found.host_mb > 0


def test_what_was_heard_is_asked_again_with_its_gradients():
    class Model:
        def __init__(self):
            self.seen = []

        def eps(self, x, t):
            self.seen.append((float(x), t))
            return x

        def encode(self, rgb):
            self.rgb = rgb
            return rgb**2

    model = Model()
    heard = stretch.Heard(model)
    rgb = torch.tensor(3.0, requires_grad=True)
    heard.encode(rgb)
    heard.eps(torch.tensor(2.0), 7)
    heard.again("encode")
    assert rgb.grad is None
    assert float(model.rgb.grad) == 6.0
    heard.again("eps", "loss")
    assert model.seen == [(2.0, 7)] * 2


# -- dry weights


def prior_of(name):
    return {"name": name, **config.load_preset("paper")["priors"][name]}


def test_dry_models_are_loaded_by_the_loaders_and_say_so(shrunk, tmp_path, capsys):
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


def test_no_preset_can_ask_for_dry_weights(shrunk, tmp_path):
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


def test_dry_weights_are_known_wherever_they_are_put(shrunk, tmp_path):
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


def test_dry_weights_are_their_seeds_and_written_whole(shrunk, tmp_path):
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


# -- the page


def test_the_page_says_what_was_not_run(shrunk, lines, tmp_path):
    line = dataclasses.replace(lines["csd:nerf"], job=shrunk("csd:nerf"))
    other = dataclasses.replace(line, variant="directional")
    row = full_size.counted(line)
    assert row["least_ratio"] == 1  # pixels need no encoding
    found = stretch.Measured("a GPU", "fp16", 20, 3, 3.0, 2.0, 0.5, 2048.0, 1024.0)
    rows = [full_size.joined(row, "not run")]
    rows.append(full_size.joined(full_size.counted(other), found))
    text = full_size.page("paper", [line, other], rows)
    assert "| csd | nerf | – | not run |" in text
    cells = "a GPU | fp16 | 20 | 3 | 3 | 2 | 0.5 | 0.5 | 1.50 | 1.00 | 1.20 | 2.0 | 1.0 |"
    assert f"| csd | nerf | directional | {cells}" in text
    assert "No weights of any model took part" in text
    path = write_text(tmp_path / "page.csv", full_size.table_csv(rows))
    assert full_size.kept(path) == {"csd:nerf:directional": found}


def test_an_unknown_line_names_those_there_are():
    with pytest.raises(config.ConfigError, match=r"--only a:b.*csd:nerf:directional"):
        full_size.main(["--only", "a:b"])


def test_the_plan_adds_up_what_networks_compute(lines, monkeypatch):
    known = {"geometry": 3e15, "texture": 5e15}
    monkeypatch.setattr(flops, "run_flop", lambda job: known[job.task])
    found = cost.counted("paper")
    assert found["geometry", "csd"] == pytest.approx(2 * 81 * 3e-3)  # two stages
    assert found["texture", "vsd"] == pytest.approx(20 * 5e-3)
    assert found["all", ""] == pytest.approx(4 * (2 * 81 * 3e-3 + 20 * 5e-3))
    monkeypatch.undo()
    with pytest.raises(ArtifactError, match=r"mixture.*architecture is not known"):
        cost.counted("mini")


def test_what_was_measured_outlives_what_comes_after_it(shrunk, lines, monkeypatch, tmp_path):
    two = [dataclasses.replace(lines[name], job=shrunk(name)) for name in ("csd:nerf", "sds:nerf")]
    monkeypatch.setattr(flops, "lines", lambda name: two)
    found = stretch.Measured("a GPU", "fp16", 20, 3, 3.0, 2.0, 0.0, 2048.0, 1024.0)

    def alone(job, options):
        if job.column == "sds":
            raise ArtifactError("the folder is gone")
        return found

    monkeypatch.setattr(full_size, "alone", alone)
    path = tmp_path / "page.md"
    with pytest.raises(ArtifactError, match="is gone"):
        full_size.main(["--weights", str(tmp_path), "--page", str(path)])
    assert full_size.kept(path.with_suffix(".csv")) == {"csd:nerf": found}
    full_size.main(["--page", str(path), "--keep"])
    assert "| csd | nerf | – | a GPU | fp16 | 20 | 3 | 3 |" in path.read_text()
    full_size.main(["--page", str(path)])
    assert "a GPU" not in path.read_text()
    with pytest.raises(config.ConfigError, match="--keep: of which page"):
        full_size.main(["--keep"])


def test_the_recorded_page_counts_as_the_code_does(lines):
    path = config.PRESETS.parent / "docs" / "results" / "full_size.csv"
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    names = [flops.line_name(row["column"], row["stage"], row["variant"]) for row in rows]
    assert names == list(lines)
    recorded = dict(zip(names, rows, strict=True))
    for name in ("csd_neg:nerf:directional", "csd_neg:mesh", "vsd:mesh"):
        keys = ("frozen_evaluations", "particle_evaluations", "particle_trainings")
        assert tuple(float(recorded[name][key]) for key in keys) == pytest.approx(
            per_step(lines[name])
        )
    for row in rows:
        assert float(row["run_pflop"]) == pytest.approx(
            float(row["step_tflop"]) * int(row["steps"]) / 1e3, rel=1e-5
        )
        assert row["measured"] in ("yes", "not run") or row["measured"].startswith("failed: ")
