"""What metrics read, in small: an untrained CLIP, truth files of boxes, run folders."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch

from metrics.runs import VIEWS
from pipeline import artifacts

WORDS = ["a", "an", "red", "orange", "yellow", "green", "blue", "purple", "car", "house", "duck"]
WORDS += ["rocket", "blob", "tower", "slab", "front", "side", "back", "view", ","]

TINY = {
    "embed_dim": 16,
    "quick_gelu": True,
    "vision_cfg": {
        "image_size": 32, "layers": 1, "width": 32, "patch_size": 8, "head_width": 16,
    },
    "text_cfg": {"context_length": 10, "vocab_size": len(WORDS) + 4, "width": 32}
    | {"heads": 2, "layers": 1, "hf_tokenizer_name": "words"},
}  # fmt: skip

COLOURS = {"red": (0.8, 0.1, 0.1), "blue": (0.1, 0.2, 0.9)}


def tiny_clip(folder: Path, *, seed: int = 0, words: bool = True) -> Path:
    """An open_clip folder with random weights; a word-level tokenizer, or open_clip's BPE."""
    from pipeline.torchvision_shim import ensure_torchvision

    ensure_torchvision()
    from open_clip.model import CLIP

    config = json.loads(json.dumps(TINY))
    if words:
        word_tokenizer(folder)
    else:
        del config["text_cfg"]["hf_tokenizer_name"]
        config["text_cfg"] |= {"vocab_size": 49408, "context_length": 77}
    parts = {key: value for key, value in config["text_cfg"].items()}
    with torch.random.fork_rng():
        torch.manual_seed(seed)  # open_clip draws its initial weights from the global generator
        model = CLIP(
            config["embed_dim"], config["vision_cfg"], parts, quick_gelu=config["quick_gelu"]
        )
    artifacts.save_safetensors(folder / "open_clip_model.safetensors", model.state_dict())
    preprocess = {"mean": [0.5] * 3, "std": [0.5] * 3, "interpolation": "bicubic"}
    described = {"model_cfg": config, "preprocess_cfg": preprocess}
    artifacts.write_json(folder / "open_clip_config.json", described)
    return folder


def word_tokenizer(folder: Path) -> None:
    """A transformers tokenizer whose tokens are WORDS; the end token has the largest id."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    vocabulary = ["[PAD]", "[UNK]", "<start>", *WORDS, "<end>"]
    ids = {word: index for index, word in enumerate(vocabulary)}
    tokenizer = Tokenizer(models.WordLevel(ids, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<start> $A <end>",
        special_tokens=[("<start>", ids["<start>"]), ("<end>", ids["<end>"])],
    )
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        unk_token="[UNK]",
        pad_token="[PAD]",
        bos_token="<start>",
        eos_token="<end>",
    ).save_pretrained(folder)


def box(size: int, left: float, right: float, top: float, bottom: float) -> np.ndarray:
    """(s, s) 0 or 1: a rectangle given in shares of the picture."""
    edge = (np.arange(size) + 0.5) / size
    rows, columns = (edge >= top) & (edge < bottom), (edge >= left) & (edge < right)
    return (rows[:, None] & columns[None]).astype(np.float32)


def object_views(shape: str, *, size: int, shift: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """base (4, 4, s, s) and tint (4, 1, s, s) of a box with a black patch in front, `shift`ed
    right.
    """
    bounds = {"tower": (0.35, 0.65, 0.1, 0.9), "slab": (0.1, 0.9, 0.4, 0.7)}[shape]
    left, right, top, bottom = bounds
    body = box(size, left + shift, right + shift, top, bottom)
    patch = box(size, left + 0.1 + shift, left + 0.25 + shift, top + 0.1, top + 0.25)
    base, tint = np.zeros((4, 4, size, size), np.float32), np.zeros((4, 1, size, size), np.float32)
    base[:, 3] = body
    for index, view in enumerate(VIEWS):
        tint[index, 0] = body * (1.0 - patch) if view == "front" else body * 0.9
    return base, tint


def truth_folder(
    folder: Path, *, size: int = 32, directional: tuple[str, ...] = ("tower", "slab")
) -> Path:
    """Truth files of two shapes, one instance; an offset shifts the picture by 1/16."""
    for shape in ("tower", "slab"):
        shifts = (-0.125, -0.0625, 0.0, 0.0625, 0.125)
        views = [object_views(shape, size=size, shift=shift) for shift in shifts]
        base, tint = (np.stack(planes)[None] for planes in zip(*views, strict=True))
        tensors = {
            "base": torch.from_numpy((base * 255 + 0.5).astype(np.uint8)),
            "tint": torch.from_numpy((tint * 255 + 0.5).astype(np.uint8)),
            "shade": torch.zeros(1, 3),
            "azimuth_deg": torch.tensor(list(VIEWS.values())),
        }
        artifacts.save_safetensors(folder / f"{shape}.safetensors", tensors)
    world = {"shapes": ["tower", "slab"], "colours": {k: list(v) for k, v in COLOURS.items()}}
    world |= {"schema_version": artifacts.SCHEMA_VERSION, "directional": list(directional)}
    artifacts.write_json(folder / "world.json", world)
    return folder


def straight(shape: str, colour: str, *, size: int = 32, shift: float = 0.0) -> np.ndarray:
    """(4, s, s, 4): views of a true object with straight alpha, as a perfect run renders."""
    base, tint = object_views(shape, size=size, shift=shift)
    rgb = base[:, :3] + tint * np.array(COLOURS[colour], np.float32)[:, None, None]
    return np.moveaxis(np.concatenate([rgb, base[:, 3:]], axis=1), 1, -1)


def run_folder(
    root: Path, *, column: str, prompt: str, views: np.ndarray | None, seed: int = 0, **extra: Any
) -> Path:
    """A finished run with these views, or a failed one for None."""
    from prompts.load import prompt_id

    folder = root / column / prompt_id(prompt) / f"seed{seed}" / "nerf"
    status = "failed" if views is None else "ok"
    artifacts.write_json(
        folder / "run.json",
        {"schema_version": artifacts.SCHEMA_VERSION, "status": status, "preset": "test"}
        | {"column": column, "stage": "nerf", "prompt": prompt, "prompt_id": prompt_id(prompt)}
        | {"seed": seed, "placeholder": views is None, **extra},
    )
    if views is not None:
        import pandas

        for view, image in zip(VIEWS, views, strict=True):
            artifacts.write_png(folder / "views" / f"{view}.png", image)
        trace = {"step": [0, 10], "t": [500, 20], "term": ["cls", "cls"]}
        trace |= {"norm": [1.0, 0.5], "weighted_norm": [0.9, 0.4]}
        artifacts.write_table(pandas.DataFrame(trace), folder / "trace", "trace")
    return folder
