"""Both programs on run folders of true, wrong and failed objects, end to end."""

import json
from pathlib import Path

import numpy as np
import pytest
from scored_runs import PROMPTS, STRICT, Bench, filled, own_prompts, values

from metrics import embed, embeddings, protocol, runs, score
from pipeline.artifacts import read_table


@pytest.fixture(autouse=True)
def prompts(monkeypatch: pytest.MonkeyPatch) -> None:
    own_prompts(monkeypatch)


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return filled(tmp_path)


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


def test_a_workflow_in_which_everything_failed_is_scored(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    bench.add("bad", "a red tower", None)
    bench.embed()
    frame = read_table(bench.score() / "scores", "scores")
    assert set(frame["status"]) == {"ok", "failed"}  # the floors are known all the same
    assert read_table(tmp_path / "tables" / "traces", "traces").empty


def test_compositing_is_over() -> None:
    half = np.array([[[1.0, 0.0, 0.5, 0.5]]])
    np.testing.assert_allclose(runs.composited(half, 1.0)[0, 0], [1.0, 0.5, 0.75])
    np.testing.assert_allclose(runs.composited(half, 0.0)[0, 0], [0.5, 0.0, 0.25])
