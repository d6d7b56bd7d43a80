"""The page's tables of numbers, and what of the input is refused."""

import shutil
import subprocess
from pathlib import Path

import pandas
import pytest
import synthetic_results as synthetic
from gallery_pages import COLUMNS, build

from pipeline import artifacts
from reports import records, summary

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return synthetic.write_results(tmp_path_factory.mktemp("results"), size=16)


def test_says_when_n_is_too_small_and_only_then(results: Path, tmp_path: Path) -> None:
    assert "n too small to rank." in build(results, results / "geometry.html")
    tables = tmp_path / "tables"
    shutil.copytree(results / "tables", tables)
    pairs = artifacts.read_table(tables / "pairs", "pairs")
    artifacts.write_table(pairs.assign(verdict="b above a"), tables / "pairs", "pairs")
    frame = records.read_tables(tables)
    verdicts = summary.verdicts(frame, summary.readings(frame), columns=COLUMNS)
    assert verdicts is not None
    assert not verdicts["any_small"]
    assert {cell["verdict"] for _, cells in verdicts["rows"] for cell in cells if cell} == {
        "csd above",
        "csd_neg above",
        "vsd above",
    }


def test_readings_of_two_protocols_are_two_table_columns(results: Path, tmp_path: Path) -> None:
    tables = tmp_path / "tables"
    shutil.copytree(results / "tables", tables)
    table = artifacts.read_table(tables / "summary", "summary")
    other = table[table["metric"] == "clip_score"].assign(protocol_id="other", mean=1.0)
    artifacts.write_table(pandas.concat([table, other]), tables / "summary", "summary")
    frame = records.read_tables(tables)
    found = summary.readings(frame)
    assert len([r for r in found if r.metric == "clip_score"]) == 2
    assert len({r.note for r in found if r.metric == "clip_score"}) == 2
    assert [r.index for r in found] == list(range(len(found)))


def test_other_backgrounds_stand_apart(results: Path, tmp_path: Path) -> None:
    tables = tmp_path / "tables"
    shutil.copytree(results / "tables", tables)
    table = artifacts.read_table(tables / "summary", "summary")
    variants = [
        table[table["metric"] == name].assign(metric=f"{name}@white", protocol_id=f"{name} white")
        for name in ("clip_score", "r_at_1", "r_at_1_object")
    ]
    artifacts.write_table(pandas.concat([table, *variants]), tables / "summary", "summary")
    parts = summary.grouped(summary.readings(records.read_tables(tables)))
    assert [part["folded"] for part in parts] == [False, False, True]
    ((heading, members),) = parts[2]["groups"]
    assert heading == "Over white"
    assert [r.label for r in members] == ["view CLIP score", "view R@1", "object R@1"]
    assert not [r for part in parts[:2] for _, group in part["groups"] for r in group if r.variant]


def test_numbers_are_the_summary_scaled(results: Path) -> None:
    tables = records.read_tables(results / "tables")
    shown = summary.readings(tables)
    numbers = summary.metrics_table(tables, shown, columns=COLUMNS, population="intent_to_treat")
    reading = next(r for r in shown if r.name == "r_at_1_object")
    row = tables.summary.query(
        "column == 'vsd' and metric == 'r_at_1_object' and population == 'intent_to_treat'"
    ).iloc[0]
    assert reading.level == "object"
    assert numbers["vsd"][reading.index].text == f"{100 * row['mean']:.1f}"
    iou = next(r for r in shown if r.name == "truth_iou")
    assert numbers["vsd"][iou.index].floors["wrong shape"][0] == "0.42"


def test_runs_of_other_sources_are_flagged() -> None:
    head = subprocess.run(
        ["git", "-C", str(ROOT), "rev-parse", "HEAD"], capture_output=True, text=True, check=False
    )
    text = "a red car"
    clean = records.Run(Path(), synthetic.run_record(text, "csd", 0, commit=head.stdout.strip()))
    dirty = records.Run(Path(), synthetic.run_record(text, "csd", 0, dirty=True))
    unknown = records.Run(Path(), synthetic.run_record(text, "csd", 0, commit=None))
    foreign = records.Run(Path(), synthetic.run_record(text, "csd", 0))
    assert records.source_remark(clean) in (
        "",
        f"made by other sources (commit {head.stdout[:10]})",
    )
    assert "uncommitted" in records.source_remark(dirty)
    assert "unknown" in records.source_remark(unknown)
    assert "cannot be compared" in records.source_remark(foreign)


def test_missing_or_broken_input_is_named(results: Path, tmp_path: Path) -> None:
    with pytest.raises(records.ReportError, match="no finished run of nfsd"):
        records.find_runs(results / "runs", task="geometry", columns=["nfsd"])
    run = tmp_path / "geometry" / "csd" / "p-00000000" / "seed0" / "nerf"
    artifacts.write_json(run / "run.json", {"schema_version": "9.0"})
    with pytest.raises(artifacts.ArtifactError, match="schema_version"):
        records.find_runs(tmp_path, task="geometry")
    artifacts.write_json(run / "run.json", synthetic.run_record("p", "csd", 0))
    artifacts.write_bytes(run / "turntable.webp", b"")
    artifacts.write_json(run / "views" / "views.json", {"frames": 3, "columns": 2, "azimuths": [0]})
    with pytest.raises(records.ReportError, match="3 frames but 1 azimuths"):
        records.read_run(run).turntable()
    with pytest.raises(artifacts.ArtifactError, match="no such table"):
        records.read_tables(tmp_path)


def test_stages_are_never_mixed(tmp_path: Path) -> None:
    runs = [
        records.Run(tmp_path, synthetic.run_record("p", "csd", 0, stage=stage))
        for stage in ("nerf", "mesh")
    ]
    with pytest.raises(records.ReportError, match="choose one with --stage"):
        records.choose_stage(runs, None)
    assert records.choose_stage(runs, "mesh") == runs[1:]
    ends = [runs[0], records.Run(tmp_path, synthetic.run_record("p", "vsd", 0, stage="mesh"))]
    assert records.choose_stage(ends, None) == ends
    with pytest.raises(records.ReportError, match="no run of stage dmtet"):
        records.choose_stage(runs, "dmtet")


def test_runs_of_another_preset_are_refused(results: Path, tmp_path: Path) -> None:
    with pytest.raises(records.ReportError, match="runs of preset mini, not paper"):
        build(results, tmp_path / "page.html", "--preset-name", "paper")
