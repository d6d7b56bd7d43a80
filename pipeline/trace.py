"""What a run writes down about its gradients, at the guidance's input, once every few steps.

Rows (step, t, term, norm, weighted_norm), one per view: `norm` is the Euclidean norm over one
image's elements, `weighted_norm` that times w(t). Terms, from the predictions at hand (a term whose
predictions the step lacks has a null norm):

    direction        sum_k c_k eps_k, the method's own
    generative       eps(y) - eps         the delta_gen of the paper (eq. 5)
    classifier       eps(y) - eps(null)   its delta_cls
    negative         eps(neg) - eps(null)
    particle_noise   eps_phi - eps        VSD's particle against the noise
    particle_text    eps_phi - eps(y)
    posterior        q(y | x_t) in [0, 1], where the prior knows it (the mixture); no weighted norm
    loss/<name>      a regulariser's weighted value

A single norm of eps(y) - eps is one noisy sample. `probe` therefore draws K noises at fixed t and
writes the norm of the mean, the spread about it and cosines between the means, as `probe/...`
terms.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from pipeline.artifacts import naming, write_text

Row = dict[str, Any]

DIFFERENCES = {
    "generative": ("text", "noise"),
    "classifier": ("text", "uncond"),
    "negative": ("neg", "uncond"),
    "particle_noise": ("particle", "noise"),
    "particle_text": ("particle", "text"),
}


def differences(predictions: Mapping[str, Tensor]) -> dict[str, Tensor | None]:
    """Each named difference of predictions, or None where one of the two is missing."""
    return {
        term: predictions[a] - predictions[b] if a in predictions and b in predictions else None
        for term, (a, b) in DIFFERENCES.items()
    }


def step_rows(
    step: int,
    t: Int[Tensor, " b"],
    weight: Float[Tensor, " b"],
    predictions: Mapping[str, Tensor],
    direction: Float[Tensor, "b c h w"],
) -> list[Row]:
    """One row per term and view at this step."""
    terms = {"direction": direction, **differences(predictions)}
    present = {term: value for term, value in terms.items() if value is not None}
    norms = [value.flatten(1).norm(dim=1).double() for value in present.values()]
    weights, *found = torch.stack([weight.double(), *norms]).tolist()  # the device is asked once
    known = dict(zip(present, found, strict=True))
    rows = []
    for term in terms:
        for view, weighting in enumerate(weights):
            norm = known[term][view] if term in known else None
            weighted = None if norm is None else norm * weighting
            rows.append(_row(step, int(t[view]), term, norm, weighted))
    return rows


def value_rows(step: int, t: Int[Tensor, " b"], term: str, values: Sequence[float]) -> list[Row]:
    """One row per view for a quantity that has no weighted form (the posterior)."""
    return [_row(step, int(t[i]), term, float(value), None) for i, value in enumerate(values)]


def loss_rows(step: int, losses: Mapping[str, Tensor]) -> list[Row]:
    """One row per regulariser, its weighted value as the norm."""
    if not losses:
        return []
    values = torch.stack([value.detach().double() for value in losses.values()]).tolist()
    return [
        _row(step, None, f"loss/{name}", value, None)
        for name, value in zip(losses, values, strict=True)
    ]


def probe_rows(
    step: int,
    t: int,
    weight: float,
    terms: Mapping[str, Float[Tensor, "k c h w"] | None],
    parameter_norm: Callable[[Tensor], float],
) -> list[Row]:
    """Norm of the mean over K noises, spread, parameter-space norm and cosines at one t.

    spread = sqrt(mean_k |d_k - mean|^2); parameter_norm(mean) is the norm of J^T mean, J the
    render's Jacobian in the scene's parameters.
    """
    rows, means = [], {}
    for term, samples in terms.items():
        if samples is None:
            continue
        mean = samples.mean(dim=0)
        spread = float((samples - mean).flatten(1).norm(dim=1).pow(2).mean().sqrt())
        size = float(mean.norm())
        in_parameters = parameter_norm(mean)
        rows.append(_row(step, t, f"probe/{term}/mean", size, size * weight))
        rows.append(_row(step, t, f"probe/{term}/spread", spread, spread * weight))
        rows.append(
            _row(step, t, f"probe/{term}/parameters", in_parameters, in_parameters * weight)
        )
        means[term] = mean.flatten()
    names = list(means)
    for i, first in enumerate(names):
        for second in names[i + 1 :]:
            cosine = float(torch.cosine_similarity(means[first], means[second], dim=0))
            rows.append(_row(step, t, f"probe/cosine/{first}/{second}", cosine, None))
    return rows


def _row(step: int, t: int | None, term: str, norm: float | None, weighted: float | None) -> Row:
    return {"step": step, "t": t, "term": term, "norm": norm, "weighted_norm": weighted}


def append(path: Path, rows: Sequence[Row]) -> None:
    """`rows` stand at the end of the jsonl file `path`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with naming(path), path.open("a", encoding="utf-8") as stream:
        stream.writelines(json.dumps(row) + "\n" for row in rows)


def read(path: Path, before_step: int) -> list[Row]:
    """The rows of steps below `before_step`, without a last line torn by a kill."""
    rows = []
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else []:
        try:
            row = json.loads(line)
        except json.JSONDecodeError:
            continue
        if row["step"] < before_step:
            rows.append(row)
    return rows


def truncate(path: Path, before_step: int) -> None:
    """The jsonl file holds only rows of steps below `before_step`, as after a resume."""
    rows = read(path, before_step)
    write_text(path, "".join(json.dumps(row) + "\n" for row in rows))
