"""Rows of the page that begin on a mesh of somebody else's."""

import json
import re
from pathlib import Path

import synthetic_results as synthetic
from gallery_pages import COLUMNS, Reader, scores_of, write

from pipeline import artifacts
from reports import records


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
