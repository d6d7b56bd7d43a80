"""What cannot be scored is refused, by a message that names it."""

import json
from pathlib import Path

import numpy as np
import pytest
from metrics_world import run_folder, straight, tiny_clip
from scored_runs import PROMPTS, Bench, filled, own_prompts

from metrics import candidates, embeddings, runs
from pipeline.artifacts import ArtifactError


@pytest.fixture(autouse=True)
def prompts(monkeypatch: pytest.MonkeyPatch) -> None:
    own_prompts(monkeypatch)


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return filled(tmp_path)


def test_a_missing_run_is_named(bench: Bench) -> None:
    bench.folders += [bench.root / "nowhere", bench.root / "never"]
    with pytest.raises(ArtifactError, match=r"2 of 10 runs .*nowhere.*never"):
        bench.score()


def test_a_copied_run_is_refused(bench: Bench) -> None:
    copy = bench.root / "copy"
    copy.mkdir()
    (copy / "run.json").write_text((bench.folders[0] / "run.json").read_text())
    bench.folders.append(copy)
    with pytest.raises(ArtifactError, match="both say they are"):
        bench.score()


def test_pictures_rendered_since_are_refused(bench: Bench) -> None:
    bench.add("good", "a red tower", straight("slab", "red"))
    bench.folders.pop()
    with pytest.raises(ArtifactError, match=r"front.png was rendered since; embed again"):
        bench.score()


def test_embeddings_of_another_model_are_refused(bench: Bench, tmp_path: Path) -> None:
    kept, bench.folders = bench.folders, bench.folders[1:]
    bench.model = f"local-dir:{tiny_clip(tmp_path / 'other', seed=1)}"
    bench.embed()
    bench.folders = kept
    with pytest.raises(ArtifactError, match="made by another model than the captions"):
        bench.score()
    bench.model = "local-dir:elsewhere"
    with pytest.raises(ArtifactError, match=r"not local-dir:elsewhere; run metrics.embed"):
        bench.score()


def test_missing_captions_and_backgrounds_are_named(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ArtifactError, match="lacks background black; embed with it"):
        bench.score("--background", "black")
    more = [*PROMPTS, "a red duck"]
    with monkeypatch.context() as patch:
        patch.setattr(candidates, "plain", lambda name: more)
        with pytest.raises(ArtifactError, match=r"lacks \['a red duck'"):
            bench.score()


def test_a_prompt_that_is_no_candidate_is_refused(bench: Bench) -> None:
    bench.add("good", "a red <script>", straight("tower", "red"))
    with pytest.raises(ArtifactError, match=r"not among the candidates .*<script>"):
        bench.score()


def test_views_of_two_sizes_are_refused(bench: Bench) -> None:
    bench.add("good", "a blue tower", straight("tower", "blue", size=48), seed=1)
    bench.embed()
    with pytest.raises(ArtifactError, match=r"different sizes .*\(48, 48\)"):
        bench.score()


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"status": "running"}, "neither 'ok', 'failed' nor 'refused'"),
        ({"seed": None, "prompt": None}, "lacks prompt, seed"),
        ({"schema_version": "9.0"}, "schema_version '9.0'"),
    ],
)
def test_broken_run_records_are_named(tmp_path: Path, change: dict, says: str) -> None:
    folder = run_folder(tmp_path, column="csd", prompt="a red car", views=None)
    record = json.loads((folder / "run.json").read_text()) | change
    record = {key: value for key, value in record.items() if value is not None}
    (folder / "run.json").write_text(json.dumps(record))
    with pytest.raises(ArtifactError, match=says):
        runs.read_runs([folder])
    (folder / "run.json").write_text("[]")
    with pytest.raises(ArtifactError, match="not a JSON object"):
        runs.read_run(folder)


def test_pictures_without_alpha_are_refused(bench: Bench) -> None:
    from pipeline.artifacts import write_png

    write_png(bench.folders[0] / "views" / "left.png", np.zeros((32, 32, 3)))
    with pytest.raises(ArtifactError, match=r"left.png: shape \(32, 32, 3\), expected RGBA"):
        bench.score()


@pytest.mark.parametrize("content", [b"", b"no zip", b"PK\x03\x04 cut"])
def test_broken_embeddings_are_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "embeddings.npz"
    with pytest.raises(ArtifactError, match=r"no such file; run metrics.embed"):
        embeddings.read_arrays(path, [])
    path.write_bytes(content)
    with pytest.raises(ArtifactError, match=r"embeddings.npz: not an npz file"):
        embeddings.read_arrays(path, [])


def test_embeddings_of_another_layout_are_named(tmp_path: Path) -> None:
    path = embeddings.write_arrays(tmp_path / "embeddings.npz", {"view": np.array(["front"])})
    with pytest.raises(ArtifactError, match="lacks embedding"):
        embeddings.read_arrays(path, ["view", "embedding"])
    np.savez(path, view=np.array(["front"]))
    with pytest.raises(ArtifactError, match="schema_version"):
        embeddings.read_arrays(path, ["view"])
