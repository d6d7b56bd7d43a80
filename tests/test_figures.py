"""Figures hold what they say, and the same input gives the same bytes."""

import json
from pathlib import Path

import numpy as np
import pandas
import pytest
import synthetic_results as synthetic

from pipeline import artifacts
from reports import contact_sheet, figures, gradient_norms, records

COLUMNS = ["csd", "vsd"]


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return synthetic.write_results(
        tmp_path_factory.mktemp("figures"),
        prompts=synthetic.PLAIN[:3],
        columns=tuple(COLUMNS),
        size=16,
    )


@pytest.fixture(scope="module")
def runs(results: Path) -> list[records.Run]:
    return records.find_runs(results / "runs", task="geometry")


def test_bins_hold_medians_and_quartiles_of_what_falls_in() -> None:
    traces = synthetic.trace_frame("csd_neg", np.random.default_rng(3)).assign(column="csd_neg")
    table = gradient_norms.binned(traces, against="t", quantity="weighted_norm", bins=7)
    t = traces["t"].dropna()
    edges = np.linspace(t.min(), t.max() + 1e-9, 8)
    for row in table.itertuples(index=False):
        quantity = "norm" if row.term == "posterior" else "weighted_norm"
        values = [
            getattr(r, quantity)
            for r in traces.itertuples(index=False)
            if r.term == row.term
            and not np.isnan(getattr(r, quantity))
            and sum(edges[1:-1] <= r.t) == sum(edges[1:-1] <= row.centre)
        ]
        assert row.n == len(values)
        assert row.median == pytest.approx(np.median(values))
        assert row.lower == pytest.approx(np.quantile(values, 0.25))
    assert (
        table["n"].sum()
        == (
            traces["term"].isin([*gradient_norms.TERMS, "posterior"]) & traces["norm"].notna()
        ).sum()
    )


def test_a_trace_without_norms_is_refused() -> None:
    frame = pandas.DataFrame(
        {"column": ["csd"], "step": [0], "t": [5.0], "term": ["classifier"], "norm": [np.nan]}
    )
    with pytest.raises(records.ReportError, match="no gradient norm"):
        gradient_norms.binned(
            frame.assign(weighted_norm=np.nan), against="t", quantity="norm", bins=3
        )


def _vanishing() -> pandas.DataFrame:
    """Traces whose classifier part vanishes half way, beside a generative part of 10."""
    rows = [
        {"step": step, "t": 5.0 * step, "term": term, "norm": norm, "weighted_norm": norm}
        for step in range(100)
        for term, norm in (("generative", 10.0), ("classifier", 1.0 if step < 50 else 0.0))
    ]
    return pandas.DataFrame(rows).assign(column="csd")


def test_what_vanishes_stands_below_a_marked_floor_and_its_numbers_stay() -> None:
    table = gradient_norms.binned_norms(_vanishing())
    own = table[(table["term"] == "classifier") & (table["against"] == "step")]
    assert own["median"].tolist() == [1.0] * 4 + [0.0] * 4
    figure = gradient_norms.drawn(table, columns=["csd"])
    figure.canvas.draw()
    axes = figure.axes[0]
    low, high = axes.get_ylim()
    assert gradient_norms.FLOOR / 3 < low < gradient_norms.FLOOR
    assert 10.0 < high < 100.0
    (line,) = [x for x in axes.lines if x.get_color() == gradient_norms.TERMS["classifier"][1]]
    heights = np.asarray(line.get_ydata())
    assert heights[:4].tolist() == [1.0] * 4
    assert (heights[4:] > low).all()
    assert (heights[4:] < gradient_norms.FLOOR).all()
    labels = [label.get_text() for label in axes.get_yticklabels()]
    assert [label for label in labels if label.startswith("<")] == ["< $10^{-3}$"]


def test_the_figures_colours_are_the_pages() -> None:
    style = (Path(figures.__file__).parent / "static" / "base.css").read_text(encoding="utf-8")
    light = style.partition("@media")[0]
    for term, (_, colour, _) in gradient_norms.TERMS.items():
        assert term == "direction" or f"--term-{term}: {colour};" in light
    assert f"--ink: {gradient_norms.INK};" in light


def test_gradient_norms_program_is_reproducible(results: Path, tmp_path: Path) -> None:
    trace = str(results / "tables" / "traces.parquet")
    for name in ("a", "b"):
        figures.main(["gradient_norms", "--trace", trace, "--out", str(tmp_path / name)])
    for suffix in ("svg", "csv"):
        first, second = ((tmp_path / n / f"gradient_norms.{suffix}").read_bytes() for n in "ab")
        assert first == second
    text = (tmp_path / "a" / "gradient_norms.svg").read_text(encoding="utf-8")
    assert "<dc:date>" not in text
    assert artifacts.read_png(tmp_path / "a" / "gradient_norms.png").shape[2] in (3, 4)


def test_a_runs_own_trace_carries_its_column(tmp_path: Path) -> None:
    artifacts.write_json(tmp_path / "run.json", synthetic.run_record("p", "nfsd", 0))
    frame = synthetic.trace_frame("csd", np.random.default_rng(0))
    artifacts.write_table(frame, tmp_path / "trace", "trace")
    assert set(figures.read_traces([tmp_path / "trace.parquet"])["column"]) == {"nfsd"}


def test_themed_svg_takes_the_pages_colours() -> None:
    traces = synthetic.trace_frame("vsd", np.random.default_rng(0)).assign(column="<b>&")
    _, svg, _ = gradient_norms.draw_gradient_norms(traces, columns=["<b>&"])
    page = gradient_norms.themed(svg, label='a "label"')
    assert page.startswith("<svg viewBox=")
    assert "var(--term-classifier)" in page
    assert "currentColor" in page
    assert gradient_norms.INK not in page
    assert "&lt;b&gt;&amp;" in page


def test_compositing_is_alpha_over_grey(tmp_path: Path) -> None:
    rgba = np.array([[[1.0, 0.2, 0.0, 0.5], [0.3, 0.3, 0.3, 0.0]]] * 2)
    artifacts.write_png(tmp_path / "x.png", rgba)
    found = contact_sheet.composited(tmp_path / "x.png", size=2, background=0.6)
    expected = rgba[..., :3] * rgba[..., 3:] + 0.6 * (1 - rgba[..., 3:])
    assert np.abs(found / 255 - expected).max() <= 1.5 / 255  # two roundings to 8 bits


def test_blind_sheet_shows_each_run_once_and_the_key_tells_which(
    runs: list[records.Run],
) -> None:
    look = {"views": ["front", "back"], "size": 16, "background": 0.75}
    sheet, key = contact_sheet.blind(runs, seed=5, across=2, **look)
    assert sorted(e["prompt_id"] + e["column"] for e in key) == sorted(
        run.key[1] + run.key[0] for run in runs
    )
    assert [e["tile"] for e in key] == list(range(1, len(runs) + 1))
    by_key = {run.key: run for run in runs}
    for i, entry in enumerate(key):
        run = by_key[entry["column"], entry["prompt_id"], entry["seed"]]
        y, x = 12 + (i // 2) * (16 + 24 + 12) + 24, 12 + (i % 2) * (32 + 12)
        expected = contact_sheet.tile(run, **look)
        assert np.array_equal(sheet[y : y + 16, x : x + 32], expected)
    again, _ = contact_sheet.blind(runs, seed=5, across=2, **look)
    other, _ = contact_sheet.blind(runs, seed=6, across=2, **look)
    assert np.array_equal(sheet, again)
    assert not np.array_equal(sheet, other)


def test_blind_program_writes_sheet_and_key(results: Path, tmp_path: Path) -> None:
    command = ["--runs", str(results / "runs"), "--out", str(tmp_path / "s.png"), "--blind"]
    with pytest.raises(SystemExit):
        contact_sheet.main(command)
    assert not (tmp_path / "s.png").exists()
    contact_sheet.main([*command, "--key", str(tmp_path / "k.json"), "--size", "16"])
    key = json.loads((tmp_path / "k.json").read_text(encoding="utf-8"))
    assert key["sheet_sha256"] == artifacts.sha256(tmp_path / "s.png")
    assert len(key["tiles"]) == 5
    failed = [t for t in key["tiles"] if t["status"] == "failed"]
    assert len(failed) == 1
    assert failed[0]["images"] == {}


def test_labelled_sheet_has_a_place_for_every_pair(runs: list[records.Run]) -> None:
    sheet = contact_sheet.labelled(runs, columns=COLUMNS, views=["front"], size=64, background=0.75)
    assert sheet.shape == (34 + 3 * (64 + 12) + 12, 150 + 2 * (64 + 12) + 12, 3)
    first = contact_sheet.tile(
        next(r for r in runs if r.key[:2] == ("csd", runs[0].key[1])),
        views=["front"],
        size=64,
        background=0.75,
    )
    assert np.array_equal(sheet[34:98, 150:214], first)


def test_sweep_names_every_image(results: Path, tmp_path: Path) -> None:
    options = ["--runs", str(results / "runs"), "--views", "front", "--out", str(tmp_path)]
    figures.main(["sweep", *options, "--columns", "vsd", "csd", "--size", "16"])
    table = pandas.read_csv(tmp_path / "sweep.csv").fillna("")
    assert len(table) == 5
    for row in table[table["sha256"] != ""].itertuples(index=False):
        assert artifacts.sha256(row.image) == row.sha256
    assert (tmp_path / "sweep.png").exists()
