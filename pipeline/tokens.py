"""How many tokens the evaluation's encoder makes of a caption, told before the first job.

A caption beyond an encoder's context would be cut off, and one of unknown words would be that of
another: metrics.embed refuses both, but only after every run. The answer here takes a fraction of a
second, since nothing but the tokenizer is read: no network, no torch.
"""

import functools
import gzip
import html
import importlib.util
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from prompts.load import Prompt, PromptError, check_length, prompt_id

if TYPE_CHECKING:
    from tokenizers import Tokenizer

ROOT = Path(__file__).resolve().parent.parent  # relative paths in presets start here
LOCAL = "local-dir:"
# The rest of the file are merges that OpenAI's models do not know: 49,408 tokens are 256 bytes,
# twice, the merges, and start and end.
CLIP_MERGES = 49_408 - 2 * 256 - 2
CLIP_WORDS = r"'s|'t|'re|'ve|'m|'ll|'d|\p{L}+|\p{N}|[^\s\p{L}\p{N}]+"


@dataclass(frozen=True)
class Reader:
    """`count` tokens of a text, special ones included, of which the encoder reads `limit`.

    `unknown`: whether it holds a word outside the vocabulary.
    """

    count: Callable[[str], int]
    limit: int
    unknown: Callable[[str], bool]


def check_captions(captions: Sequence[str], *, clip: str) -> None:
    """Returns if the encoder `clip` of a preset reads every caption whole, or cannot be asked here.

    Raises PromptError naming the first caption, its length and the limit.
    """
    reader = reader_of(clip)
    if reader is None:
        return
    try:
        check_length(
            [Prompt(text, prompt_id(text)) for text in captions], reader.count, reader.limit
        )
    except PromptError as error:
        raise PromptError(f"evaluation.clip {clip}: {error}") from error
    for caption in captions:
        if reader.unknown(caption):
            raise PromptError(
                f"evaluation.clip {clip}: {caption!r} has a word outside its vocabulary: reword "
                "it, or choose another encoder"
            )


@functools.lru_cache(maxsize=4)
def reader_of(clip: str) -> Reader | None:
    """The tokenizer of `local-dir:FOLDER` or `MODEL:TAG`, as metrics.encoders names encoders.

    None where it is not on this machine: a folder that is yet to be made, a tokenizer of the hub.
    Raises PromptError for a model that open_clip does not have.
    """
    if clip.startswith(LOCAL):
        return _of_folder(ROOT / clip.removeprefix(LOCAL))
    name = clip.partition(":")[0]
    package = importlib.util.find_spec("open_clip")  # found, not imported: that takes seconds
    if package is None or package.origin is None:
        raise PromptError(f"evaluation.clip {clip}: needs the package open_clip_torch")
    folder = Path(package.origin).parent
    described = folder / "model_configs" / f"{name.replace('/', '-')}.json"
    if not described.is_file():
        raise PromptError(f"evaluation.clip {clip}: open_clip has no model {name!r}")
    settings = json.loads(described.read_text(encoding="utf-8"))["text_cfg"]
    if "hf_tokenizer_name" in settings:
        return None
    tokenizer = _clip_tokenizer(folder / "bpe_simple_vocab_16e6.txt.gz")
    ends = 2  # start and end
    return Reader(
        count=lambda text: len(tokenizer.encode(_cleaned(text)).ids) + ends,
        limit=settings.get("context_length", 77),
        unknown=lambda text: False,  # every byte is a token
    )


def _of_folder(folder: Path) -> Reader | None:
    from tokenizers import Tokenizer

    files = folder / "open_clip_config.json", folder / "tokenizer.json"
    if not all(path.is_file() for path in files):
        return None
    settings = json.loads(files[0].read_text(encoding="utf-8"))["model_cfg"]["text_cfg"]
    tokenizer = Tokenizer.from_file(str(files[1]))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    unknown = getattr(tokenizer.model, "unk_token", None)
    return Reader(
        count=lambda text: len(tokenizer.encode(text).ids),
        limit=settings["context_length"],
        unknown=lambda text: unknown is not None and unknown in tokenizer.encode(text).tokens,
    )


def _cleaned(text: str) -> str:
    """As CLIP's tokenizer reads it: mended, unescaped, single spaces, lower case."""
    import ftfy

    mended = html.unescape(html.unescape(ftfy.fix_text(text)))
    return " ".join(mended.split()).lower()


def _clip_tokenizer(path: Path) -> "Tokenizer":
    """CLIP's byte pairs without its special tokens; ids are this file's own, counts are CLIP's."""
    from tokenizers import Regex, Tokenizer, models, pre_tokenizers

    lines = gzip.decompress(path.read_bytes()).decode("utf-8").split("\n")
    merges = [(a, b) for a, b in map(str.split, lines[1 : 1 + CLIP_MERGES])]
    letters = pre_tokenizers.ByteLevel.alphabet()
    pieces = [*letters, *(letter + "</w>" for letter in letters), *(a + b for a, b in merges)]
    vocabulary = {piece: i for i, piece in enumerate(pieces)}
    tokenizer = Tokenizer(models.BPE(vocabulary, merges, end_of_word_suffix="</w>"))
    words = pre_tokenizers.Split(Regex(CLIP_WORDS), "removed", invert=True)
    bytes_of = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([words, bytes_of])
    return tokenizer
