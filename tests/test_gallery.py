"""The page tells the truth about the runs and tables it is given, and survives what a prompt may
hold.
"""

import base64
import hashlib
import json
import re
import shutil
import subprocess
from collections.abc import Sequence
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pandas
import pytest
import synthetic_results as synthetic

from pipeline import artifacts
from reports import gallery, models, records, summary
from reports.chains import chains, differences
from reports.gallery_rows import Shown

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


def write(root: Path, options: list[str], columns: Sequence[str], name: str = "page.html") -> str:
    out = root / name
    given = ["--preset-name", "mini", "--columns", *columns, "--out", str(out)]
    gallery.main([*options, *given])
    return out.read_text(encoding="utf-8")


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
    cells = [a["class"] for _, a in read.elements if a.get("class", "").startswith("cell ")]
    assert len(cells) == 44
    assert (cells.count("cell failed"), cells.count("cell missing")) == (2, 1)
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
    metric = [name for name, *_ in data["metrics"]].index("clip_score")
    assert data["columns"] == COLUMNS
    assert data["stages"] == ["nerf"]
    assert data["values"][0][row][1][metric] == pytest.approx(own["value"].mean(), abs=1e-4)
    last = ids.index(synthetic.prompt_id(synthetic.LONG) + ".0")
    assert set(data["values"][0][last][3]) == {None}


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
    text = write(root, where, ("csd", "vsd"))
    assert text.count("<tbody role") == 2
    assert "seed 1" in text


def test_the_end_of_a_failed_runs_log_is_shown_and_of_no_other(page: str, read: Reader) -> None:
    assert page.count("The end of its log") == 2
    assert "step 59: <i>loss</i> 0.0167" in read.text
    assert "step 29: <i>loss</i>" not in read.text  # 60 lines, of which 30 are shown


SMALL: dict[str, Any] = {"prompts": synthetic.PLAIN[:2], "failures": False, "size": 8}


PAIR = ("csd", "vsd")


@pytest.fixture(scope="module")
def staged(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    root = tmp_path_factory.mktemp("stages")
    return root, synthetic.write_stages(root, columns=PAIR, **SMALL)


def test_a_stage_shows_its_own_runs_and_tables(staged: tuple[Path, list[str]]) -> None:
    root, options = staged
    text = write(root, options, PAIR)
    read = Reader(text)
    places = [a["data-at"] for _, a in read.elements if "data-at" in a]
    assert places == ["0", "1"] * 4
    turning = [a["data-src"].split("/")[-2] for _, a in read.elements if "data-src" in a]
    assert turning == ["mesh", "nerf"] * 4
    assert "After mesh, where the columns end" in text
    assert "The same numbers after NeRF, before the last stage" in text
    assert "<dd>NeRF, then mesh</dd>" in text
    ids = [a["id"] for _, a in read.elements if "id" in a]
    assert len(ids) == len(set(ids))  # two figures of gradient norms among them
    data = json.loads(read.scripts[0])
    assert data["stages"] == ["mesh", "nerf"]
    for place, name in enumerate(("geometry", "geometry.nerf")):
        own = scores_of(root, name).query(
            "column == 'vsd' and metric == 'truth_iou' and view == 'object'"
        )
        metric = [m for m, *_ in data["metrics"]].index("truth_iou")
        shown = [data["values"][place][row][1][metric] for row in range(2)]
        assert sorted(shown) == pytest.approx(sorted(own["value"]), abs=1e-5)


def test_columns_may_end_in_different_stages(staged: tuple[Path, list[str]]) -> None:
    root, options = staged
    last = synthetic.write_list(root, "mixed", {"csd": "nerf", "vsd": "mesh"})
    nerf = synthetic.write_list(root, "mixed.nerf", {"vsd": "nerf"})
    tables = shutil.copytree(root / "tables" / "geometry", root / "tables" / "mixed")
    (tables / "traces.parquet").unlink()
    parts = [scores_of(root, name) for name in ("geometry", "geometry.nerf")]
    mixed = pandas.concat([parts[0].query("column == 'vsd'"), parts[1].query("column == 'csd'")])
    artifacts.write_table(mixed, tables / "scores", "scores")
    options = ["--runs", str(last), "--tables", str(tables), "--earlier", str(nerf), options[-1]]
    read = Reader(write(root, options, PAIR))
    turning = [a["data-src"].split("/") for _, a in read.elements if "data-src" in a]
    shown = [(part[-5], part[-2]) for part in turning]
    # csd ends as NeRF and shows that under either choice
    assert shown == [("csd", "nerf"), ("csd", "nerf"), ("vsd", "mesh"), ("vsd", "nerf")] * 2
    data = json.loads(read.scripts[0])
    assert data["stages"] == ["last", "nerf"]
    metric = [m for m, *_ in data["metrics"]].index("truth_iou")
    last, nerf = (data["values"][place][0] for place in (0, 1))
    assert last[0][metric] is not None
    assert last[0][metric] == nerf[0][metric]
    flat = " ".join(read.text.split())
    assert "last stage" not in flat
    assert "Where each column ends" in flat
    assert "StagesNeRF (csd); NeRF, then mesh (vsd)" in flat
    assert "The same numbers after NeRF, of the columns with that stage" in flat
    assert "each a whole recipe with settings of its own" in flat
    assert "columns also differ inchain of stages" in flat


def test_the_way_through_the_stages_is_told_first_to_last(
    staged: tuple[Path, list[str]],
) -> None:
    root, _ = staged
    runs = {
        (column, stage): records.Run(Path(), synthetic.run_record("p", column, 0, stage=stage))
        for column in ("long", "short", "late")
        for stage in ("nerf", "mesh", "appearance")
    }
    tables = records.read_tables(root / "tables" / "geometry")

    def shown(*names: tuple[str, str]) -> Shown:
        return Shown([runs[name] for name in names], tables)

    ends = shown(("long", "appearance"), ("short", "nerf"), ("late", "appearance"))
    mesh, nerf = shown(("late", "mesh"), ("long", "mesh")), shown(("long", "nerf"))
    assert chains([ends, mesh, nerf], ["short", "late", "long"]) == [
        ("NeRF", ["short"]),
        ("mesh, then appearance", ["late"]),
        ("NeRF, then mesh, then appearance", ["long"]),
    ]
    assert ends.after == "where each column ends"
    assert mesh.after == "after mesh"


def test_what_differs_beside_the_method_is_named(staged: tuple[Path, list[str]]) -> None:
    tables = records.read_tables(staged[0] / "tables" / "geometry")

    def told(**settings: Any) -> list[str]:
        """The columns a, whose settings are given, b and an external one."""
        own = {"steps": 500, "batch": 2, "method_settings": {"omega": 7.5}}
        found = [
            synthetic.run_record("p", "a", 0, settings={**own, **settings}),
            synthetic.run_record("p", "b", 0, settings=own, method_settings={"omega": 1}),
            synthetic.run_record("p", "c", 0, kind="external", stage="external", settings={}),
            synthetic.run_record("q", "b", 0, settings={"steps": 1}),  # another prompt's variant
        ]
        part = Shown([records.Run(Path(), record) for record in found], tables)
        assert part.stage == "nerf"
        return differences([part], ["a", "b", "c"])

    assert told() == []
    assert told(steps=400, view_words=None) == ["steps"]
    assert told(view_words={}, batch=1) == ["batch", "view words"]


def test_a_run_in_two_lists_is_counted_once(staged: tuple[Path, list[str]]) -> None:
    root, options = staged
    last = synthetic.write_list(root, "shared", {"csd": "nerf", "vsd": "mesh"})
    options = ["--runs", str(last), *options[2:]]  # whose list of NeRFs has csd's too
    flat = " ".join(Reader(write(root, options, PAIR)).text.split())
    assert "Runs6 " in flat  # two prompts: csd's NeRF, vsd's NeRF and mesh
    assert 'data-tags="missing' not in write(root, options, PAIR)


def test_another_systems_files_are_not_scored_and_not_failed(tmp_path: Path) -> None:
    options = {"prompts": synthetic.PLAIN[:2], "failures": False, "size": 8}
    root = synthetic.write_results(tmp_path, columns=("csd", "theirs"), **options)
    said = {"kind": "external", "stage": "external", "commit": "0" * 40}
    said |= {"spec": {"source": "a website <b>, 2023", "licence": "MIT"}}
    for path in sorted(root.glob("runs/geometry/theirs/*/*/nerf/run.json")):
        record = {k: v for k, v in artifacts.read_json(path).items() if k != "prior"} | said
        if record["prompt"] == synthetic.PLAIN[0]:
            record |= {
                "status": "refused",
                "reason": "missing <back>: no file",
                "placeholder": True,
            }
        artifacts.write_json(path, record)
    where = ["--runs", str(root / "runs"), "--tables", str(root / "tables")]
    text = write(root, where, ("csd", "theirs"))
    read = Reader(text)
    flat = " ".join(read.text.split())
    cells = [a["class"] for _, a in read.elements if a.get("class", "").startswith("cell ")]
    assert sorted(cells) == ["cell ok"] * 3 + ["cell refused"]
    assert "Not scored: missing <back>: no file" in flat
    assert "placeholder" not in flat
    refused = text[text.index('class="cell refused"') :].split("</td>")[0]
    assert "<img" not in refused
    tags = [a["data-tags"].split("|") for _, a in read.elements if "data-tags" in a]
    assert ["not scored" in own for own in tags] == [True, False]
    assert not any("failed" in own for own in tags)
    assert "Runs4, 1 not scored" in flat
    assert "failed" not in flat.split("Numbers")[0]
    assert "not recorded" not in flat
    assert "marginal null; another system" in flat
    assert flat.count("a website <b>, 2023") == 1
    assert "theirs shows files of another system" in flat
    assert "StageNeRF " in flat


def scores_of(root: Path, name: str) -> pandas.DataFrame:
    return artifacts.read_table(root / "tables" / name / "scores", "scores")


def test_sidecars_are_the_runs_meshes_and_stale_ones_go(staged: tuple[Path, list[str]]) -> None:
    root, options = staged
    stale = artifacts.write_text(root / "page.assets" / "old.glb.js", "")
    read = Reader(write(root, options, PAIR))
    assert not stale.exists()
    buttons = [a for tag, a in read.elements if tag == "button" and a.get("class") == "model"]
    assert len(buttons) == 4  # the meshes; no NeRF has one
    for button in buttons:
        sidecar = (root / unquote(button["data-model"])).read_text()
        glb = base64.b64decode(sidecar.split('"')[3])
        assert button["data-key"] in sidecar
        assert glb in [path.read_bytes() for path in root.rglob("mesh.glb")]
        assert "as a 3D model" in button["aria-label"]
        assert (root / unquote(button["data-library"])).is_file()
    policy = next(a["content"] for tag, a in read.elements if tag == "meta" and "content" in a)
    assert "strict-dynamic" in policy
    assert "http" not in policy
    assert models.folder_of(root / "page.html") == root / "page.assets"


def test_meshes_are_rows_that_begin_bare(tmp_path: Path) -> None:
    options = synthetic.write_texture(tmp_path, prompts=synthetic.PLAIN[:3], size=8)
    text = write(tmp_path, options, COLUMNS)
    read = Reader(text)
    heads = re.findall(r'scope="col"[^>]*><span[^>]*>([^<]*)<', text.split("<tbody")[-4])
    assert heads == ["bare mesh", *COLUMNS]
    first = [row.split('<td role="cell"')[1] for row in text.split('class="cells"')[1:]]
    assert len(first) == 3
    for cell in first:
        assert re.findall(r'src="[^"]*/(\w+)\.png"', cell) == [f"{v}_normal" for v in records.VIEWS]
        assert ".bare.glb.js" in cell
        assert "data-column" not in cell
    scores = scores_of(tmp_path, "texture").query("metric == 'seam'")
    shown = re.findall(r"<dt>seam</dt><dd>([\d.]+)</dd>", text)
    assert sorted(shown) == sorted(f"{value:.2f}" for value in scores["value"])
    assert "seam" in {m for m, _, offered, _ in json.loads(read.scripts[0])["metrics"] if offered}
    assert "3 meshes, each painted" in read.text
    assert read.text.count("merged 2 <b>") == 3


def test_an_unusable_mesh_says_why(tmp_path: Path) -> None:
    options = synthetic.write_texture(tmp_path, prompts=synthetic.PLAIN[:3], size=8)
    folder = tmp_path / "meshes" / synthetic.prompt_id(synthetic.PLAIN[0])
    (folder / "bare.glb").unlink()
    record = {
        "status": "failed",
        "file": "car.glb",
        "reason": "car.glb: no <faces>; export it again",
    }
    artifacts.write_json(folder / "mesh.json", record)
    text = write(tmp_path, options, COLUMNS)
    assert "car.glb: no &lt;faces&gt;; export it again" in text
    assert text.count(".bare.glb.js") == 2
