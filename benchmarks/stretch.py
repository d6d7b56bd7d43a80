"""Steps of the real loop at full size under dry weights, beside the networks' evaluations alone.

Steps stand at places spread evenly over the run. After each, the very evaluations that it asked for
are made again: the denoiser's and the particle's (with its training), then the autoencoder's
encoding with its gradient. Weights are random (pipeline/guidance/dry.py), and so are the texts'
rows. A radiance field keeps the occupancy that it starts with, since random gradients would leave
no object; a mesh starts as a ball, a texture lies on a mesh of the toy world. No probes.
"""

import copy
import dataclasses
import statistics
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch

from pipeline import record
from pipeline.artifacts import ArtifactError, save_safetensors
from pipeline.config import Job
from pipeline.distillation import FAILURES, one_step, problem_of, start_run
from pipeline.guidance import dry
from pipeline.guidance.load import load_guidance
from pipeline.meshes.detail import quartered
from pipeline.meshes.mesh import Mesh
from pipeline.toyworld.meshes import mesh as toy_mesh
from pipeline.toyworld.world import instances

FACES = 50_000  # of the mesh that a texture is measured on, at least
HEARD = ("eps", "encode", "loss")


@dataclasses.dataclass(frozen=True)
class Options:
    """How a stretch is measured; `dtype` None is the preset's."""

    weights: Path
    device: str
    dtype: str | None
    steps: int
    warm: int
    threads: int
    commit: str  # of the sources, when it began


@dataclasses.dataclass(frozen=True)
class Measured:
    """Means in seconds: a whole step, the denoiser's evaluations, the autoencoder's encoding.

    `steps` were measured after `warm` others, without which the first's set-up is among them. On a
    CPU they are CPU time. Peak memory of the process in MB (2^20 bytes), the host's and the
    device's. The latter is 0 on a CPU, on a GPU that of torch's own tensors: what tiny-cuda-nn and
    nvdiffrast allocate themselves comes on top. `options` are the command's that measured it, at
    `commit`.
    """

    device: str
    dtype: str
    steps: int
    warm: int
    step: float
    denoiser: float
    encoding: float
    host_mb: float
    device_mb: float
    options: str
    commit: str


class Heard:
    """A prior or a particle that keeps what it was asked, to be asked it again."""

    def __init__(self, model: Any) -> None:
        self._model = model
        self.calls: list[tuple[str, tuple[Any, ...]]] = []

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._model, name)
        if name not in HEARD:
            return found

        def heard(*given: Any) -> Any:
            kept = (one.detach() if isinstance(one, torch.Tensor) else one for one in given)
            self.calls.append((name, tuple(kept)))
            return found(*given)

        return heard

    def again(self, *names: str) -> None:
        """The calls of these names as they were made, with their gradients."""
        for name, given in (call for call in self.calls if call[0] in names):
            if name == "encode":
                given = tuple(one.requires_grad_() for one in given)
            answer = getattr(self._model, name)(*given)
            if name != "eps":
                answer.sum().backward()


def stretch(job: Job, options: Options) -> Measured:
    """A stretch of one run. Raises what the loop raises."""
    torch.set_num_threads(options.threads)
    job, device = undisturbed(job), options.device
    spec = dry.dry_prior(job.prior, options.weights, options.dtype)
    prior: Any = load_guidance(spec, bank=None, prompt=job.prompt, device=device)
    texts = dry.random_texts(job.prior, seed=0, device=device)
    guidance = Heard(dataclasses.replace(prior, texts=texts))
    problem = problem_of(job, guidance)
    with tempfile.TemporaryDirectory() as folder:
        mesh = toy_folder(Path(folder)) if job.task == "texture" else None
        run = start_run(problem, device, None, mesh)
    heard = [guidance]
    if run.particle is not None:
        run.particle = Heard(run.particle)
        heard.append(run.particle)
    for _ in range(options.warm):
        one_step(0, run, problem)
    times = []
    for number in range(options.steps):
        step = int((number + 0.5) * job.settings["steps"] / options.steps)
        for one in heard:
            one.calls.clear()
        whole = seconds(partial(one_step, step, run, problem), device)
        denoiser = sum(seconds(partial(one.again, "eps", "loss"), device) for one in heard)
        times.append((whole, denoiser, seconds(partial(guidance.again, "encode"), device)))
    step_seconds, denoiser, encoding = (statistics.fmean(each) for each in zip(*times, strict=True))
    return Measured(
        device=record.device_name(device),
        dtype=spec["dtype"],
        steps=options.steps,
        warm=options.warm,
        step=step_seconds,
        denoiser=denoiser,
        encoding=encoding,
        host_mb=record.peak_memory_mb(),
        device_mb=0.0 if device == "cpu" else torch.cuda.max_memory_allocated(device) / 2**20,
        options=spelt(options, spec["dtype"]),
        commit=options.commit,
    )


def spelt(options: Options, dtype: str) -> str:
    """The options as words of the command line, those of the weights' folder left out."""
    words = {"device": options.device, "dtype": dtype}
    words |= {name: str(getattr(options, name)) for name in ("steps", "warm", "threads")}
    return " ".join(f"--{name} {value}" for name, value in words.items())


def undisturbed(job: Job) -> Job:
    """The job without probes, its occupancy never looked at again."""
    settings = copy.deepcopy(job.settings)
    settings["trace"]["probes"] = 0
    if occupancy := settings["scene"].get("occupancy"):
        occupancy["interval"] = settings["steps"] + 1
    return dataclasses.replace(job, settings=settings)


def toy_folder(folder: Path) -> Path:
    """The folder of a mesh of the toy world, its faces quartered until there are FACES."""
    shape = Mesh(*toy_mesh(instances("car", seed=0, diversity=0.0).parts))
    while len(shape.faces) < FACES:
        shape = quartered(shape)
    tensors = {"vertices": shape.vertices, "faces": shape.faces}
    save_safetensors(folder / "mesh.safetensors", tensors)
    return folder


def seconds(call: Callable[[], object], device: str) -> float:
    """Of one call: this process's own on a CPU, until a GPU has finished on a GPU."""
    if device == "cpu":
        start = time.process_time()
        call()
        return time.process_time() - start
    torch.cuda.synchronize(device)
    start = time.perf_counter()
    call()
    torch.cuda.synchronize(device)
    return time.perf_counter() - start


def alone(job: Job, options: Options) -> Measured | str:
    """The stretch in a process of its own; in words, why it did not end well.

    Weights that were missing are written first. Raises ArtifactError for files that do not fit.
    """
    dry.write_models(job.prior, options.weights, dtype=options.dtype)
    try:
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
            return pool.submit(stretch, job, options).result()
    except ArtifactError:
        raise
    except (*FAILURES, BrokenProcessPool, RuntimeError, MemoryError) as error:
        return "failed: " + (str(error).strip().split("\n")[0][:120] or type(error).__name__)
