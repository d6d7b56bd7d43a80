"""The programs that count costs and inject faults, on numbers whose answers are known."""

import json
import os
import re
import time
from pathlib import Path

import pytest

from benchmarks import cost, faults, hub, overhead
from benchmarks.victims import broken, ended, forked, signalled
from pipeline.artifacts import ArtifactError, write_bytes, write_json

ROOT = Path(__file__).resolve().parent.parent


def _run(folder: Path, column: str, stage: str, step: float, **changes: object) -> None:
    record = {
        "status": "ok",
        "preset": "smoke",
        "column": column,
        "stage": stage,
        "device_name": "a machine",
        "settings": {"steps": 20},
        "seconds": {"imports": 3.0, "steps": 20 * step, "rest": 1.0},
        "peak_memory_mb": 512.0,
    }
    write_json(folder / column / stage / "run.json", record | changes)
    write_bytes(folder / column / stage / "trace.parquet", bytes(2**20))


def test_a_plan_adds_up_what_runs_took(tmp_path):
    for stage, step in (("nerf", 0.5), ("mesh", 2.0), ("texture", 1.0)):
        _run(tmp_path, "csd_neg", stage, step)
    lines = {
        (line.task, line.column): line for line in cost.plan("smoke", cost.measured([tmp_path]))
    }
    geometry = lines["geometry", "csd_neg"]
    assert (geometry.runs, geometry.steps) == (2, 40)
    assert geometry.hours == pytest.approx((20 * 0.5 + 4 + 20 * 2.0 + 4) / 3600)
    assert geometry.memory_mb == 512
    assert geometry.disk_mb == pytest.approx(2, rel=0.01)  # the two traces of 1 MB
    assert lines["geometry", "vsd"].hours is None
    assert cost.cells(lines["geometry", "vsd"])[4:7] == ("unknown", "at least 0.0013", "unknown")
    assert cost.total(list(lines.values())).hours is None


def test_failed_runs_and_snapshots_are_not_measured(tmp_path):
    _run(tmp_path, "csd", "nerf", 0.5, status="failed")
    write_json(tmp_path / "snapshots" / "run.json", {"status": "ok"})
    assert cost.measured([tmp_path]) == []


def test_the_kept_table_is_one_of_measurements():
    assert all(one.step_seconds > 0 for one in cost.kept())


def test_the_overhead_is_what_no_program_used(tmp_path):
    def job(path: str, seconds: float) -> None:
        write_bytes(tmp_path / path, f"s\th:m:s\n{seconds}\t0:00:00\n".encode())

    job("runs/a/optimize.benchmark.tsv", 12.0)
    write_json(tmp_path / "runs/a/run.json", {"seconds": {"steps": 8.0, "rest": 1.0}})
    job("logs/unknown_rule.one.benchmark.tsv", 3.0)
    rules = overhead.in_programs(tmp_path)
    assert rules == {"optimize": (1, 12.0, 9.0), "unknown_rule": (1, 3.0, 3.0)}
    assert overhead.overhead(12.0, 10.0, 2) == pytest.approx(0.4)
    with pytest.raises(ArtifactError, match="no benchmark files"):
        overhead.in_programs(tmp_path / "none")


def test_every_rule_names_programs_that_exist():
    found = overhead.programs()
    assert found["optimize"] == ["pipeline.optimize"] or "pipeline.optimize" in found["optimize"]
    for module in {module for modules in found.values() for module in modules}:
        assert (ROOT / (module.replace(".", "/") + ".py")).is_file() or (
            ROOT / module.replace(".", "/") / "__main__.py"
        ).is_file(), module


def test_benchmarks_name_programs_that_exist():
    texts = [*(ROOT / "benchmarks").glob("*.py"), *(ROOT / "docs").rglob("*.md")]
    named = {
        name
        for path in texts
        for name in re.findall(r"python -m benchmarks\.(\w+)", path.read_text(encoding="utf-8"))
    }
    assert named
    assert not {name for name in named if not (ROOT / "benchmarks" / f"{name}.py").is_file()}


def test_the_recorded_faults_say_that_no_gpu_took_part():
    kept = (ROOT / "docs" / "results" / "faults.md").read_text(encoding="utf-8")
    assert kept.startswith(faults.page([], "smoke"))
    assert f"| {faults.STARVED_GPU} |" in kept
    assert "by hand on a CPU" in faults.STARVED_GPU


def test_half_files_are_found_and_files_being_written_are_not(tmp_path):
    write_bytes(tmp_path / "a" / "scene.safetensors", b"half")
    write_bytes(tmp_path / "a" / ".partial-x.safetensors", b"half")
    write_bytes(tmp_path / "run.json", b'{"a": ')
    write_json(tmp_path / "whole.json", {})
    assert len(broken(tmp_path)) == 2


@pytest.mark.parametrize(("due", "killed"), [(True, True), (False, False)])
def test_a_kill_is_told_from_an_end_of_its_own(due, killed):
    process = forked()
    if process == 0:
        time.sleep(60 if due else 0)
        os._exit(3)
    assert signalled(process, lambda: due) == killed


def test_the_status_of_a_child_is_its_own():
    process = forked()
    if process == 0:
        os._exit(3)
    assert ended(process) == 3


def test_the_page_says_what_was_not_survived_and_not_tried():
    rows = [
        faults.Row("a", "said | so", "the same bits", True),
        faults.Row("b", "", "OTHER BITS", False),
        faults.Row("c", "needs root", "", None),
    ]
    text = faults.page(rows, "smoke")
    assert "| a | said \\| so | the same bits | yes |" in text
    assert "| b | nothing | OTHER BITS | **no** |" in text
    assert "| c | needs root |  | not tried |" in text


def test_a_hub_that_behaves_is_downloaded_whole(tmp_path):
    with hub.hub() as server:
        status, said, files = server.download(tmp_path)
    assert (status, files) == (0, hub.FILES), said


@pytest.mark.slow
def test_a_hub_that_hangs_or_breaks_off_is_an_error_and_leaves_nothing_half(tmp_path):
    rows = faults.hub_rows(tmp_path)
    assert [row.survived for row in rows] == [True, True], json.dumps([vars(row) for row in rows])
