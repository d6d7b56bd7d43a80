"""Texts as rows of hidden states, computed once and kept on disk.

    python -m pipeline.guidance.embeddings --prior JSON --texts FILE --cache DIR [--device cuda]

JSON: the prior's settings as in a preset. FILE: a JSON list of texts. DIR gets one safetensors file
a text. With a full cache an optimisation never loads the text encoder, which for DeepFloyd-IF takes
10 GB. A text outside the tokenizer's vocabulary, or longer than the encoder reads, is refused.
"""

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from pipeline.artifacts import (
    ArtifactError,
    digest,
    exit_status,
    load_safetensors,
    read_json,
    save_safetensors,
)
from pipeline.guidance.captions import VocabularyError
from pipeline.guidance.pretrained import (
    TRANSFORMERS,
    Source,
    dtype_of,
    identity,
    load_module,
    resolve,
    with_parts,
)
from pipeline.torchvision_shim import ensure_torchvision

PARTS = ("text_encoder", "tokenizer")
T5_TOKENS = 77  # DeepFloyd-IF was trained on that many; T5 itself has no limit
LISTED = 200  # words; a larger vocabulary is not printed in an error


@dataclass(frozen=True)
class Texts:
    """The text side of a model; it is in memory only while `embed` works. `cache` may be None.

    bits: of the encoder's weights, 8, or None for the dtype's.
    """

    source: Source
    dtype: torch.dtype
    device: str
    cache: Path | None
    bits: int | None = None

    def embed(self, texts: Sequence[str]) -> Float[Tensor, "n L d"]:
        """The last hidden states of the padded texts, float32; the null text is the empty string.

        Each text passes alone through the encoder: its row does not depend on the others.
        Raises VocabularyError for a text that the model cannot read whole.
        """
        stored = self.stored(texts)
        missing = [text for text in dict.fromkeys(texts) if text not in stored]
        rows = stored | (self.computed(missing) if missing else {})
        return torch.stack([rows[text] for text in texts]).to(self.device)

    def stored(self, texts: Sequence[str]) -> dict[str, Float[Tensor, "L d"]]:
        """Those of the texts that the cache holds; a broken file counts as none, and that is said.

        Only local model folders need to exist for it: the hub's are known by their commit.
        """
        found = {}
        for text, path in self._files(texts).items():
            if not path.exists():
                continue
            try:
                tensors, metadata = load_safetensors(path)
                if metadata.get("text") != text:
                    raise ArtifactError(f"{path}: holds another text")
                found[text] = tensors["states"]
            except (ArtifactError, KeyError) as error:
                print(f"{path} is broken and is computed again ({error})", file=sys.stderr)
        return found

    @torch.no_grad()
    def computed(self, texts: Sequence[str]) -> dict[str, Float[Tensor, "L d"]]:
        """All of the texts, put into the cache as well; none of them when one is refused."""
        encoder = _load(with_parts(self.source, PARTS), self.dtype, self.device, self.bits)
        tokens = {text: encoder.tokens(text) for text in texts}
        files, rows = self._files(texts), {}
        for text, fields in tokens.items():
            rows[text] = encoder.states(fields).float().cpu()
            if text in files:
                save_safetensors(files[text], {"states": rows[text]}, {"text": text})
        return rows

    def _files(self, texts: Sequence[str]) -> dict[str, Path]:
        """Where the cache keeps each text; nothing without a cache."""
        if self.cache is None:
            return {}
        model = [identity(self.source, PARTS), str(self.dtype)]
        model += [] if self.bits is None else [f"{self.bits} bits"]
        return {text: self.cache / f"{digest([*model, text])}.safetensors" for text in texts}


@dataclass(frozen=True)
class _Encoder:
    """A loaded tokenizer and text encoder, which reads `limit` tokens."""

    tokenizer: Any
    network: Any
    limit: int
    masked: bool

    def tokens(self, text: str) -> dict[str, Tensor]:
        """The network's inputs, padded to the limit. Raises VocabularyError."""
        found = self.tokenizer(text, return_offsets_mapping=True)
        ids, spans = found["input_ids"], found["offset_mapping"]
        unknown = self.tokenizer.unk_token_id
        if unknown in (self.tokenizer.eos_token_id, self.tokenizer.pad_token_id):
            unknown = None  # byte-level vocabularies, as CLIP's, know every text
        words = [text[slice(*span)] for i, span in zip(ids, spans, strict=True) if i == unknown]
        if words:
            raise VocabularyError(
                f"the prior's text encoder does not know {', '.join(map(repr, words))} in {text!r}"
                + self._vocabulary()
            )
        if len(ids) > self.limit:
            raise VocabularyError(
                f"{text!r} is {len(ids)} tokens long; the prior's text encoder reads {self.limit} "
                "and would drop the rest: shorten the text"
            )
        padded = self.tokenizer(
            text, padding="max_length", max_length=self.limit, return_tensors="pt"
        )
        names = ("input_ids", "attention_mask") if self.masked else ("input_ids",)
        return {name: padded[name] for name in names}

    def states(self, fields: dict[str, Tensor]) -> Float[Tensor, "L d"]:
        """The last hidden states of one text."""
        moved = {name: value.to(self.network.device) for name, value in fields.items()}
        return self.network(**moved).last_hidden_state[0]  # type: ignore[no-any-return]

    def _vocabulary(self) -> str:
        vocabulary = self.tokenizer.get_vocab()
        if len(vocabulary) > LISTED:
            return ""
        special = set(self.tokenizer.all_special_tokens)
        words = sorted((word for word in vocabulary if word not in special), key=vocabulary.get)
        return f"; its words: {', '.join(words)}"


def _load(source: Source, dtype: torch.dtype, device: str, bits: int | None) -> _Encoder:
    """T5 is told which tokens are padding, CLIP is not: as DeepFloyd-IF and Stable Diffusion."""
    ensure_torchvision()
    from transformers import AutoTokenizer

    network = load_module(
        source,
        "text_encoder",
        TRANSFORMERS,
        dtype=dtype,
        device=device,
        quantization=None if bits is None else _eight_bits(),
    )
    folder = source.path / "tokenizer"
    if (folder / "spiece.model").exists() and not (folder / "tokenizer.json").exists():
        _require_sentencepiece(folder)
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    except Exception as error:  # the library raises whatever its parsers raise
        raise ArtifactError(
            f"{folder}: not a tokenizer ({error}); fetch the model again"
        ) from error
    t5, config = type(network).__name__ == "T5EncoderModel", network.config
    return _Encoder(
        tokenizer,
        network,
        limit=min(T5_TOKENS if t5 else config.max_position_embeddings, tokenizer.model_max_length),
        masked=t5 or bool(getattr(config, "use_attention_mask", False)),
    )


def _eight_bits() -> Any:
    """What transformers is told to load a network in 8 bits. Raises ArtifactError."""
    try:
        import bitsandbytes  # noqa: F401
    except ImportError as error:
        raise ArtifactError(
            "text_encoder_bits: 8 needs the package bitsandbytes: pip install -c constraints.txt "
            f"-e '.[bitsandbytes]'; null loads the encoder without it ({error})"
        ) from error
    from transformers import BitsAndBytesConfig

    return BitsAndBytesConfig(load_in_8bit=True)


def _require_sentencepiece(folder: Path) -> None:
    """Without these packages transformers asks for a third one, which does not help."""
    try:
        import google.protobuf  # noqa: F401
        import sentencepiece  # noqa: F401
    except ImportError as error:
        raise ArtifactError(
            f"{folder / 'spiece.model'} needs the packages sentencepiece and protobuf: "
            f"pip install sentencepiece protobuf ({error})"
        ) from error


def texts_of(spec: Mapping[str, Any], *, cache: Path | None, device: str) -> Texts:
    """The text side of the prior that a preset describes. Raises ArtifactError."""
    if "dtype" not in spec:
        raise ArtifactError(f"prior {spec.get('name', '')!r} has no text encoder")
    source, dtype = resolve(spec, ["tokenizer"]), dtype_of(spec["dtype"])
    return Texts(source, dtype, device, cache, bits_of(spec))


def bits_of(spec: Mapping[str, Any]) -> int | None:
    """Of the text encoder's weights: 8, or None for the dtype's. Raises ArtifactError."""
    bits = spec.get("text_encoder_bits")
    if bits not in (None, 8):
        raise ArtifactError(f"text_encoder_bits {bits!r} is neither 8 nor null")
    return bits


def main(arguments: Sequence[str] | None = None) -> None:
    """The program; it says how many texts it computed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--prior", required=True, help="the settings as JSON")
    parser.add_argument("--texts", type=Path, required=True, help="a JSON list of texts")
    parser.add_argument("--cache", type=Path, required=True)
    parser.add_argument("--device", default="cpu")
    given = parser.parse_args(arguments)
    texts = list(dict.fromkeys(read_json(given.texts)))
    side = texts_of(json.loads(given.prior), cache=given.cache, device=given.device)
    stored = side.stored(texts)
    missing = [text for text in texts if text not in stored]
    if missing:
        side.computed(missing)
    print(f"{len(texts)} texts: {len(missing)} computed, {len(stored)} were in {given.cache}")


if __name__ == "__main__":
    sys.exit(exit_status(main, VocabularyError))
