"""Rows of the trace against slow loops and closed forms; its file after a kill."""

import itertools
import json
import math

import pytest
import torch

from pipeline import probe, trace


def _random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def _of(rows: list[trace.Row], term: str) -> list[trace.Row]:
    return [row for row in rows if row["term"] == term]


def test_norms_are_per_view_and_over_all_elements():
    text, noise = _random(2, 3, 4, 4), _random(2, 3, 4, 4, seed=1)
    t, weight = torch.tensor([10, 500]), torch.tensor([0.5, 2.0])
    rows = trace.step_rows(7, t, weight, {"text": text, "noise": noise}, text)
    generative = _of(rows, "generative")
    for view in range(2):
        squares = sum(float(v) ** 2 for v in (text - noise)[view].flatten())
        row = generative[view]
        assert (row["step"], row["t"]) == (7, int(t[view]))
        assert row["norm"] == pytest.approx(math.sqrt(squares), rel=1e-5)
        assert row["weighted_norm"] == pytest.approx(float(weight[view]) * row["norm"])
    assert [row["norm"] for row in _of(rows, "direction")] == pytest.approx(
        text.flatten(1).norm(dim=1).tolist()
    )


def test_terms_without_their_predictions_are_null_not_zero():
    rows = trace.step_rows(
        0,
        torch.tensor([1]),
        torch.ones(1),
        {"noise": torch.zeros(1, 3, 2, 2)},
        torch.ones(1, 3, 2, 2),
    )
    terms = [row["term"] for row in rows]
    assert terms == ["direction", *trace.DIFFERENCES]
    assert all(row["norm"] is None and row["weighted_norm"] is None for row in rows[1:])


def test_differences_are_the_papers_terms():
    names = ("text", "uncond", "neg", "particle", "noise")
    p = {name: _random(1, 3, 2, 2, seed=i) for i, name in enumerate(names)}
    found = trace.differences(p)
    assert torch.equal(found["generative"], p["text"] - p["noise"])  # delta_gen, eq. 5
    assert torch.equal(found["classifier"], p["text"] - p["uncond"])  # delta_cls, eq. 5
    assert torch.equal(found["negative"], p["neg"] - p["uncond"])
    assert torch.equal(found["particle_noise"], p["particle"] - p["noise"])
    assert torch.equal(found["particle_text"], p["particle"] - p["text"])


def test_values_and_losses_have_no_weighted_form():
    values = trace.value_rows(3, torch.tensor([5, 6]), "posterior", [0.25, 1.0])
    assert [(r["t"], r["norm"], r["weighted_norm"]) for r in values] == [
        (5, 0.25, None),
        (6, 1.0, None),
    ]
    (loss,) = trace.loss_rows(3, {"sparsity": torch.tensor(0.5)})
    assert loss == {
        "step": 3,
        "t": None,
        "term": "loss/sparsity",
        "norm": 0.5,
        "weighted_norm": None,
    }


def test_probe_rows_separate_the_mean_from_the_noise_around_it():
    """For samples mean + s, s of mean zero: |mean|, the root of mean |s|^2, and the cosines."""
    mean, spread = _random(3, 4, 4), _random(6, 3, 4, 4, seed=1)
    spread -= spread.mean(0)
    terms = {"a": mean + spread, "b": (-2.0 * mean).expand(6, 3, 4, 4), "c": None}
    rows = trace.probe_rows(4, 100, 0.5, terms, lambda value: 10.0 * float(value.abs().max()))
    found = {row["term"]: row for row in rows}
    assert found["probe/a/mean"]["norm"] == pytest.approx(float(mean.norm()), rel=1e-5)
    expected = math.sqrt(sum(float(s.square().sum()) for s in spread) / 6)
    assert found["probe/a/spread"]["norm"] == pytest.approx(expected, rel=1e-5)
    assert found["probe/a/spread"]["weighted_norm"] == pytest.approx(expected / 2, rel=1e-5)
    assert found["probe/b/spread"]["norm"] == pytest.approx(0.0, abs=1e-5)
    largest = float(mean.abs().max())
    assert found["probe/b/parameters"]["norm"] == pytest.approx(20 * largest, rel=1e-5)
    assert found["probe/cosine/a/b"]["norm"] == pytest.approx(-1.0, abs=1e-5)
    assert not [term for term in found if "c" in term.split("/")]


def test_a_torn_last_line_is_dropped_and_the_rest_kept(tmp_path):
    path = tmp_path / "checkpoint" / "trace.jsonl"
    for step in range(4):
        trace.append(path, trace.loss_rows(step, {"a": torch.tensor(float(step))}))
    whole = path.read_text()
    last = whole.splitlines()[-1]
    for cut in range(1, len(last)):  # killed at any byte of the last line
        path.write_text(whole[: -cut - 1])
        assert [row["step"] for row in trace.read(path, 99)] == [0, 1, 2]


def test_truncate_leaves_the_steps_before_and_whole_lines(tmp_path):
    path = tmp_path / "trace.jsonl"
    for step in range(5):
        trace.append(path, trace.loss_rows(step, {"a": torch.tensor(1.0), "b": torch.tensor(2.0)}))
    with path.open("a") as stream:
        stream.write('{"step": 5, "t')
    trace.truncate(path, 3)
    trace.append(path, trace.loss_rows(3, {"a": torch.tensor(1.0)}))
    assert [json.loads(line)["step"] for line in path.read_text().splitlines()] == [
        *(0, 0, 1, 1, 2, 2),
        3,
    ]


def test_a_missing_trace_is_empty(tmp_path):
    assert trace.read(tmp_path / "none.jsonl", 5) == []
    trace.truncate(tmp_path / "new" / "trace.jsonl", 0)
    assert (tmp_path / "new" / "trace.jsonl").read_text() == ""


@pytest.mark.parametrize(("steps", "probes"), [(500, 5), (20, 2), (12, 1), (1, 3), (7, 0)])
def test_probe_steps_are_log_spaced_within_the_run(steps, probes):
    found = sorted(probe.probe_steps(steps, probes))
    assert len(found) <= probes
    assert all(0 <= step < steps for step in found)
    if probes > 1:
        assert (found[0], found[-1]) == (0, steps - 1)
    if (steps, probes) == (500, 5):
        ratios = [(b + 1) / (a + 1) for a, b in itertools.pairwise(found)]
        assert max(ratios) / min(ratios) < 1.3  # equal but for rounding to whole steps
