"""The workflow as a user meets it: it plans, stops, runs, runs again, and says what failed."""

import json
import os
import re
import shutil
from pathlib import Path

import pytest
import torch
import yaml
from conftest import RED_CAR
from workflow_runs import ROOT, checkout, snakemake

from pipeline import config, recipes
from pipeline.guidance.load import PRIORS
from pipeline.locks import held_workdir
from prompts.load import load_set


def _planned(output: str) -> dict[str, int]:
    """Rule -> number of jobs, from the table that a dry run prints last."""
    if "Job stats:" not in output:
        return {}
    table = output.rsplit("Job stats:", 1)[1]
    return {name: int(count) for name, count in re.findall(r"^(\w+) +(\d+)$", table, re.M)}


def test_a_learned_prior_needs_no_bank(tmp_path):
    done = snakemake(ROOT, tmp_path, None, "-n", "--config", "preset=mini", "guidance=learned")
    assert done.returncode == 0, done.stdout[-3000:]
    assert _planned(done.stdout)["truth"] == 1
    assert not [rule for rule in _planned(done.stdout) if rule.startswith("bank")]


@pytest.mark.parametrize("preset", config.preset_names())
def test_every_preset_plans(preset, tmp_path):
    done = snakemake(ROOT, tmp_path, preset, "-n")
    assert done.returncode == 0, done.stdout[-3000:]
    spec = config.load_preset(preset)
    runs = sum(
        len(chain) * len(recipes.prompts(spec, task)) * len(spec["seeds"])
        for task, _, chain in recipes.chains(spec)
    )
    planned = _planned(done.stdout)
    assert planned["optimize"] == planned["views"] == runs
    assert {"embed", "score", "gallery", "verdict"} <= set(planned)
    assert not (tmp_path / "results").exists()


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine may be able to run it")
def test_the_default_stops_at_once_without_a_gpu_and_names_what_runs_here(tmp_path):
    done = snakemake(ROOT, tmp_path, None)
    assert done.returncode == 1
    assert "missing: a CUDA GPU" in done.stdout
    assert "make mini" in done.stdout
    assert "preset=paper cannot run here" in done.stdout
    assert "Traceback" not in done.stdout
    assert not (tmp_path / "results").exists()


@pytest.mark.parametrize("preset", config.preset_names())
def test_every_prior_of_a_preset_has_code_that_runs_it(preset):
    for name, spec in config.load_preset(preset)["priors"].items():
        assert spec.get("kind", name) in PRIORS


def test_an_unknown_preset_stops_with_the_known_ones(tmp_path):
    done = snakemake(ROOT, tmp_path, "x; touch y", "-n")
    assert done.returncode == 1
    assert "unknown preset 'x; touch y'; there are" in done.stdout
    assert "mini" in done.stdout
    assert not (tmp_path / "y").exists()


ODD = [
    'a "quoted" car, it\'s `red` $(touch owned)',
    "a car/../../etc/passwd; rm -rf *",
    "<script>alert(1)</script> & <b>car</b> {wildcards.x} %s \\n",
    "🚗 赤い車 — à l'ombre",
    " ".join(["photographing"] * 28) + " a cars",  # 398 characters: as long as there may be
]


def _asking_for(source: Path, prompts: list[str], name: str = "odd") -> None:
    """`source` has a preset of these prompts, which are also what retrieval ranks."""
    fields = {"name": name, "source": "a test", "licence": "none", "note": "odd"}
    text = yaml.safe_dump(fields | {"prompts": prompts}, allow_unicode=True)
    (source / "prompts" / "sets" / f"{name}.yaml").write_text(text, encoding="utf-8")
    preset = yaml.safe_load((source / "presets" / "smoke.yaml").read_text(encoding="utf-8"))
    task = {"prompts": name, "limit": None, "chain": ["nerf"], "candidates": name}
    preset["tasks"] = {"geometry": task | {"strict_views": [], "strict_extra": None}}
    preset["evaluation"]["clip"] = "ViT-B-32-quickgelu:openai"  # the toy encoder knows few words
    (source / "presets" / f"{name}.yaml").write_text(yaml.safe_dump(preset), encoding="utf-8")


def test_odd_prompts_become_plain_paths_and_never_reach_a_shell(tmp_path):
    source = checkout(tmp_path / "source")
    _asking_for(source, ODD)
    (tmp_path / "work").mkdir()
    done = snakemake(source, tmp_path / "work", "odd", "-n", "-p")
    assert done.returncode == 0, done.stdout[-3000:]
    assert _planned(done.stdout)["optimize"] == len(ODD) * 2
    for trace in ("<script>", "🚗", "$(touch", "../", "`red`"):
        assert trace not in done.stdout
    ids = set(re.findall(r"runs/geometry/\w+/([^/]+)/seed0", done.stdout))
    assert len(ids) == len(ODD)
    assert all(re.fullmatch(r"[a-z0-9-]{1,40}-[0-9a-f]{8}", prompt_id) for prompt_id in ids)


def test_prompts_that_nothing_could_read_or_rank_are_refused_before_anything_runs(tmp_path):
    source = checkout(tmp_path / "source")
    preset = source / "presets" / "odd.yaml"
    (tmp_path / "work").mkdir()

    def refused() -> str:
        done = snakemake(source, tmp_path / "work", "odd", "-n")
        assert done.returncode == 1
        assert "Traceback" not in done.stdout
        return done.stdout

    _asking_for(source, [" ".join(["word"] * 300)])
    assert "at most 400" in refused()
    _asking_for(source, ["a red car, a red duck, a"])
    text = preset.read_text(encoding="utf-8")
    toy = "local-dir:pipeline/toyworld/weights/toy_clip"
    preset.write_text(text.replace("ViT-B-32-quickgelu:openai", toy), encoding="utf-8")
    assert "'a red car, a red duck, a'... has 10 tokens, the tokenizer keeps 8" in refused()
    preset.write_text(text.replace("candidates: odd", "candidates: toy81"), encoding="utf-8")
    assert "'a red car, a red duck, a' of odd is not in toy81" in refused()


@pytest.fixture(scope="module")
def smoke(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, str]:
    """(sources, folder, output) of the smoke preset run from end to end in another folder."""
    folder = tmp_path_factory.mktemp("smoke")
    source, work = checkout(folder / "source"), folder / "a folder"
    work.mkdir()
    done = snakemake(source, work, "smoke")
    assert done.returncode == 0, done.stdout[-5000:]
    return source, work, done.stdout


def test_smoke_makes_the_page_the_tables_and_the_pictures(smoke):
    _, work, output = smoke
    results = work / "results" / "smoke"
    page = (results / "geometry.html").read_text(encoding="utf-8")
    assert "a red car" in page
    assert "a red car" in (results / "texture.html").read_text(encoding="utf-8")
    for shown in ("geometry", "geometry.nerf", "texture"):
        for table in ("scores", "summary", "pairs", "traces"):
            assert (results / "tables" / shown / f"{table}.parquet").stat().st_size > 0
    for task, column, chain in recipes.chains(config.load_preset("smoke")):
        for stage in chain:
            run = results / "runs" / task / column / RED_CAR / "seed0" / stage
            names = {path.name for path in run.iterdir()}
            assert {"scene.safetensors", "run.json", "trace.parquet", "embeddings.npz"} <= names
            assert "checkpoint" not in names
            log = (run / "optimize.log").read_text(encoding="utf-8")
            assert f"[{column}/{RED_CAR}/seed0/{stage}] done" in log
            assert f"[{column}/{RED_CAR}/seed0/{stage}] step " in output  # and progress is seen
            assert (run / "mesh.glb").read_bytes()[:4] == b"glTF"
    assert (results / "verdict.txt").read_text() == "6 runs, none failed\n"
    assert not list(work.rglob(".partial-*"))


def test_smoke_is_as_good_as_the_committed_baseline(smoke):
    """The gate, asked of the runs at hand. What is meant to be another: make baseline, and why."""
    source, work, _ = smoke
    shutil.copytree(ROOT / "baselines", source / "baselines")
    done = snakemake(source, work, "smoke", "regression")
    said = re.findall(r"^(?:FAIL|ok  ) .*$", done.stdout, re.M)
    assert done.returncode == 0, "\n".join(said) or done.stdout[-3000:]
    assert _planned(done.stdout) == {"compared": 3, "regression": 1, "total": 4}
    assert sum("mean norms within 10 %" in line for line in said) == 3
    assert sum("the metric code gives the known numbers" in line for line in said) == 3


def test_the_second_call_finds_nothing_to_do_although_a_stale_lock_lies_there(smoke):
    """As a kill -9 of everything would leave it."""
    source, work, _ = smoke
    locks = work / ".snakemake" / "locks"
    locks.mkdir(exist_ok=True)
    lock = locks / "0.output.lock"
    lock.write_text("results/smoke/geometry.html\n")
    done = snakemake(source, work, "smoke")
    assert done.returncode == 0, done.stdout[-3000:]
    assert "Removed the lock of a workflow that was killed" in done.stdout
    assert "Nothing to be done" in done.stdout


def test_the_lock_of_a_living_workflow_is_respected(smoke):
    source, work, _ = smoke
    lock = work / ".snakemake" / "locks" / "0.output.lock"
    with held_workdir(work / ".snakemake"):
        lock.parent.mkdir(exist_ok=True)
        lock.write_text("results/smoke/geometry.html\n")
        done = snakemake(source, work, "smoke")
        assert lock.exists()
    lock.unlink()
    assert done.returncode == 1
    assert "cannot be locked" in done.stdout


def _change(source: Path, text: str) -> None:
    path = source / "presets" / "smoke.yaml"
    path.write_text(text, encoding="utf-8")
    os.utime(path)


def test_what_a_change_of_the_preset_plans(smoke):
    """A comment: nothing. One key of one column: its run, and what is made from all runs."""
    source, work, _ = smoke
    text = (source / "presets" / "smoke.yaml").read_text(encoding="utf-8")
    try:
        _change(source, "# a comment\n" + text)
        (source / "pipeline" / "draws.py").touch()
        done = snakemake(source, work, "smoke", "-n")
        assert "Nothing to be done" in done.stdout, done.stdout[-3000:]

        preset = yaml.safe_load(text)
        first, *others = preset["columns"]
        own = {"mesh": {"overrides": {"optimizer.grid": 0.0123}}}
        preset["columns"][first]["stages"] = own
        _change(source, yaml.safe_dump(preset, sort_keys=False))
        done = snakemake(source, work, "smoke", "-n")
        planned = _planned(done.stdout)
        assert (planned["optimize"], planned["views"]) == (1, 1)
        assert not {"bank_shape", "bank_rest", "truth"} & set(planned)
        jobs = re.findall(r"^rule optimize:\n(?:    .*\n)*", done.stdout, re.M)
        assert f"runs/geometry/{first}/" in "".join(jobs)
        assert not any(f"runs/geometry/{other}/" in "".join(jobs) for other in others)
    finally:
        _change(source, text)


def test_a_touched_bank_reruns_nothing_and_a_changed_one_every_run(smoke):
    source, work, _ = smoke
    path = work / "results/smoke/bank/car.safetensors"
    before = path.read_bytes()
    assert len(before) > 1_000_000  # beyond what Snakemake compares by content unasked
    os.utime(path)
    done = snakemake(source, work, "smoke", "-n")
    assert "Nothing to be done" in done.stdout, done.stdout[-3000:]
    path.write_bytes(before + b"\0")
    done = snakemake(source, work, "smoke", "-n")
    path.write_bytes(before)
    planned = _planned(done.stdout)
    assert (planned["bank_checksums"], planned["optimize"]) == (1, 4)  # two NeRFs, two meshes
    jobs = re.findall(r"^rule optimize:\n    input: (.*)$", done.stdout, re.M)
    assert [job.count("results/smoke/bank/") for job in jobs] == [1] * 4


def test_a_failed_run_is_shown_and_fails_the_last_rule_only(smoke):
    source, work, _ = smoke
    path = source / "presets" / "smoke.yaml"
    preset = yaml.safe_load(path.read_text(encoding="utf-8"))
    first = next(iter(preset["columns"]))
    preset["columns"][first]["overrides"] = {"gradient_weight": 1e300}  # beyond single precision
    _change(source, yaml.safe_dump(preset, sort_keys=False))
    done = snakemake(source, work, "smoke")
    assert done.returncode == 1
    assert re.findall(r"Error in rule (\w+)", done.stdout) == ["verdict"]
    run = work / "results/smoke/runs/geometry" / first / RED_CAR / "seed0" / "nerf"
    record = json.loads((run / "run.json").read_text())
    assert (record["status"], record["failed_step"]) == ("failed", 0)
    assert (
        f"{first}/{RED_CAR}/seed0/nerf: failed at step 0: a gradient is not finite" in done.stdout
    )
    page = (work / "results/smoke/geometry.html").read_text(encoding="utf-8")
    assert "a gradient is not finite" in page
    assert not (work / "results/smoke/verdict.txt").exists()
    again = snakemake(source, work, "smoke")  # and it says so again, without running anything else
    assert again.returncode == 1
    assert set(_planned(again.stdout)) - {"total"} == {"verdict", "all"}


def test_snakemakes_linter_misses_environments_and_one_home_for_helpers_only(tmp_path):
    """One environment serves all rules: pyproject.toml describes it, not Snakemake. What only one
    file of rules needs stands at its top. A folder is named where no one file of it is an input.
    """
    done = snakemake(ROOT, tmp_path, "mini", "--lint")
    found = set(re.findall(r"^    \* (.*)$", done.stdout, re.M))
    known = ("Specify a conda environment", "Mixed rules and functions", "Param ", "Shell command")
    assert not [message for message in found if not message.startswith(known)]


def test_the_miniature_is_four_columns_by_six_prompts():
    preset = config.load_preset("mini")
    assert list(preset["columns"]) == ["sds", "csd", "csd_neg", "vsd"]
    assert recipes.prompts(preset, "geometry") == load_set("toy6").prompts
