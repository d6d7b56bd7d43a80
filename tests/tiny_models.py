"""Model folders in the real formats with random weights, small enough for a second."""

import json
import shutil
from pathlib import Path
from typing import Any

import torch

from pipeline.torchvision_shim import ensure_torchvision

ensure_torchvision()
from diffusers import AutoencoderKL, ControlNetModel, DDPMScheduler, UNet2DConditionModel  # noqa: E402
from tokenizers import Tokenizer, models, pre_tokenizers, processors  # noqa: E402
from transformers import (  # noqa: E402
    CLIPTextConfig,
    CLIPTextModel,
    PreTrainedTokenizerFast,
    T5Config,
    T5EncoderModel,
)

WORDS = ["a", "red", "blue", "car", "house", "front", "back", "side", "view", ",", "ugly"]
SPECIAL = ["[PAD]", "[UNK]", "[END]"]
TOKENS = 8
WIDTH = 16  # of the text
WIDTHS = (8, 16)
PIXELS = 16
LATENT = 8
SCHEDULES: dict[str, dict[str, Any]] = {
    "pixel": {"beta_schedule": "squaredcos_cap_v2"},
    "latent": {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012},
}


def pixel_folder(folder: Path, *, prediction: str) -> Path:
    """A pixel prior as the toy world's: CLIP's text encoder, pooled text beside attention."""
    torch.manual_seed(0)
    extra = {"addition_embed_type": "text", "addition_embed_type_num_heads": 2}
    tiny_unet(3, 3, PIXELS, **extra).save_pretrained(folder / "unet")
    _text(folder)
    _scheduler(folder, "pixel", prediction)
    return folder


def deepfloyd_folder(folder: Path) -> Path:
    """A pixel prior as DeepFloyd-IF-I: its kinds of blocks, a T5, a learned variance."""
    torch.manual_seed(2)
    tiny_unet(
        3,
        6,
        PIXELS,
        down_block_types=("ResnetDownsampleBlock2D", "SimpleCrossAttnDownBlock2D"),
        mid_block_type="UNetMidBlock2DSimpleCrossAttn",
        up_block_types=("SimpleCrossAttnUpBlock2D", "ResnetUpsampleBlock2D"),
        encoder_hid_dim=WIDTH,
        cross_attention_dim=2 * WIDTH,
        addition_embed_type="text",
        addition_embed_type_num_heads=2,
        resnet_time_scale_shift="scale_shift",
        act_fn="gelu",
    ).save_pretrained(folder / "unet")
    _text(folder, t5=True)
    _scheduler(folder, "pixel", "epsilon", variance_type="learned_range")
    return folder


def latent_folder(folder: Path, *, prediction: str) -> Path:
    """A latent prior in Stable Diffusion's format: 16 pixels, 8 x 8 latents."""
    torch.manual_seed(1)
    tiny_unet(4, 4, LATENT).save_pretrained(folder / "unet")
    AutoencoderKL(
        sample_size=PIXELS,
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        block_out_channels=WIDTHS,
        latent_channels=4,
        norm_num_groups=4,
    ).save_pretrained(folder / "vae")
    _text(folder)
    _scheduler(folder, "latent", prediction)
    return folder


def control_folder(folder: Path, latent: Path, *, seed: int) -> Path:
    """A ControlNet beside the UNet of `latent`; its zero layers are filled, so that it acts."""
    torch.manual_seed(seed)
    unet = UNet2DConditionModel.from_pretrained(latent / "unet")
    network = ControlNetModel.from_unet(unet, conditioning_embedding_out_channels=(8, 16))
    with torch.no_grad():
        for weight in network.parameters():
            if not weight.any():
                weight.normal_(0.0, 0.1)
    network.save_pretrained(folder)
    return folder


def tiny_unet(channels: int, out: int, size: int, **changes: Any) -> UNet2DConditionModel:
    """Two levels with attention at the lower one."""
    settings: dict[str, Any] = {
        "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D"),
        "up_block_types": ("CrossAttnUpBlock2D", "UpBlock2D"),
        "block_out_channels": WIDTHS,
        "layers_per_block": 1,
        "cross_attention_dim": WIDTH,
        "attention_head_dim": 8,
        "norm_num_groups": 4,
    }
    return UNet2DConditionModel(
        sample_size=size, in_channels=channels, out_channels=out, **(settings | changes)
    )


def spec(kind: str, path: Path, **changes: Any) -> dict[str, Any]:
    """The settings of a prior as a preset has them."""
    settings: dict[str, Any] = {"name": "tiny", "kind": kind, "path": str(path), "dtype": "fp32"}
    if kind == "stable_diffusion":
        settings |= {"latent": "mode", "seed": 0, "controlnets": [], "control_on": "all"}
    return settings | changes


def control_spec(path: Path, image: str, weight: Any) -> dict[str, Any]:
    """One entry of a latent prior's `controlnets`."""
    return {"path": str(path), "image": image, "weight": weight}


def copied(folder: Path, to: Path) -> Path:
    """A copy that a test may break."""
    shutil.copytree(folder, to)
    return to


def _text(folder: Path, *, t5: bool = False) -> None:
    vocabulary = [*SPECIAL, *WORDS]
    common = {"vocab_size": len(vocabulary), "pad_token_id": 0, "eos_token_id": 2}
    if t5:
        config = T5Config(d_model=WIDTH, d_kv=8, d_ff=32, num_layers=1, num_heads=2, **common)
        T5EncoderModel(config).save_pretrained(folder / "text_encoder")
    else:
        config = CLIPTextConfig(
            hidden_size=WIDTH,
            intermediate_size=32,
            num_hidden_layers=1,
            num_attention_heads=2,
            max_position_embeddings=TOKENS,
            bos_token_id=2,
            **common,
        )
        CLIPTextModel(config).save_pretrained(folder / "text_encoder")
    ids = {word: index for index, word in enumerate(vocabulary)}
    tokenizer = Tokenizer(models.WordLevel(ids, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="$A [END]", special_tokens=[("[END]", ids["[END]"])]
    )
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        model_max_length=TOKENS,
        unk_token="[UNK]",
        pad_token="[PAD]",
        eos_token="[END]",
    ).save_pretrained(folder / "tokenizer")


def _scheduler(folder: Path, kind: str, prediction: str, **extra: Any) -> None:
    DDPMScheduler(
        prediction_type=prediction, clip_sample=False, steps_offset=1, **SCHEDULES[kind], **extra
    ).save_pretrained(folder / "scheduler")


def architectures(folder: Path) -> dict[str, Any]:
    """The paper preset's models by their first names, of tiny shapes."""
    pixel = deepfloyd_folder(folder / "pixel")
    latent = latent_folder(folder / "latent", prediction="epsilon")
    control = control_folder(folder / "control", latent, seed=0)

    def parts(root: Path, names: list[str]) -> dict[str, Any]:
        found = {name: json.loads((root / name / "config.json").read_text()) for name in names}
        scheduler = json.loads((root / "scheduler" / "scheduler_config.json").read_text())
        return found | {"scheduler": scheduler}

    text = {"tokens": TOKENS, "width": WIDTH}
    own = {
        "DeepFloyd/IF-I-XL-v1.0": parts(pixel, ["unet"]),
        "stable-diffusion-v1-5/stable-diffusion-v1-5": parts(latent, ["unet", "vae"]),
    }
    nets = {"": json.loads((control / "config.json").read_text())}
    own |= dict.fromkeys(
        ("lllyasviel/control_v11f1p_sd15_depth", "lllyasviel/control_v11p_sd15_canny"), nets
    )
    return {hub: {"hub": [hub], "text": text, "parts": each} for hub, each in own.items()}
