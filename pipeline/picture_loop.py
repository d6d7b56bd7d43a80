"""A plain picture is optimised by any method, from grey noise or as the edit of a source picture.

The picture is seen `batch` times a step, each time with its own t and noise. A source picture
(DDS, paper eq. 14) is noised with the same t and noise, and encoded with the same draw where a
prior's encoder draws: where picture and texts equal the source's, DDS is exactly zero. The pixels
themselves are the parameters, so that nothing stands between a method and what it makes.
"""

import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from methods import distill, normalize, schedules
from methods.weights import WEIGHTS
from pipeline.cameras import orbit
from pipeline.guidance.interface import Guidance, Particle, View
from pipeline.guidance.load import load_particle
from pipeline.run_state import named_generator

Settings = Mapping[str, Any]
SOURCES = (distill.SOURCE_TEXT, distill.SOURCE_UNCOND)


def known_methods() -> list[str]:
    """The names that `Task.method` may have."""
    return list(distill.METHODS)


class PictureFailure(RuntimeError):
    """A picture or a direction is not finite; the message says which and at which step: a result,
    recorded and not retried.
    """

    def __init__(self, what: str, step: int) -> None:
        super().__init__(f"{what} at step {step} is not finite")
        self.step = step


@dataclass(frozen=True)
class Task:
    """One picture to make: by which row of coefficients, of which text, seen from where.

    `source_text` is what the source picture shows; None without one. `settings`: steps, batch,
    size, weight, timesteps, normalize, negative_prompt, particle, background (grey in [0, 1]),
    camera {azimuth, elevation, distance, fovy} in degrees, optimizer {betas, eps, image, decay}.
    """

    method: str
    method_settings: Settings
    text: str
    source_text: str | None
    seed: int
    settings: Settings

    @property
    def coefficients(self) -> distill.Coefficients:
        """The method's row."""
        return distill.METHODS[self.method].make(**self.method_settings)


@dataclass(frozen=True)
class Made:
    """The finished picture, and what it cost."""

    rgb: Float[Tensor, "3 h w"]
    seconds: float
    evaluations: Mapping[str, int]


@dataclass
class Student:
    """VSD's particle with its own optimiser and generator."""

    particle: Particle
    optimizer: torch.optim.Optimizer
    generator: torch.Generator


@dataclass
class State:
    """What changes from step to step, but for the picture."""

    generator: torch.Generator
    student: Student | None
    scale: normalize.State = field(default_factory=normalize.initial_state)
    evaluations: Counter[str] = field(default_factory=Counter)


def made(
    task: Task,
    guidance: Guidance,
    image: Any,
    generator: torch.Generator,
    *,
    source: Float[Tensor, "3 h w"] | None = None,
) -> Made:
    """The picture that `image` (scenes.image.Image) is after all steps. Raises PictureFailure.

    Raises ValueError when the method compares with a source picture and there is none.
    """
    settings, rates = task.settings, task.settings["optimizer"]
    groups = image.parameter_groups({"image": rates["image"]})
    optimizer = torch.optim.Adam(groups, betas=tuple(rates["betas"]), eps=rates["eps"])
    state = State(generator, _student(task, guidance))
    texts = _texts(task, guidance, source)
    clock = time.perf_counter()
    for step in range(settings["steps"]):
        x, gradient = direction(step, task, guidance, texts, image, source, state)
        optimizer.zero_grad(set_to_none=True)
        distill.surrogate(x, gradient).backward()
        for group in optimizer.param_groups:
            group["lr"] = rates["image"] * schedules.ramp(step, rates["decay"])
        optimizer.step()
        image.after_step(step, generator)
        if not torch.isfinite(image.rgb).all():
            raise PictureFailure(f"{task.method}: the picture", step)
        if state.student is not None:
            _train(state, x.detach(), texts[distill.TEXT], guidance, _view(task, step))
    seconds = time.perf_counter() - clock
    return Made(image.rgb.detach()[0].clone(), seconds, dict(state.evaluations))


def direction(
    step: int,
    task: Task,
    guidance: Guidance,
    texts: Mapping[str, Tensor],
    image: Any,
    source: Float[Tensor, "3 h w"] | None,
    state: State,
) -> tuple[Float[Tensor, "b c h w"], Float[Tensor, "b c h w"]]:
    """(what the prior sees of the picture, its normalised gradient there)."""
    settings, batch = task.settings, task.settings["batch"]
    before = _drawing_state(guidance)
    x = guidance.encode(image.rgb.expand(batch, -1, -1, -1))
    low, high = schedules.t_range(step, len(guidance.alphas_cumprod), **settings["timesteps"])
    t = schedules.sample_t(state.generator, low, high, batch)
    noise = torch.randn(x.shape, generator=state.generator)
    view, row = _view(task, step), task.coefficients(step, t)
    names = distill.needed(row)
    x_t = distill.diffused(x.detach(), noise, guidance.alphas_cumprod, t)
    own = [name for name in names if name not in (*SOURCES, distill.PARTICLE)]
    found = {distill.NOISE: noise, **_predicted(own, texts, guidance, x_t, t, view)}
    if of_source := [name for name in names if name in SOURCES]:
        assert source is not None
        xs = _same_draw(guidance, before, source.expand(batch, -1, -1, -1))
        xs_t = distill.diffused(xs, noise, guidance.alphas_cumprod, t)
        found |= _predicted(of_source, texts, guidance, xs_t, t, view)
    if distill.PARTICLE in names:
        assert state.student is not None
        rows = _rows(texts[distill.TEXT], batch)
        found[distill.PARTICLE] = state.student.particle.eps(x_t, t, rows, view)
    state.evaluations.update(dict.fromkeys(names, batch))
    towards = distill.direction(row, found)
    if not torch.isfinite(towards).all():
        raise PictureFailure(f"{task.method}: the direction", step)
    weight = WEIGHTS[settings["weight"]](guidance.alphas_cumprod, t)
    kind, window = settings["normalize"]["kind"], settings["normalize"]["steps"]
    gradient = weight[:, None, None, None] * towards
    gradient, state.scale = normalize.NORMALIZATIONS[kind](gradient, state.scale, steps=window)
    return x, gradient


def _texts(task: Task, guidance: Guidance, source: Tensor | None) -> dict[str, Tensor]:
    """The embedded text behind each prediction's name."""
    row = task.coefficients(0, torch.zeros(1, dtype=torch.long))
    compares = any(name in row for name in SOURCES)
    if compares and (source is None or task.source_text is None):
        raise ValueError(f"{task.method} compares with a source picture and its text: give both")
    known = [task.text, "", task.settings["negative_prompt"], task.source_text or ""]
    text, null, negative, source_text = guidance.embed(known)
    return {
        distill.TEXT: text,
        distill.UNCOND: null,
        distill.NEG: negative,
        distill.SOURCE_TEXT: source_text,
        distill.SOURCE_UNCOND: null,
    }


def _predicted(
    names: list[str],
    texts: Mapping[str, Tensor],
    guidance: Guidance,
    x_t: Float[Tensor, "b c h w"],
    t: Int[Tensor, " b"],
    view: View,
) -> dict[str, Tensor]:
    if not names:
        return {}
    conds = torch.stack([_rows(texts[name], len(x_t)) for name in names])
    return dict(zip(names, guidance.eps(x_t, t, conds, view), strict=True))


def _rows(text: Tensor, batch: int) -> Tensor:
    return text.expand(batch, *text.shape)


def _view(task: Task, step: int) -> View:
    batch, camera = task.settings["batch"], task.settings["camera"]
    seen = orbit(camera["azimuth"], camera["elevation"], camera["distance"], camera["fovy"])
    grey = torch.full((batch, 3), float(task.settings["background"]))
    return View(background=grey, c2w=seen.c2w.expand(batch, 4, 4), step=step)


def _drawing_state(guidance: Guidance) -> Tensor | None:
    drawing = getattr(guidance, "generator", None)
    return None if drawing is None else drawing.get_state()


@torch.no_grad()
def _same_draw(guidance: Guidance, before: Tensor | None, source: Tensor) -> Tensor:
    """The encoded source under the draws that the picture had; they are made once."""
    if before is not None:
        guidance.generator.set_state(before)  # type: ignore[attr-defined]
    return guidance.encode(source)


def _student(task: Task, guidance: Guidance) -> Student | None:
    if distill.PARTICLE not in task.coefficients(0, torch.zeros(1, dtype=torch.long)):
        return None
    spec, generator = task.settings["particle"], named_generator(task.seed, "particle")
    particle = load_particle(spec, guidance, generator)
    optimizer = torch.optim.AdamW(list(particle.parameters()), lr=spec["learning_rate"])
    return Student(particle, optimizer, generator)


def _train(
    state: State, x: Float[Tensor, "b c h w"], text: Tensor, guidance: Guidance, view: View
) -> None:
    """VSD: one step of the particle on the current picture, at any t."""
    student = state.student
    assert student is not None
    t = torch.randint(len(guidance.alphas_cumprod), (len(x),), generator=student.generator)
    noise = torch.randn(x.shape, generator=student.generator)
    student.optimizer.zero_grad(set_to_none=True)
    student.particle.loss(x, t, noise, _rows(text, len(x)), view).backward()
    student.optimizer.step()
    state.evaluations["particle_training"] += len(x)
