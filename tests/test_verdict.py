"""The last rule's word on whether every run worked."""

from pipeline.artifacts import write_json


def test_the_verdict_names_failures_and_leaves_no_file(tmp_path, program, capsys):
    for name, status in (("good", "ok"), ("bad", "failed")):
        record = {"status": status, "failed_step": 3, "reason": "the render is not finite"}
        write_json(tmp_path / name / "run.json", record)
    out = tmp_path / "verdict.txt"
    runs = (tmp_path / "good", tmp_path / "bad")
    assert program("pipeline.verdict", "--runs", *runs, "--out", out) == 1
    error = capsys.readouterr().err
    assert error == f"{tmp_path / 'bad'}: failed at step 3: the render is not finite\n"
    assert not out.exists()
    listed = tmp_path / "runs.txt"
    listed.write_text(f"{runs[0]}\n")
    assert program("pipeline.verdict", "--runs", f"@{listed}", "--out", out) == 0
    assert out.read_text() == "1 runs, none failed\n"
    assert program("pipeline.verdict", "--runs", tmp_path / "none", "--out", out) == 1
    assert "run.json: no such file" in capsys.readouterr().err
