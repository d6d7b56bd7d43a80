"""Columns of several stages on one page: what is shown of each, and in which order."""

import base64
import json
import shutil
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pandas
import pytest
import synthetic_results as synthetic
from gallery_pages import PAIR, SMALL, Reader, scores_of, write

from pipeline import artifacts
from reports import models, records
from reports.chains import chains, differences
from reports.gallery_rows import Shown


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
