"""A small CLIP in open_clip's folder format, with a tokenizer of whole words.

The folder holds open_clip_config.json, open_clip_model.safetensors, tokenizer.json and
tokenizer_config.json, and is loaded with open_clip's `local-dir:` scheme like any other model.
Words outside the vocabulary become the token [UNK] (id `UNKNOWN`, the tokenizer's `unk_token_id`):
whoever encodes text must refuse captions that contain it. Pooling takes the largest id of a
caption, which here is the end token by construction.
"""

import json
from pathlib import Path
from typing import Any

import torch

from pipeline.artifacts import write_json, write_text
from pipeline.torchvision_shim import ensure_torchvision
from pipeline.toyworld.vocabulary import COLOURS, DEGRADATIONS, SHAPES, VIEWS

SIZE = 48  # pixels a side of what the image tower sees
CONTEXT = 8  # "an orange mushroom , overhead view" and the end token are seven

PAD, UNKNOWN = 0, 1
_FAULTS = sorted({word for phrase in DEGRADATIONS for word in phrase.split()})
WORDS: tuple[str, ...] = (
    *("[PAD]", "[UNK]", ",", "a", "an"),
    *COLOURS,
    *SHAPES,
    "blob",
    *VIEWS,
    "view",
    *_FAULTS,
    "[END]",  # last, hence the largest id
)


def model_config(*, patch: int = 8, width: int = 64, layers: int = 4) -> dict[str, Any]:
    """open_clip's description of the two towers and of the preprocessing."""
    return {
        "model_cfg": {
            "embed_dim": 64,
            "vision_cfg": {
                "image_size": SIZE,
                "patch_size": patch,
                "layers": layers,
                "width": width,
                "head_width": 16,
                "mlp_ratio": 3.0,
            },
            "text_cfg": {
                "context_length": CONTEXT,
                "vocab_size": len(WORDS),
                "hf_tokenizer_name": "word-level, in this folder",
                "width": 64,
                "heads": 4,
                "layers": 2,
                "mlp_ratio": 2.0,
                "pool_type": "argmax",
                "pad_id": PAD,
            },
        },
        "preprocess_cfg": {
            "mean": [0.5, 0.5, 0.5],
            "std": [0.5, 0.5, 0.5],
            "interpolation": "bicubic",
            "resize_mode": "shortest",
        },
    }


def tokenizer_json() -> dict[str, Any]:
    special = [
        {
            "id": WORDS.index(word),
            "content": word,
            "single_word": False,
            "lstrip": False,
            "rstrip": False,
            "normalized": False,
            "special": True,
        }
        for word in ("[PAD]", "[UNK]", "[END]")
    ]
    end = {"id": "[END]", "ids": [WORDS.index("[END]")], "tokens": ["[END]"]}
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": special,
        "normalizer": {"type": "Lowercase"},
        "pre_tokenizer": {"type": "Whitespace"},
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [
                {"Sequence": {"id": "A", "type_id": 0}},
                {"SpecialToken": {"id": "[END]", "type_id": 0}},
            ],
            "pair": [
                {"Sequence": {"id": "A", "type_id": 0}},
                {"Sequence": {"id": "B", "type_id": 0}},
            ],
            "special_tokens": {"[END]": end},
        },
        "decoder": None,
        "model": {
            "type": "WordLevel",
            "vocab": {word: number for number, word in enumerate(WORDS)},
            "unk_token": "[UNK]",
        },
    }


def write_description(folder: Path, config: dict[str, Any]) -> None:
    """`folder` holds the configuration and the tokenizer, everything but the weights."""
    write_json(folder / "open_clip_config.json", config)
    write_text(folder / "tokenizer.json", json.dumps(tokenizer_json(), indent=1) + "\n")
    tokenizer_config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": CONTEXT,
        "pad_token": "[PAD]",
        "unk_token": "[UNK]",
        "eos_token": "[END]",
    }
    write_json(folder / "tokenizer_config.json", tokenizer_config)


def untrained(config: dict[str, Any], *, seed: int) -> torch.nn.Module:
    """open_clip's CLIP of that configuration with initial weights that depend on `seed` only."""
    ensure_torchvision()
    from open_clip.model import CLIP

    with torch.random.fork_rng(devices=[]):  # open_clip initialises from the global generator
        torch.manual_seed(seed)
        return CLIP(**config["model_cfg"])


def token_ids(texts: list[str]) -> torch.Tensor:
    """The ids that the folder's tokenizer gives, (n, CONTEXT), without importing transformers.

    Raises ValueError for a word outside the vocabulary or a caption that does not fit.
    """
    rows = []
    for text in texts:
        words = [*text.lower().replace(",", " , ").split(), "[END]"]
        unknown = [word for word in words if word not in WORDS]
        if unknown:
            raise ValueError(f"{text!r}: {', '.join(unknown)} outside the vocabulary {WORDS}")
        if len(words) > CONTEXT:
            raise ValueError(f"{text!r}: {len(words)} tokens, at most {CONTEXT} fit")
        ids = [WORDS.index(word) for word in words]
        rows.append(ids + [PAD] * (CONTEXT - len(ids)))
    return torch.tensor(rows)
