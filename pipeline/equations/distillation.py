"""Equations 2 to 11 of arXiv 2310.19415: scores, SDS, CSD, negative prompts, editing."""

from dataclasses import replace

import torch
from torch import Tensor

from methods import distill
from methods.distill import METHODS, NEG, NOISE, TEXT, UNCOND
from methods.weights import WEIGHTS
from pipeline.equations.case import (
    EDIT,
    EXACT,
    NEGATIVE,
    PROMPT,
    PRUNED,
    SCORES,
    Case,
    Check,
    Sides,
)
from pipeline.equations.moments import render_of


def score(case: Case) -> Sides:
    """Four captions, the empty one among them."""
    at, texts = case.at, (PROMPT, "a house, side view", "noisy", "")
    expected = torch.stack([at.score(at.x_t, [(1.0, text)]) for text in texts])
    return torch.stack([at.eps(at.x_t, text) for text in texts]), expected


def guided(case: Case) -> Sides:
    """log q(x_t | y) + omega log q(y | x_t); q(y) is no function of x_t."""
    terms = [(1.0 + case.omega, PROMPT), (-case.omega, "")]
    ours = case.direction("sds_uncentred", omega=case.omega)
    return ours, case.at.score(case.at.x_t, terms)


def chain_rule(case: Case) -> Sides:
    """rgb = sigmoid(theta): dx / dtheta = 2 rgb (1 - rgb) at the bank's size."""
    at = case.at
    theta = torch.randn(at.x0.shape, generator=case.generator, dtype=torch.float64)
    theta.requires_grad_(True)
    rgb = theta.sigmoid()
    weight = WEIGHTS["sds"](at.prior.alphas_cumprod, at.t)[:, None, None, None]
    gradient = weight * case.direction("sds", omega=0.0)
    (ours,) = torch.autograd.grad(distill.surrogate(at.prior.encode(rgb), gradient), theta)
    own = at.score(at.x_t, [(1.0, PROMPT)]) - at.noise
    return ours, at.sigma**2 * own * 2.0 * (rgb * (1.0 - rgb)).detach() / len(rgb)


def single_mode(case: Case) -> Sides:
    """One component m: eps - noise = a sigma (x0 - m) / v + (sigma^2 / v - 1) noise."""
    at = case.at
    chosen = int(torch.nonzero(at.prior.embed([PROMPT])[0])[0])
    row = torch.zeros_like(at.prior.embed([PROMPT]))
    row[0, chosen] = 1.0
    found = at.prior.eps(at.x_t, at.t, row[:, None].expand(-1, len(at.t), -1), at.view)[0]
    alpha_bar = 1.0 - at.sigma**2
    variance = alpha_bar * at.prior.component_std**2 + at.sigma**2
    mode = at.means[:, chosen].view_as(at.x0)
    pull = alpha_bar.sqrt() * at.sigma * (at.x0 - mode) / variance
    expected = pull + (at.sigma**2 / variance - 1.0) * at.noise
    return case.direction("sds", {TEXT: found}, omega=0.0), expected


def uncentred(case: Case) -> Sides:
    """The remark below eq. 4: the same mean, as the noise's is zero."""
    without = case.direction("sds_uncentred", omega=case.omega)
    return without - case.direction("sds", omega=case.omega), case.at.noise


def two_parts(case: Case) -> Sides:
    """delta_gen + omega delta_cls."""
    at = case.at
    generative = at.score(at.x_t, [(1.0, PROMPT)]) - at.noise
    part = at.score(at.x_t, [(1.0, PROMPT), (-1.0, "")])
    return case.direction("sds", omega=case.omega), generative + case.omega * part


def limit(case: Case) -> Sides:
    """The generative part's share goes with 1 / omega."""
    generative = case.found[TEXT] - case.found[NOISE]
    ours = case.direction("sds", omega=1024.0) / 1024.0
    return ours, case.direction("csd") + generative / 1024.0


def classifier(case: Case) -> Sides:
    """The gradient of the implicit classifier."""
    at = case.at
    return case.direction("csd"), at.score(at.x_t, [(1.0, PROMPT), (-1.0, "")])


def certain(case: Case) -> Sides:
    """On a render of the prompt at small t: q(y | x_t) is 1, and its gradient 0."""
    t = torch.randint(5, 15, case.at.t.shape, generator=case.generator)
    at = replace(case.at, t=t, x0=render_of(case.at, PROMPT, case.generator))
    gone = (at.eps(at.x_t, PROMPT) - at.eps(at.x_t, "")).flatten()
    ours = torch.cat([at.posterior(PROMPT), gone])
    return ours, torch.cat([torch.ones(len(t)), torch.zeros_like(gone)])


def nearer(case: Case) -> Sides:
    """The slope of log q(y | x_t) along -CSD, from two values of it, and its gradient's length.

    Over steps of 1e-4 a central difference errs by the third derivative: below 1e-3 of the slope.
    """
    at = case.at
    csd = case.direction("csd")
    step = 1e-4 * csd / csd.flatten(1).norm(dim=1).clamp(min=1e-12)[:, None, None, None]

    def log_posterior(x: Tensor) -> Tensor:
        return at.log_q(x, PROMPT) - at.log_q(x, "")

    slope = (log_posterior(at.x_t - step) - log_posterior(at.x_t + step)) / 2e-4
    gradient = at.score(at.x_t, [(1.0, PROMPT), (-1.0, "")]) / at.sigma
    return slope, gradient.flatten(1).norm(dim=1)


def negative(case: Case) -> Sides:
    """The presets' own negative prompt, any two weights."""
    ours = case.direction("csd_neg", omega_1=case.omega, omega_2=case.omega_2)
    rest = case.omega_2 - case.omega
    terms = [(case.omega, PROMPT), (-case.omega_2, NEGATIVE), (rest, "")]
    return ours, case.at.score(case.at.x_t, terms)


def negative_ends(case: Case) -> Sides:
    """Without negative prompt it is CSD; with as much of it, text against negative."""
    weight = case.omega
    ends = [case.direction("csd_neg", omega_1=weight, omega_2=end) for end in (0.0, weight)]
    expected = [case.direction("csd"), case.found[TEXT] - case.found[NEG]]
    return torch.stack(ends), weight * torch.stack(expected)


def annealed(case: Case) -> Sides:
    """omega_2 from 0 to 1 over 8 steps (A.4), at each step and beyond."""
    make = METHODS["csd_neg"].make(omega_1=1.0, omega_2=[0.0, 1.0, 8])
    ours = [distill.direction(make(step, case.at.t), case.found) for step in range(10)]
    text, null, neg = (case.found[name] for name in (TEXT, UNCOND, NEG))
    expected = [text - null - min(step / 8, 1.0) * (neg - null) for step in range(10)]
    return torch.stack(ours), torch.stack(expected)


def edit(case: Case) -> Sides:
    """omega_1 = 1, omega_2 = 0.5 (5.4), the word to remove as negative prompt."""
    at = case.at
    ours = case.direction("csd_edit", {NEG: at.eps(at.x_t, EDIT)}, omega_1=1.0, omega_2=0.5)
    return ours, at.score(at.x_t, [(1.0, PROMPT), (-0.5, EDIT), (-0.5, "")])


CHECKS = (
    Check("2", "eps(x_t; y, t) = -sigma grad log q(x_t | y), four captions", PRUNED, score),
    Check("3", "guided prediction = -sigma grad [log q(x_t | y) + omega log q(y | x_t)]",
          SCORES * PRUNED, guided),
    Check("4", "gradient in theta = w(t) (eps(y) - eps) dx/dtheta / b", PRUNED, chain_rule),
    Check("4", "SDS at omega 0 with one mode = its closed form", EXACT, single_mode),
    Check("4", "SDS without its noise term - SDS = the noise", EXACT, uncentred),
    Check("5", "SDS = generative part + omega classifier part, both from densities",
          SCORES * PRUNED, two_parts),
    Check("6, 7", "SDS / omega = CSD + generative part / omega, at omega 1024", EXACT, limit),
    Check("7", "CSD = -sigma grad log q(y | x_t)", 2 * PRUNED, classifier),
    Check("7", "where q(y | x_t) = 1, CSD = 0", PRUNED, certain),
    Check("7", "slope of log q(y | x_t) along -CSD = its gradient's length", 0.5, nearer),
    Check("10", "CSD with a negative prompt = -sigma grad [omega_1 log q(y | x_t) - omega_2 "
          "log q(y_neg | x_t)]", SCORES * PRUNED, negative),
    Check("10", "at omega_2 = 0 it is omega_1 CSD, at omega_2 = omega_1 omega_1 (text - neg)",
          EXACT, negative_ends),
    Check("10", "omega_2 from 0 to 1 over 8 steps = the formula, step by step", EXACT, annealed),
    Check("11", "CSD for editing = -sigma grad [log q(y | x_t) - log q(y_edit | x_t) / 2]",
          2 * PRUNED, edit),
)  # fmt: skip
