"""The page tells the truth about the runs and tables it is given, and survives what a prompt may
hold.
"""

import base64
import hashlib
import json
import re
from pathlib import Path
from urllib.parse import unquote

import pytest
import synthetic_results as synthetic
from gallery_pages import COLUMNS, Reader, build, write

from pipeline import artifacts
from reports import records


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return synthetic.write_results(tmp_path_factory.mktemp("nasty path #1 %41"), size=16)


@pytest.fixture(scope="module")
def page(results: Path) -> str:
    return build(results, results / "geometry.html")


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
