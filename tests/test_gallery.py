"""The page tells the truth about the runs and tables it is given, and survives what a prompt may
hold.
"""

import base64
import hashlib
import json
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import pytest
import synthetic_results as synthetic

from pipeline import artifacts
from reports import gallery, records, summary

ROOT = Path(__file__).resolve().parent.parent
COLUMNS = list(synthetic.COLUMNS)


def build(results: Path, out: Path, *options: str) -> str:
    where = ["--runs", str(results / "runs"), "--tables", str(results / "tables")]
    gallery.main(
        [*where, "--preset-name", "mini", "--columns", *COLUMNS, "--out", str(out), *options]
    )
    return out.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return synthetic.write_results(tmp_path_factory.mktemp("nasty path #1 %41"), size=16)


@pytest.fixture(scope="module")
def page(results: Path) -> str:
    return build(results, results / "geometry.html")


class Reader(HTMLParser):
    """Collects what a browser would see: elements with attributes, and text outside of scripts."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.text, self.scripts, self._inside = "", [], ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))
        if tag in ("script", "style"):
            self._inside = tag

    def handle_endtag(self, tag: str) -> None:
        if tag == self._inside:
            self._inside = ""

    def handle_data(self, data: str) -> None:
        if self._inside == "script":
            self.scripts.append(data)
        elif not self._inside:
            self.text += data


@pytest.fixture(scope="module")
def read(page: str) -> Reader:
    return Reader(page)


def test_every_prompt_is_text_and_never_markup(read: Reader) -> None:
    flat = " ".join(read.text.split())
    for prompt in (*synthetic.PLAIN, *synthetic.NASTY):
        assert " ".join(prompt.split()) in flat
    assert not [e for e in read.elements if any(name.startswith("on") for name in e[1])]
    assert len(read.scripts) == 2
    assert "hacked" not in "".join(read.scripts)


def test_script_is_the_one_that_the_policy_allows(page: str, read: Reader) -> None:
    digest = base64.b64encode(hashlib.sha256(read.scripts[1].encode()).digest()).decode()
    assert (
        f"script-src &#39;sha256-{digest}&#39;" in page or f"script-src 'sha256-{digest}'" in page
    )
    assert "http:" not in page.replace("http://www.w3.org", "")
    assert "https:" not in page


def test_every_file_the_page_names_exists(results: Path, read: Reader) -> None:
    names = [
        attributes[key]
        for _, attributes in read.elements
        for key in ("src", "data-src", "data-normal")
        if key in attributes
    ]
    assert len(names) > 200
    for name in names:
        assert not name.startswith(("/", "file:", "http"))
        assert (results / unquote(name)).is_file()


def test_same_input_gives_the_same_bytes(results: Path, page: str) -> None:
    assert build(results, results / "again.html") == page


def test_views_carry_their_score_and_rank(results: Path, page: str) -> None:
    scores = artifacts.read_table(results / "tables" / "scores", "scores")
    own = scores[(scores.prompt_id == synthetic.prompt_id("a red car")) & (scores.column == "csd")]
    body = page[page.index('id="a-red-car-') :]
    cell = body.split('<td role="cell"')[2].split("</td>")[0]
    shown = re.findall(r"cosine ([\d.]+)\">([\d.]+)</span><span[^>]*>#(\d+)", cell)
    for view, (cosine, score, rank) in zip(records.VIEWS, shown, strict=True):
        value = own[own["view"] == view].set_index("metric")["value"]
        assert float(cosine) == pytest.approx(value["clip_cos"], abs=5e-5)
        assert float(score) == pytest.approx(250 * value["clip_cos"], abs=0.05)
        assert int(rank) == value["rank"]


def test_failures_and_gaps_are_shown_with_their_reason(page: str, read: Reader) -> None:
    cells = [a["class"] for tag, a in read.elements if tag == "td" and a.get("role") == "cell"]
    assert len(cells) == 44
    assert (cells.count("failed"), cells.count("missing")) == (2, 1)
    assert read.text.count("loss is not finite at step 37 <b>(NaN in the gradient)</b>") == 2
    assert read.text.count("pictures are placeholders") == 1  # the other one has no pictures
    assert "placeholder of a failed run" in page
    assert "5 of 6 runs" not in read.text
    assert "10 of 11 runs finished" in read.text
    assert "sds, finished runs only" in read.text
    assert "csd, finished runs only" not in read.text


def test_sorting_data_are_the_scores(results: Path, read: Reader) -> None:
    data = json.loads(read.scripts[0])
    ids = [a["id"] for tag, a in read.elements if tag == "tbody" and "data-row" in a]
    row = ids.index(synthetic.prompt_id("a blue robot") + ".0")
    scores = artifacts.read_table(results / "tables" / "scores", "scores")
    own = scores[
        (scores.prompt_id == synthetic.prompt_id("a blue robot"))
        & (scores.column == "csd")
        & (scores["metric"] == "clip_score")
        & (scores["view"] != "object")
    ]
    metric = [name for name, _, _ in data["metrics"]].index("clip_score")
    assert data["columns"] == COLUMNS
    assert data["values"][row][1][metric] == pytest.approx(own["value"].mean(), abs=1e-4)
    last = ids.index(synthetic.prompt_id(synthetic.LONG) + ".0")
    assert set(data["values"][last][3]) == {None}


def test_says_when_n_is_too_small_and_only_then(results: Path, tmp_path: Path, page: str) -> None:
    assert "n too small to rank." in page
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
    import pandas

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
    import pandas

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
    with pytest.raises(records.ReportError, match="no run of stage dmtet"):
        records.choose_stage(runs, "dmtet")


def test_runs_of_another_preset_are_refused(results: Path, tmp_path: Path) -> None:
    with pytest.raises(records.ReportError, match="runs of preset mini, not paper"):
        build(results, tmp_path / "page.html", "--preset-name", "paper")


def test_each_seed_is_a_row(tmp_path: Path) -> None:
    root = synthetic.write_results(
        tmp_path,
        prompts=("a red car",),
        columns=("csd", "vsd"),
        seeds=(0, 1),
        failures=False,
        size=8,
    )
    where = ["--runs", str(root / "runs"), "--tables", str(root / "tables")]
    out = root / "page.html"
    gallery.main([*where, "--preset-name", "mini", "--columns", "csd", "vsd", "--out", str(out)])
    text = out.read_text(encoding="utf-8")
    assert text.count("<tbody role") == 2
    assert "seed 1" in text
