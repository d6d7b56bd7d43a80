"""Both programs on run folders of true, wrong and failed objects, end to end."""

import json
from pathlib import Path

import numpy as np
import pandas
import pytest
from metrics_world import run_folder, straight, tiny_clip, truth_folder

from metrics import candidates, embed, embeddings, protocol, runs, score
from pipeline.artifacts import ArtifactError, read_table

PROMPTS = ["a red tower", "a blue tower", "a red slab", "a red car"]
STRICT = ["front", "side", "back"]


@pytest.fixture(autouse=True)
def prompts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Prompt sets of the test's own objects; the last is unknown to its world."""

    def plain(name: str) -> list[str]:
        return {"ours": PROMPTS, "lumps": ["a red blob"]}[name]

    monkeypatch.setattr(candidates, "plain", plain)
    monkeypatch.setattr(candidates, "with_front", lambda name: frozenset(["a red car"]))


@pytest.fixture
def model(tmp_path: Path) -> str:
    return f"local-dir:{tiny_clip(tmp_path / 'clip')}"


class Bench:
    """A folder of runs with what both programs need to score them."""

    def __init__(self, root: Path, model: str) -> None:
        self.root, self.model = root, model
        self.truth = truth_folder(root / "truth", directional=("tower",))
        self.folders: list[Path] = []

    def add(self, column: str, prompt: str, views: np.ndarray | None, seed: int = 0) -> Path:
        folder = run_folder(
            self.root / "runs", column=column, prompt=prompt, views=views, seed=seed
        )
        self.folders.append(folder)
        return folder

    def options(self) -> list[str]:
        """What both programs are told."""
        return [
            *("--model", self.model, "--candidates", "ours", "--strict-views", *STRICT),
            *("--strict-extra", "lumps", "--texts", str(self.root / "texts.npz")),
        ]

    def embed(self, backgrounds: tuple[str, ...] = ("grey", "white")) -> None:
        embed.main(
            [*self.options(), "--backgrounds", *backgrounds, "--runs", *map(str, self.folders)]
        )

    def score(self, *extra: str, out: str = "tables", truth: bool = True) -> Path:
        folder = self.root / out
        known = ["--truth", str(self.truth)] if truth else []
        ours = [*self.options(), *known, *extra, "--out", str(folder)]
        score.main([*ours, "--runs", *map(str, self.folders)])
        return folder


@pytest.fixture
def bench(tmp_path: Path, model: str) -> Bench:
    """Two columns: one makes true objects, one a wrong colour, a wrong shape, a failure."""
    bench = Bench(tmp_path, model)
    for prompt in PROMPTS[:3]:
        _, colour, shape = prompt.split()
        bench.add("good", prompt, straight(shape, colour))
    bench.add("good", "a red car", straight("slab", "red"))
    bench.add("bad", "a red tower", straight("tower", "blue")[[2, 3, 0, 1]])
    bench.add("bad", "a blue tower", straight("slab", "blue"))
    bench.add("bad", "a red slab", None)
    bench.add("bad", "a red car", straight("tower", "red"))
    bench.embed()
    return bench


def values(frame: pandas.DataFrame, column: str, prompt: str, metric: str) -> dict[str, float]:
    from prompts.load import prompt_id

    chosen = frame[(frame["column"] == column) & (frame["metric"] == metric)]
    chosen = chosen[chosen["prompt_id"] == prompt_id(prompt)]
    return dict(zip(chosen["view"], chosen["value"], strict=True))


def test_true_objects_are_told_from_wrong_ones(bench: Bench) -> None:
    frame = read_table(bench.score() / "scores", "scores")
    views = [*runs.VIEWS, "object"]
    assert values(frame, "good", "a red tower", "truth_iou") == dict.fromkeys(views, 1.0)
    assert values(frame, "good", "a red tower", "front_back") == {"object": 1.0}
    assert values(frame, "bad", "a red tower", "front_back") == {"object": 0.0}
    wrong = values(frame, "bad", "a blue tower", "truth_iou")
    assert wrong == values(frame, "bad", "a blue tower", "iou_floor")
    assert values(frame, "good", "a red tower", "iou_floor") == wrong
    good, bad = (values(frame, c, "a red tower", "truth_psnr")["object"] for c in ("good", "bad"))
    assert good > 50 > 15 > bad


def test_failed_runs_count_as_the_worst(bench: Bench) -> None:
    frame = read_table(bench.score("--other-backgrounds", "white") / "scores", "scores")
    failed = frame[frame["status"] == "failed"]
    by_metric = {name: set(group["value"]) for name, group in failed.groupby("metric")}
    assert by_metric["rank"] == {4.0}
    assert by_metric["strict_rank"] == {4.0 * 3 + 1}
    for metric in ("clip_score", "r_at_10", "truth_iou", "strict_hit", "clip_score@white"):
        assert by_metric[metric] == {0.0}
    assert np.isnan(list(by_metric["chroma"])).all()
    assert set(values(frame, "bad", "a red slab", "iou_floor").values()) == set(
        values(frame, "good", "a red slab", "iou_floor").values()
    )


def test_failed_runs_have_the_rows_of_the_others(bench: Bench) -> None:
    frame = read_table(bench.score("--other-backgrounds", "white") / "scores", "scores")
    from prompts.load import prompt_id

    slab = frame[frame["prompt_id"] == prompt_id("a red slab")]
    rows = {
        column: sorted(zip(part["view"], part["metric"], part["protocol_id"], strict=True))
        for column, part in slab.groupby("column")
    }
    assert rows["bad"] == rows["good"]
    assert len(set(rows["good"])) == len(rows["good"])


def test_prompts_outside_the_toy_world_have_no_truth(bench: Bench) -> None:
    frame = read_table(bench.score() / "scores", "scores")
    odd = frame[frame["status"] == "not applicable"]
    truths = {"truth_iou", "truth_psnr", "iou_floor", "iou_ball", "front_back"}
    from prompts.load import prompt_id

    of_car = odd[odd["prompt_id"] == prompt_id("a red car")]
    assert set(of_car["metric"]) == truths
    rest = odd[odd["prompt_id"] != prompt_id("a red car")]
    assert set(rest["metric"]) == {"front_back", "back_front", "front_count"}  # of slabs
    assert set(rest["prompt_id"]) == {prompt_id("a red slab")}
    without = read_table(bench.score(out="plain", truth=False) / "scores", "scores")
    assert not truths & set(without["metric"])


def test_objects_with_a_front_have_janus_numbers(bench: Bench) -> None:
    """Towers have a front since their world says so, the car since its prompt is tagged."""
    frame = read_table(bench.score() / "scores", "scores")
    texts = embeddings.read_arrays(bench.root / "texts.npz", ["text", "embedding"])
    rows = dict(zip(map(str, texts["text"]), texts["embedding"].astype(float), strict=True))
    arrays = embeddings.read_arrays(bench.folders[0] / "embeddings.npz", ["embedding"])
    grey = arrays["embedding"][arrays["background"] == "grey"].astype(
        float
    )  # front, left, back, ..
    alike = grey[0] @ grey[2] / np.linalg.norm(grey[0]) / np.linalg.norm(grey[2])
    count = sum(
        max(STRICT, key=lambda word: float(v @ rows[f"a red tower, {word} view"])) == "front"
        for v in grey
    )
    assert values(frame, "good", "a red tower", "back_front")["object"] == pytest.approx(alike)
    assert values(frame, "good", "a red tower", "front_count") == {"object": count}
    assert set(values(frame, "good", "a red car", "front_count")) == {"object"}
    assert np.isnan(values(frame, "good", "a red slab", "front_count")["object"])
    summary = read_table(bench.root / "tables" / "summary", "summary")
    chosen = summary[summary["metric"] == "front_count"]
    assert set(chosen["population"]) == {"completers"}
    assert set(chosen["n_prompts"]) == {3}


def test_without_view_words_fronts_are_not_counted(bench: Bench) -> None:
    options = ["--model", bench.model, "--candidates", "ours", "--texts", str(bench.root / "t.npz")]
    runs_of = ["--runs", *map(str, bench.folders)]
    embed.main([*options, *runs_of])
    score.main([*options, *runs_of, "--out", str(bench.root / "plain")])
    found = set(read_table(bench.root / "plain" / "scores", "scores")["metric"])
    assert "back_front" in found
    assert not {"front_count", "strict_hit"} & found


def test_run_folders_may_stand_in_a_file(bench: Bench, tmp_path: Path) -> None:
    """One a line, empty lines and Windows' line ends skipped, files within files."""
    runs_file, options = tmp_path / "runs.txt", tmp_path / "options.txt"
    runs_file.write_text("\r\n".join(["--runs", *map(str, bench.folders), ""]) + "\n\n")
    options.write_text("\n".join([*bench.options(), "", "--out", str(tmp_path / "filed")]))
    score.main([f"@{options}", f"@{runs_file}"])
    plain = bench.score(truth=False)
    for name in ("scores.parquet", "summary.csv", "pairs.csv"):
        assert (tmp_path / "filed" / name).read_bytes() == (plain / name).read_bytes()
    with pytest.raises(SystemExit):
        score.main([f"@{tmp_path / 'nowhere.txt'}"])


def test_retrieval_is_the_papers(bench: Bench) -> None:
    """Each number again from the embeddings: 250 cos and ranks among the four prompts."""
    frame = read_table(bench.score() / "scores", "scores")
    texts = embeddings.read_arrays(bench.root / "texts.npz", ["text", "embedding"])
    rows = dict(zip(map(str, texts["text"]), texts["embedding"].astype(float), strict=True))
    for folder in bench.folders[:4]:
        run = runs.read_run(folder)
        arrays = embeddings.read_arrays(folder / "embeddings.npz", ["view", "background"])
        for view in runs.VIEWS:
            chosen = (arrays["view"] == view) & (arrays["background"] == "grey")
            image = arrays["embedding"][chosen][0].astype(float)
            cosine = {p: image @ rows[p] / np.linalg.norm(image) for p in PROMPTS}
            rank = 1 + sum(cosine[p] > cosine[run.prompt] for p in PROMPTS)
            own = values(frame, "good", run.prompt, "clip_score")[view]
            assert own == pytest.approx(250 * cosine[run.prompt], abs=1e-4)
            assert values(frame, "good", run.prompt, "rank")[view] == rank
            assert values(frame, "good", run.prompt, "r_at_1")[view] == (rank == 1)


def test_tables_are_whole_and_repeatable(bench: Bench) -> None:
    first, second = bench.score(out="first"), bench.score(out="second")
    for path in sorted(first.iterdir()):
        assert path.read_bytes() == (second / path.name).read_bytes(), path.name
    summary = read_table(first / "summary", "summary")
    pairs = read_table(first / "pairs", "pairs")
    assert set(pairs["verdict"]) == {"n too small to rank"}
    treated = summary[summary["population"] == "intent_to_treat"]
    assert set(treated[treated["column"] == "bad"]["n_failed"]) <= {0, 1}
    protocols = json.loads((first / "protocols.json").read_text())
    scores = read_table(first / "scores", "scores")
    assert set(scores["protocol_id"]) == set(protocols)
    hashed = [protocol.protocol_id(described) for described in protocols.values()]
    assert hashed == list(protocols)
    one = scores[(scores["metric"] == "r_at_1") & (scores["view"] == "front")]
    described = protocols[one["protocol_id"].iloc[0]]
    assert (described["candidates"], described["ties"]) == (4, "expected")
    assert described["size"] == [32, 32]


def test_traces_stand_under_one_another(bench: Bench) -> None:
    frame = read_table(bench.score() / "traces", "traces")
    assert len(frame) == 2 * 7  # two rows a run that worked
    assert set(frame["column"]) == {"good", "bad"}
    assert list(frame[frame["column"] == "good"]["norm"]) == [1.0, 0.5] * 4


def test_embeddings_are_repeatable_and_know_their_pictures(bench: Bench) -> None:
    path = bench.folders[0] / "embeddings.npz"
    before = path.read_bytes()
    arrays = embeddings.read_arrays(path, ["embedding", "model_id"])
    assert arrays["embedding"].shape == (8, 16)
    assert str(arrays["model_id"]) == bench.model
    assert embeddings.read_arrays(bench.folders[6] / "embeddings.npz", ["view"])["view"].size == 0
    bench.embed()
    assert path.read_bytes() == before


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


def test_a_workflow_in_which_everything_failed_is_scored(tmp_path: Path, model: str) -> None:
    bench = Bench(tmp_path, model)
    bench.add("bad", "a red tower", None)
    bench.embed()
    frame = read_table(bench.score() / "scores", "scores")
    assert set(frame["status"]) == {"ok", "failed"}  # the floors are known all the same
    assert read_table(tmp_path / "tables" / "traces", "traces").empty


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


def test_compositing_is_over() -> None:
    half = np.array([[[1.0, 0.0, 0.5, 0.5]]])
    np.testing.assert_allclose(runs.composited(half, 1.0)[0, 0], [1.0, 0.5, 0.75])
    np.testing.assert_allclose(runs.composited(half, 0.0)[0, 0], [0.5, 0.0, 0.25])


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
