"""The literature's recipes: published chains, methods and scales, every number under its source."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from conftest import CAMERAS, RED_CAR, RENDERS, SIZE

from methods import conversions
from methods.schedules import t_range
from pipeline import config, recipes
from pipeline.artifacts import load_safetensors, read_json
from pipeline.optimize import optimize
from pipeline.scenes.load import load_scene

FOLDER = config.PRESETS  # the repository's own; fixtures put others in their place
CHAINS = {
    "dreamfusion": {"nerf": "sds"},
    "magic3d": {"nerf": "sds", "mesh": "sds"},
    "csd": {"nerf": "csd_neg", "mesh": "csd_neg"},
    "prolificdreamer": {"nerf": "vsd", "mesh": "sds", "appearance": "vsd"},
    "fantasia3d": {"mesh": "sds", "appearance": "sds"},
}
# guidance_scale in threestudio's configs, and which of its two meanings it has there.
SCALES = {
    ("dreamfusion", "nerf"): (20.0, "threestudio_sds"),
    ("magic3d", "nerf"): (20.0, "threestudio_sds"),
    ("magic3d", "mesh"): (100.0, "threestudio_sds"),
    ("prolificdreamer", "nerf"): (7.5, "threestudio_vsd"),
    ("prolificdreamer", "mesh"): (100.0, "threestudio_sds"),
    ("prolificdreamer", "appearance"): (7.5, "threestudio_vsd"),
    ("fantasia3d", "mesh"): (100.0, "threestudio_sds"),
    ("fantasia3d", "appearance"): (100.0, "threestudio_sds"),
}
STAGES = [(column, stage) for column, chain in CHAINS.items() for stage in chain]
PRESETS = ("literature", "mini_literature")
SHAPE = ("sdf", "deformation")
SOURCE = re.compile(r"\b(A\.4|code|3S|PD|ours|csd-\w+)\b")


def _jobs(preset: str, column: str, stage: str) -> dict[tuple[str, ...], config.Job]:
    """The job of one prompt of each set of tags."""
    prompts = recipes.prompts(config.load_preset(preset), "geometry")
    chosen = {prompt.tags: prompt.prompt_id for prompt in prompts}
    return {
        tags: config.job(preset, column=column, stage=stage, prompt_id=prompt_id, seed=0)
        for tags, prompt_id in chosen.items()
    }


def _job(preset: str, column: str, stage: str) -> config.Job:
    return _jobs(preset, column, stage)[()]


@pytest.mark.parametrize("name", PRESETS)
def test_chains_and_methods_are_those_published(name: str) -> None:
    found = {
        column: {stage: _job(name, column, stage).method for stage in chain}
        for _, column, chain in recipes.chains(config.load_preset(name))
    }
    assert found == CHAINS
    assert [list(chain) for chain in found.values()] == [list(c) for c in CHAINS.values()]


@pytest.mark.parametrize("name", PRESETS)
@pytest.mark.parametrize(("column", "stage"), SCALES)
def test_every_scale_means_what_it_means_at_its_source(name: str, column: str, stage: str) -> None:
    assert _job(name, column, stage).method_settings == {
        "omega": conversions.omega(*SCALES[column, stage])
    }


@pytest.mark.parametrize("stage", ["nerf", "mesh"])
def test_csd_is_the_papers_column_on_every_kind_of_prompt(stage: str) -> None:
    ours, papers = _jobs("literature", "csd", stage), _jobs("paper", "csd_neg", stage)
    assert set(ours) == set(papers) == {(), ("directional",)}
    for tags, job in ours.items():
        other = papers[tags]
        assert (job.settings, job.prior) == (other.settings, other.prior)
        assert (job.method, job.method_settings) == (other.method, other.method_settings)


@pytest.mark.parametrize(("column", "stage"), [pair for pair in STAGES if pair[0] != "csd"])
def test_csds_split_of_the_prompts_is_no_other_systems(column: str, stage: str) -> None:
    directional, other = (_jobs("literature", column, stage)[t] for t in (("directional",), ()))
    assert directional.settings == other.settings


def _commented(text: str) -> Iterator[tuple[int, str, str]]:
    """Each line of YAML: its depth, what it says, and what its comment says."""
    for line in text.splitlines():
        said, _, comment = line.partition(" #")
        if said.strip():
            yield len(said) - len(said.lstrip()), said.strip(), comment


def _without_source(text: str) -> list[str]:
    """The lines that hold a number, with no source in their comment or in that of what they are in.

    A source covers what is deeper than its own line.
    """
    found: list[str] = []
    around: list[tuple[int, str]] = []
    for depth, said, comment in _commented(text):
        around = [(d, c) for d, c in around if d < depth] + [(depth, comment)]
        number = re.search(r"(?<![\w.])-?\d", said.partition(":")[2])
        if number and not any(SOURCE.search(c) for _, c in around):
            found.append(said)
    return found


def test_every_number_stands_under_its_source() -> None:
    text = (FOLDER / "literature.yaml").read_text(encoding="utf-8")
    assert _without_source(text[text.index("\ncolumns:") :]) == []
    stripped = re.sub(r" # 3S dreamfusion-if.*", "", text[text.index("\ncolumns:") :])
    assert "cameras.elevation: [-10, 90]" in _without_source(stripped)


@pytest.mark.parametrize(("column", "stage"), STAGES)
def test_the_miniature_keeps_what_is_not_a_matter_of_size(column: str, stage: str) -> None:
    large, small = (_job(name, column, stage) for name in PRESETS)
    assert small.method == large.method
    assert small.settings["weight"] == large.settings["weight"]
    shown = "normal_probability"
    assert small.settings["shading"][shown] == large.settings["shading"][shown]
    for step in (0, 10**9):  # where the ranges of t start and where they end
        ranges = [t_range(step, 1000, **job.settings["timesteps"]) for job in (large, small)]
        assert ranges[0] == ranges[1]
    for rate in ("sdf", "deformation"):
        rates = [job.settings["optimizer"].get(rate) for job in (large, small)]
        assert (rates[0] == 0) == (rates[1] == 0)


@pytest.fixture
def little(presets: Any) -> str:
    """mini_literature at the size of tests: two steps a stage at 16 pixels."""
    preset = yaml.safe_load((FOLDER / "mini_literature.yaml").read_text(encoding="utf-8"))
    preset["world"] |= {"size": SIZE, "count": RENDERS, "count_others": RENDERS, "seed": 1}
    preset["priors"]["mixture"] |= {"own_count": 20, "others_per_caption": 3}
    for stage in preset["stages"].values():
        stage |= {"steps": 2, "size": SIZE}
        stage["cameras"] |= CAMERAS
        stage["scene"]["grid"] |= {"levels": 2, "base_resolution": 4}
        small = {"samples": 16, "resolution": 12}
        stage["scene"] |= {key: small[key] for key in small if key in stage["scene"]}
    preset["stages"]["nerf"]["scene"]["occupancy"]["resolution"] = 8
    return str(presets("little", preset))


@pytest.mark.parametrize("column", CHAINS)
def test_every_recipe_runs_to_its_end(
    little: str, column: str, tiny_bank: Path, tmp_path: Path
) -> None:
    scenes, before = {}, None
    for stage in CHAINS[column]:
        job = config.job(little, column=column, stage=stage, prompt_id=RED_CAR, seed=0)
        out = tmp_path / stage
        optimize(job, out, bank=tiny_bank, device="cpu", init_from=before, threads=1)
        assert read_json(out / "run.json")["status"] == "ok"
        scenes[stage], _ = load_safetensors(out / "scene.safetensors")
        before = out
    if "appearance" in scenes:  # the shape stands still, the colours do not
        given, found = scenes["mesh"], scenes["appearance"]
        assert all(torch.equal(given[f"shape.{k}"], found[f"shape.{k}"]) for k in SHAPE)
        assert not all(torch.equal(given[key], found[key]) for key in given)


def test_fantasia3d_begins_as_a_ball_of_radius_one_half() -> None:
    for name in PRESETS:
        assert _job(name, "fantasia3d", "mesh").settings["scene"]["radius"] == 1.0
    scene = load_scene(_job("mini_literature", "fantasia3d", "mesh").settings, torch.Generator())
    points, _ = scene.shape.surface()
    # linear between nodes at most two spacings of 0.05 apart: sagitta 0.1^2 / (8 0.5)
    assert points.norm(dim=1).sub(0.5).abs().max() < 0.1**2 / (8 * 0.5) + 0.01 * 0.05
