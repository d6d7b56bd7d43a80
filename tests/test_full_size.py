"""Full-size costs: evaluations as the loop makes them, and the page that holds them."""

import copy
import csv
import dataclasses

import pytest
import tiny_models as tiny
import torch

from benchmarks import cost, flops, full_size, full_size_page, stretch
from pipeline import config
from pipeline.artifacts import ArtifactError, write_text
from pipeline.distillation import one_step, problem_of, start_run
from pipeline.guidance import dry
from pipeline.guidance.load import load_guidance
from pipeline.recipes import prompts


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
    return tiny.architectures(tmp_path_factory.mktemp("tiny"))


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
    found = stretch.stretch(job, stretch.Options(tmp_path, "cpu", dtype, 2, 1, 1, "abc"))
    assert (found.dtype, found.steps, found.warm, found.device_mb) == (dtype, 2, 1, 0)
    assert 0 < found.denoiser < found.step
    assert 0 < found.encoding < found.step
    assert found.host_mb > 0
    assert found.options == f"--device cpu --dtype {dtype} --steps 2 --warm 1 --threads 1"
    assert found.commit == "abc"


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


# -- the page


def measured(*, encoding):
    return stretch.Measured(
        device="a GPU",
        dtype="fp16",
        steps=20,
        warm=3,
        step=3.0,
        denoiser=2.0,
        encoding=encoding,
        host_mb=2048.0,
        device_mb=1024.0,
        options="--device cuda --steps 20",
        commit="abc",
    )


def test_the_page_says_what_was_not_run(shrunk, lines, tmp_path):
    line = dataclasses.replace(lines["csd:nerf"], job=shrunk("csd:nerf"))
    other = dataclasses.replace(line, variant="directional")
    row = full_size.counted(line)
    assert row["least_ratio"] == 1  # pixels need no encoding
    found = measured(encoding=0.5)
    rows = [full_size.joined(row, "not run")]
    rows.append(full_size.joined(full_size.counted(other), found))
    text = full_size_page.page("paper", [line, other], rows)
    assert "| csd | nerf | – | not run |" in text
    cells = "a GPU | fp16 | 20 | 3 | 3 | 2 | 0.5 | 0.5 | 1.50 | 1.00 | 1.20 | 2.0 | 1.0 |"
    assert f"| csd | nerf | directional | {cells}" in text
    assert "**No weights of\nany model took part**" in text
    asked = (
        "--preset paper --weights DIR --device cuda --steps 20 \\\n    --only csd:nerf:directional"
    )
    assert f"# commit abc\npython -m benchmarks.full_size {asked} --page" in text
    path = write_text(tmp_path / "page.csv", full_size.table_csv(rows))
    assert full_size.kept(path) == {"csd:nerf:directional": found}


def test_a_page_is_kept_where_there_is_one_of_this_version(lines, tmp_path):
    path = tmp_path / "page.csv"
    assert full_size.kept(path) == {}
    row = full_size.joined(full_size.counted(lines["csd:mesh"]), measured(encoding=0.5))
    write_text(path, full_size.table_csv([row]))
    assert full_size.kept(path) == {"csd:mesh": measured(encoding=0.5)}
    del row["warm"]
    write_text(path, full_size.table_csv([row]))
    with pytest.raises(config.ConfigError, match=r"page.csv: no column 'warm'.*measure again"):
        full_size.kept(path)


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
    found = measured(encoding=0.0)

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
