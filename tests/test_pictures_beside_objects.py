"""Pictures beside objects, and Figure 5: numbers by slow loops, and what is refused."""

import json
import math
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas
import pytest
import synthetic_results as synthetic
from conftest import RED_CAR

from metrics import bank_renders, fig_2d
from metrics.truth import read_world
from pipeline import artifacts, config, optimize_image
from reports.paper import fig5
from reports.records import ReportError, read_run


@pytest.fixture(scope="module")
def renders(tiny_bank: Path) -> bank_renders.Renders:
    return bank_renders.read_renders(read_world(tiny_bank), "a red car")


def test_the_nearest_render_is_that_of_a_slow_loop(renders: bank_renders.Renders) -> None:
    generator = np.random.default_rng(0)
    picture = generator.random(renders.rgb[0].shape).astype(np.float32)
    errors = [math.sqrt(((picture - one) ** 2).mean()) for one in renders.rgb]
    found = bank_renders.nearest(picture, renders)
    assert found.rmse == pytest.approx(min(errors), rel=1e-5)
    np.testing.assert_array_equal(found.alpha, renders.alpha[int(np.argmin(errors))])
    own = bank_renders.nearest(renders.rgb[4], renders)
    assert own.rmse == 0.0
    assert np.array_equal(own.rgb, renders.rgb[4])


def test_a_render_shows_nothing_beside_itself_and_saturation_is_seen(
    renders: bank_renders.Renders,
) -> None:
    picture, alpha = renders.rgb[2], renders.alpha[2]
    plain = bank_renders.shown(picture, alpha)
    assert plain["outside"] == pytest.approx(0.0, abs=1e-6)
    painted = picture.copy()
    painted[:, alpha == 0] = 1.0
    assert bank_renders.shown(painted, alpha)["outside"] == pytest.approx(0.5)
    loud = bank_renders.shown((picture > 0.5).astype(np.float32), alpha)
    assert loud["clipped"] == 1.0
    assert plain["clipped"] < 0.5


def test_differences_are_means_over_prompts_of_means_over_views() -> None:
    generator = np.random.default_rng(1)
    rows = [
        {"column": "csd", "prompt_id": p, "seed": 0, "view": v, "medium": m}
        | {name: generator.random() for name in fig_2d.MEASURES}
        | {"status": "ok"}
        for p in ("a", "b", "c")
        for v in ("front", "left")
        for m in ("2d", "3d", "render")
    ]
    table = pandas.DataFrame(rows)
    found = fig_2d.summary(table).set_index("measure").loc["clipped"]
    each = []
    for prompt in ("a", "b", "c"):
        values = {m: [r["clipped"] for r in rows if (r["prompt_id"], r["medium"]) == (prompt, m)]
                  for m in ("2d", "3d")}  # fmt: skip
        each.append(np.mean(values["2d"]) - np.mean(values["3d"]))
    assert found["difference"] == pytest.approx(np.mean(each))
    assert found["low"] <= found["difference"] <= found["high"]
    assert (found["prompts"], found["2d"] - found["3d"]) == (3, pytest.approx(np.mean(each)))


@pytest.fixture
def pictured(tiny_job: Any, program: Any, tiny_bank: Path, tmp_path: Path) -> tuple[Path, Path]:
    """(a run of the tiny preset, its plain pictures)."""
    job = tiny_job("csd", snapshots=[])
    generator = np.random.default_rng(2)
    run = tmp_path / "runs" / "geometry" / "csd" / RED_CAR / "seed0" / "nerf"
    record = synthetic.run_record(job.prompt, "csd", 0, method="csd", method_settings={})
    synthetic.write_run(run, synthetic.balls(0, 0.2, generator), record, size=24)
    out = tmp_path / "pictures"
    options = ["--preset", "tiny", "--stage", "nerf", "--prompt-id", RED_CAR, "--seed", "0"]
    rates = {"betas": [0.9, 0.99], "eps": 1e-15, "image": 0.02, "decay": [1.0, 0.2, 12]}
    options += ["--columns", "csd", "--views", "front", "--optimizer", json.dumps(rates)]
    assert program("pipeline.optimize_image", *options, "--bank", tiny_bank, "--out", out) == 0
    return run, out


def test_pictures_have_their_runs_settings_and_are_drawn_beside_them(
    pictured: tuple[Path, Path], program: Any, tiny_bank: Path, tmp_path: Path
) -> None:
    run, out = pictured
    folder = out / "csd" / RED_CAR / "seed0" / "front"
    record = artifacts.read_json(folder / "picture.json")
    job = config.job("tiny", column="csd", stage="nerf", prompt_id=RED_CAR, seed=0)
    for name in ("steps", "batch", "weight", "timesteps", "normalize", "negative_prompt"):
        assert record["settings"][name] == job.settings[name]
    assert (record["text"], record["source_text"]) == ("a red car, front view", None)
    assert artifacts.read_png(folder / "picture.png").shape == (16, 16, 3)

    shutil.copytree(folder, folder.parent / "left")  # of another call: in no table
    options = ["--pictures", out, "--out", tmp_path]
    views = ["--views", "front", "--bank", tiny_bank]
    assert program("metrics.fig_2d", *options, "--runs", run, *views) == 0
    table = pandas.read_csv(tmp_path / "fig_2d_pictures.csv")
    assert table["medium"].tolist() == ["2d", "3d", "render"]
    figure = ["--tables", tmp_path, "--runs", tmp_path / "runs", "--view", "front"]
    assert program("reports.paper.fig_2d", *figure, *options) == 0
    caption = (tmp_path / "fig_2d.txt").read_text(encoding="utf-8")
    assert "csd, 2D minus 3D: to_render" in caption
    assert "1 prompts, views front" in caption
    assert "1 pictures, 0 failed" in caption
    assert f"Made by commit {str(record['commit'])[:10]}" in caption

    changed = artifacts.read_json(run / "run.json") | {"method_settings": {"omega": 1.0}}
    artifacts.write_json(run / "run.json", changed)
    assert program("metrics.fig_2d", *options, "--runs", run, *views) == 1


def test_twenty_tests_of_six_prompts_rank_nothing_and_a_failed_view_counts_nowhere() -> None:
    rows = [
        {"column": c, "prompt_id": f"p{p}", "seed": 0, "view": v, "medium": m, "status": "ok"}
        | dict.fromkeys(fig_2d.MEASURES, float(m == "2d") + 0.01 * p)
        for c in ("sds", "csd", "csd_neg", "vsd")
        for p in range(6)
        for v in ("front", "left")
        for m in ("2d", "3d", "render")
    ]
    found = fig_2d.summary(pandas.DataFrame(rows))
    assert len(found) == 20
    assert found["p"].tolist() == [pytest.approx(2 / 2**6)] * 20  # the floor, in all of them
    assert found["p_holm"].tolist() == [pytest.approx(20 * 2 / 2**6)] * 20
    assert set(found["verdict"]) == {"n too small to rank"}

    one = [r for r in rows if (r["column"], r["prompt_id"], r["view"]) == ("csd", "p0", "left")]
    left = [row for row in rows if row not in one]
    left.append(one[0] | dict.fromkeys(fig_2d.MEASURES) | {"status": "failed"})
    again = fig_2d.summary(pandas.DataFrame(left)).set_index(["column", "measure"])
    assert again.loc[("csd", "clipped"), "difference"] == pytest.approx(1.0)
    assert again["failed"].groupby("column").max().to_dict() == {
        "sds": 0, "csd": 1, "csd_neg": 0, "vsd": 0
    }  # fmt: skip


def test_perp_neg_is_not_dropped_in_silence(tiny_job: Any) -> None:
    job = tiny_job("csd", snapshots=[], perp_neg={"reference": "neg", "scale": 3.0})
    with pytest.raises(config.ConfigError, match="tiny: csd: stage nerf has perp_neg"):
        optimize_image.task_of(job, "front", {})


def _with(root: Path, omegas: dict[str, list[float] | None]) -> list[Any]:
    """The runs below `root`, each column's omega_2 set; plain CSD where it is None."""
    runs = []
    for path in sorted(root.glob("runs/*/*/*/*/*/run.json")):
        record = artifacts.read_json(path)
        omega = omegas[record["column"]]
        record["method"] = "csd" if omega is None else "csd_neg"
        record["method_settings"] = {} if omega is None else {"omega_1": 1.0, "omega_2": omega}
        record["settings"]["negative_prompt"] = "ugly"
        artifacts.write_json(path, record)
        runs.append(read_run(path.parent))
    return runs


def test_figure_5_names_schedules_and_repeats_the_summary(tmp_path: Path, program: Any) -> None:
    columns = ("csd", "kept", "up")
    synthetic.write_results(
        tmp_path, prompts=synthetic.PLAIN[:2], columns=columns, failures=False, size=24
    )
    runs = _with(tmp_path, {"csd": None, "kept": [1.0, 1.0, 1], "up": [5, 0.0, 1.0, 150]})
    heads = {run.key[0]: fig5.heading(run.record) for run in runs}
    assert heads["kept"] == "constant: ω₂ = 1"
    assert heads["up"] == "annealed: ω₂ 0 → 1, step 150"
    options = ["--runs", tmp_path / "runs", "--tables", tmp_path / "tables", "--out", tmp_path]
    assert program("reports.paper.fig5", *options) == 0
    found = pandas.read_csv(tmp_path / "fig5.csv")
    summary = artifacts.read_table(tmp_path / "tables" / "summary", "summary")
    for row in found.itertuples():
        same = summary[(summary["column"] == row.column) & (summary["metric"] == row.metric)]
        assert row.mean in [pytest.approx(value) for value in same["mean"]]
    assert set(found["column"]) == set(columns)
    compared = pandas.read_csv(tmp_path / "fig5_pairs.csv")
    known = artifacts.read_table(tmp_path / "tables" / "pairs", "pairs")
    assert len(compared) == len(known[known["metric"].isin(found["metric"])])
    keys = ["metric", "column_a", "column_b", "verdict"]
    beside = known[known["metric"] == "truth_iou"].merge(compared, on=keys)
    assert len(beside) == 3  # every two of three columns
    assert beside["difference_x"].to_list() == pytest.approx(beside["difference_y"].to_list())
    assert "Negative prompt: ugly." in (tmp_path / "fig5.txt").read_text(encoding="utf-8")
    with pytest.raises(ReportError, match="these runs lack constant: use preset=fig5"):
        fig5.chosen([run for run in runs if run.key[0] != "kept"])
