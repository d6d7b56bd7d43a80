"""Figure 2's numbers are those of slow loops over the traces; what lacks runs is refused."""

import itertools
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas
import pytest
import synthetic_results as synthetic
from synthetic_fig2 import PRIORS, PROBED, PROMPTS, STEPS, column_of, write_results

from metrics import fig2
from metrics.runs import read_runs, read_view
from pipeline import artifacts, config, recipes
from reports import fig2 as figure
from reports import fig2_gradients
from reports.records import ReportError, find_runs


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_results(tmp_path_factory.mktemp("fig2"))


def _table(results: Path, name: str) -> pandas.DataFrame:
    return pandas.read_csv(results / "out" / f"{name}.csv", dtype={"omega": str})


def _traces(results: Path, prior: str, omega: str) -> list[list[dict[str, Any]]]:
    """The trace of each prompt's run, as plain rows."""
    paths = sorted((results / "runs" / "geometry" / column_of(prior, omega)).rglob("trace.parquet"))
    return [artifacts.read_table(p, "trace").to_dict("records") for p in paths]


def _of(table: pandas.DataFrame, **chosen: Any) -> pandas.DataFrame:
    for name, value in chosen.items():
        table = table[table[name] == value]
    return table


@pytest.mark.parametrize(("prior", "omega"), [("marginal", "0"), ("learned", "csd")])
def test_steps_are_the_logged_norms_view_by_view(results: Path, prior: str, omega: str) -> None:
    found = _of(_table(results, "fig2a_steps"), prior=prior, omega=omega)
    traces = _traces(results, prior, omega)
    assert len(found) == sum(r["term"] == "generative" for rows in traces for r in rows)
    expected = []
    for rows in traces:
        for step in range(0, STEPS, 3):
            of = {
                term: [r for r in rows if (r["step"], r["term"]) == (step, term)]
                for term in ("generative", "classifier", "direction", "posterior")
            }
            for view in (0, 1):
                row = [step, view, of["generative"][view]["t"]]
                row += [of[t][view]["norm"] if of[t] else math.nan for t in of]
                expected.append([*row, of["generative"][view]["t"] / 1000])
    names = ["step", "view", "t", "generative", "classifier", "direction", "posterior", "weight"]
    np.testing.assert_allclose(found[names].to_numpy(float), np.array(expected, float), rtol=6e-5)


def test_a_probes_single_norm_is_the_root_mean_square(results: Path) -> None:
    """|d|^2 on average = |mean|^2 + spread^2, of any samples."""
    found = _of(_table(results, "fig2a_probes"), prior="learned", omega="40")
    rows = [r for trace in _traces(results, "learned", "40") for r in trace]
    assert len(found) == len(PROMPTS) * len(PROBED) * 2
    for one in found.itertuples():
        own = {
            r["term"]: r["norm"]
            for r in _traces(results, "learned", "40")[PROMPTS.index(one.prompt)]
            if (r["step"], r["t"]) == (one.step, one.t)
        }
        for part in fig2.PARTS:
            mean, spread = own[f"probe/{part}/mean"], own[f"probe/{part}/spread"]
            assert getattr(one, f"{part}_mean") == pytest.approx(mean, rel=1e-4)
            single = getattr(one, f"{part}_single")
            assert single == pytest.approx((mean**2 + spread**2) ** 0.5, rel=1e-4)
        cosine = own["probe/cosine/direction/classifier"]
        assert one.cosine_direction_classifier == pytest.approx(cosine, abs=1e-4)
        assert one.weight == pytest.approx(one.t / 1000, rel=1e-4)
    assert rows


@pytest.mark.parametrize("quantity", ["ratio", "ratio_weighted"])
@pytest.mark.parametrize("third", range(3))
def test_ratios_are_of_mean_norms_in_a_third_of_the_run(
    results: Path, quantity: str, third: int
) -> None:
    name = "norm" if quantity == "ratio" else "weighted_norm"
    expected = []
    for rows in _traces(results, "marginal", "7.5"):
        total = dict.fromkeys(fig2.PARTS, 0.0)
        for r in rows:
            # logged at 0, 3, 6, 9: ten steps are known of, and step * 3 // 10 is the third
            if r["term"] in total and r["step"] * 3 // 10 == third:
                total[r["term"]] += r[name]
        expected.append(total["classifier"] / total["generative"])
    table = _table(results, "fig2a_summary")
    (row,) = _of(
        table, prior="marginal", omega="7.5", quantity=quantity, when=fig2.THIRDS[third]
    ).itertuples()
    assert row.value == pytest.approx(np.mean(expected), rel=1e-4)
    assert (row.lowest, row.highest) == pytest.approx((min(expected), max(expected)), rel=1e-4)
    assert row.n == len(PROMPTS)


def test_ratios_of_means_are_over_the_probes_of_one_step(results: Path) -> None:
    probes = _of(_table(results, "fig2a_probes"), prior="marginal", omega="20", step=11)
    ratios, kept = [], []
    for text in PROMPTS:
        own = _of(probes, prompt=text)
        ratios.append(sum(own["classifier_mean"]) / sum(own["generative_mean"]))
        kept.append(sum(own["generative_mean"]) / sum(own["generative_single"]))
    table = _of(_table(results, "fig2a_summary"), prior="marginal", omega="20", when="step 11")
    values = dict(zip(table["quantity"], table["value"], strict=True))
    assert values["mean_ratio"] == pytest.approx(np.mean(ratios), rel=1e-3)
    assert values["kept_generative"] == pytest.approx(np.mean(kept), rel=1e-3)
    cosine = probes["cosine_generative_classifier"].mean()
    assert values["cosine_generative_classifier"] == pytest.approx(cosine, rel=1e-3)


def test_a_network_has_no_posterior_and_a_failed_run_no_row(results: Path) -> None:
    table = _table(results, "fig2a_summary")
    assert set(_of(table, quantity="posterior")["prior"]) == {"marginal"}
    counts = _of(table, prior="learned", quantity="ratio", when="first").set_index("omega")["n"]
    assert counts.to_dict() == dict.fromkeys(fig2.ROLES, 2) | {"100": 1}


def test_objects_carry_their_scores_and_their_likeness_to_csd(results: Path) -> None:
    table = _table(results, "fig2b")
    scores = artifacts.read_table(results / "tables" / "scores", "scores")
    runs = {(r.column, r.prompt): r for r in read_runs(_listed(results))}
    assert list(dict.fromkeys(table["omega"])) == list(fig2.ROLES)
    for name in ("fig2a_steps", "fig2a_probes", "fig2a_summary", "fig2b"):
        assert list(dict.fromkeys(_table(results, name)["prior"])) == list(PRIORS), name
    assert len(table) == len(PRIORS) * len(fig2.ROLES) * len(PROMPTS)
    for row in _of(table, prior="marginal").itertuples():
        own = _of(scores, column=row.column, prompt_id=row.prompt_id)
        (iou,) = _of(own, metric="truth_iou")["value"]
        assert row.truth_iou == pytest.approx(iou, rel=1e-4)
        mean = sum(_of(own, metric="clip_score")["value"]) / 4
        assert row.clip_score == pytest.approx(mean, rel=1e-4)
        if row.omega == "csd":
            assert math.isnan(row.psnr_to_csd)
            continue
        psnr, iou = [], []
        for view in synthetic.VIEWS:
            a, b = (read_view(runs[c, row.prompt], view) for c in (row.column, "csd-marginal"))
            error, both, either = 0.0, 0, 0
            for y, x in itertools.product(range(24), range(24)):
                for c in range(3):
                    one, two = (p[y, x, c] * p[y, x, 3] + 0.5 * (1 - p[y, x, 3]) for p in (a, b))
                    error += float(one - two) ** 2 / (24 * 24 * 3)
                both += bool(a[y, x, 3] >= 0.5 and b[y, x, 3] >= 0.5)
                either += bool(a[y, x, 3] >= 0.5 or b[y, x, 3] >= 0.5)
            psnr.append(-10 * math.log10(error))
            iou.append(both / either)
        assert row.psnr_to_csd == pytest.approx(np.mean(psnr), rel=1e-3)
        assert row.iou_to_csd == pytest.approx(np.mean(iou), rel=1e-3)


def _listed(results: Path) -> list[str]:
    return (results / "runs.txt").read_text(encoding="utf-8").split()


def test_missing_columns_are_refused_by_name(results: Path) -> None:
    runs = read_runs(_listed(results))
    lacking = [run for run in runs if run.column not in ("sds20-learned", "csd-learned")]
    with pytest.raises(fig2.Fig2Error, match=r"under learned there is no 20, csd; use preset=fig2"):
        fig2.cells(lacking)
    with pytest.raises(fig2.Fig2Error, match="there is none of them"):
        fig2.cells([run for run in runs if run.column == "vsd-marginal"])
    with pytest.raises(fig2.Fig2Error, match="several columns"):
        fig2.check([("p", one) for one in (*fig2.ROLES, "csd")], "here")


def test_roles_are_of_sds_and_plain_csd() -> None:
    assert fig2.role("sds", {"omega": 7.5}) == "7.5"
    assert fig2.role("sds", {"omega": 0}) == "0"
    assert fig2.role("csd", {}) == "csd"
    assert fig2.role("sds", {"omega": 3.0}) is None
    assert fig2.role("vsd", {"omega": 7.5}) is None


@pytest.mark.parametrize(("name", "priors"), [("fig2", 3), ("fig2_diverse", 2)])
def test_the_presets_hold_every_cell(name: str, priors: int) -> None:
    preset = config.load_preset(name)
    first = recipes.prompts(preset, "geometry")[0].prompt_id
    found = []
    for column, described in recipes.columns(preset).items():
        job = config.job(name, column=column, stage="nerf", prompt_id=first, seed=0)
        found.append((job.prior["name"], fig2.role(described["method"], job.method_settings)))
        assert job.settings["trace"]["extra_every"] == job.settings["trace"]["every"]
    fig2.check(found, name)
    assert len({prior for prior, _ in found}) == priors
    with pytest.raises(fig2.Fig2Error, match=r"preset mini.*under mixture there is no 0, 20"):
        fig2.check([("mixture", "7.5"), ("mixture", "csd")], "preset mini")


def test_a_vanished_mean_has_no_direction(results: Path) -> None:
    """torch calls the cosine with a zero vector 0, which is no angle and must not be averaged."""
    traced = fig2.traces(fig2.cells(read_runs(_listed(results))))
    gone = (traced["term"] == "probe/classifier/mean") & (traced["step"] == 11)
    table = fig2.probes(traced.assign(norm=traced["norm"].where(~gone, 1e-9)))
    last = table[table["step"] == 11]
    assert last["cosine_direction_classifier"].isna().all()
    assert last["cosine_generative_classifier"].isna().all()
    assert last["cosine_direction_generative"].notna().all()
    assert table[table["step"] == 0].drop(columns="t").notna().to_numpy().all()


def test_steps_without_both_parts_are_refused(results: Path) -> None:
    traced = fig2.traces(fig2.cells(read_runs(_listed(results))))
    cut = traced[~((traced["term"] == "classifier") & (traced["step"] == 3))]
    with pytest.raises(fig2.Fig2Error, match="extra_every"):
        fig2.steps(cut)


def test_captions_say_what_was_run(results: Path) -> None:
    options = ["--tables", str(results / "out"), "--runs", str(results / "runs.txt")]
    for name in ("a", "b"):
        figure.main([name, *options])
        text = (results / "out" / f"fig2{name}.txt").read_text(encoding="utf-8")
        assert "n = 2 prompts (a red car, a yellow duck) x 1 seed: 24 runs, 1 failed" in text
        assert "marginal (exact mixture, marginal null)" in text
        assert "learned (trained network toy_pixel)" in text
        assert "Diversity of the mixture's world: 0.0" in text
    sheets = [f"fig2b_{synthetic.prompt_id(text)}" for text in PROMPTS]
    for name in ("fig2a", *sheets):
        picture = artifacts.read_png(results / "out" / f"{name}.png")
        assert picture.shape[0] > 200, name
    assert "64 noises" in (results / "out" / "fig2a.txt").read_text(encoding="utf-8")
    once = (results / "out" / "fig2a.svg").read_bytes()
    figure.main(["a", *options])
    assert (results / "out" / "fig2a.svg").read_bytes() == once
    with pytest.raises(ReportError, match="omega 3"):
        figure.main(["a", *options, "--omega", "3"])
    with pytest.raises(ReportError, match=r"run python -m metrics\.fig2 first"):
        figure.main(["b", *options[2:], "--tables", str(results)])


def test_a_table_of_other_runs_is_refused(results: Path) -> None:
    runs = find_runs(results / "runs.txt", task="geometry")
    table = _table(results, "fig2b")
    with pytest.raises(ReportError, match="not among the runs"):
        figure.shown_runs(table, [run for run in runs if run.key[0] != "csd-learned"])


def test_bins_hold_medians_of_what_falls_in() -> None:
    table = pandas.DataFrame({"t": np.arange(80.0)})
    found = fig2_gradients.binned(table, "t", table["t"] ** 2)
    for i, row in enumerate(found.itertuples()):
        values = [x**2 for x in range(80) if i * 10 <= x * 80 / 79.0000001 < (i + 1) * 10]
        assert row.median == pytest.approx(np.median(values))
        assert row.upper == pytest.approx(np.quantile(values, 0.75))


def test_the_ratio_is_drawn_of_sums_over_a_bin() -> None:
    from matplotlib.figure import Figure

    steps = pandas.DataFrame(
        {"step": [0, 1, 2, 3], "generative": [1.0, 3.0, 2.0, 2.0], "omega": "csd"}
    ).assign(classifier=[2.0, 2.0, 1e-9, 1e-9])
    axes = Figure().subplots()
    fig2_gradients.BINS, before = 2, fig2_gradients.BINS
    try:
        fig2_gradients._ratios(axes, steps)
    finally:
        fig2_gradients.BINS = before
    (line,) = [x for x in axes.lines if x.get_linewidth() == 4.0]
    heights = np.asarray(line.get_ydata())
    assert heights[0] == pytest.approx(1.0)
    assert fig2_gradients.FLOOR / 2 < heights[1] < fig2_gradients.FLOOR


def test_the_json_of_a_run_is_what_places_it(results: Path, tmp_path: Path) -> None:
    """A folder's name says nothing: the record's method, settings and prior do."""
    folder = Path(_listed(results)[0])
    record = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    moved = tmp_path / "elsewhere"
    moved.mkdir()
    (moved / "run.json").write_text(json.dumps(record), encoding="utf-8")
    others = [line for line in _listed(results) if line != str(folder)]
    cells = fig2.cells(read_runs([*others, str(moved)]))
    (found,) = [cell for cell in cells if cell.run.folder == moved]
    assert found.prior == record["prior"]["name"]
