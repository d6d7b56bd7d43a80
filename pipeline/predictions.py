"""The named noise predictions that one step needs, and no more.

A method asks for predictions by name (`methods.distill`); this file knows which embedded text
stands behind each name and puts them through the guidance model in one batch. Texts are embedded
once per run.

    text      the prompt with the view word of the camera; under Perp-Neg the interpolation between
              the two neighbouring view words
    uncond    the empty text
    neg       the negative prompt (the same from every side), or what an edit removes (eq. 11)
    particle  VSD's particle under the text condition
    noise     the noise itself
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from methods import distill, perp_neg
from pipeline.cameras import Cameras
from pipeline.guidance.interface import Guidance, Particle, View
from prompts.view_weights import perp_neg_view_weights
from prompts.views import VIEW_WORDS, view_word, with_view

Predictions = dict[str, Float[Tensor, "b c h w"]]


@dataclass(frozen=True)
class Conditions:
    """The embedded texts of one run; `by_view` is the prompt under each of VIEW_WORDS."""

    by_view: Float[Tensor, "4 ..."]
    null: Float[Tensor, "..."]
    negative: Float[Tensor, "..."]
    view_words: Mapping[str, float]
    perp_neg: Mapping[str, Any] | None

    def text(self, cameras: Cameras) -> Float[Tensor, "b ..."]:
        """The prompt as it is to be seen from each camera."""
        azimuths, elevations = cameras.azimuth_deg, cameras.elevation_deg
        if self.perp_neg is not None:
            overhead = self.view_words["overhead"]
            shares = perp_neg_view_weights(azimuths, elevations, overhead=overhead).positive
            there = shares.to(self.by_view, non_blocking=True)
            return torch.tensordot(there, self.by_view, dims=1)
        words = [
            view_word(float(azimuth), float(elevation), **self.view_words)
            for azimuth, elevation in zip(azimuths, elevations, strict=True)
        ]
        return torch.stack([self.by_view[VIEW_WORDS.index(word)] for word in words])

    def named(self, name: str, cameras: Cameras) -> Float[Tensor, "b ..."]:
        """The condition behind a prediction's name, one row per camera."""
        if name == distill.TEXT:
            return self.text(cameras)
        row = {distill.UNCOND: self.null, distill.NEG: self.negative}[name]
        return row.expand(len(cameras), *row.shape)


@dataclass(frozen=True)
class Seen:
    """Whom a step asks, about which texts, for which cameras and views."""

    guidance: Guidance
    conditions: Conditions
    cameras: Cameras
    view: View


def condition_texts(prompt: str, settings: Mapping[str, Any]) -> list[str]:
    """The prompt under each view word that the cameras can see, the null, the negative prompt.

    When the cameras never rise above the overhead threshold, that view is not among them: a prior
    need not know it.
    """
    overhead_seen = settings["cameras"]["elevation"][1] > settings["view_words"]["overhead"]
    words = VIEW_WORDS if overhead_seen else VIEW_WORDS[:-1]
    return [*(with_view(prompt, word) for word in words), "", settings["negative_prompt"]]


def embed_conditions(guidance: Guidance, prompt: str, settings: Mapping[str, Any]) -> Conditions:
    """The run's conditions; the row of a view word that is never seen is zero.

    Raises what `guidance.embed` raises for a text it does not know.
    """
    rows = guidance.embed(condition_texts(prompt, settings))
    by_view = torch.zeros(len(VIEW_WORDS), *rows.shape[1:]).to(rows)
    by_view[: len(rows) - 2] = rows[:-2]
    return Conditions(by_view, rows[-2], rows[-1], settings["view_words"], settings["perp_neg"])


def wanted(row: dict[str, Tensor], conditions: Conditions) -> list[str]:
    """The predictions with a coefficient at this step, and those that Perp-Neg projects on."""
    names = list(distill.needed(row))
    if conditions.perp_neg is not None:
        projected = perp_neg.needed(conditions.perp_neg["reference"])
        names += [name for name in projected if name not in names]
    return names


def predict(
    names: Sequence[str],
    seen: Seen,
    x_t: Float[Tensor, "b c h w"],
    t: Int[Tensor, " b"],
    noise: Float[Tensor, "b c h w"],
    *,
    particle: Particle | None,
) -> Predictions:
    """The predictions of these names; the frozen model's in one batch. `noise` is always there."""
    frozen = [name for name in names if name not in (distill.PARTICLE, distill.NOISE)]
    found: Predictions = {distill.NOISE: noise}
    if frozen:
        conds = torch.stack([seen.conditions.named(name, seen.cameras) for name in frozen])
        view = replace(seen.view, prompted=tuple(name == distill.TEXT for name in frozen))
        found |= dict(zip(frozen, seen.guidance.eps(x_t, t, conds, view), strict=True))
    if distill.PARTICLE in names:
        assert particle is not None
        condition = seen.conditions.text(seen.cameras)
        found[distill.PARTICLE] = particle.eps(x_t, t, condition, seen.view)
    return found


def perp_neg_term(
    predictions: Predictions, seen: Seen, x_t: Float[Tensor, "b c h w"], t: Int[Tensor, " b"]
) -> Float[Tensor, "b c h w"]:
    """What Perp-Neg adds to the direction: scale * sum_i w_i perp(eps(view_i) - ref, eps(y) - ref).

    The reference is the negative prompt's prediction (the CSD code) or the null text's (the
    original).
    """
    conditions, cameras = seen.conditions, seen.cameras
    assert conditions.perp_neg is not None
    text, reference = perp_neg.needed(conditions.perp_neg["reference"])
    overhead = conditions.view_words["overhead"]
    weights = perp_neg_view_weights(cameras.azimuth_deg, cameras.elevation_deg, overhead=overhead)
    index = weights.negative_index.T.to(x_t.device, non_blocking=True)
    conds = conditions.by_view[index]  # (2, b, ...)
    views = seen.guidance.eps(x_t, t, conds, seen.view).transpose(0, 1)  # (b, 2, c, h, w)
    strength = weights.weights.to(views, non_blocking=True)
    term = perp_neg.perp_neg(predictions[text], predictions[reference], views, strength)
    return float(conditions.perp_neg["scale"]) * term
