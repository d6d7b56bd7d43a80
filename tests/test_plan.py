"""A preset's list of runs is complete and hides what is not in it."""

import copy
from pathlib import Path

import pandas
import pytest
import synthetic_results as synthetic
from conftest import RED_CAR

from pipeline import config, plan
from pipeline.artifacts import write_json, write_text
from reports import gallery_rows, records


def test_a_preset_asks_for_each_column_prompt_and_seed_once(presets, tiny):
    preset = copy.deepcopy(tiny) | {"seeds": [0, 7]}
    preset["tasks"]["geometry"]["limit"] = 2
    preset["sweeps"] = {"omega": {"column": "vsd", "key": "method.omega", "values": [0]}}
    name = presets("many", preset)
    folders = plan.run_folders(name, config.load_preset(name), "geometry")
    assert len(set(folders)) == len(folders) == 4 * 2 * 2
    assert f"results/many/runs/geometry/vsd-omega-0/{RED_CAR}/seed7/nerf" in folders
    own = plan.run_folders(name, preset, "geometry", column="csd")
    assert own == [folder for folder in folders if "/csd/" in folder]


def test_the_program_lists_where_columns_end_and_each_stage_that_is_gone_on_from(
    presets, tiny, program, tmp_path, capsys
):
    two = copy.deepcopy(tiny)
    two["tasks"]["geometry"] |= {"chain": ["nerf", "refine"], "limit": 1}
    two["stages"]["refine"] = copy.deepcopy(two["stages"]["nerf"])
    two["columns"]["vsd"]["chains"] = {"geometry": ["nerf"]}
    presets("two", two)
    assert program("pipeline.plan", "--preset", "two", "--out", tmp_path / "lists") == 0
    lines = (tmp_path / "lists" / "geometry.txt").read_text().splitlines()
    assert lines == plan.run_folders("two", two, "geometry")
    assert [line.rpartition("/")[2] for line in lines] == ["refine", "refine", "nerf"]
    earlier = (tmp_path / "lists" / "geometry.nerf.txt").read_text().splitlines()
    assert earlier == [x.replace("refine", "nerf") for x in lines]
    assert program("pipeline.plan", "--preset", "two") == 0
    printed = capsys.readouterr().out.splitlines()
    assert printed == ["# geometry", *lines, "# geometry.nerf", *earlier]


def test_a_prompt_without_a_rank_is_refused(tiny):
    preset = copy.deepcopy(tiny)
    plan.check_candidates(preset)
    preset["tasks"]["geometry"] |= {"prompts": "dreamfusion81", "limit": 2}
    with pytest.raises(config.ConfigError, match=r"of dreamfusion81 is not in toy81 \(2 in all\)"):
        plan.check_candidates(preset)


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """Records of three prompts under two columns, without pictures."""
    for prompt in synthetic.PLAIN[:3]:
        for column in ("csd", "vsd"):
            tail = f"runs/geometry/{column}/{synthetic.prompt_id(prompt)}/seed0/nerf"
            write_json(tmp_path / tail / "run.json", synthetic.run_record(prompt, column, 0))
    return tmp_path


def _list(results: Path, *, without: str = "nothing") -> Path:
    found = sorted(path.parent for path in results.glob("runs/*/*/*/*/*/run.json"))
    listed = [str(folder) for folder in found if without not in str(folder)]
    return write_text(results / "runs.txt", "".join(f"{folder}\n" for folder in listed))


def test_a_page_shows_the_listed_runs_and_not_what_else_lies_there(results):
    kept, stale, _ = synthetic.PLAIN[:3]
    listed = _list(results, without=synthetic.prompt_id(stale))
    every, found = (records.find_runs(root, task="geometry") for root in (results / "runs", listed))
    gone = synthetic.prompt_id(stale)
    assert [run.key for run in found] == [run.key for run in every if run.key[1] != gone]
    page = results / "geometry.html"
    none = pandas.DataFrame()
    unscored = [gallery_rows.Shown(found, records.Tables(none, none, none, None, {}, {}))]
    rows = gallery_rows.rows(unscored, columns=["csd", "vsd"], tags={}, page=page, models={})
    assert kept in [row["prompt"] for row in rows]
    assert stale not in [row["prompt"] for row in rows]
    assert {cell["state"] for row in rows for shown in row["cells"] for cell in shown} == {"ok"}


def test_a_listed_run_that_is_not_finished_is_named(results):
    listed = _list(results)
    listed.write_text(listed.read_text() + f"{results}/none\n")
    with pytest.raises(records.ReportError, match=r"1 of \d+ runs are not finished, .*none among"):
        records.find_runs(listed, task="geometry")
    listed.write_text("")
    with pytest.raises(records.ReportError, match="no finished run"):
        records.find_runs(listed, task="geometry")
