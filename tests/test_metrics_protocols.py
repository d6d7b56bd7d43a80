"""The program that derives every reading: against scores, by hand, with failures and seeds."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas
import pytest
from metrics_world import run_folder

from metrics import candidates, protocols, readings, score
from metrics.embeddings import EMBEDDINGS, write_arrays
from metrics.runs import VIEWS
from pipeline.artifacts import ArtifactError, read_json, read_table, sha256

PROMPTS = [f"a red thing of kind {k}" for k in range(8)]
MORE = [*PROMPTS, "a blue thing", "a green thing"]
IDENTITY = {"model_id": "tiny", "model_sha256": "0", "preprocessing": "none"}
PREFIX = readings.CLIPSCORE_PREFIX
GREY, WHITE = "grey", "white"


@pytest.fixture(autouse=True)
def prompts(monkeypatch: pytest.MonkeyPatch) -> None:
    def plain(name: str) -> list[str]:
        return {"ours": PROMPTS, "more": MORE, "other": ["a pink thing"]}[name]

    monkeypatch.setattr(candidates, "plain", plain)
    monkeypatch.setattr(readings, "plain", plain)
    monkeypatch.setattr(candidates, "with_front", lambda name: frozenset())


class Table:
    """Runs whose views lie near their caption's embedding, by `noise`."""

    def __init__(self, root: Path) -> None:
        self.root, self.rng = root, np.random.default_rng(0)
        self.folders: list[Path] = []
        texts = [*MORE, *(PREFIX + text for text in MORE)]
        rows = self.rng.normal(size=(len(texts), 12)).astype(np.float32)
        self.texts = dict(zip(texts, rows, strict=True))
        stored = {"embedding": rows, "text": np.array(texts), **self.identity()}
        write_arrays(root / "texts.npz", stored)

    @staticmethod
    def identity() -> dict[str, np.ndarray]:
        return {name: np.array(value) for name, value in IDENTITY.items()}

    def add(
        self,
        column: str,
        prompt: str,
        noise: float | None,
        seed: int = 0,
        backgrounds: tuple[str, ...] = (GREY, WHITE),
    ) -> None:
        views = None if noise is None else self.rng.random((4, 8, 8, 4))
        folder = run_folder(self.root, column=column, prompt=prompt, views=views, seed=seed)
        labels = [(view, name) for view in VIEWS for name in backgrounds]
        labels = [] if noise is None else labels
        rows = self.texts[prompt] + (noise or 0.0) * self.rng.normal(size=(len(labels), 12))
        stored: dict[str, Any] = {
            "embedding": rows.astype(np.float32).reshape(len(labels), 12),
            "view": np.array([view for view, _ in labels], dtype=np.str_),
            "background": np.array([name for _, name in labels], dtype=np.str_),
            "image_sha256": np.array(
                [sha256(folder / "views" / f"{view}.png") for view, _ in labels], dtype=np.str_
            ),
        }
        write_arrays(folder / EMBEDDINGS, stored | self.identity())
        self.folders.append(folder)

    def derive(self, *extra: str, out: str = "tables") -> dict[str, pandas.DataFrame]:
        options = ["--model", "tiny", "--texts", str(self.root / "texts.npz")]
        options += ["--candidates", "ours", "--resamples", "499", "--out", str(self.root / out)]
        protocols.main([*options, *extra, "--runs", *map(str, self.folders)])
        names = ("protocols", "comparisons", "published")
        return {name: read_table(self.root / out / name, name) for name in names}


@pytest.fixture
def runs(tmp_path: Path) -> Table:
    """A good column, a bad one with a failure."""
    table = Table(tmp_path)
    for k, prompt in enumerate(PROMPTS):
        table.add("good", prompt, 0.6)
        table.add("bad", prompt, None if k == 3 else 2.5)
    return table


def row(frame: pandas.DataFrame, **chosen: Any) -> dict[str, Any]:
    chosen = {"prefix": "", "background": GREY, "population": "intent_to_treat"} | chosen
    for name, value in chosen.items():
        if name in frame:
            frame = frame[frame[name] == value]
    assert len(frame) == 1, frame
    return dict(frame.iloc[0])


def hit(**chosen: Any) -> dict[str, Any]:
    return {"quantity": "r_at_1", "unit": "view", "candidates": "ours", "ties": "expected"} | chosen


def test_readings_agree_with_scores(runs: Table) -> None:
    """The same protocol_id has the same mean in `summary`, whose statistics are scipy's."""
    frame = runs.derive()["protocols"]
    options = ["--model", "tiny", "--texts", str(runs.root / "texts.npz"), "--candidates", "ours"]
    options += ["--other-backgrounds", WHITE, "--out", str(runs.root / "scored")]
    score.main([*options, "--runs", *map(str, runs.folders)])
    summary = read_table(runs.root / "scored" / "summary", "summary")
    both = frame.merge(summary, on=["column", "population", "protocol_id"])
    assert set(both["metric"]) == {
        *("clip_cos", "clip_score", "clip_score@white", "r_at_1", "r_at_1_object", "r_at_5"),
        *("r_at_1@white", "r_at_1_object@white", "r_at_5_object", "r_at_10", "r_at_10_object"),
    }
    np.testing.assert_allclose(both["value"], both["mean"], atol=1e-12)
    assert list(both["n_prompts_x"]) == list(both["n_prompts_y"])
    # two independent sets of resamples, 499 and 9999
    sure = both[both["interval"] == "BCa"]
    width = sure["upper_y"] - sure["lower_y"]
    assert ((sure["lower_x"] - sure["lower_y"]).abs() <= 0.3 * width + 1e-9).all()


def test_failed_runs_by_population(runs: Table) -> None:
    frame = runs.derive()["protocols"]
    for quantity, worst in {"median_rank": 8.0, "mrr": 1 / 8, "r_at_1": 0.0}.items():
        chosen = hit(quantity=quantity, column="bad", unit="object")
        treated = row(frame, **chosen)
        completed = row(frame, **chosen, population="completers")
        assert (treated["n_prompts"], completed["n_prompts"]) == (8, 7)
        assert treated["n_runs"] == completed["n_runs"] == 8
        assert treated["n_failed"] == completed["n_failed"] == 1
        assert (treated["n_queries"], completed["n_queries"]) == (8, 7)
        if quantity != "median_rank":
            assert treated["value"] * 8 == pytest.approx(completed["value"] * 7 + worst)
    good = hit(column="good")
    assert row(frame, **good)["value"] == row(frame, **good, population="completers")["value"]


def test_a_wider_pool_is_harder_and_another_protocol(runs: Table) -> None:
    frame = runs.derive("--pools", "more")["protocols"]
    few = row(frame, **hit(column="bad", quantity="mrr"))
    many = row(frame, **hit(column="bad", quantity="mrr", candidates="more"))
    assert (few["n_candidates"], many["n_candidates"]) == (8, 10)
    assert many["value"] < few["value"]
    assert many["protocol_id"] != few["protocol_id"]
    described = read_json(runs.root / "tables" / "readings.json")
    assert described[many["protocol_id"]]["candidates"] == 10
    ids = frame.groupby(["quantity", "unit", "prefix", "background", "candidates", "ties"])
    assert (ids["protocol_id"].nunique() == 1).all()
    assert frame["protocol_id"].nunique() == len(ids)
    assert set(frame["protocol_id"]) == set(described)


def test_the_spread_over_backgrounds(runs: Table) -> None:
    frame = runs.derive()["protocols"]
    chosen = {"column": "bad", "quantity": "clip_score", "unit": "view"}
    values = [row(frame, **chosen, background=name) for name in (GREY, WHITE)]
    spread = abs(values[0]["value"] - values[1]["value"])
    assert spread > 0
    assert [v["background_spread"] for v in values] == pytest.approx([spread, spread])


def test_prefixes_that_were_not_embedded_were_not_run(runs: Table) -> None:
    frame = runs.derive()["protocols"]
    missing = frame[frame["status"] != "ok"]
    assert set(missing["protocol"]) == {"clipscore"}
    assert missing["value"].isna().all()
    assert set(missing["status"]) == {"not run: the prefix 'A photo depicts ' was not embedded"}
    again = runs.derive("--prefixes", PREFIX)["protocols"]
    assert set(again["status"]) == {"ok"}
    found = row(again, column="good", protocol="clipscore", prefix=PREFIX)
    assert found["quantity"] == "clips_w25"
    assert found["value"] != row(again, column="good", quantity="clips_w25", unit="view")["value"]
    assert found["protocol_id"] == missing["protocol_id"].iloc[0]


def test_comparisons_are_paired_and_tested_at_object_level(runs: Table) -> None:
    frame = runs.derive()["comparisons"]
    whole = row(frame, **hit(unit="object", ties="pessimistic"))
    assert (whole["column_a"], whole["column_b"]) == ("bad", "good")
    assert whole["n_prompts"] == 8
    assert whole["difference"] == pytest.approx((whole["a_only"] - whole["b_only"]) / 8)
    assert whole["p_mcnemar"] == pytest.approx(min(1.0, 2.0 * 0.5 ** whole["b_only"]))
    by_view = row(frame, **hit(ties="pessimistic"))
    assert np.isnan(by_view["p_mcnemar"])
    assert by_view["smallest_p"] == 2 / 2**8
    assert by_view["p"] == by_view["p_holm"] <= 0.05
    assert by_view["verdict"] == "b above a"
    assert 0 < by_view["minimum_detectable"] < 1
    assert "median_rank" not in set(frame["quantity"])


def test_seeds_are_a_second_level(runs: Table) -> None:
    for prompt in PROMPTS:
        runs.add("good", prompt, 0.6, seed=1)
    tables = runs.derive()
    similar = {"quantity": "clip_score", "unit": "view"}
    good, bad = (row(tables["protocols"], **similar, column=c) for c in ("good", "bad"))
    assert (good["interval"], bad["interval"]) == ("nested BCa", "BCa")
    assert (good["n_runs"], good["n_prompts"], good["n_queries"]) == (16, 8, 64)
    whole = row(tables["comparisons"], **hit(unit="object", ties="pessimistic"))
    assert np.isnan([whole["p_mcnemar"], whole["a_only"]]).all()
    assert whole["n_prompts"] == 8


def test_tables_are_repeatable_and_columns_change_no_number(runs: Table) -> None:
    first = runs.derive(out="first")["protocols"]
    runs.derive(out="second")
    for path in sorted((runs.root / "first").iterdir()):
        assert path.read_bytes() == (runs.root / "second" / path.name).read_bytes(), path.name
    runs.folders = [folder for folder in runs.folders if "good" in folder.parts]
    alone = runs.derive(out="third")["protocols"]
    good = first[first["column"] == "good"].reset_index(drop=True)
    pandas.testing.assert_frame_equal(alone, good)


def test_one_prompt_and_nothing_finished(tmp_path: Path) -> None:
    table = Table(tmp_path)
    table.add("only", PROMPTS[0], None)
    tables = table.derive()
    treated = row(tables["protocols"], **hit(column="only"))
    assert (treated["value"], treated["interval"]) == (0.0, "Wilson")
    assert treated["upper"] == pytest.approx(0.79, abs=0.01)  # 0 of 1
    score = row(tables["protocols"], quantity="mrr", unit="view", ties="strict")
    assert (score["value"], score["interval"]) == (1 / 8, "none")
    assert np.isnan([score["lower"], score["upper"]]).all()
    completed = row(tables["protocols"], **hit(column="only"), population="completers")
    assert completed["n_prompts"] == 0
    assert np.isnan(completed["value"])
    assert tables["comparisons"].empty


def test_columns_without_common_prompts_are_not_compared(tmp_path: Path) -> None:
    table = Table(tmp_path)
    table.add("a", PROMPTS[0], 0.5)
    table.add("b", PROMPTS[1], 0.5)
    found = row(table.derive()["comparisons"], **hit())
    assert found["n_prompts"] == 0
    assert np.isnan([found["difference"], found["p"], found["minimum_detectable"]]).all()
    assert found["verdict"] == "n too small to rank"


def test_what_was_not_embedded_is_named(runs: Table) -> None:
    with pytest.raises(ArtifactError, match="not in the pool 'other' have no rank"):
        runs.derive("--pools", "other")
    with pytest.raises(ArtifactError, match=r"lacks \['a picture of a red thing"):
        runs.derive("--prefixes", "a picture of ")
    with pytest.raises(ArtifactError, match="has backgrounds grey, white; needs black"):
        runs.derive("--background", "black")
    runs.add("odd", PROMPTS[0], 0.5, backgrounds=(GREY,))
    with pytest.raises(ArtifactError, match="embed all runs with the same"):
        runs.derive()


def test_published_values_stand_in_their_own_table(runs: Table) -> None:
    tables = runs.derive()
    assert "published" not in tables["protocols"].columns
    assert set(tables["published"]["system"]) == {"DreamFusion", "Magic3D", "CSD"}
    assert all("not" in verdict for verdict in tables["published"]["verdict"])
    described = json.loads((runs.root / "tables" / "readings.json").read_text())
    assert all(len(name) == 16 for name in described)
