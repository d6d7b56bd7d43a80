"""The paper's figures and tables on made-up runs: their files, their captions, what they refuse."""

import copy

import numpy as np
import pandas
import pytest
import synthetic_results as synthetic
from PIL import Image

from pipeline.artifacts import ArtifactError, write_table
from reports.paper import comparison, cost, fig1, pictures, table1, table2
from reports.paper.files import prompts_of
from reports.records import ReportError, find_runs

KINDS = ("png", "svg", "csv", "txt")
COLUMNS = ("sds", "csd", "csd_neg", "vsd")


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """Three prompts; sds failed on the second, vsd on the third and is missing there, too."""
    root = synthetic.write_results(
        tmp_path_factory.mktemp("paper"), prompts=synthetic.PLAIN[:3], size=24
    )
    synthetic.write_list(root, "geometry", dict.fromkeys(COLUMNS, "nerf"))
    return root


def whole(folder, name, kinds=KINDS):
    """Every file of a figure is there and not empty; its caption."""
    for kind in kinds:
        assert (folder / f"{name}.{kind}").stat().st_size > 40, kind
    Image.open(folder / f"{name}.png").verify()
    assert not list(folder.glob("*.not_run.txt"))
    return (folder / f"{name}.txt").read_text()


def test_figure_1_shows_the_papers_own_method_first(results, tmp_path):
    fig1.main(["--geometry", str(results / "lists/geometry.txt"), "--out", str(tmp_path)])
    caption = whole(tmp_path, "fig1")
    assert "column csd_neg, the first 3 prompts" in caption
    assert "exact mixture, marginal null" in caption
    assert "3 runs, 0 failed" in caption
    assert "0123456789" in caption
    assert "Textures on given meshes: not run" in caption
    table = pandas.read_csv(tmp_path / "fig1.csv")
    assert set(table["column"]) == {"csd_neg"}
    assert list(table["kind"][:4]) == ["colour", "normal", "colour", "normal"]


def test_figure_1_names_what_it_lacks(results, tmp_path):
    runs = find_runs(results / "runs", task="geometry", columns=["sds", "vsd"])
    with pytest.raises(ReportError, match="csd_neg or csd, and there is sds, vsd; name one"):
        fig1.own_runs(runs, column=None, limit=3)
    assert {r.key[0] for r in fig1.own_runs(runs, column="vsd", limit=9)} == {"vsd"}


def test_figure_3_shows_every_column_failures_included(results, tmp_path):
    listed = results / "lists/geometry.txt"
    comparison.main(["fig3", "--runs", str(listed), "--out", str(tmp_path)])
    caption = whole(tmp_path, "fig3")
    assert "11 runs, 1 failed" in caption
    drawn = (tmp_path / "fig3.svg").read_text()
    for word in ("failed", "not run", *COLUMNS, *synthetic.PLAIN[:3]):
        assert word in drawn, word
    again = tmp_path / "again"
    comparison.main(["fig3", "--runs", str(listed), "--out", str(again)])
    for kind in KINDS:
        name = f"fig3.{kind}"
        assert (again / name).read_bytes() == (tmp_path / name).read_bytes()


def test_prompts_keep_the_lists_order(results, tmp_path):
    lines = (results / "lists/geometry.txt").read_text().splitlines()
    backwards = tmp_path / "list.txt"
    backwards.write_text("".join(f"{line}\n" for line in reversed(lines)))
    from reports.paper.files import listed_runs

    runs = listed_runs(backwards, task="geometry")
    assert [str(run.folder) for run in runs] == list(reversed(lines))
    assert list(prompts_of(runs, 1).values()) == [runs[0].record["prompt"]]


def test_a_figure_of_another_task_is_recorded_as_not_run(tmp_path):
    line = "fig4: not run: this preset has no task 'texture'"
    with pytest.raises(ReportError, match=line):
        comparison.main(["fig4", "--out", str(tmp_path)])
    assert (tmp_path / "fig4.not_run.txt").read_text() == line + "\n"
    assert list(tmp_path.iterdir()) == [tmp_path / "fig4.not_run.txt"]


def test_figure_4_has_the_bare_mesh_and_forgets_that_it_was_not_run(tmp_path):
    root = synthetic.write_results(
        tmp_path / "r",
        prompts=synthetic.PLAIN[:2],
        columns=("csd", "vsd"),
        size=24,
        task="texture",
        failures=False,
    )
    out = tmp_path / "out"
    out.mkdir()
    (out / "fig4.not_run.txt").write_text("earlier")
    comparison.main(["fig4", "--runs", str(root / "runs"), "--out", str(out)])
    whole(out, "fig4")
    assert comparison.BARE in (out / "fig4.svg").read_text()


def test_a_bare_picture_is_grey_and_shows_the_shape(results):
    run = next(r for r in find_runs(results / "runs", task="geometry") if not r.failed)
    image = pictures.bare(run, "front", size=24).astype(int)
    assert np.ptp(image, axis=2).max() == 0
    assert np.ptp(image[..., 0]) > 60
    assert image[0, 0, 0] == round(255 * pictures.GREY)


READINGS = {"clip_score": (75.0, 70.0, 80.0), "r_at_1": (0.5, 0.4, 0.6)}
READINGS |= {"r_at_5": (0.8, 0.7, 0.9), "r_at_10": (0.9, 0.8, 1.0)}


def readings(tmp_path, **changes):
    """`protocols` and `published` of csd_neg, as metrics.protocols writes them."""
    rows = []
    for quantity, (value, lower, upper) in READINGS.items():
        hit = quantity != "clip_score"
        row = {"preset": "mini", "stage": "nerf", "column": "csd_neg", "protocol": "paper"}
        row |= {"quantity": quantity, "unit": "view", "prefix": "", "background": "grey"}
        row |= {"candidates": "toy81" if hit else "", "n_candidates": 81 * hit, "ties": ""}
        row |= {"population": "intent_to_treat", "protocol_id": f"id-{quantity}"}
        row |= {"value": value, "lower": lower, "upper": upper, "level": 0.95}
        row |= {"interval": "BCa", "n_prompts": 3, "n_runs": 3, "n_failed": 1, "n_queries": 12}
        rows.append(row | {"background_spread": 0.0, "status": "ok"} | changes)
    rows.append(rows[1] | {"protocol": "", "ties": "strict", "protocol_id": "other"})
    published = [
        {"source": "the paper", "system": system, "quantity": quantity, "published": 70.0}
        | {"reading": "paper", "evidence": "e", "column": column, "stage": "nerf"}
        | {"protocol_id": f"id-{quantity}", "value": 1.0, "lower": 1.0, "upper": 1.0}
        | {"verdict": verdict}
        for system, column, verdict in (
            ("DreamFusion", "sds", "not comparable: its renders are videos; other prompts"),
            ("CSD", "csd_neg", "inside our interval"),
        )
        for quantity in READINGS
    ]
    write_table(pandas.DataFrame(rows), tmp_path / "protocols", "protocols")
    write_table(pandas.DataFrame(published), tmp_path / "published", "published")
    return tmp_path


def test_table_2_sets_published_numbers_apart_with_their_verdict(results, tmp_path):
    tables = readings(tmp_path / "t")
    arguments = ["--tables", str(tables), "--runs", str(results / "lists/geometry.txt")]
    table2.main([*arguments, "--out", str(tmp_path)])
    caption = whole(tmp_path, "table2", (*KINDS, "html", "md"))
    text = (tmp_path / "table2.md").read_text()
    assert "| csd_neg | 75.0 (70.0 – 80.0) | 50.0 (40.0 – 60.0) |" in text
    assert "| CSD | 70.0 | 70.0 | 70.0 | 70.0 | csd_neg | inside our interval |" in text
    assert "| DreamFusion | 70.0 | 70.0 | 70.0 | 70.0 | sds | not comparable |" in text
    assert "DreamFusion: not comparable, since its renders are videos; other prompts." in caption
    assert "id-clip_score" in caption
    assert "toy81 (81)" in caption
    page = (tmp_path / "table2.html").read_text()
    assert "http" not in page
    assert "<table>" in page


def test_numbers_of_two_protocols_never_share_a_column(results, tmp_path):
    tables = readings(tmp_path)
    from pipeline.artifacts import read_table

    own = read_table(tables / "protocols", "protocols")
    other = own.assign(column="csd", protocol_id=own["protocol_id"] + "-white")
    with pytest.raises(ReportError, match="clip_score is of 2 protocols"):
        table2.paper_rows(pandas.concat([own, other]))
    assert set(table2.paper_rows(own)["protocol_id"]) == {f"id-{q}" for q in READINGS}


def test_table_1_says_not_run_until_people_answered(tmp_path):
    table1.main(["--out", str(tmp_path)])
    caption = whole(tmp_path, "table1", (*KINDS, "html", "md"))
    assert "Our study was not run" in caption
    text = (tmp_path / "table1.md").read_text()
    assert "| CSD | 59.4 (56.9 to 61.8) |" in text
    assert "| every column | not run |" in text


def test_table_1_has_the_answers_shares_and_wilsons_interval(tmp_path):
    from reports.study.preferences import wilson

    low, high = wilson(30, 40)
    base = dict.fromkeys(("lower", "upper", "both_lower", "both_upper", "verdict"), "")
    rows = [
        {**base, "quantity": "first_choice", "column_a": "csd", "value": 0.75, "n": 40},
        {**base, "quantity": "preferred", "column_a": "csd", "column_b": "sds", "value": 0.75}
        | {"lower": low, "upper": high, "n": 40, "verdict": "a above b"},
    ]
    rows = [{"question": "fit", "population": "kept"} | row for row in rows]
    pandas.DataFrame(rows).to_csv(tmp_path / "study.csv", index=False)
    table1.main(["--study", str(tmp_path), "--out", str(tmp_path)])
    text = (tmp_path / "table1.md").read_text()
    told = f"| csd over sds | 75.0 ({100 * low:.1f} to {100 * high:.1f}) | 40 | csd preferred |"
    assert told in text
    assert "not run" not in text


def test_a_missing_study_is_named(tmp_path):
    with pytest.raises(ReportError, match="study analyse"):
        table1.main(["--study", str(tmp_path), "--out", str(tmp_path)])


def test_costs_add_up_over_kinds_and_stages(results, tmp_path):
    listed = results / "lists/geometry.txt"
    found = cost.costs(find_runs(listed, task="geometry"), [], COLUMNS)
    assert {c: found[c]["evaluations"] for c in COLUMNS} == {
        "sds": 2000, "csd": 2000, "csd_neg": 3000, "vsd": 2000,
    }  # fmt: skip
    runs = find_runs(listed, task="geometry", columns=["csd"])
    twice = cost.costs(runs, copy.copy(runs), ["csd"])
    assert twice["csd"]["kinds"] == pytest.approx({"text": 2000, "uncond": 2000, "neg": 0})
    assert twice["csd"]["seconds"] == pytest.approx(2 * found["csd"]["seconds"])


def test_the_frontier_is_what_no_column_beats():
    evaluations = {"a": 1.0, "b": 2.0, "c": 2.0, "d": 3.0, "e": 3.0}
    quality = {"a": 0.5, "b": 0.7, "c": 0.6, "d": 0.7, "e": 0.9}
    assert cost.frontier(evaluations, quality) == {"a", "b", "e"}
    same = {"a": 1.0, "b": 1.0}
    assert cost.frontier(same, {"a": 0.5, "b": 0.5}) == {"a", "b"}


def test_columns_of_equal_cost_are_compared(results, tmp_path):
    arguments = ["--runs", str(results / "lists/geometry.txt")]
    arguments += ["--tables", str(results / "tables")]
    cost.main([*arguments, "--out", str(tmp_path)])
    whole(tmp_path, "cost")
    whole(tmp_path, "cost_table", (*KINDS, "html", "md"))
    text = (tmp_path / "cost_table.md").read_text()
    equal = text.split("At equal cost")[1].split("Evaluations:")[0]
    assert "csd_neg" not in equal
    assert "csd − vsd" in equal


def test_programs_name_missing_tables(results, tmp_path):
    arguments = ["--tables", str(tmp_path), "--runs", str(results / "lists/geometry.txt")]
    with pytest.raises(ArtifactError, match=r"protocols.parquet: no such table"):
        table2.main([*arguments, "--out", str(tmp_path)])
