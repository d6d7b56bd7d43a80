"""Embedded texts: those of the pipelines, computed once, refused when they cannot be read whole."""

import copy
import json
import sys
import threading
import types
from dataclasses import replace

import pytest
import tiny_models as tiny
import torch

from pipeline.artifacts import ArtifactError
from pipeline.guidance import embeddings, pretrained
from pipeline.guidance.captions import VocabularyError
from pipeline.guidance.embeddings import texts_of
from pipeline.guidance.load import load_guidance

TEXTS = ["a red car, front view", "", "ugly"]


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    return {
        "clip": tiny.pixel_folder(folder / "clip", prediction="epsilon"),
        "t5": tiny.deepfloyd_folder(folder / "t5"),
    }


def side(folder, cache=None, **changes):
    return texts_of(tiny.spec("deepfloyd", folder, **changes), cache=cache, device="cpu")


@pytest.fixture
def no_encoder(monkeypatch):
    def refuse(*_):
        raise AssertionError("the text encoder was loaded")

    return lambda: monkeypatch.setattr(embeddings, "_load", refuse)


@pytest.mark.parametrize("name", ["clip", "t5"])
def test_rows_are_those_of_the_pipelines(folders, name):
    """Stable Diffusion's for CLIP, without a mask; DeepFloyd-IF's for T5, with one."""
    from transformers import AutoTokenizer, CLIPTextModel, T5EncoderModel

    tokenizer = AutoTokenizer.from_pretrained(folders[name] / "tokenizer")
    fields = tokenizer(
        TEXTS, padding="max_length", max_length=tiny.TOKENS, truncation=True, return_tensors="pt"
    )
    kind = {"clip": CLIPTextModel, "t5": T5EncoderModel}[name]
    encoder = kind.from_pretrained(folders[name] / "text_encoder")
    mask = {"attention_mask": fields.attention_mask} if name == "t5" else {}
    with torch.no_grad():
        expected = encoder(fields.input_ids, **mask)[0]
    found = side(folders[name]).embed(TEXTS)
    assert found.shape == (3, tiny.TOKENS, tiny.WIDTH)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_a_text_is_computed_once_and_read_back_bit_for_bit(folders, tmp_path, no_encoder):
    plain = side(folders["clip"]).embed(TEXTS)
    first = side(folders["clip"], tmp_path).embed(TEXTS)
    assert len(list(tmp_path.glob("*.safetensors"))) == 3
    no_encoder()
    again = side(folders["clip"], tmp_path).embed([*TEXTS[::-1], TEXTS[0]])
    assert torch.equal(first, plain)
    assert torch.equal(again, plain[[2, 1, 0, 0]])


def test_what_a_text_is_beside_does_not_change_its_row(folders):
    texts = side(folders["t5"])
    assert torch.equal(texts.embed(TEXTS)[1], texts.embed([""])[0])


def test_another_encoder_or_precision_is_another_entry(folders, tmp_path):
    full = side(folders["clip"], tmp_path).embed(["a red car"])
    half = side(folders["clip"], tmp_path, dtype="bf16").embed(["a red car"])
    other = side(folders["t5"], tmp_path).embed(["a red car"])
    assert len(list(tmp_path.iterdir())) == 3
    assert not torch.equal(full, half)
    assert not torch.equal(full, other)
    assert half.dtype == torch.float32


class Recorded:
    """T5 as transformers loads it; what it was asked for beyond the plain dtype is kept."""

    def __init__(self, network):
        self.network, self.asked = network, []

    def from_pretrained(self, folder, *, quantization_config=None, device_map=None, **options):
        self.asked.append((quantization_config, device_map))
        return self.network.from_pretrained(folder, **options)


@pytest.fixture
def recorded(monkeypatch):
    from transformers import T5EncoderModel

    found, class_of = Recorded(T5EncoderModel), pretrained._class
    monkeypatch.setattr(
        pretrained, "_class", lambda kind: found if kind == "T5EncoderModel" else class_of(kind)
    )
    return found


def test_eight_bits_are_asked_of_transformers(folders, recorded, monkeypatch):
    monkeypatch.setitem(sys.modules, "bitsandbytes", types.ModuleType("bitsandbytes"))
    side(folders["t5"], text_encoder_bits=None).embed(["a red car"])
    side(folders["t5"], text_encoder_bits=8).embed(["a red car"])
    assert recorded.asked[0] == (None, None)
    config, place = recorded.asked[1]
    assert config.load_in_8bit
    assert not config.load_in_4bit
    assert place == {"": "cpu"}


def test_eight_bits_without_the_package_name_the_line_that_installs_it(folders, monkeypatch):
    monkeypatch.setitem(sys.modules, "bitsandbytes", None)
    with pytest.raises(ArtifactError, match=r"needs the package bitsandbytes: pip install .*null"):
        side(folders["t5"], text_encoder_bits=8).embed(["a red car"])
    with pytest.raises(ArtifactError, match="text_encoder_bits 4 is neither 8 nor null"):
        side(folders["t5"], text_encoder_bits=4)


def test_a_row_of_another_precision_is_never_taken(folders, tmp_path, recorded, monkeypatch):
    monkeypatch.setitem(sys.modules, "bitsandbytes", types.ModuleType("bitsandbytes"))
    side(folders["t5"], tmp_path).embed(["a red car"])
    fewer = side(folders["t5"], tmp_path, text_encoder_bits=8)
    assert fewer.stored(["a red car"]) == {}
    fewer.embed(["a red car"])
    assert len(recorded.asked) == len(list(tmp_path.iterdir())) == 2
    assert load_guidance(
        tiny.spec("deepfloyd", folders["t5"], text_encoder_bits=8),
        bank=None,
        prompt="",
        device="cpu",
        text_cache=tmp_path,
    ).texts.stored(["a red car"])


def test_an_encoder_in_eight_bits_says_nearly_the_same(folders):
    """A weight is rounded to 1/127 of its row's largest; the rows here go up to 3."""
    pytest.importorskip("bitsandbytes")
    rows = [side(folders["t5"], dtype="fp16", text_encoder_bits=b).embed(TEXTS) for b in (None, 8)]
    assert not torch.equal(*rows)
    torch.testing.assert_close(*rows, rtol=0, atol=0.1)


@pytest.mark.parametrize("damage", ["truncated", "of another text", "of another format"])
def test_a_broken_entry_is_computed_again_and_that_is_said(folders, tmp_path, capsys, damage):
    texts = side(folders["clip"], tmp_path)
    expected = texts.embed(["a red car", "ugly"])
    one, other = (texts._files([text])[text] for text in ("a red car", "ugly"))
    data = {"truncated": one.read_bytes()[:99], "of another text": other.read_bytes()}
    one.write_bytes(data.get(damage, b"{}"))
    assert torch.equal(texts.embed(["a red car", "ugly"]), expected)
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert f"{one} is broken and is computed again" in said
    texts.embed(["a red car", "ugly"])
    assert capsys.readouterr().err == ""


def test_writers_at_the_same_time_leave_whole_files(folders, tmp_path, monkeypatch):
    texts = side(folders["clip"], tmp_path)
    expected = side(folders["clip"]).embed(TEXTS)
    # one network for all, as transformers cannot load in two threads at once; a tokenizer for each,
    # as its padding is a state of it
    encoder = embeddings._load(texts.source, texts.dtype, texts.device, texts.bits)
    own = [replace(encoder, tokenizer=copy.deepcopy(encoder.tokenizer)) for _ in range(4)]
    monkeypatch.setattr(embeddings, "_load", lambda *_: own.pop())
    found = []
    threads = [threading.Thread(target=lambda: found.append(texts.embed(TEXTS))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(torch.equal(rows, expected) for rows in found)
    assert len(found) == 4
    assert sorted(path.suffix for path in tmp_path.iterdir()) == [".safetensors"] * 3


def test_an_unknown_word_is_refused_with_the_vocabulary(folders, tmp_path):
    with pytest.raises(VocabularyError, match=r"does not know 'zebra'.*red, blue, car"):
        side(folders["clip"], tmp_path).embed(["a red car", "a red zebra"])
    assert list(tmp_path.iterdir()) == []  # nothing is kept when one text is refused


@pytest.mark.parametrize("name", ["clip", "t5"])
def test_a_text_that_does_not_fit_is_refused_with_the_limit(folders, name):
    seven = "a red car , a blue car"  # and the end: eight
    side(folders[name]).embed([seven])
    with pytest.raises(VocabularyError, match=r"is 9 tokens long; .* reads 8"):
        side(folders[name]).embed([seven + " ugly"])


def test_byte_level_vocabularies_know_every_text(folders, tmp_path):
    """CLIP's tokenizer gives its end token as the unknown one."""
    folder = tiny.copied(folders["clip"], tmp_path / "model")
    path = folder / "tokenizer" / "tokenizer_config.json"
    config = json.loads(path.read_text())
    path.write_text(json.dumps({**config, "unk_token": config["eos_token"]}))
    side(folder).embed(["a red car"])


def test_a_vocabulary_of_sentencepiece_names_its_packages(folders, tmp_path, monkeypatch):
    folder = tiny.copied(folders["t5"], tmp_path / "model")
    (folder / "tokenizer" / "tokenizer.json").unlink()
    (folder / "tokenizer" / "spiece.model").write_bytes(b"x")
    monkeypatch.setitem(sys.modules, "sentencepiece", None)  # as where it is not installed
    with pytest.raises(ArtifactError, match=r"spiece.model needs .* pip install sentencepiece"):
        side(folder).embed(["a red car"])


def test_a_prior_with_a_full_cache_needs_no_text_encoder(folders, tmp_path, no_encoder):
    spec = tiny.spec("deepfloyd", folders["clip"])
    options = {"bank": None, "prompt": "", "device": "cpu", "text_cache": tmp_path}
    expected = load_guidance(spec, **options).embed(TEXTS)
    no_encoder()
    assert torch.equal(load_guidance(spec, **options).embed(TEXTS), expected)


def test_the_program_fills_the_cache(folders, tmp_path, program, capsys, no_encoder):
    listed, cache = tmp_path / "texts.json", tmp_path / "cache"
    listed.write_text(json.dumps([*TEXTS, TEXTS[0]]))
    spec = tiny.spec("deepfloyd", folders["clip"])
    given = ("--prior", json.dumps(spec), "--texts", listed, "--cache", cache)
    assert program("pipeline.guidance.embeddings", *given) == 0
    assert "3 texts: 3 computed, 0 were in" in capsys.readouterr().out
    assert program("pipeline.guidance.embeddings", *given) == 0
    assert "3 texts: 0 computed, 3 were in" in capsys.readouterr().out
    no_encoder()
    texts = texts_of(spec, cache=cache, device="cpu")
    assert texts.embed(TEXTS).shape[0] == 3


@pytest.mark.parametrize(
    ("texts", "changes", "message"),
    [
        (["a red zebra"], {}, "error: the prior's text encoder does not know 'zebra'"),
        (["a red car"], {"path": "nowhere"}, "error: nowhere: no such model folder"),
    ],
)
def test_the_program_says_in_one_line_what_is_wrong(
    folders, tmp_path, program, capsys, texts, changes, message
):
    listed = tmp_path / "texts.json"
    listed.write_text(json.dumps(texts))
    spec = json.dumps(tiny.spec("deepfloyd", folders["clip"]) | changes)
    given = ("--prior", spec, "--texts", listed, "--cache", tmp_path / "cache")
    assert program("pipeline.guidance.embeddings", *given) == 1
    said = capsys.readouterr().err
    assert message in said
    assert "Traceback" not in said
