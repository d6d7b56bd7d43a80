"""Train the toy CLIP from renders, seeded and resumable.

    python -m pipeline.toyworld.clip_train --out weights/toy_clip --seed 0 [--steps 3000] [--resume]

Loss = pairwise sigmoid over all pictures x captions (Zhai et al., SigLIP, arXiv 2303.15343, eq. 1)
with undecided pairs left out, which calibrates cosines between captions; plus softmax
cross-entropies among the 81 plain captions (also for degraded renders, so that ranks survive
faults) and among 81 x {front, side, back} + blobs, which sharpen the ranks that retrieval counts.

Checkpoints lie in `<out>/checkpoint/` and are removed at the end. Every batch depends on the seed
and its step only: an interrupted run that is resumed gives the same bits as one that was not.
"""

import argparse
import math
import shutil
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from pipeline.artifacts import digest, exit_status, load_safetensors, save_safetensors, write_json
from pipeline.toyworld import clip_data
from pipeline.toyworld.clip_data import Batch
from pipeline.toyworld.clip_model import model_config, token_ids, untrained, write_description
from pipeline.toyworld.vocabulary import COLOURS, VIEWS
from pipeline.toyworld.world import seeded


@dataclass(frozen=True)
class Settings:
    """Everything that decides the weights."""

    seed: int = 0
    steps: int = 3000
    batch: int = 96
    pool: int = 1200  # objects a shape
    learning_rate: float = 2e-3
    warmup: int = 150
    weight_decay: float = 0.02
    data_version: int = 2  # of clip_data: a checkpoint of other pictures is not resumed


def pair_loss(
    logits: Float[Tensor, "b c"], target: Float[Tensor, "b c"], weight: Float[Tensor, "b c"]
) -> Float[Tensor, " b"]:
    """Weighted sum over a picture's decided captions of -log sigmoid(+-logit); target 1, 0, -1."""
    signed = torch.where(target == 1, logits, -logits)
    return (-functional.logsigmoid(signed) * (target >= 0) * weight).sum(-1)


def rank_loss(logits: Float[Tensor, "b c"], label: Tensor) -> Float[Tensor, ""]:
    """Mean cross-entropy over the rows whose label is not -1; 0 when there is none."""
    rows = label >= 0
    if not bool(rows.any()):
        return logits.sum() * 0.0
    return functional.cross_entropy(logits[rows], label[rows])


def claim_weights(b: Batch) -> Float[Tensor, "b captions"]:
    """3 for the captions of the object that a picture shows or imitates, 1 for all others.

    These are the pairs that decide whether a fake is caught; the other 400 are easy.
    """
    named = (b.shape * len(COLOURS) + b.colour)[:, None]
    columns = clip_data.PLAIN + named * len(VIEWS) + torch.arange(len(VIEWS))
    weight = torch.ones(len(named), clip_data.COUNT)
    return weight.scatter_(1, torch.cat([named, columns], 1), 3.0)


def strict_columns() -> Tensor:
    """Columns of 81 x {front, side, back}, then of the blob captions."""
    names = torch.arange(clip_data.PLAIN)[:, None] * len(VIEWS) + torch.arange(3)
    blobs = clip_data.PLAIN + clip_data.VIEWED + torch.arange(len(COLOURS))
    return torch.cat([clip_data.PLAIN + names.flatten(), blobs])


def loss(cosine: Float[Tensor, "b c"], scale: Tensor, bias: Tensor, b: Batch) -> Tensor:
    """The training loss of a batch; `scale` multiplies cosines everywhere, `bias` only in pairs."""
    named = b.shape * len(COLOURS) + b.colour
    logits = scale * cosine
    pairs = pair_loss(logits + bias, clip_data.targets(b), claim_weights(b)).mean()
    plain = logits[:, : clip_data.PLAIN]
    among_plain = rank_loss(plain, torch.where(b.kind == clip_data.TRUE, named, -1))
    # less for faults: this pulls towards captions from which the pairs push away
    spoilt = torch.where(b.kind == clip_data.DEGRADED, named, -1)
    among_plain = among_plain + 0.1 * rank_loss(plain, spoilt)
    among_views = rank_loss(logits[:, strict_columns()], clip_data.strict_label(b))
    return pairs + among_plain + 2 * among_views  # view words are learnt last and matter most


def rate(step: int, settings: Settings) -> float:
    """Linear warm-up, then a cosine to zero."""
    if step < settings.warmup:
        return settings.learning_rate * (step + 1) / settings.warmup
    share = (step - settings.warmup) / max(settings.steps - settings.warmup, 1)
    return settings.learning_rate * 0.5 * (1 + math.cos(math.pi * share))


class Trainer:
    """The model, the bias of the pair loss and AdamW's moments: all that a checkpoint holds."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.model = untrained(model_config(), seed=settings.seed)
        self.bias = torch.nn.Parameter(torch.tensor(-6.0))
        self.named: dict[str, Tensor] = {
            **dict(self.model.named_parameters()),
            "pair_bias": self.bias,
        }
        decayed = [p for p in self.named.values() if p.ndim >= 2]
        other = [p for p in self.named.values() if p.ndim < 2]
        groups = [
            {"params": decayed, "weight_decay": settings.weight_decay},
            {"params": other, "weight_decay": 0.0},
        ]
        self.optimizer = torch.optim.AdamW(groups, lr=1.0, betas=(0.9, 0.98))
        self.step = 0
        self.ids = token_ids(clip_data.candidates())
        with torch.no_grad():
            self.named["logit_scale"].fill_(math.log(8.0))

    def train_step(self, pool: clip_data.Pool) -> float:
        """One update; returns the loss. Raises FloatingPointError when it is not finite."""
        b = clip_data.batch(
            pool, self.settings.batch, seeded("clip", self.settings.seed, self.step)
        )
        for group in self.optimizer.param_groups:
            group["lr"] = rate(self.step, self.settings)
        picture = self.model.encode_image(b.images * 2 - 1, normalize=True)  # type: ignore[operator]
        words = self.model.encode_text(self.ids, normalize=True)  # type: ignore[operator]
        scale = self.named["logit_scale"].clamp(max=math.log(40.0)).exp()
        value = loss(picture @ words.T, scale, self.bias, b)
        if not bool(torch.isfinite(value)):
            raise FloatingPointError(f"loss {value.item()} at step {self.step}; lower the rate")
        self.optimizer.zero_grad(set_to_none=True)
        value.backward()
        torch.nn.utils.clip_grad_norm_(self.named.values(), 2.0)
        self.optimizer.step()
        self.step += 1
        return float(value.detach())

    def save(self, path: Path) -> None:
        """`path` holds parameters, moments, step and a digest of the settings."""
        tensors = {f"parameter.{name}": p for name, p in self.named.items()}
        for name, p in self.named.items():
            for key, value in self.optimizer.state[p].items():
                tensors[f"{key}.{name}"] = torch.as_tensor(value)
        key = digest(asdict(self.settings))
        save_safetensors(path, tensors, {"step": str(self.step), "settings": key})

    def load(self, path: Path) -> bool:
        """True and the checkpoint's state, or False when it belongs to other settings."""
        tensors, metadata = load_safetensors(path)
        if metadata["settings"] != digest(asdict(self.settings)):
            return False
        with torch.no_grad():
            for name, p in self.named.items():
                p.copy_(tensors[f"parameter.{name}"])
                keys = ("step", "exp_avg", "exp_avg_sq")
                self.optimizer.state[p] = {key: tensors[f"{key}.{name}"] for key in keys}
        self.step = int(metadata["step"])
        return True


def train(
    out: Path, settings: Settings, *, resume: bool, every: int = 250, stop_after: int | None = None
) -> Path | None:
    """The path of the trained weights, or None when `stop_after` steps of this call came first."""
    from tqdm import tqdm

    trainer = Trainer(settings)
    checkpoint = out / "checkpoint" / "state.safetensors"
    if resume and checkpoint.exists() and not trainer.load(checkpoint):
        print(f"{checkpoint} belongs to other settings: starting anew")
    began = time.monotonic()
    pool = clip_data.pool(settings.pool, seed=settings.seed)
    print(f"rendered the pool in {time.monotonic() - began:.0f} s", flush=True)
    last = settings.steps if stop_after is None else min(settings.steps, trainer.step + stop_after)
    bar = tqdm(range(trainer.step, last), initial=trainer.step, total=settings.steps, mininterval=5)
    smooth = None
    for _ in bar:
        value = trainer.train_step(pool)
        smooth = value if smooth is None else 0.98 * smooth + 0.02 * value
        if trainer.step % 25 == 0:
            bar.set_postfix(loss=f"{smooth:.3f}")
        if trainer.step % every == 0 or trainer.step == last:
            trainer.save(checkpoint)
    if trainer.step < settings.steps:
        return None
    return finish(out, trainer, seconds=time.monotonic() - began)


def finish(out: Path, trainer: Trainer, *, seconds: float) -> Path:
    """`out` is a whole open_clip folder with training.json; the checkpoint is gone."""
    write_description(out, model_config())
    record = {**asdict(trainer.settings), "seconds": round(seconds), "torch": torch.__version__}
    write_json(out / "training.json", record)
    weights = out / "open_clip_model.safetensors"
    save_safetensors(weights, dict(trainer.model.state_dict()), {"format": "pt"})
    shutil.rmtree(out / "checkpoint", ignore_errors=True)
    return weights


def main(arguments: Sequence[str] | None = None) -> None:
    """Trains as the module's docstring says."""
    defaults = Settings()
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=defaults.seed)
    parser.add_argument("--steps", type=int, default=defaults.steps)
    parser.add_argument("--batch", type=int, default=defaults.batch)
    parser.add_argument("--pool", type=int, default=defaults.pool, help="objects a shape")
    parser.add_argument("--every", type=int, default=250, help="steps between checkpoints")
    parser.add_argument("--resume", action="store_true", help="go on from <out>/checkpoint")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    settings = Settings(
        seed=options.seed, steps=options.steps, batch=options.batch, pool=options.pool
    )
    weights = train(options.out, settings, resume=options.resume, every=options.every)
    print(f"wrote {weights}")


if __name__ == "__main__":
    sys.exit(exit_status(main, ValueError))
