"""Counts are those of the encoders' own tokenizers, got without loading them."""

import subprocess
import sys

import pytest

from metrics import candidates, encoders
from pipeline import config, tokens
from pipeline.torchvision_shim import ensure_torchvision
from prompts.load import PromptError, load_set, set_names

CLIP = "ViT-B-32-quickgelu:openai"
TOY = "local-dir:pipeline/toyworld/weights/toy_clip"
ODD = (
    'a "quoted" car, it\'s `red` $(touch owned)',
    "<script>alert(1)</script> &amp;amp; <b>car</b>",
    "🚗 赤い車 — à l'ombre",
    "x" * 300,
    "DON'T  I'll\tgo 12345 № ½ a_b",
    "l\N{RIGHT SINGLE QUOTATION MARK}été Ünïcödé \N{LATIN SMALL LIGATURE FI}",
    "mojibake: â€œquotesâ€",
)


def _every_prompt():
    return [prompt.text for name in set_names() for prompt in load_set(name).prompts]


def test_clips_tokens_are_counted_as_open_clip_counts_them():
    ensure_torchvision()
    import open_clip

    reader = tokens.reader_of(CLIP)
    own = open_clip.get_tokenizer(CLIP.partition(":")[0])
    assert reader is not None
    assert reader.limit == own.context_length == 77
    for text in (*_every_prompt(), *ODD):
        assert reader.count(text) == len(own.encode(text)) + 2, text


def test_the_toy_encoders_tokens_are_counted_as_metrics_counts_them():
    encoder, reader = encoders.load(TOY), tokens.reader_of(TOY)
    assert reader is not None
    assert reader.limit == encoder.tokenizer.context_length == 8
    known = candidates.strict("toy81", view_words=["front"], extra=["toy_blobs"])
    for text in (*known, "a Blurry car", "a red car, a red car", ODD[2]):
        assert reader.count(text) == encoders.count_tokens(encoder, text), text
        refused = reader.unknown(text) or reader.count(text) > reader.limit
        if refused:
            with pytest.raises(encoders.EncoderError):
                encoders.check_caption(encoder, text)
        else:
            encoders.check_caption(encoder, text)


def test_a_caption_that_would_be_cut_or_misread_is_named_with_its_length():
    tokens.check_captions(["a red car, front view"], clip=TOY)
    with pytest.raises(PromptError, match=r"toy_clip: .*'a red car, a red car.* has 9 .* keeps 8"):
        tokens.check_captions(["a red car", "a red car, a red car, "], clip=TOY)
    with pytest.raises(PromptError, match="'a blurry car' has a word outside its vocabulary"):
        tokens.check_captions(["a blurry car"], clip=TOY)
    with pytest.raises(PromptError, match="keeps 77"):
        tokens.check_captions(["word " * 76], clip=CLIP)
    tokens.check_captions(["word " * 75], clip=CLIP)


def test_an_encoder_that_is_not_here_cannot_be_asked_and_one_that_is_none_is_refused(tmp_path):
    tokens.check_captions(["word " * 99], clip=f"local-dir:{tmp_path}")  # made by a later command
    tokens.check_captions(["word " * 99], clip="ViT-B-16-SigLIP:webli")  # its words are on the hub
    with pytest.raises(PromptError, match="open_clip has no model 'ViT-B-23'"):
        tokens.check_captions(["a red car"], clip="ViT-B-23:openai")


@pytest.mark.parametrize("preset", config.preset_names())
def test_every_presets_captions_fit_its_encoder(preset):
    spec = config.load_preset(preset)
    texts = candidates.plain(spec["tasks"]["geometry"]["candidates"])
    tokens.check_captions(texts, clip=spec["evaluation"]["clip"])


def test_asking_loads_no_network_library():
    code = f"""
import sys
from pipeline import tokens
tokens.check_captions(["a red car"], clip={CLIP!r})
tokens.check_captions(["a red car"], clip={TOY!r})
print(sorted({{"torch", "transformers", "open_clip"}} & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
