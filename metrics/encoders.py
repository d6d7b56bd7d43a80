"""Picture and caption encoders, all loaded by open_clip through one path.

A model is named `local-dir:PATH` (a folder in open_clip's format: open_clip_config.json,
open_clip_model.safetensors, tokenizer files) or `MODEL:TAG`, such as `ViT-B-32-quickgelu:openai`,
the model of the CSD paper's Table 2. OpenAI's weights were trained with QuickGELU; since 2.29
open_clip builds `ViT-B-32` with GELU even for them and only warns. Here that warning is an error.

Embeddings are unit vectors in fp32. Everything passes through the network in batches of one fixed
size, the last one padded, so that an embedding does not depend on what was embedded beside it.
"""

import os
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float

from pipeline.artifacts import sha256
from pipeline.torchvision_shim import ensure_torchvision

if TYPE_CHECKING:
    import torch

LOCAL = "local-dir:"
WEIGHTS = "open_clip_model.safetensors"
BATCH = 32  # ViT-B/32 at 224 pixels takes 1 GB with it


class EncoderError(RuntimeError):
    """An encoder that cannot be loaded, or a caption it cannot read; the message has the remedy."""


@dataclass(frozen=True)
class Encoder:
    """A loaded model with its own preprocessing and tokenizer, and what identifies them."""

    model: Any
    preprocess: Callable[[Any], "torch.Tensor"]
    tokenizer: Any
    model_id: str
    model_sha256: str
    preprocessing: str
    device: str


def load(spec: str, *, device: str = "cpu") -> Encoder:
    """The encoder named `spec`, in evaluation mode, fp32.

    Raises EncoderError, which names the model, the file and the remedy, for unknown names, for
    missing, corrupt or mismatched weights, for weights that cannot be downloaded (HF_HUB_OFFLINE=1
    forbids trying), and for an activation other than the one the weights were trained with.
    """
    ensure_torchvision()
    import open_clip
    from safetensors import SafetensorError

    name, tag = _name_and_tag(spec)
    weights = _local_weights(name) if tag is None else _tagged_weights(name, tag)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("error", message="QuickGELU mismatch")
            model, preprocess = open_clip.create_model_from_pretrained(
                name, pretrained=tag, precision="fp32", device=device
            )
        tokenizer = open_clip.get_tokenizer(name)
    except UserWarning as warning:
        raise EncoderError(
            f"{spec}: {warning} Its embeddings would be wrong; name the model with the activation "
            f"of its weights, such as {name}-quickgelu:{tag}"
        ) from warning
    except (OSError, RuntimeError, ValueError, TypeError, KeyError, SafetensorError) as error:
        raise EncoderError(
            f"{spec}: {weights} or a file beside it is corrupt or of another model ({error}); "
            "delete it and fetch it again (for weights kept in this repository: git checkout)"
        ) from error
    return Encoder(
        model=model.eval().requires_grad_(False),
        preprocess=preprocess,
        tokenizer=tokenizer,
        model_id=spec,
        model_sha256=sha256(weights),
        preprocessing=" ".join(str(preprocess).split()),
        device=device,
    )


def embed_images(
    encoder: Encoder, images: Sequence[Float[np.ndarray, "h w 3"]]
) -> Float[np.ndarray, "n d"]:
    """Unit embeddings, fp32, of rgb pictures in [0, 1], rounded to 8 bits as a stored picture
    would be.
    """
    import torch
    from PIL import Image

    def prepared(image: np.ndarray) -> "torch.Tensor":
        eight_bit = (np.clip(image, 0.0, 1.0) * 255.0 + 0.5).astype(np.uint8)
        return encoder.preprocess(Image.fromarray(eight_bit))

    if not images:
        raise ValueError("no pictures to embed")
    inputs = torch.stack([prepared(image) for image in images])
    return _embedded(encoder.model.encode_image, inputs, encoder.device)


def embed_texts(encoder: Encoder, texts: Sequence[str]) -> Float[np.ndarray, "n d"]:
    """Unit embeddings, fp32, of captions as they are, without prefix.

    Raises EncoderError for captions that the tokenizer would cut or reads as unknown: their
    embedding would be that of another caption.
    """
    if not texts:
        raise ValueError("no captions to embed")
    for text in texts:
        check_caption(encoder, text)
    return _embedded(encoder.model.encode_text, encoder.tokenizer(list(texts)), encoder.device)


def count_tokens(encoder: Encoder, text: str) -> int:
    """Number of tokens of `text`, start and end included."""
    inner = getattr(
        encoder.tokenizer, "tokenizer", None
    )  # of transformers; open_clip's BPE has none
    if inner is None:
        return len(encoder.tokenizer.encode(text)) + 2
    return len(inner(text, truncation=False).input_ids)


def check_caption(encoder: Encoder, text: str) -> None:
    """Raises EncoderError unless every word of `text` is known and it fits the context."""
    limit = encoder.tokenizer.context_length
    count = count_tokens(encoder, text)
    if count > limit:
        raise EncoderError(
            f"{encoder.model_id}: caption of {count} tokens, at most {limit} fit: {text!r}; "
            "shorten it"
        )
    inner: Any = getattr(encoder.tokenizer, "tokenizer", None)
    unknown = None if inner is None else inner.unk_token_id
    if unknown is None or unknown not in inner(text).input_ids:
        return
    words = [word for word in text.replace(",", " ").split() if unknown in inner(word).input_ids]
    raise EncoderError(
        f"{encoder.model_id}: caption {text!r} has words outside its vocabulary: "
        f"{', '.join(words) or 'punctuation'}; known: {', '.join(sorted(inner.get_vocab()))}"
    )


def _embedded(encode: Callable[..., Any], inputs: "torch.Tensor", device: str) -> np.ndarray:
    import torch

    padding = -len(inputs) % BATCH
    padded = torch.cat([inputs, inputs[-1:].expand(padding, *inputs.shape[1:])])
    with torch.inference_mode():
        rows = [encode(batch.to(device), normalize=True).cpu() for batch in padded.split(BATCH)]
    embedding = torch.cat(rows)[: len(inputs)].numpy()
    if not np.isfinite(embedding).all():
        raise EncoderError("the encoder gave a value that is not finite; its weights are broken")
    return embedding


def _name_and_tag(spec: str) -> tuple[str, str | None]:
    if spec.startswith(LOCAL):
        return spec, None
    name, colon, tag = spec.partition(":")
    if not (name and colon and tag):
        raise EncoderError(
            f"{spec!r} is no model: write {LOCAL}PATH, or MODEL:TAG as in ViT-B-32-quickgelu:openai"
        )
    return name, tag


def _local_weights(name: str) -> Path:
    folder = Path(name.removeprefix(LOCAL))
    for file in (folder / "open_clip_config.json", folder / WEIGHTS):
        if not file.is_file():
            raise EncoderError(
                f"{name}: {file} is missing; restore it (for weights kept in this repository: git "
                "checkout), or name a folder in open_clip's format"
            )
    return folder / WEIGHTS


def _tagged_weights(name: str, tag: str) -> Path:
    import open_clip
    from open_clip.pretrained import download_pretrained, get_pretrained_cfg

    described = get_pretrained_cfg(name, tag)
    if not described:
        tags = open_clip.list_pretrained_tags_by_model(name)
        known = (
            f"its tags: {', '.join(tags)}" if tags else "open_clip.list_models() lists the models"
        )
        raise EncoderError(f"{name}:{tag}: open_clip knows no such weights; {known}")
    try:
        return Path(download_pretrained(described))
    except (OSError, RuntimeError) as error:
        source = described.get("hf_hub") or described.get("url")
        offline = " (HF_HUB_OFFLINE is set)" if os.environ.get("HF_HUB_OFFLINE") else ""
        raise EncoderError(
            f"{name}:{tag}: its weights {source} are not in the cache and cannot be downloaded"
            f'{offline}: {error}. On a machine with network run `python -c "import open_clip; '
            f"open_clip.create_model('{name}', '{tag}')\"` and copy its Hugging Face cache here, "
            f"or name a folder in open_clip's format as {LOCAL}PATH"
        ) from error
