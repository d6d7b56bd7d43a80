"""Summary and pairs against means and differences taken by hand, and protocols."""

from typing import Any

import numpy as np
import pandas
import pytest

from metrics import image_stats, protocol, statistics, tables
from pipeline.artifacts import TABLES, ArtifactError

VIEWS = ("front", "left", "back", "right")


def table(values: dict[tuple[str, str, int], list[float] | None], metric: str) -> pandas.DataFrame:
    """`scores` rows of {(column, prompt_id, seed): value a view}; None is a failed run, rank 81."""
    rows = []
    for (column, prompt_id, seed), found in values.items():
        worst = 81.0 if metric == "rank" else 0.0
        for index, view in enumerate(VIEWS):
            rows.append(
                {"preset": "test", "column": column, "stage": "nerf", "prompt_id": prompt_id}
                | {"seed": seed, "view": view, "metric": metric, "protocol_id": "p"}
                | {"value": worst if found is None else found[index % len(found)]}
                | {"status": "failed" if found is None else "ok"}
            )
    return pandas.DataFrame(rows)


def only(frame: pandas.DataFrame, **chosen: Any) -> Any:
    for name, value in chosen.items():
        frame = frame[frame[name] == value]
    assert len(frame) == 1
    return next(frame.itertuples(index=False))


def test_a_prompt_counts_once_whatever_its_seeds() -> None:
    """Prompt x has two seeds, y one: the mean is over prompts, not over runs or views."""
    values = {("csd", "x", 0): [1.0, 2.0], ("csd", "x", 1): [4.0, 5.0], ("csd", "y", 0): [9.0]}
    row = only(tables.summary(table(values, "clip_score")), population="intent_to_treat")
    assert row.mean == pytest.approx((3.0 + 9.0) / 2)
    assert (row.n_prompts, row.n_runs, row.n_failed) == (2, 3, 0)
    assert row.level == 0.95
    expected = statistics.mean_interval(
        np.array([3.0, 9.0]),
        statistics.generator(0, "test", "nerf", "clip_score", "p", "csd", "intent_to_treat"),
    )
    assert (row.lower, row.upper) == (expected.lower, expected.upper)


def test_failed_runs_count_as_worst_or_not_at_all() -> None:
    values = {("csd", "x", 0): [1.0], ("csd", "y", 0): None, ("csd", "z", 0): [3.0]}
    found = tables.summary(table(values, "rank"))
    treated = only(found, population="intent_to_treat")
    completed = only(found, population="completers")
    assert treated.mean == pytest.approx((1 + 81 + 3) / 3)
    assert completed.mean == pytest.approx(2.0)
    assert (treated.n_prompts, completed.n_prompts) == (3, 2)
    assert treated.n_failed == completed.n_failed == 1
    assert treated.n_runs == completed.n_runs == 3


def test_what_only_describes_has_completers_only() -> None:
    scores = table({("csd", "x", 0): [0.3], ("csd", "y", 0): None}, "chroma")
    scores.loc[scores["status"] == "failed", "value"] = np.nan
    row = only(tables.summary(scores))
    assert (row.population, row.mean, row.n_prompts) == ("completers", pytest.approx(0.3), 1)


def test_a_column_without_completers_has_no_mean() -> None:
    row = only(tables.summary(table({("csd", "x", 0): None}, "rank")), population="completers")
    assert np.isnan(row.mean)
    assert row.n_prompts == 0


def test_views_and_objects_are_never_mixed() -> None:
    scores = table({("csd", "x", 0): [1.0], ("csd", "y", 0): [0.0]}, "r_at_1")
    whole = scores.drop_duplicates("prompt_id").assign(view="object", value=0.5)
    white = [part.assign(metric="r_at_1@white") for part in (scores, whole)]
    found = tables.summary(pandas.concat([scores, whole, *white]))
    names = set(found["metric"])
    assert names == {"r_at_1", "r_at_1_object", "r_at_1@white", "r_at_1_object@white"}
    assert {tables.base(name) for name in names} == {"r_at_1"}
    chosen = found[(found["metric"] == "r_at_1_object")]
    assert list(chosen["mean"]) == [0.5, 0.5]


def test_object_rows_that_repeat_the_views_are_left_out() -> None:
    scores = table({("csd", "x", 0): [1.0]}, "truth_iou")
    whole = scores.drop_duplicates("prompt_id").assign(view="object")
    front = whole.assign(metric="front_back", value=1.0)
    names = tables.summary(pandas.concat([scores, whole, front]))["metric"]
    assert set(names) == {"truth_iou", "front_back"}  # the latter exists for objects only


def test_rows_that_do_not_apply_are_not_counted() -> None:
    scores = table({("csd", "x", 0): [1.0], ("csd", "y", 0): [np.nan]}, "truth_iou")
    scores.loc[scores["prompt_id"] == "y", "status"] = "not applicable"
    row = only(tables.summary(scores), population="intent_to_treat")
    assert (row.mean, row.n_prompts) == (1.0, 1)


def test_columns_that_end_in_different_stages_are_compared() -> None:
    """Of published systems one stops at the field, another refines a mesh."""
    rows = table({(c, f"p{i}", 0): [float(i)] for c in ("a", "b") for i in range(3)}, "clip_score")
    rows.loc[rows["column"] == "b", "stage"] = "mesh"
    found = tables.summary(rows)
    assert dict(zip(found["column"], found["stage"], strict=True)) == {"a": "nerf", "b": "mesh"}
    pair = only(tables.pairs(rows))
    assert (pair.stage, pair.n_prompts, pair.difference) == ("nerf/mesh", 3, 0.0)
    same = tables.pairs(rows.assign(stage="mesh"))
    assert only(same).stage == "mesh"
    rows.loc[rows["prompt_id"] == "p0", "stage"] = "refined"
    with pytest.raises(ArtifactError, match="runs of the stages nerf, refined"):
        tables.summary(rows)


def test_smaller_seams_are_better() -> None:
    values = {("csd", f"p{i}", 0): [1.0 + 0.01 * i] for i in range(12)}
    values |= {("sds", f"p{i}", 0): [2.0 + 0.02 * i] for i in range(12)}
    rows = table(values, "seam").assign(view="object").drop_duplicates(["column", "prompt_id"])
    assert only(tables.pairs(rows)).verdict == "a above b"
    assert set(tables.summary(rows)["population"]) == {"completers"}


def test_all_hits_keep_an_interval() -> None:
    values = {("csd", f"p{i}", 0): [1.0] for i in range(6)}
    row = only(tables.summary(table(values, "r_at_1")), population="intent_to_treat")
    assert row.lower == pytest.approx(0.61, abs=0.005)
    row = only(tables.summary(table(values, "truth_iou")), population="intent_to_treat")
    assert row.lower == row.upper == 1.0


def columns(shift: dict[str, float], prompts: int) -> dict[tuple[str, str, int], list[float]]:
    """Values that differ between columns by `shift` for every prompt, and a little at random."""
    rng = np.random.default_rng(0)
    return {
        (column, f"p{i:02}", 0): [i + by + 0.1 * float(rng.normal())]
        for column, by in shift.items()
        for i in range(prompts)
    }


def test_pairs_compare_prompt_by_prompt() -> None:
    values = columns({"csd": 1.0, "sds": 0.0}, 8)
    row = only(tables.pairs(table(values, "clip_score")))
    differences = [values["csd", f"p0{i}", 0][0] - values["sds", f"p0{i}", 0][0] for i in range(8)]
    assert (row.column_a, row.column_b, row.n_prompts) == ("csd", "sds", 8)
    assert row.difference == pytest.approx(np.mean(differences))
    assert row.lower < row.difference < row.upper
    assert row.upper - row.lower < 0.3  # the spread between prompts, about 2, has cancelled
    assert row.p == row.p_holm == row.smallest_p == 2 / 2**8
    assert row.verdict == "a above b"


def test_better_means_smaller_for_ranks() -> None:
    row = only(tables.pairs(table(columns({"csd": 1.0, "sds": 0.0}, 8), "rank")))
    assert row.difference > 0
    assert row.verdict == "b above a"


def test_six_prompts_and_four_columns_cannot_rank() -> None:
    shift = {"csd": 3.0, "csd_neg": 2.0, "sds": 1.0, "vsd": 0.0}
    found = tables.pairs(table(columns(shift, 6), "clip_score"))
    assert len(found) == 6
    assert (found["p"] == 2 / 64).all()
    assert found["p_holm"].to_numpy() == pytest.approx([6 * 2 / 64] * 6)  # 0.19
    assert set(found["verdict"]) == {"n too small to rank"}


def test_twenty_prompts_can() -> None:
    shift = {"csd": 3.0, "csd_neg": 2.0, "sds": 1.0, "vsd": 1.0}
    found = tables.pairs(table(columns(shift, 20), "clip_score"))
    verdicts = {(r.column_a, r.column_b): r.verdict for r in found.itertuples()}
    assert verdicts.pop(("sds", "vsd")) == "not separated"
    assert set(verdicts.values()) == {"a above b"}


def test_only_common_prompts_are_compared() -> None:
    values = columns({"csd": 1.0, "sds": 0.0}, 5)
    del values["sds", "p00", 0]
    row = only(tables.pairs(table(values, "clip_score")))
    assert row.n_prompts == 4
    nothing = {key: v for key, v in values.items() if (key[0] == "csd") == (key[1] < "p02")}
    row = only(tables.pairs(table(nothing, "clip_score")))
    assert row.n_prompts == 0
    assert np.isnan([row.difference, row.p, row.p_holm]).all()
    assert row.verdict == "n too small to rank"


def test_floors_and_single_columns_make_no_pairs() -> None:
    values = columns({"csd": 1.0, "sds": 0.0}, 3)
    for frame in (table(values, "iou_floor"), table(columns({"csd": 0.0}, 3), "rank")):
        found = tables.pairs(frame)
        assert found.empty
        assert tuple(found.columns) == TABLES["pairs"]
    assert tuple(tables.summary(table(values, "rank")).columns) == TABLES["summary"]


def test_another_column_changes_no_number() -> None:
    two = columns({"csd": 1.0, "sds": 0.0}, 7)
    three = two | columns({"vsd": 0.5}, 7)
    alone = tables.summary(table(two, "clip_score"))
    beside = tables.summary(table(three, "clip_score"))
    pandas.testing.assert_frame_equal(
        alone, beside[beside["column"] != "vsd"].reset_index(drop=True)
    )


def test_protocols_are_never_mixed() -> None:
    rows = table({("csd", "x", 0): [1.0], ("sds", "x", 0): [2.0]}, "rank")
    means = rows.groupby("column", as_index=False).agg({"value": "mean", "protocol_id": "first"})
    means["prompt_id"] = "x"
    assert tables.one_protocol(rows) == "p"
    grid = tables.side_by_side(means, index="prompt_id")
    assert grid.loc["x"].to_dict() == {"csd": 1.0, "sds": 2.0}
    mixed = means.assign(protocol_id=["p", "q"])
    with pytest.raises(ArtifactError, match=r"2 protocols in one column \(p, q\)"):
        tables.side_by_side(mixed, index="prompt_id")
    with pytest.raises(ArtifactError, match="2 protocols in one column"):
        tables.prompt_means(mixed)
    with pytest.raises(ArtifactError, match="several rows for one prompt_id"):
        tables.side_by_side(pandas.concat([means, means]), index="prompt_id")


SETUP = protocol.Setup(
    cameras={"elevation_deg": 15.0},
    size=[64, 64],
    model_sha256="m",
    preprocessing="bicubic",
    background="grey",
    ties="expected",
    candidates=["a red car", "a blue car"],
    strict_candidates=["a red car, front view"],
    truth={"truth": {"version": "1", "seed": 0.0}},
)


def identifier(metric: str = "r_at_1", view: str = "front", **changed: Any) -> str:
    setup = protocol.Setup(**{**vars(SETUP), **changed})
    return protocol.protocol_id(protocol.describe(metric, view, setup))


def test_equal_protocols_have_equal_names() -> None:
    assert identifier() == identifier(view="left")
    assert len(identifier()) == 16
    assert protocol.protocol_id({"a": 1, "b": 2}) == protocol.protocol_id({"b": 2, "a": 1})


@pytest.mark.parametrize(
    ("metric", "matters"),
    [
        ("clip_score", {"cameras", "size", "model_sha256", "preprocessing", "background"}),
        (
            "r_at_1",
            {"cameras", "size", "model_sha256", "preprocessing", "background"}
            | {"ties", "candidates"},
        ),
        (
            "strict_hit",
            {"cameras", "size", "model_sha256", "preprocessing", "background"}
            | {"ties", "strict_candidates"},
        ),
        ("truth_iou", {"cameras", "size", "truth"}),
        ("back_front", {"cameras", "size", "model_sha256", "preprocessing", "background"}),
        ("chroma", {"cameras", "size"}),
        ("seam", {"seam"}),
    ],
)
def test_what_decides_a_number_decides_its_name(metric: str, matters: set[str]) -> None:
    changes = {"cameras": {"elevation_deg": 0.0}, "size": [32, 32], "model_sha256": "n"}
    changes |= {"preprocessing": "area", "background": "white", "ties": "strict"}
    changes |= {"candidates": ["a red car"], "strict_candidates": []}
    changes |= {"truth": {"truth": {"version": "2", "seed": 0.0}}}
    changes |= {"prefix": "a photo of ", "seam": {"resolution": 512}}
    assert set(changes) == set(vars(SETUP))
    if metric not in ("truth_iou", "chroma", "seam"):
        matters = matters | {"prefix"}
    changed = {
        name
        for name, value in changes.items()
        if identifier(metric, **{name: value}) != identifier(metric)
    }
    assert changed == matters


def test_every_metric_has_its_own_protocol() -> None:
    metrics = ["clip_cos", "clip_score", "clip_score@white", "rank", "r_at_1", "r_at_5"]
    metrics += ["strict_rank", "strict_hit", "truth_iou", "iou_floor", *image_stats.STATISTICS]
    names = [identifier(metric, view) for metric in metrics for view in ("front", "object")]
    whole = [identifier(metric, "object") for metric in ("front_count", "back_front", "front_back")]
    assert len(set(names + whole)) == 2 * len(metrics) + 3
