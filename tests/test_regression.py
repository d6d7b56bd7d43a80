"""The gate's arithmetic: non-inferiority, bands, traces, what is gone."""

import itertools
from pathlib import Path

import numpy as np
import pandas
import pytest

from metrics import goldens, regression, statistics
from pipeline.artifacts import SCHEMA_VERSION, ArtifactError, read_json, write_json, write_table

ROOT = Path(__file__).resolve().parent.parent
GOLDENS = ROOT / "baselines" / "goldens"
VIEWS = ("front", "left", "back", "right")


def scores(by_prompt: dict[str, list[float]], metric: str = "clip_score") -> pandas.DataFrame:
    """`scores` rows of one column: a number a view."""
    rows = [
        {"preset": "p", "column": "csd", "stage": "nerf", "prompt_id": prompt, "seed": 0}
        | {"view": view, "metric": metric, "protocol_id": "x", "value": value, "status": "ok"}
        for prompt, values in by_prompt.items()
        for view, value in zip(VIEWS, values, strict=True)
    ]
    return pandas.DataFrame(rows)


def traces(norm: float = 2.0, small: float = 0.001) -> pandas.DataFrame:
    """Two terms over nine steps; the small one is of no account in the first third."""
    rows = [
        {"preset": "p", "column": "csd", "stage": "nerf", "prompt_id": "car", "seed": 0}
        | {"step": step, "t": 500, "term": term, "norm": value, "weighted_norm": value / 2}
        for step in range(9)
        for term, value in (("direction", norm), ("classifier", small if step < 3 else 1.0))
    ]
    return pandas.DataFrame(rows)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "baseline"


def write(tables: Path, frame: pandas.DataFrame, trace: pandas.DataFrame) -> Path:
    write_table(frame, tables / "scores", "scores")
    write_table(trace, tables / "traces", "traces")
    return tables


def findings(
    folder: Path, before: pandas.DataFrame, now: pandas.DataFrame, **trace: float
) -> tuple[list[str], list[str]]:
    """(what passes, what does not) of `now` against a baseline of `before`."""
    norms = regression.mean_norms(traces())
    regression.write_baseline(regression.judged(before), norms, folder, trace_band=0.1)
    known = regression.read_baseline(folder)
    found = list(regression.compared(regression.judged(now), known))
    found += list(regression.strayed(regression.mean_norms(traces(**trace)), known))
    return [f.text for f in found if f.passes], [f.text for f in found if not f.passes]


def spread(n: int, by: float = 0.0) -> dict[str, list[float]]:
    return {f"p{i}": [60.0 + i + by + view for view in range(4)] for i in range(n)}


@pytest.mark.parametrize("n", [5, 6, 13])
def test_p_is_the_share_of_signs_that_do_as_well(n: int) -> None:
    """The slow loop over all patterns of signs of (difference + margin)."""
    rng = np.random.default_rng(n)
    differences, margin = rng.normal(-0.3, 1.0, n), 0.5
    shifted = differences + margin
    sums = [np.dot(signs, shifted) for signs in itertools.product((1, -1), repeat=n)]
    expected = np.mean(np.array(sums) >= shifted.sum() - 1e-9)
    found = statistics.non_inferiority_p(differences, margin)
    if shifted.sum() > 0:
        assert found == pytest.approx(expected)
    else:
        assert found > 0.5
    assert statistics.non_inferiority_p(np.zeros(n), margin) == 0.5**n
    assert statistics.non_inferiority_p(np.full(n, -2 * margin), margin) == 1 - 0.5**n


def test_five_prompts_are_tested_and_four_are_held_to_the_band(folder: Path) -> None:
    for n, said in ((5, "over 5 prompts, margin 2, p 0.031"), (4, "of 16 numbers, band 2")):
        good, bad = findings(folder, scores(spread(n)), scores(spread(n)))
        assert not bad
        assert said in good[0]


def test_a_mean_that_is_worse_fails_and_names_the_prompts(folder: Path) -> None:
    now = spread(6)
    now["p3"] = [value - 20 for value in now["p3"]]
    _, bad = findings(folder, scores(spread(6)), scores(now))
    assert bad == [
        "csd clip_score: mean difference -3.3333 over 6 prompts, margin 2, not shown to be as "
        "good, p 0.5; worse: p3 -20.0000"
    ]
    assert not findings(folder, scores(spread(6)), scores(spread(6, by=-1.0)))[1]
    better = scores(spread(6, by=40.0))
    assert not findings(folder, scores(spread(6)), better)[1]


def test_one_view_of_few_prompts_may_not_leave_the_band(folder: Path) -> None:
    now = spread(2)
    now["p1"][2] -= 2.5
    _, bad = findings(folder, scores(spread(2)), scores(now))
    assert len(bad) == 1
    assert bad[0].endswith("worse: p1 back -2.5000")
    now["p1"][2] += 1.0
    assert not findings(folder, scores(spread(2)), scores(now))[1]


@pytest.mark.parametrize("metric", ["r_at_1", "strict_hit"])
def test_of_few_prompts_one_hit_may_be_lost_and_no_more(folder: Path, metric: str) -> None:
    """A hit falls by 1 or not at all: every view of three prompts is counted together."""

    def hits(*lost: tuple[str, int]) -> pandas.DataFrame:
        by_prompt = {f"p{i}": [1.0] * 4 for i in range(3)} | {"poor": [0.0] * 4}
        for prompt, view in lost:
            by_prompt[prompt][view] = 0.0
        return scores(by_prompt, metric)

    every = [(f"p{i}", view) for i in range(3) for view in range(4)]
    _, bad = findings(folder, hits(), hits(*every))
    assert bad[0].startswith(f"csd {metric}: -12.0000 in all falls of 16 numbers, band 1; worse: ")
    assert bad[0].count("-1.0000") == 12
    good, bad = findings(folder, hits(), hits(("p1", 2)))
    assert (bad, good[0].endswith("worse: p1 back -1.0000")) == ([], True)
    assert findings(folder, hits(), hits(("p1", 2), ("p0", 0)))[1]
    gained = hits(("p1", 2), ("p0", 0))  # what others gain makes up for nothing
    gained.loc[gained["prompt_id"] == "poor", "value"] = 1.0
    assert findings(folder, hits(), gained)[1]
    thirds = scores({"p": [1.0] * 4}, metric), scores({"p": [2 / 3] * 3 + [1.0]}, metric)
    assert not findings(folder, *thirds)[1]  # ties of three captions: together one hit


def test_of_seams_larger_is_worse(folder: Path) -> None:
    low, high = scores({"p": [1.0] * 4}, "seam"), scores({"p": [1.5] * 4}, "seam")
    assert "worst -0.5000" in findings(folder, low, high)[1][0]
    assert not findings(folder, high, low)[1]


@pytest.mark.parametrize("moved", [0.02, -0.02])
def test_a_floor_that_moves_either_way_tells_of_another_truth(folder: Path, moved: float) -> None:
    before = {"p": [0.6] * 4}
    for metric in ("iou_floor", "iou_ball"):
        now = scores({"p": [0.6 + moved] + [0.6] * 3}, metric)
        assert findings(folder, scores(before, metric), now)[1] == [
            f"csd {metric}: worst -0.0200 of 4 numbers, band 0.01; worse: p front -0.0200"
        ]
        rounded = scores({"p": [0.6 + moved / 4] * 4}, metric)
        assert not findings(folder, scores(before, metric), rounded)[1]


def test_what_failed_is_gone_or_has_another_protocol_does_not_pass(folder: Path) -> None:
    before, now = scores(spread(2)), scores(spread(2))
    broken = now["prompt_id"] == "p1"
    failed = now.assign(status=np.where(broken, "failed", "ok"), value=np.where(broken, 0, 60.0))
    _, bad = findings(folder, before, failed)
    assert "csd of p1, seed 0: failed, and worked before" in bad
    _, bad = findings(folder, before, now[~broken])
    assert bad == ["csd of p1: no clip_score any more"]
    good, bad = findings(folder, before, now.assign(protocol_id="y"))
    assert bad == ["clip_score: measured under protocol y, the baseline is not"]
    assert not any("clip_score" in text for text in good)  # and is compared with nothing
    assert not findings(folder, failed, failed)[1]  # a run that always failed is no regression


def test_a_column_may_have_limits_of_its_own(folder: Path) -> None:
    own = {"vsd clip_score": [2.0, 3.0]}
    write_json(folder / "baseline.json", {"schema_version": SCHEMA_VERSION, "limits": own})
    now = spread(2)
    now["p1"][2] -= 2.5
    beside = scores(now).assign(column="vsd")
    before = pandas.concat([scores(spread(2)), scores(spread(2)).assign(column="vsd")])
    good, bad = findings(folder, before, pandas.concat([scores(now), beside]))
    assert [text.split(":")[0] for text in bad] == ["csd clip_score"]
    assert good[0] == "vsd clip_score: worst -2.5000 of 8 numbers, band 3"


@pytest.mark.parametrize("name", ["vds clip_score", "csd clip"])
def test_limits_of_nothing_are_refused(folder: Path, name: str) -> None:
    own = {name: [2.0, 3.0]}
    write_json(folder / "baseline.json", {"schema_version": SCHEMA_VERSION, "limits": own})
    with pytest.raises(ArtifactError, match=f"limits of nothing, {name}$"):
        findings(folder, scores(spread(2)), scores(spread(2)))


def test_columns_that_are_new_are_not_judged(folder: Path) -> None:
    more = pandas.concat([scores(spread(2)), scores(spread(2, by=-50)).assign(column="new")])
    assert not findings(folder, scores(spread(2)), more)[1]


def test_norms_have_a_band_and_small_ones_a_wide_one(folder: Path) -> None:
    same = scores(spread(1))
    assert "6 mean norms within 10 %" in findings(folder, same, same)[0][-1]
    assert not findings(folder, same, same, norm=2.19, small=0.009)[1]
    _, bad = findings(folder, same, same, norm=2.3)
    assert bad == [
        f"csd trace, {kind} of direction: "
        + ", ".join(f"car {third} third x 1.15" for third in ("first", "last", "middle"))
        for kind in ("norm", "weighted_norm")
    ]
    assert "classifier: car first third x 20" in findings(folder, same, same, small=0.02)[1][0]


def test_the_program_writes_compares_and_keeps_limits(tmp_path: Path, folder: Path) -> None:
    tables = write(tmp_path / "tables", scores(spread(2)), traces())
    told = ["--tables", str(tables), "--baseline", str(folder)]
    with pytest.raises(ArtifactError, match=r"baseline.json: no such file"):
        regression.main(told)
    assert regression.main([*told, "--update"]) == 0
    first = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert sorted(first) == ["baseline.json", "scores.csv", "traces.csv"]
    out = tmp_path / "report.txt"
    assert regression.main([*told, "--out", str(out)]) == 0
    assert out.read_text().startswith("ok   csd clip_score: worst +0.0000")
    described = read_json(folder / "baseline.json")
    described["limits"]["clip_score"] = [1.0, 60.0]
    write_json(folder / "baseline.json", described)
    write(tables, scores(spread(2, by=-50)), traces())
    assert regression.main(told) == 0  # within the wider band that the baseline states
    assert regression.main([*told, "--update"]) == 0
    assert read_json(folder / "baseline.json") == described
    (folder / "traces.csv").unlink()
    with pytest.raises(ArtifactError, match=r"traces.csv: no such file; write the baseline anew"):
        regression.main(told)
    del described["limits"]["clip_score"]
    write_json(folder / "baseline.json", described)
    (folder / "traces.csv").write_bytes(first["traces.csv"])
    with pytest.raises(ArtifactError, match="no limit for clip_score"):
        regression.main(told)


def test_an_updated_baseline_takes_new_limits_and_keeps_those_it_has(
    tmp_path: Path, folder: Path
) -> None:
    told = ["--tables", str(write(tmp_path / "tables", scores(spread(2)), traces()))]
    told += ["--baseline", str(folder)]
    old = {"schema_version": f"{SCHEMA_VERSION.split('.')[0]}.0-older", "note": "of March"}
    old |= {"limits": {"seam": [9.0, 9.0]}, "trace_band": 0.3}  # before clip_score was judged
    write_json(folder / "baseline.json", old)
    assert regression.main([*told, "--update"]) == 0
    found = read_json(folder / "baseline.json")
    assert found["limits"] == {k: list(v) for k, v in regression.LIMITS.items()} | old["limits"]
    assert (found["schema_version"], found["note"]) == (SCHEMA_VERSION, "of March")
    assert found["trace_band"] == 0.3
    assert regression.main(told) == 0
    assert regression.main([*told, "--update", "--trace-band", "0.2"]) == 0
    assert read_json(folder / "baseline.json")["trace_band"] == 0.2
    write_json(folder / "baseline.json", {**old, "schema_version": "9.0"})
    with pytest.raises(ArtifactError, match="schema_version"):
        regression.main([*told, "--update"])


def test_the_metric_code_is_tried_before_anything_is_compared(
    tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tables = write(tmp_path / "tables", scores(spread(2)), traces())
    out = tmp_path / "report.txt"
    told = ["--tables", str(tables), "--baseline", str(folder), "--out", str(out)]
    assert regression.main([*told, "--update"]) == 0
    write(tables, scores(spread(2, by=-50)), traces())
    monkeypatch.setattr(goldens, "problems", lambda _: ["one number is another"])
    assert regression.main([*told, "--goldens", str(GOLDENS)]) == 1
    first, second, *_ = out.read_text().splitlines()
    assert first == "FAIL metric code: one number is another"
    assert second.startswith("FAIL csd clip_score")
