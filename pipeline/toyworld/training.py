"""What the training programs of the learned priors share, from the command line to training.json.

A program is its networks, its data and its loss: `begin`, `run`, `end`. A job that was interrupted
goes on from OUT/checkpoint, which is removed when all is written.

A step's batch and noise come from a generator that depends on the seed and the step only, so that
an interrupted training that is resumed on the same device gives the same bits as one that was not.
The rate is held, then falls: a training whose rate still stands may be resumed with more steps.
"""

import argparse
import math
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import Module, Parameter

from pipeline.artifacts import digest, load_safetensors, read_json, save_safetensors, write_json
from pipeline.toyworld.world import seeded

SAID_EVERY = 100  # steps between two lines of progress
CHOSEN = ("seed", "steps", "batch", "pool", "learning_rate")  # settings that are options too


@dataclass(frozen=True)
class Settings:
    """What decides the weights, beside the data's and the network's own settings."""

    seed: int = 0
    steps: int = 18000
    batch: int = 16
    pool: int = 2500  # renders a shape
    learning_rate: float = 1e-3
    final_rate: float = 2e-5
    warmup: int = 200
    hold: float = 0.5  # share of the steps after which the rate falls
    weight_decay: float = 1e-3
    averaging: float = 0.999  # of the exponential moving average, reached after warm-up


@dataclass(frozen=True)
class Job:
    """One call of a training program: what decides the weights, where they go, on what they run."""

    settings: Settings
    out: Path
    init: Path | None = None  # a trained folder of the same networks
    device: str = "cpu"
    every: int = 500  # steps between checkpoints

    @property
    def checkpoint(self) -> Path:
        """Where the state of an unfinished training lies."""
        return self.out / "checkpoint" / "state.safetensors"


def rate(step: int, settings: Settings) -> float:
    """Linear warm-up, a constant, then a cosine down to the final rate at the last step."""
    peak, last = settings.learning_rate, settings.final_rate
    if step < settings.warmup:
        return peak * (step + 1) / settings.warmup
    start = int(settings.hold * settings.steps)
    if step < start:
        return peak
    share = (step - start) / max(settings.steps - start, 1)
    return last + (peak - last) * 0.5 * (1 + math.cos(math.pi * share))


class Trainer:
    """Parameters by name, their moving averages, AdamW's moments, and the step they belong to."""

    def __init__(self, named: Mapping[str, Parameter], settings: Settings, words: str) -> None:
        self.named = dict(named)
        self.settings = settings
        self.average = {name: p.detach().clone() for name, p in self.named.items()}
        self.step = 0
        # `steps` may grow: what was trained so far does not depend on it while the rate is held
        fixed = {key: value for key, value in asdict(settings).items() if key != "steps"}
        self.key = digest([fixed, words, {n: list(p.shape) for n, p in self.named.items()}])
        self.optimizer = torch.optim.AdamW(
            self.named.values(),
            lr=1.0,
            betas=(0.9, 0.99),
            weight_decay=settings.weight_decay,
            fused=True,
        )

    def update(self, loss: Tensor) -> float:
        """One step of AdamW and of the averages. FloatingPointError when the loss is not finite."""
        value = float(loss.detach())
        if not math.isfinite(value):
            raise FloatingPointError(f"loss {value} at step {self.step}; lower --learning-rate")
        for group in self.optimizer.param_groups:
            group["lr"] = rate(self.step, self.settings)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self.named.values(), 1.0)
        self.optimizer.step()
        keep = min(self.settings.averaging, (1 + self.step) / (10 + self.step))
        with torch.no_grad():
            torch._foreach_lerp_(list(self.average.values()), list(self.named.values()), 1.0 - keep)
        self.step += 1
        return value

    def save(self, path: Path) -> None:
        """`path` holds parameters, averages, moments, step and a digest of the settings."""
        tensors = {f"parameter.{name}": p.detach() for name, p in self.named.items()}
        tensors |= {f"average.{name}": value for name, value in self.average.items()}
        for name, p in self.named.items():
            for key, value in self.optimizer.state[p].items():
                tensors[f"{key}.{name}"] = torch.as_tensor(value)
        record = {"step": str(self.step), "steps": str(self.settings.steps), "key": self.key}
        save_safetensors(path, {n: t.cpu() for n, t in tensors.items()}, record)

    def load(self, path: Path) -> None:
        """The checkpoint's state. ValueError when it belongs to another training."""
        tensors, record = load_safetensors(path)
        if record["key"] != self.key:
            raise ValueError(f"{path} belongs to other settings; remove it or give another --out")
        step, planned = int(record["step"]), int(record["steps"])
        falls = int(self.settings.hold * min(planned, self.settings.steps))
        if planned != self.settings.steps and step > falls:
            raise ValueError(
                f"{path}: the rate of {planned} planned steps fell at {falls} and the checkpoint "
                f"is at {step}; resume it with --steps {planned}"
            )
        with torch.no_grad():
            for name, p in self.named.items():
                p.copy_(tensors[f"parameter.{name}"])
                self.average[name].copy_(tensors[f"average.{name}"])
                state = {key: tensors[f"{key}.{name}"] for key in ("exp_avg", "exp_avg_sq")}
                moved = {key: value.to(p.device) for key, value in state.items()}
                self.optimizer.state[p] = {"step": tensors[f"step.{name}"], **moved}
        self.step = step

    def use_average(self) -> None:
        """The parameters are their moving averages from here on."""
        with torch.no_grad():
            for name, p in self.named.items():
                p.copy_(self.average[name])


def begin(job: Job, parts: Mapping[str, Module], words: str) -> Trainer:
    """The trainer of `parts`, by their folders in `job.out`, at the step that the job has reached.

    A first start takes the weights of `job.init`, if there is one. `words` name what else decides
    the weights; a checkpoint made under others is refused.
    """
    if job.init is not None:
        for folder, part in parts.items():
            start_from(part, job.init / folder)
    named = {
        f"{folder}.{name}".lstrip("."): parameter
        for folder, part in parts.items()
        for name, parameter in part.to(job.device).named_parameters()
    }
    trainer = Trainer(named, job.settings, words)
    if job.checkpoint.exists():
        trainer.load(job.checkpoint)
    return trainer


def run(
    trainer: Trainer, loss: Callable[[torch.Generator], Tensor], job: Job, *, words: str
) -> list[tuple[int, float]]:
    """(step, mean loss since the last pair); afterwards the parameters are their averages.

    Checkpoint and `curve.json` are written as it goes.
    """
    kept = job.checkpoint.with_name("curve.json")
    told = read_json(kept) if kept.exists() else []
    curve = [(step, value) for step, value in told if step <= trainer.step]
    total, count, began = 0.0, 0, time.monotonic()
    first, steps = trainer.step, job.settings.steps
    while trainer.step < steps:
        generator = seeded(words, job.settings.seed, trainer.step)
        total, count = total + trainer.update(loss(generator)), count + 1
        if trainer.step % SAID_EVERY == 0 or trainer.step == steps:
            pace = (time.monotonic() - began) / (trainer.step - first)
            curve.append((trainer.step, total / count))
            print(
                f"{words}: step {trainer.step} of {steps}, loss {total / count:.5f}, "
                f"{pace:.3f} s a step",
                flush=True,
            )
            total, count = 0.0, 0
        if trainer.step % job.every == 0:
            trainer.save(job.checkpoint)
            write_json(kept, curve)
    trainer.use_average()
    return curve


def end(
    job: Job, trainer: Trainer, curve: list[tuple[int, float]], extra: Mapping[str, object]
) -> None:
    """training.json says how the weights came about, and the checkpoint is gone."""
    record = {
        **asdict(job.settings),
        **extra,
        "parameters": sum(p.numel() for p in trainer.named.values()),
        "torch": torch.__version__,
        "losses": [[step, round(value, 5)] for step, value in curve],
    }
    write_json(job.out / "training.json", record)
    shutil.rmtree(job.checkpoint.parent, ignore_errors=True)


def stratified_times(size: int, generator: torch.Generator, timesteps: int = 1000) -> Tensor:
    """One t in each of `size` equal parts of [0, timesteps), shuffled."""
    unit = (torch.arange(size) + torch.rand(size, generator=generator)) / size
    return (unit * timesteps).long()[torch.randperm(size, generator=generator)]


def v_target(x0: Tensor, noise: Tensor, abar: Tensor) -> tuple[Tensor, Tensor]:
    """(x_t, v) at the given abar (b,), in [0, 1]; v = sqrt(abar) noise - sqrt(1 - abar) x0.

    Source: Salimans and Ho, arXiv 2202.00512, appendix D.
    """
    a, sigma = abar.sqrt()[:, None, None, None], (1 - abar).sqrt()[:, None, None, None]
    return a * x0 + sigma * noise, a * noise - sigma * x0


def start_from(module: Module, folder: Path) -> None:
    """`module` holds the weights of a diffusers or transformers folder, its one safetensors file.

    Raises ValueError when there is none, or when it is of another network.
    """
    from safetensors.torch import load_file

    found = sorted(folder.glob("*.safetensors"))
    if len(found) != 1:
        raise ValueError(f"{folder} holds no weights: --init takes the folder of a trained model")
    tensors = load_file(found[0])
    try:
        module.load_state_dict({name: t.float() for name, t in tensors.items()}, strict=True)
    except RuntimeError as error:
        raise ValueError(f"{found[0]} holds other weights than this network's: {error}") from error


def parser(what: str | None, defaults: Settings) -> argparse.ArgumentParser:
    """The options that all training programs share; the first line of `what` describes them."""
    found = argparse.ArgumentParser(description=(what or "").splitlines()[0])
    found.add_argument("--out", type=Path, required=True, help="the folder to be written")
    found.add_argument("--init", type=Path, help="start from the weights of this folder")
    found.add_argument("--device", default="cpu")
    found.add_argument("--threads", type=int, default=1)
    found.add_argument("--every", type=int, default=500, help="steps between checkpoints")
    for name in CHOSEN:
        value = getattr(defaults, name)
        found.add_argument(f"--{name.replace('_', '-')}", type=type(value), default=value)
    return found


def program(train: Callable[..., None], options: argparse.Namespace, defaults: Settings) -> None:
    """Calls `train(job, ...)`, with the options that are the program's own as keywords."""
    given: dict[str, Any] = vars(options).copy()
    torch.set_num_threads(given.pop("threads"))
    settings = replace(defaults, **{name: given.pop(name) for name in CHOSEN})
    job = Job(settings, *(given.pop(name) for name in ("out", "init", "device", "every")))
    train(job, **given)
    print(f"wrote {job.out}")
