"""Runs, traces and scores of every cell of figure 2, from a seed."""

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pandas
import synthetic_results as synthetic

from metrics import fig2
from pipeline import artifacts

PROMPTS = synthetic.PLAIN[:2]
PRIORS: dict[str, dict[str, Any]] = {
    "marginal": {"kind": "mixture", "null_prompt": "marginal"},
    "learned": {"kind": "deepfloyd", "path": "pipeline/weights/toy_pixel"},
}
STEPS, PROBED = 12, (0, 11)


def _trace(generator: np.random.Generator, *, exact: bool) -> pandas.DataFrame:
    """Two views every third step, probes at two steps and two t; the classifier part is once 0."""
    rows: list[tuple[int, int | None, str, float, float | None]] = []
    for step in range(0, STEPS, 3):
        ts = generator.integers(20, 980, 2).tolist()
        for term in ("direction", *fig2.PARTS):
            norms = generator.uniform(0.5, 9.0, 2) * (term != "classifier" or step != 9)
            rows += [(step, t, term, n, n * t / 1000) for t, n in zip(ts, norms, strict=True)]
        if exact:
            rows += [(step, t, "posterior", generator.random(), None) for t in ts]
        rows.append((step, None, "loss/sparsity", 0.1, None))
    for step, t in itertools.product(PROBED, (200, 500)):
        for term, what in itertools.product(("direction", *fig2.PARTS), ("mean", "spread")):
            norm = generator.uniform(0.5, 9.0)
            rows.append((step, t, f"probe/{term}/{what}", norm, norm * t / 1000))
        for pair in itertools.combinations(("direction", *fig2.PARTS), 2):
            cosine = generator.uniform(-1, 1)
            rows.append((step, t, f"probe/cosine/{'/'.join(pair)}", cosine, None))
    frame = pandas.DataFrame(rows, columns=["step", "t", "term", "norm", "weighted_norm"])
    return frame.astype({"t": "Int64", "weighted_norm": float})


def column_of(prior: str, omega: str) -> str:
    return f"{omega if omega in ('csd', 'vsd') else 'sds' + omega}-{prior}"


def write_results(root: Path) -> Path:
    """Runs of every cell, one failed, one of a column that the figure ignores; and their scores."""
    generator = np.random.default_rng(5)
    scores, listed = [], []
    cells = [(p, o, t) for p in PRIORS for o in fig2.ROLES for t in PROMPTS]
    for prior, omega, text in [*cells, ("marginal", "vsd", PROMPTS[0])]:
        method = omega if omega in ("csd", "vsd") else "sds"
        settings = {"omega": 6.5 if method == "vsd" else float(omega)} if method != "csd" else {}
        failed = (prior, omega, text) == ("learned", "100", PROMPTS[1])
        record = synthetic.run_record(
            text,
            column_of(prior, omega),
            0,
            preset="fig2",
            method=method,
            method_settings=settings,
            prior={"name": prior, **PRIORS[prior]},
            status="failed" if failed else "ok",
            settings={"steps": STEPS, "world": {"diversity": 0.0}, "trace": {"probe_noises": 64}},
        )
        tail = Path(record["column"], record["prompt_id"], "seed0", "nerf")
        folder = root / "runs" / "geometry" / tail
        listed.append(str(folder))
        scene = synthetic.balls(PROMPTS.index(text), 0.3 * generator.random(), generator)
        synthetic.write_run(folder, scene, record, size=24)
        if not failed:
            trace = _trace(generator, exact=prior == "marginal")
            artifacts.write_table(trace, folder / "trace", "trace")
        key = {k: record[k] for k in ("preset", "column", "stage", "prompt_id", "seed", "status")}
        for view in synthetic.VIEWS:
            named = {m: generator.random() for m in fig2.VIEW_MEANS}
            scores += [key | {"view": view, "metric": m, "value": v} for m, v in named.items()]
        named = {m: generator.random() for m in fig2.OBJECT}
        scores += [key | {"view": "object", "metric": m, "value": v} for m, v in named.items()]
    table = pandas.DataFrame(scores).assign(protocol_id="p")
    artifacts.write_table(table, root / "tables" / "scores", "scores")
    (root / "runs.txt").write_text("\n".join(listed) + "\n", encoding="utf-8")
    arguments = ["--scores", str(root / "tables" / "scores.parquet"), "--out", str(root / "out")]
    fig2.main([*arguments, "--runs", f"@{root / 'runs.txt'}"])
    return root
