"""Equations 12 and 14 of arXiv 2310.19415, other papers' methods, what any exact prior obeys."""

import torch
from torch import Tensor

from methods import distill, perp_neg
from methods.distill import NEG, PARTICLE, SOURCE_TEXT, SOURCE_UNCOND, TEXT, UNCOND
from pipeline.equations.case import EXACT, PROMPT, PRUNED, SCORES, SOURCE, Case, Check, Sides
from pipeline.equations.moments import render_of
from pipeline.guidance.particle import ResidualParticle


def first_particle(case: Case) -> Sides:
    """A particle that has learned nothing yet is the prior."""
    at = case.at
    particle = ResidualParticle(at.prior, width=4, generator=case.generator)
    cond = at.prior.embed([PROMPT]).expand(len(at.t), -1)
    guess = particle.eps(at.x_t, at.t, cond, at.view)
    vsd = case.direction("vsd", {PARTICLE: guess}, omega=case.omega)
    return vsd, case.omega * case.direction("csd")


def render_as_particle(case: Case) -> Sides:
    """A particle that knows the render alone predicts (x_t - a x0) / sigma, the very noise."""
    at = case.at
    guess = (at.x_t - (1.0 - at.sigma**2).sqrt() * at.x0) / at.sigma
    vsd = case.direction("vsd", {PARTICLE: guess}, omega=case.omega)
    return vsd, case.direction("sds", omega=case.omega)


def any_particle(case: Case) -> Sides:
    """VSD is CSD and what sets the particle apart from the null."""
    guess = torch.randn(case.at.x0.shape, generator=case.generator, dtype=torch.float64)
    vsd = case.direction("vsd", {PARTICLE: guess}, omega=case.omega)
    return vsd, (1.0 + case.omega) * case.direction("csd") - guess + case.found[UNCOND]


def _source(case: Case) -> tuple[Tensor, dict[str, Tensor]]:
    """The source image's x_t, at the same t and noise, and its predictions."""
    at = case.at
    x0 = render_of(at, SOURCE, case.generator)
    x_t = distill.diffused(x0, at.noise, at.prior.alphas_cumprod, at.t)
    return x_t, {SOURCE_TEXT: at.eps(x_t, SOURCE), SOURCE_UNCOND: at.eps(x_t, "")}


def delta(case: Case) -> Sides:
    """Two guided scores, each at its own image."""
    x_t, found = _source(case)
    more, less = 1.0 + case.omega, -case.omega
    expected = case.at.score(case.at.x_t, [(more, PROMPT), (less, "")])
    expected = expected - case.at.score(x_t, [(more, SOURCE), (less, "")])
    return case.direction("dds", found, omega=case.omega), expected


def delta_of_itself(case: Case) -> Sides:
    """Bit by bit: whatever the two have in common cancels."""
    same = {SOURCE_TEXT: case.found[TEXT], SOURCE_UNCOND: case.found[UNCOND]}
    ours = case.direction("dds", same, omega=case.omega)
    return ours, torch.zeros_like(ours)


def delta_parts(case: Case) -> Sides:
    """Fig. 7: DDS without its classifier part, and that part alone."""
    _, found = _source(case)
    parts = case.direction("dds_no_cls", found, omega=case.omega)
    parts = parts + case.direction("dds_cls", found, omega=case.omega)
    return case.direction("dds", found, omega=case.omega), parts


def noise_free(case: Case) -> Sides:
    """NFSD where t is large."""
    text, null, neg = (case.found[name] for name in (TEXT, UNCOND, NEG))
    ours = case.direction("nfsd", omega=case.omega, neg_from=0)
    return ours, text + case.omega * (text - null) - neg


def across(case: Case) -> Sides:
    """The cosine of Perp-Neg's push with what is wanted, text - negative."""
    at, found = case.at, case.found
    views = torch.stack([at.eps(at.x_t, f"{PROMPT}, {view} view") for view in ("side", "back")], 1)
    weights = -torch.rand(len(at.t), 2, generator=case.generator, dtype=torch.float64)
    push = perp_neg.perp_neg(found[TEXT], found[NEG], views, weights).flatten(1)
    cosine = torch.cosine_similarity(push, (found[TEXT] - found[NEG]).flatten(1))
    return cosine, torch.zeros_like(cosine)


def partition(case: Case) -> Sides:
    """Clean objects by shape, degraded pictures by kind: everything, once."""
    found = torch.stack([case.at.posterior(text) for text in _parts(case)]).sum(0)
    return found, torch.ones_like(found)


def total(case: Case) -> Sides:
    """The null is the mean of the conditionals under the posterior."""
    at = case.at
    shares = torch.stack([at.posterior(text) for text in _parts(case)])
    every = torch.stack([at.eps(at.x_t, text) for text in _parts(case)])
    return case.found[UNCOND], (shares[..., None, None, None] * every).sum(0)


def _parts(case: Case) -> list[str]:
    world = case.at.prior.world
    return [f"a {shape}" for shape in world.shapes] + list(world.degradations)


CHECKS = (
    Check("12", "VSD with a particle that has learned nothing = omega CSD", EXACT, first_particle),
    Check("12", "VSD with a particle that knows the render alone = SDS", EXACT, render_as_particle),
    Check("12", "VSD with any particle = (1 + omega) CSD - (particle - uncond)", EXACT,
          any_particle),
    Check("14", "DDS = difference of two guided scores, both from densities",
          2 * SCORES * PRUNED, delta),
    Check("14", "DDS of an image and itself = 0", 0.0, delta_of_itself),
    Check("14", "DDS = the sum of its parts (Fig. 7)", EXACT, delta_parts),
    Check("2304.04968", "Perp-Neg's push has no share along the text's direction", EXACT, across),
    Check("2310.17590", "NFSD above its t = guided text - neg", EXACT, noise_free),
    Check("identity", "q(y | x_t) over all captions sums to 1", EXACT, partition),
    Check("identity", "eps(x_t; t) = mean of eps(x_t; y, t) under q(y | x_t)", PRUNED, total),
)  # fmt: skip
