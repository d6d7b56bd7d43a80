"""Ratios and cosines of a hand-made trace, and parts that vanish."""

from pathlib import Path

import numpy as np
import pandas
import pytest

from metrics import norms
from pipeline.artifacts import write_table

KEY = {"preset": "test", "stage": "nerf", "column": "sds"}


def trace(prompt: str, sizes: dict[int, tuple[float, float]]) -> pandas.DataFrame:
    """Rows of {step: (generative, classifier)}, two views of 1 and 3 times that norm."""
    rows = [
        {**KEY, "prompt_id": prompt, "seed": 0, "step": step, "t": 5, "term": term}
        | {"norm": scale * value, "weighted_norm": 0.0}
        for step, pair in sizes.items()
        for term, value in zip(("generative", "classifier"), pair, strict=True)
        for scale in (1.0, 3.0)
    ]
    rows.append({**rows[0], "step": 0, "term": norms.COSINE, "norm": 0.25})
    return pandas.DataFrame(rows)


@pytest.fixture
def traces() -> pandas.DataFrame:
    """Thirds of the steps 0 .. 8; prompt z's classifier part dies."""
    parts = {
        "x": {0: (4.0, 1.0), 2: (8.0, 2.0), 3: (6.0, 3.0), 8: (9.0, 1.0)},
        "y": {0: (2.0, 1.0), 3: (5.0, 1.0), 8: (7.0, 1.0)},
        "z": {0: (9.0, 1.0), 3: (9.0, 1.0), 8: (9.0, 0.0)},
    }
    return pandas.concat([trace(name, sizes) for name, sizes in parts.items()])


def value(frame: pandas.DataFrame, prompt: str, third: str, quantity: str = "ratio") -> float:
    chosen = frame[(frame["prompt_id"] == prompt) & (frame["third"] == third)]
    chosen = chosen[chosen["quantity"] == quantity]["value"]
    assert len(chosen) == 1
    return float(chosen.iloc[0])


def test_ratios_are_of_mean_norms(traces: pandas.DataFrame) -> None:
    found = norms.by_prompt(traces)
    assert value(found, "x", "first") == pytest.approx((4 + 8) / (1 + 2))
    assert value(found, "x", "middle") == pytest.approx(2.0)
    assert value(found, "y", "last") == pytest.approx(7.0)
    assert value(found, "z", "last") == np.inf
    assert value(found, "y", "first", "cosine") == 0.25
    assert set(found[found["quantity"] == "cosine"]["third"]) == {"first"}


def test_steps_that_lack_a_part_are_left_out(traces: pandas.DataFrame) -> None:
    """A method that stops asking for a part must not be compared at other steps."""
    lacking = traces.copy()
    gone = (lacking["step"] == 2) & (lacking["term"] == "classifier")
    lacking.loc[gone, "norm"] = np.nan
    assert value(norms.by_prompt(lacking), "x", "first") == pytest.approx(4.0)


def test_the_program(traces: pandas.DataFrame, tmp_path: Path) -> None:
    write_table(traces, tmp_path / "traces", "traces")
    out = tmp_path / "norms.csv"
    norms.main(["--traces", str(tmp_path / "traces.parquet"), "--out", str(out)])
    first = out.read_bytes()
    norms.main(["--traces", str(tmp_path / "traces.parquet"), "--out", str(out)])
    assert out.read_bytes() == first
    frame = pandas.read_csv(out)
    assert len(frame) == 4
    last = frame[(frame["third"] == "last") & (frame["quantity"] == "ratio")].iloc[0]
    assert last["value"] == 9.0  # of 9, 7 and infinity
    assert (last["lower"], last["upper"]) == (7.0, np.inf)
    assert last["n_prompts"] == 3
