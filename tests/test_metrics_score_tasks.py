"""Scoring what several tasks share: seams of textures, one call of embed, stages, refused files."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas
import pytest
from metrics_world import run_folder, straight, tiny_clip

from metrics import candidates, embed, embeddings, runs, score
from pipeline.artifacts import SCHEMA_VERSION, ArtifactError, read_table, write_json
from prompts.load import prompt_id

SETS = {"towers": ["a red tower", "a blue tower"], "slabs": ["a red slab"], "lumps": ["a red blob"]}


@pytest.fixture(autouse=True)
def prompts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(candidates, "plain", lambda name: SETS[name])
    monkeypatch.setattr(candidates, "with_front", lambda name: frozenset())


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return f"local-dir:{tiny_clip(tmp_path_factory.mktemp('clip'))}"


def change(folder: Path, **changed: Any) -> Path:
    path = folder / "run.json"
    write_json(path, json.loads(path.read_text()) | changed)
    return folder


def surface(folder: Path, ratio: float | None, **definition: Any) -> Path:
    """views.json as the views job leaves it: with a texture, or with vertex colours."""
    seam = None if ratio is None else {"seam": 3.0, "interior": 2.0, "ratio": ratio}
    described = {"vertices": 4, "faces": 2, "colours": "texture", "seam": seam}
    described["seam_definition"] = definition or None
    return write_json(
        folder / "views" / "views.json", {"schema_version": SCHEMA_VERSION, "surface": described}
    )


def embedded(model: str, texts: Path, folders: list[Path], *sets: str) -> None:
    options = ["--model", model, "--candidates", *sets, "--strict-views", "front", "side", "back"]
    options += ["--strict-extra", "lumps", "--texts", str(texts)]
    embed.main([*options, "--runs", *map(str, folders)])


def scored(model: str, texts: Path, folders: list[Path], out: Path, name: str) -> pandas.DataFrame:
    options = ["--model", model, "--candidates", name, "--texts", str(texts), "--out", str(out)]
    score.main([*options, "--runs", *map(str, folders)])
    return read_table(out / "scores", "scores")


@pytest.fixture
def towers(tmp_path: Path) -> list[Path]:
    """A red and a blue tower of two columns; the second column's blue one failed."""
    found = []
    for column in ("csd", "sds"):
        for prompt in SETS["towers"]:
            broken = (column, prompt) == ("sds", "a blue tower")
            views = None if broken else straight("tower", prompt.split()[1])
            found.append(run_folder(tmp_path / "runs", column=column, prompt=prompt, views=views))
    return found


def test_one_call_embeds_what_every_task_ranks(
    tmp_path: Path, model: str, towers: list[Path]
) -> None:
    """Two sets, each with view words; a run in two lists once; each task scores by itself."""
    slab = run_folder(tmp_path / "runs", column="csd", prompt="a red slab", views=None)
    texts = tmp_path / "texts.npz"
    embedded(model, texts, [*towers, *towers, slab], "towers", "slabs")
    found = set(map(str, embeddings.read_arrays(texts, ["text"])["text"]))
    every = [*SETS["towers"], *SETS["slabs"]]
    worded = {f"{text}, {word} view" for text in every for word in ("front", "side", "back")}
    assert found == {*every, *worded, "a red blob"}
    table = scored(model, texts, towers, tmp_path / "a", "towers")
    assert set(table["prompt_id"]) == {prompt_id(text) for text in SETS["towers"]}
    assert set(scored(model, texts, [slab], tmp_path / "b", "slabs")["status"]) <= {
        "failed",
        "not applicable",
    }


def test_seams_are_read_where_there_are_textures(
    tmp_path: Path, model: str, towers: list[Path]
) -> None:
    texts = tmp_path / "texts.npz"
    embedded(model, texts, towers, "towers")
    assert "seam" not in set(scored(model, texts, towers, tmp_path / "a", "towers")["metric"])
    surface(towers[0], 1.25)
    surface(towers[1], None)
    table = scored(model, texts, towers, tmp_path / "b", "towers")
    seams = table[table["metric"] == "seam"].set_index(["column", "prompt_id"])
    red, blue = (prompt_id(text) for text in SETS["towers"])
    assert set(seams["view"]) == {"object"}
    assert tuple(seams.loc[("csd", red), ["value", "status"]]) == (1.25, "ok")
    assert seams.loc[("csd", blue), "status"] == "not applicable"
    assert seams.loc[("sds", blue), "status"] == "failed"
    assert np.isnan(seams.loc[("sds", blue), "value"])
    protocols = json.loads((tmp_path / "b" / "protocols.json").read_text())
    assert protocols[seams["protocol_id"].iloc[0]]["metric"] == "seam"
    summary = read_table(tmp_path / "b" / "summary", "summary")
    chosen = summary[(summary["metric"] == "seam") & (summary["column"] == "csd")]
    assert list(chosen["population"]) == ["completers"]
    assert list(chosen["mean"]) == [1.25]


def test_seams_measured_differently_share_no_protocol(
    tmp_path: Path, model: str, towers: list[Path]
) -> None:
    """Resolution, distance and floor decide the number; a failed run stands beside the others."""
    texts = tmp_path / "texts.npz"
    embedded(model, texts, towers, "towers")

    def ids(name: str, **other: Any) -> list[str]:
        """Protocol of the seams of the first two runs; the failed one shares the first's."""
        surface(towers[0], 1.25, resolution=384, floor=0.23)
        surface(towers[1], 1.5, **{"resolution": 384, "floor": 0.23, **other})
        table = scored(model, texts, towers, tmp_path / name, "towers")
        rows = table[table["metric"] == "seam"].set_index(["column", "prompt_id"])["protocol_id"]
        red, blue = (rows["csd", prompt_id(text)] for text in SETS["towers"])
        assert rows["sds", prompt_id("a blue tower")] == red
        described = json.loads((tmp_path / name / "protocols.json").read_text())
        assert described[red]["measured"] == {"resolution": 384, "floor": 0.23}
        return [red, blue]

    known = set(ids("same"))
    assert len(known) == 1
    for number, other in enumerate(({"resolution": 1024}, {"floor": 0.5})):
        red, blue = ids(str(number), **other)
        assert {red} == known != {blue}


def test_columns_may_end_in_different_stages(
    tmp_path: Path, model: str, towers: list[Path]
) -> None:
    texts = tmp_path / "texts.npz"
    for folder in towers[2:]:
        change(folder, stage="mesh")
    embedded(model, texts, towers, "towers")
    scored(model, texts, towers, tmp_path / "a", "towers")
    pairs = read_table(tmp_path / "a" / "pairs", "pairs")
    assert set(pairs["stage"]) == {"nerf/mesh"}
    assert set(pairs[pairs["metric"] == "clip_score"]["n_prompts"]) == {2}
    change(towers[2], stage="nerf")
    with pytest.raises(ArtifactError, match="column sds also has runs of stage nerf"):
        scored(model, texts, towers, tmp_path / "b", "towers")


def test_refused_files_have_a_reason_and_no_number(
    tmp_path: Path, model: str, towers: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    """Neither good nor failed: files that cannot be scored say nothing of the method."""
    texts = tmp_path / "texts.npz"
    change(towers[2], status="refused", reason="no view back")
    embedded(model, texts, towers, "towers")
    assert embeddings.read_arrays(towers[2] / "embeddings.npz", ["view"])["view"].size == 0
    table = scored(model, texts, towers, tmp_path / "a", "towers")
    assert f"not scored: {towers[2]}: no view back" in capsys.readouterr().err
    assert set(table[table["column"] == "sds"]["prompt_id"]) == {prompt_id("a blue tower")}
    summary = read_table(tmp_path / "a" / "summary", "summary")
    treated = summary[(summary["column"] == "sds") & (summary["metric"] == "clip_score")]
    assert set(treated["n_runs"]) == {1}
    assert runs.read_run(towers[2]).failed


def test_other_cameras_are_another_protocol(
    tmp_path: Path, model: str, towers: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    """Pictures from cameras of their own share no table column, and no test, with ours."""
    texts = tmp_path / "texts.npz"
    theirs = change(towers[2], kind="external", stage="external")
    (theirs / "trace.parquet").unlink()
    change(towers[3], kind="external", stage="external")
    listing = {"schema_version": SCHEMA_VERSION, "cameras": {"elevation": 0}}
    for folder in towers[2:]:
        write_json(folder / "views" / "views.json", listing)
    embedded(model, texts, towers, "towers")
    table = scored(model, texts, towers, tmp_path / "a", "towers")
    by_column = {c: set(rows["protocol_id"]) for c, rows in table.groupby("column")}
    assert not by_column["csd"] & by_column["sds"]
    protocols = json.loads((tmp_path / "a" / "protocols.json").read_text())
    assert protocols[min(by_column["sds"])]["cameras"] == {"declared": {"elevation": 0}}
    assert read_table(tmp_path / "a" / "pairs", "pairs").empty
    assert runs.from_evaluated(runs.read_runs(towers)) == runs.read_runs(towers[:2])
    assert "cameras of its own" in capsys.readouterr().err
