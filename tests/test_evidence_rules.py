"""The evidence as targets: what they plan, and what stops them."""

import re
import shutil

import pytest
import yaml
from conftest import RED_CAR
from PIL import Image
from workflow_runs import ROOT, snakemake


def planned(output: str) -> dict[str, int]:
    """Rule -> number of jobs, from the table that a dry run prints last."""
    table = output.rsplit("Job stats:", 1)[-1]
    return {name: int(count) for name, count in re.findall(r"^(\w+) +(\d+)$", table, re.M)}


def test_every_table_has_its_readings_a_study_and_a_gate(tmp_path):
    targets = ["evidence", "study_results", "regression"]
    done = snakemake(ROOT, tmp_path, "smoke", "-n", *targets)
    assert done.returncode == 0, done.stdout[-3000:]
    jobs = planned(done.stdout)
    tasks, shown = 2, 3  # geometry, texture; and geometry's first stage
    for rule in ("protocols", "diversity", "norms", "frozen_study", "study_answers"):
        assert jobs[rule] == tasks, rule
    assert (jobs["compared"], jobs["score"], jobs["statements"]) == (shown, shown, 1)
    assert "new_baseline" not in jobs
    assert RED_CAR in (ROOT / "baselines" / "smoke" / "geometry" / "scores.csv").read_text()


def test_a_preset_without_a_baseline_says_how_to_write_one(tmp_path):
    options = ["-n", "regression", "--config", "preset=smoke", f"baseline={tmp_path}"]
    done = snakemake(ROOT, tmp_path, None, *options)
    assert done.returncode != 0
    assert "no baseline of geometry" in done.stdout
    assert "snakemake baseline --config preset=smoke" in done.stdout


def test_a_replaced_picture_of_another_system_is_read_again(tmp_path):
    example = ROOT / "docs" / "external_example" / "renders.yaml"
    spec = yaml.safe_load(example.read_text(encoding="utf-8"))
    pictures = shutil.copytree((example.parent / spec["folder"]).resolve(), tmp_path / "pictures")
    description = tmp_path / "renders.yaml"
    description.write_text(yaml.safe_dump(spec | {"folder": "pictures"}), encoding="utf-8")
    options = ["results/smoke/runs/geometry/theirs/external.json", "--config", "preset=smoke"]
    options.append(f"external=theirs:{description}")
    done = snakemake(ROOT, tmp_path, None, *options)
    assert done.returncode == 0, done.stdout[-3000:]
    assert "Nothing to be done" in snakemake(ROOT, tmp_path, None, "-n", *options).stdout
    back = pictures / f"sds-{RED_CAR}_back.png"
    Image.open(back).transpose(Image.Transpose.FLIP_TOP_BOTTOM).save(back)
    again = snakemake(ROOT, tmp_path, None, "-n", *options)
    assert planned(again.stdout) == {"external_geometry_theirs": 1, "total": 1}, again.stdout


@pytest.mark.parametrize("column", ["../../oops", "Theirs", "a/b"])
def test_a_column_of_another_system_stays_in_its_folder(tmp_path, column):
    example = ROOT / "docs" / "external_example" / "renders.yaml"
    options = ["-n", "--config", "preset=smoke", f"external={column}:{example}"]
    done = snakemake(ROOT, tmp_path, None, *options)
    assert done.returncode != 0
    assert f"column {column!r} names a folder" in done.stdout


def test_an_edit_reads_the_prior_of_the_run_that_it_begins_at(tmp_path):
    options = ["-n", "-p", "fig6", "--config", "preset=mini", "guidance=learned"]
    done = snakemake(ROOT, tmp_path, None, *options)
    assert done.returncode == 0, done.stdout[-3000:]
    command = done.stdout.partition("python -m pipeline.edit")[2].partition(".log")[0]
    assert "--texts results/mini+learned/texts/cache" in command
    assert "--bank" not in command
    inputs = done.stdout.partition("rule edit:")[2].partition("output:")[0]
    assert "texts/learned.json" in inputs
    assert "diffusion_pytorch_model.safetensors" in inputs
