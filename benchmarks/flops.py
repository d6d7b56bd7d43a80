"""What the networks of a preset's runs compute, counted on the meta device: no weights, no machine.

A multiplication and an addition are 2 FLOP, as torch.utils.flop_counter counts them: products of
matrices and convolutions, with their gradients. The scene's own work, optimisers and the trace's
probes are not counted. Which predictions a step asks for comes from the loop's own functions.
"""

import functools
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from methods import distill, schedules
from pipeline.artifacts import digest
from pipeline.config import Job, job, load_preset
from pipeline.guidance import dry
from pipeline.guidance.controlnet import Control, Controls
from pipeline.guidance.deepfloyd import PixelPrior
from pipeline.guidance.denoiser import Denoiser
from pipeline.guidance.interface import View
from pipeline.guidance.lora import LoraParticle
from pipeline.guidance.pretrained import WHOLE, dtype_of
from pipeline.guidance.stable_diffusion import LatentPrior
from pipeline.predictions import Conditions, wanted
from pipeline.recipes import chains, prompts

META = "meta"


@dataclass(frozen=True)
class Line:
    """The runs of one stage of one column that share all settings; `variant` is their tag or ""."""

    task: str
    column: str
    stage: str
    variant: str
    runs: int
    job: Job

    @property
    def name(self) -> str:
        return line_name(self.column, self.stage, self.variant)


@dataclass(frozen=True)
class Networks:
    """FLOP for one view: a frozen evaluation (with its ControlNets), the autoencoder's encoding
    forward and backward, the particle's evaluation and its training; and the weights' size.

    FLOP do not depend on the numbers' precision.
    """

    evaluation: int
    encoding: int
    particle: int
    training: int
    parameters: Mapping[str, int]
    weight_bytes: int


@dataclass(frozen=True)
class Asked:
    """How often a run asks its networks, for one view, over all its steps."""

    frozen: int
    particle: int
    training: int


def line_name(column: str, stage: str, variant: str) -> str:
    """COLUMN:STAGE, and :VARIANT where it has one."""
    return ":".join(filter(None, (column, stage, variant)))


def lines(name: str) -> list[Line]:
    """Every stage of every column of the preset, split where prompts' tags change settings."""
    preset = load_preset(name)
    found = []
    for task, column, own in chains(preset):
        for stage in own:
            groups: dict[str, list[Job]] = {}
            tags: dict[str, str] = {}
            for prompt in prompts(preset, task):
                place = {"prompt_id": prompt.prompt_id, "seed": preset["seeds"][0]}
                one = job(name, column=column, stage=stage, **place)
                key = digest([one.settings, one.prior, one.method, one.method_settings])
                groups.setdefault(key, []).append(one)
                tag = (tag for tag in prompt.tags if stage in preset["variants"].get(tag, {}))
                tags[key] = next(tag, "")
            seeds = len(preset["seeds"])
            found += [
                Line(task, column, stage, tags[key], seeds * len(jobs), jobs[0])
                for key, jobs in groups.items()
            ]
    return found


def asked(job: Job) -> Asked:
    """Counted step by step. A method that looks at t counts as at the t that asks for most."""
    key = [job.method, job.method_settings, *map(job.settings.get, ("steps", "timesteps"))]
    return _asked(json.dumps([*key, job.settings["perp_neg"]]))


@functools.cache
def _asked(key: str) -> Asked:
    method, settings, steps, timesteps, perp_neg = json.loads(key)
    coefficients = distill.METHODS[method].make(**settings)
    nothing = torch.zeros(0)
    conditions = Conditions(nothing, nothing, nothing, {}, perp_neg)
    frozen = particle = training = 0
    for step in range(steps):
        t = torch.tensor(schedules.t_range(step, 1000, **timesteps))
        row = coefficients(step, t)
        names = wanted(row, conditions)
        particle += distill.PARTICLE in names
        training += distill.PARTICLE in row
        frozen += len([name for name in names if name != distill.PARTICLE])
        frozen += 2 * (perp_neg is not None)
    return Asked(frozen, particle, training)


def networks(job: Job) -> Networks:
    """Counted on the meta device. Raises ArtifactError for a prior of unknown architecture."""
    return _networks(json.dumps([job.prior, job.settings["size"], job.settings["particle"]]))


@functools.cache
def _networks(key: str) -> Networks:
    prior, size, particle = json.loads(key)
    guidance, modules = on_meta(prior)
    x = torch.empty(1, guidance.denoiser.channels, *2 * [guidance.denoiser.size], device=META)
    t = torch.zeros(1, dtype=torch.long, device=META)
    texts = torch.empty(1, *dry.architecture(prior)["text"].values(), device=META)
    view = View(
        torch.empty(1, 3, device=META),
        torch.empty(1, 4, 4, device=META),
        {net["image"]: torch.empty(1, 1, size, size, device=META) for net in _nets(prior)},
    )
    rgb = torch.empty(1, 3, size, size, device=META, requires_grad=True)
    evaluation = flop(lambda: guidance.eps(x, t, texts[None], view))
    encoding = flop(lambda: guidance.encode(rgb).sum().backward())
    of_particle = training = 0
    parameters = {part: sum(p.numel() for p in one.parameters()) for part, one in modules.items()}
    if particle["kind"] == "lora":
        own = LoraParticle(
            guidance.denoiser, rank=particle["width"], generator=torch.Generator().manual_seed(0)
        )
        of_particle = flop(lambda: own.eps(x, t, texts, view))
        training = flop(lambda: own.loss(x, t, x, texts, view).backward())
    weights = sum(parameters.values()) * dtype_of(prior["dtype"]).itemsize
    return Networks(evaluation, encoding, of_particle, training, parameters, weights)


def flop(call: Callable[[], Any]) -> int:
    """What one call computes."""
    with FlopCounterMode(display=False) as counter:
        call()
    return counter.get_total_flops()


def on_meta(prior: Mapping[str, Any]) -> tuple[Any, dict[str, Any]]:
    """(the prior as its loader makes it, its networks by name), of shapes alone."""
    parts = dry.architecture(prior)["parts"]
    modules = {part: dry.network(config) for part, config in parts.items() if part != dry.SCHEDULER}
    own = {
        f"ControlNet {net['image']}": dry.network(dry.architecture(net)["parts"][WHOLE])
        for net in _nets(prior)
    }
    for module in (*modules.values(), *own.values()):
        module.eval().requires_grad_(False)
    controls = None
    if own:
        nets = zip(own.values(), _nets(prior), strict=True)
        controls = Controls(
            tuple(Control(module, net["image"], 1.0, 1.0, 0) for module, net in nets), False
        )
    schedule = torch.full((parts[dry.SCHEDULER]["num_train_timesteps"],), 0.5, device=META)
    denoiser = Denoiser(modules["unet"], schedule, "epsilon", torch.float32, controls)
    texts: Any = None
    if "vae" in modules:
        return LatentPrior(denoiser, modules["vae"], texts, None, {}), modules | own
    return PixelPrior(denoiser, texts, {}), modules | own


def _nets(prior: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return list(prior.get("controlnets", []))


def denoiser_flop(job: Job) -> float:
    """Of a whole run: frozen evaluations, the particle's, and its training."""
    counts, each = asked(job), networks(job)
    one = (
        counts.frozen * each.evaluation
        + counts.particle * each.particle
        + counts.training * each.training
    )
    return float(job.settings["batch"] * one)


def run_flop(job: Job) -> float:
    """Of a whole run: the denoiser and the autoencoder, which encodes every view of every step."""
    return (
        denoiser_flop(job) + job.settings["batch"] * job.settings["steps"] * networks(job).encoding
    )
