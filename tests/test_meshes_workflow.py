"""Twelve meshes that users hand over, through the whole workflow: none stops the others.

More of them, one program at a time: test_meshes_hostile.py.
"""

import hostile_meshes as hostile
import pytest
import yaml
from workflow_runs import checkout, snakemake

from pipeline.artifacts import read_json
from prompts.load import load_set, prompt_id

PAINTED = ["a few NaN", "non-manifold", "missing texture", "unicode name"]
REFUSED = ["empty file", "one triangle", "many NaN", "two million faces", "huge"]
REFUSED += ["cut short", "buffer too long", "zip"]


def _source(folder):
    """The sources with a prompt set of these meshes and a preset that paints them in two steps."""
    source = checkout(folder / "source")
    texts = [prompt.text for prompt in load_set("toy81").prompts]
    entries = []
    for text, name in zip(texts, PAINTED + REFUSED, strict=False):
        file, data, _ = (hostile.REPAIRED | hostile.REFUSED)[name]
        place = folder / "handed over" / name
        place.mkdir(parents=True)
        hostile.write(place, file, data())
        entries.append({"text": text, "mesh": {"file": str(place / file), "up": "z", "front": "x"}})
    head = {"name": "handed_over", "source": "s", "licence": "l", "note": "n"}
    path = source / "prompts" / "sets" / "handed_over.yaml"
    path.write_text(yaml.safe_dump(head | {"prompts": entries}, allow_unicode=True))

    path = source / "presets" / "smoke.yaml"
    preset = yaml.safe_load(path.read_text())
    task = preset["tasks"]["texture"] | {"prompts": "handed_over", "limit": None}
    preset["tasks"] = {"texture": task}
    preset["columns"] = {"csd_neg": preset["columns"]["csd_neg"]}
    texture = preset["stages"]["texture"]
    probed = {"every": 2, "extra_every": 0, "probes": 0, "probe_noises": 2}
    small = {"steps": 2, "trace": probed, "views": texture["views"] | {"turntable_frames": 2}}
    preset["stages"] = {"texture": texture | small}
    path.write_text(yaml.safe_dump(preset))
    return source, entries


@pytest.mark.slow
def test_bad_meshes_are_recorded_failures_and_the_others_are_painted(tmp_path):
    source, entries = _source(tmp_path)
    done = snakemake(source, tmp_path, "smoke", "--keep-going")
    results = tmp_path / "results" / "smoke"
    assert results.exists(), done.stdout[-5000:]
    for name, entry in zip(PAINTED + REFUSED, entries, strict=True):
        identity = prompt_id(entry["text"])
        run = results / f"runs/texture/csd_neg/{identity}/seed0/texture"
        record = read_json(run / "run.json")
        assert record["status"] == ("ok" if name in PAINTED else "failed"), (name, record["reason"])
        assert (run / "mesh.glb").exists() == (name in PAINTED)
        assert (results / "meshes" / identity / "bare.glb").exists() == (name in PAINTED)
        if name in REFUSED:
            assert hostile.REFUSED[name][0] in record["reason"]
    # The pages are there and show the failures; the verdict then counts them.
    page = (results / "texture.html").read_text()
    assert page.count("no mesh: ") >= len(REFUSED)
    assert done.returncode == 1
    assert done.stdout.count("failed: no mesh: ") == len(REFUSED), done.stdout[-2000:]
