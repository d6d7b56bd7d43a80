"""Twenty meshes that users hand over, through the whole workflow: none stops the others."""

import hostile_meshes as hostile
import pytest
import yaml
from workflow_runs import checkout, snakemake

from pipeline.artifacts import read_json
from prompts.load import load_set, prompt_id

PAINTED = ["a few NaN", "inverted", "non-manifold", "open", "tiny", "missing texture"]
PAINTED += ["wrong extension", "unicode name", "far away, single"]
REFUSED = ["empty file", "no triangles", "one triangle", "many NaN", "two million faces", "huge"]
REFUSED += ["lost in the distance", "cut short", "buffer too long", "buffer elsewhere", "zip"]


def _source(folder):
    """The sources with a prompt set of twenty meshes and a preset that paints them in two steps."""
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
    preset["stages"] = {"texture": preset["stages"]["texture"] | {"steps": 2}}
    path.write_text(yaml.safe_dump(preset))
    return source, entries


@pytest.mark.slow
def test_bad_meshes_are_recorded_failures_and_the_others_are_painted(tmp_path):
    source, entries = _source(tmp_path)
    done = snakemake(source, tmp_path, "smoke", "--keep-going")
    results = tmp_path / "results" / "smoke"
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
