"""The networks of the learned priors, untrained, and the folders that hold them when trained.

All are diffusers' and transformers' own classes in their own folder formats, so that the code that
loads DeepFloyd-IF and Stable Diffusion loads them. As in DeepFloyd-IF, pooled text also scales and
shifts the residual blocks: with cross-attention alone captions were not obeyed after 2,000 steps.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import Module

from pipeline.artifacts import read_json, write_json, write_text
from pipeline.torchvision_shim import ensure_torchvision
from pipeline.toyworld.clip_model import PAD, WORDS, tokenizer_json

CONTEXT = 12  # the negative prompt, "oversaturated color, ugly, ...", with its commas and the end
WIDTH = 64  # of the text encoder
SQUARED_COSINE = {"beta_schedule": "squaredcos_cap_v2"}  # pixels, as DeepFloyd-IF
SCALED_LINEAR = {  # latents, as Stable Diffusion
    "beta_schedule": "scaled_linear",
    "beta_start": 0.00085,
    "beta_end": 0.012,
}


def fresh(make: Any, seed: int) -> Any:
    """What `make()` returns, its weights a function of the seed; the global stream is untouched."""
    ensure_torchvision()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return make()


def text_encoder(seed: int) -> Module:
    """A causal text transformer of two layers over the toy world's words."""
    ensure_torchvision()
    from transformers import CLIPTextConfig, CLIPTextModel

    config = CLIPTextConfig(
        vocab_size=len(WORDS),
        hidden_size=WIDTH,
        intermediate_size=2 * WIDTH,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=CONTEXT,
        pad_token_id=PAD,
        bos_token_id=len(WORDS) - 1,
        eos_token_id=len(WORDS) - 1,
    )
    return fresh(lambda: CLIPTextModel(config), seed)


def unet(seed: int, *, size: int, channels: int, widths: tuple[int, ...]) -> Module:
    """A UNet2DConditionModel that reads the text by FiLM everywhere, by attention at the bottom."""
    ensure_torchvision()
    from diffusers import UNet2DConditionModel

    above = len(widths) - 1
    return fresh(
        lambda: UNet2DConditionModel(
            sample_size=size,
            in_channels=channels,
            out_channels=channels,
            down_block_types=("DownBlock2D",) * above + ("CrossAttnDownBlock2D",),
            up_block_types=("CrossAttnUpBlock2D",) + ("UpBlock2D",) * above,
            block_out_channels=widths,
            layers_per_block=1,
            cross_attention_dim=WIDTH,
            attention_head_dim=32,
            norm_num_groups=8,
            addition_embed_type="text",
            addition_embed_type_num_heads=4,
            resnet_time_scale_shift="scale_shift",
        ),
        seed,
    )


def autoencoder(seed: int) -> Module:
    """An AutoencoderKL that takes 64 x 64 pixels to 16 x 16 latents of four channels."""
    ensure_torchvision()
    from diffusers import AutoencoderKL

    return fresh(
        lambda: AutoencoderKL(
            sample_size=64,
            down_block_types=("DownEncoderBlock2D",) * 3,
            up_block_types=("UpDecoderBlock2D",) * 3,
            block_out_channels=(16, 32, 64),
            layers_per_block=1,
            latent_channels=4,
            norm_num_groups=8,
            mid_block_add_attention=False,
        ),
        seed,
    )


def controlnet(model: Any, seed: int) -> Any:
    """A ControlNet with the UNet's encoder and a fresh reader of 64 x 64 control images."""
    ensure_torchvision()
    from diffusers import ControlNetModel

    def make() -> Any:
        reader = {"conditioning_channels": 3, "conditioning_embedding_out_channels": (16, 32, 64)}
        found = ControlNetModel.from_unet(model, **reader)
        # from_unet leaves this key at its default, and the pooled text would be read otherwise
        config = {key: v for key, v in found.config.items() if not key.startswith("_")}
        config["addition_embed_type_num_heads"] = model.config.addition_embed_type_num_heads
        same: Any = ControlNetModel(**config)
        same.load_state_dict(found.state_dict())
        return same

    return fresh(make, seed)


def scheduler(betas: dict[str, Any]) -> Any:
    """A DDPMScheduler of 1,000 steps whose network predicts v."""
    ensure_torchvision()
    from diffusers import DDPMScheduler

    return DDPMScheduler(
        num_train_timesteps=1000, prediction_type="v_prediction", clip_sample=False, **betas
    )


def token_ids(texts: list[str]) -> Tensor:
    """The ids, (n, CONTEXT), that the folder's tokenizer gives, without importing transformers.

    Raises ValueError for a word outside the vocabulary or a text that does not fit.
    """
    rows = []
    for text in texts:
        words = [*text.lower().replace(",", " , ").split(), "[END]"]
        unknown = [word for word in words if word not in WORDS]
        if unknown or len(words) > CONTEXT:
            raise ValueError(f"{text!r}: at most {CONTEXT - 1} of the words {WORDS}")
        ids = [WORDS.index(word) for word in words]
        rows.append(ids + [PAD] * (CONTEXT - len(ids)))
    return torch.tensor(rows)


def pretrained(kind: str, folder: Path, device: str) -> Any:
    """The frozen "unet", "vae", "controlnet" or "text_encoder" of a folder, in single precision."""
    ensure_torchvision()
    import diffusers
    import transformers

    classes = {
        "vae": diffusers.AutoencoderKL,
        "unet": diffusers.UNet2DConditionModel,
        "controlnet": diffusers.ControlNetModel,
        "text_encoder": transformers.CLIPTextModel,
    }
    found = classes[kind].from_pretrained(folder, local_files_only=True, torch_dtype=torch.float32)
    return found.to(device).eval().requires_grad_(False)


def save_model(module: Any, folder: Path) -> None:
    """The model's folder in half precision; the file is complete or absent."""
    folder.mkdir(parents=True, exist_ok=True)
    module.to(torch.float16).save_pretrained(folder, safe_serialization=True)
    module.to(torch.float32)
    config = read_json(folder / "config.json")
    config.pop("_name_or_path", None)  # where it was read from: a folder of this machine
    write_json(folder / "config.json", config)


def save_tokenizer(folder: Path) -> None:
    """The word-level tokenizer as transformers reads it."""
    write_text(folder / "tokenizer.json", json.dumps(tokenizer_json(), indent=1) + "\n")
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": CONTEXT,
        "pad_token": "[PAD]",
        "unk_token": "[UNK]",
        "eos_token": "[END]",
    }
    write_json(folder / "tokenizer_config.json", config)


def save_index(folder: Path, pipeline: str, parts: Mapping[str, Sequence[str | None]]) -> None:
    """model_index.json: the classes of the sub-folders, as diffusers writes it."""
    ensure_torchvision()
    import diffusers

    index = {"_class_name": pipeline, "_diffusers_version": diffusers.__version__}
    write_json(folder / "model_index.json", {**index, **{k: list(v) for k, v in parts.items()}})
