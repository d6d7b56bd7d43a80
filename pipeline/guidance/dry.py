"""Model folders of the real architectures with random weights: for speed and memory, no results.

    python -m pipeline.guidance.dry --prior JSON --out FOLDER [--dtype bf16]

JSON: a prior's settings as in a preset, its models named by `hub`. FOLDER gets one model folder in
diffusers' layout for each, `dry-<name>-<dtype>`: networks and schedule, no text encoder. Their
shapes are in architectures/*.json. The loaders refuse these weights wherever they are: presets
cannot ask for them, `dry_prior` does, and then run and log say so.
"""

import argparse
import functools
import json
import math
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from pipeline.artifacts import (
    ArtifactError,
    atomically,
    digest,
    exit_status,
    read_json,
    write_json,
    write_text,
)
from pipeline.guidance.pretrained import DRY, dtype_of
from pipeline.torchvision_shim import ensure_torchvision

ARCHITECTURES = Path(__file__).with_name("architectures")
WEIGHTS = "diffusion_pytorch_model.safetensors"
SCHEDULER = "scheduler"
NAMES = {torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16"}  # safetensors'
CARD = """---
dry: true
---

# Random weights

Random numbers (seed {seed}) in the shapes of {hub}, {dtype}. Nothing computed with them is a
result: they are for measuring speed and memory, and for trying programs without a download.
"""


@functools.cache
def _architectures() -> dict[str, dict[str, Any]]:
    found = [read_json(path) for path in sorted(ARCHITECTURES.glob("*.json"))]
    return {hub: architecture for architecture in found for hub in architecture["hub"]}


def architecture(spec: Mapping[str, Any]) -> dict[str, Any]:
    """{hub, source, text, parts} of the model that a preset names by `hub`; `parts` are configs.

    Raises ArtifactError for another model.
    """
    for hub in spec.get("hub", ()):
        if (name := hub.partition("@")[0]) in _architectures():
            return _architectures()[name]
    asked = spec.get("hub") or spec.get("path") or spec.get("name")
    raise ArtifactError(
        f"{asked}: its architecture is not known here; add its config.json to {ARCHITECTURES}"
    )


def network(config: Mapping[str, Any]) -> Any:
    """The network of a config on the meta device: every shape, no memory."""
    ensure_torchvision()
    import diffusers

    own = {key: value for key, value in config.items() if key != "_class_name"}
    with torch.device("meta"):
        return getattr(diffusers, config["_class_name"])(**own)


def dry_prior(prior: Mapping[str, Any], folder: Path, dtype: str | None = None) -> dict[str, Any]:
    """The prior's settings with its models under `folder` in place of the hub's."""
    dtype = dtype or prior["dtype"]
    nets = [_placed(net, folder, dtype) for net in prior.get("controlnets", [])]
    changed = {"dtype": dtype} | ({"controlnets": nets} if "controlnets" in prior else {})
    return _placed(prior, folder, dtype) | changed


def _placed(spec: Mapping[str, Any], folder: Path, dtype: str) -> dict[str, Any]:
    name = spec["hub"][0].partition("@")[0].partition("/")[2]
    kept = {key: value for key, value in spec.items() if key not in ("hub", "variant")}
    return kept | {"path": str(folder / f"{DRY}-{name}-{dtype}"), DRY: True}


def write_models(
    prior: Mapping[str, Any], folder: Path, *, dtype: str | None = None, seed: int = 0
) -> list[Path]:
    """The prior's model folders, those that were missing written; a card tells a whole folder."""
    dtype = dtype or prior["dtype"]
    written = []
    for spec in (prior, *prior.get("controlnets", [])):
        path = Path(_placed(spec, folder, dtype)["path"])
        if not (path / "README.md").exists():
            write_model(architecture(spec), path, dtype=dtype, seed=seed)
        written.append(path)
    return written


def write_model(described: Mapping[str, Any], path: Path, *, dtype: str, seed: int) -> None:
    """One model folder; its card is written last. `path` and seed decide the weights."""
    for part, config in described["parts"].items():
        if part == SCHEDULER:
            write_json(path / part / "scheduler_config.json", config)
            continue
        generator = torch.Generator().manual_seed(int(digest([seed, path.name, part])[:15], 16))
        write_json(path / part / "config.json", config)
        _write_weights(path / part / WEIGHTS, network(config), dtype_of(dtype), generator)
    hub = described["hub"][0]
    write_text(path / "README.md", CARD.format(seed=seed, hub=hub, dtype=dtype))


def _write_weights(path: Path, module: Any, dtype: torch.dtype, generator: torch.Generator) -> None:
    """Random numbers for every tensor of the network, one in memory at a time."""
    shapes = {name: tensor.shape for name, tensor in module.state_dict().items()}
    header: dict[str, Any] = {"__metadata__": {"format": "pt", DRY: "random weights"}}
    end = 0
    for name, shape in shapes.items():
        start, end = end, end + shape.numel() * dtype.itemsize
        place = {"dtype": NAMES[dtype], "shape": list(shape), "data_offsets": [start, end]}
        header[name] = place
    text = json.dumps(header, separators=(",", ":")).encode()
    size = math.ceil(len(text) / 8) * 8  # the format aligns the tensors, with spaces

    def write(temporary: Path) -> None:
        with temporary.open("wb") as file:
            file.write(size.to_bytes(8, "little") + text.ljust(size))
            for tensor in _random(shapes, generator):
                tensor.to(dtype).view(torch.uint8).numpy().tofile(file)

    atomically(path, write)


def _random(shapes: Mapping[str, torch.Size], generator: torch.Generator) -> Iterator[Tensor]:
    """Tensors, flat: a layer keeps its inputs' size on average, so that half precision suffices."""
    for name, shape in shapes.items():
        if len(shape) > 1:
            fan_in = shape[1:].numel()
            yield torch.randn(shape.numel(), generator=generator).div_(fan_in**0.5)
        else:  # a norm's gain, or a bias
            yield torch.full((shape.numel(),), float(name.endswith("weight")))


@dataclass(frozen=True)
class RandomTexts:
    """In the place of a text encoder (embeddings.Texts): random rows, the same for equal texts."""

    tokens: int
    width: int
    seed: int
    device: str

    def embed(self, texts: Sequence[str]) -> Float[Tensor, "n L d"]:
        """Of the size that the real encoder's hidden states have; they mean nothing."""
        rows = []
        for text in texts:
            generator = torch.Generator().manual_seed(int(digest([self.seed, text])[:15], 16))
            rows.append(torch.randn(self.tokens, self.width, generator=generator))
        return torch.stack(rows).to(self.device)


def random_texts(spec: Mapping[str, Any], *, seed: int, device: str) -> RandomTexts:
    """Texts of the shape that the model named by `hub` reads."""
    return RandomTexts(**architecture(spec)["text"], seed=seed, device=device)


def main(arguments: Sequence[str] | None = None) -> None:
    """The program; it names the folders."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--prior", required=True, help="the settings as JSON")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--dtype", help="fp32, fp16 or bf16, in place of the prior's")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args(arguments)
    prior = json.loads(given.prior)
    print(*write_models(prior, given.out, dtype=given.dtype, seed=given.seed), sep="\n")


if __name__ == "__main__":
    sys.exit(exit_status(main))
