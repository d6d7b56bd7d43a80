"""The table of what jobs cost adds up what Snakemake's benchmark files say."""

from pathlib import Path

import pytest

from reports import jobs
from reports.records import ReportError

HEAD = "s\th:m:s\tmax_rss\tmax_vms\tmax_uss\tmax_pss\tio_in\tio_out\tmean_load\tcpu_time\n"


def _file(path: Path, *rows: tuple[float, float, float]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [f"{s}\t0:00:01\t{mb}\t1\t1\t1\t0\t0\t50\t{cpu}\n" for s, mb, cpu in rows]
    path.write_text(HEAD + "".join(lines), encoding="utf-8")


def test_jobs_are_grouped_by_rule_and_stage_and_the_last_run_counts(tmp_path):
    runs = tmp_path / "runs" / "geometry"
    _file(runs / "csd" / "p" / "seed0" / "nerf" / "optimize.benchmark.tsv", (9, 1, 1), (10, 50, 8))
    _file(runs / "sds" / "p" / "seed0" / "nerf" / "optimize.benchmark.tsv", (20, 40, 16))
    _file(runs / "sds" / "p" / "seed0" / "mesh" / "optimize.benchmark.tsv", (4, 30, 3))
    _file(tmp_path / "logs" / "score.geometry.nerf.benchmark.tsv", (1.5, 20, 1))
    _file(tmp_path / "logs" / "bank_shape.car.benchmark.tsv", (2, 10, 2))
    table = jobs.job_times(tmp_path).set_index("job")
    assert list(table.index) == ["optimize nerf", "optimize mesh", "bank_shape", "score"]
    first = table.loc["optimize nerf"]
    assert (first.jobs, first.s_total, first.s_mean, first.s_max) == (2, 30, 15, 20)
    assert (first.cpu_s_total, first.mb_max) == (24, 50)


def test_the_program_writes_the_table_or_says_what_is_missing(tmp_path, program, capsys):
    out = tmp_path / "jobs.csv"
    assert program("reports.jobs", "--results", tmp_path) == 1
    assert "has the workflow run?" in capsys.readouterr().err
    _file(tmp_path / "logs" / "embed.benchmark.tsv", (3, 20, 1))
    assert program("reports.jobs", "--results", tmp_path, "--out", out) == 0
    assert "1 jobs, 3 s one after the other" in capsys.readouterr().out
    assert out.read_text().splitlines()[1] == "embed,1,3.0,3.0,3.0,1.0,20.0"
    with pytest.raises(ReportError, match=r"no .*benchmark\.tsv below it"):
        jobs.job_times(tmp_path / "none")
