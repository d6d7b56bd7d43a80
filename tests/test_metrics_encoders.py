"""The encoder is open_clip's own, refuses what makes it silently wrong, and ignores batches."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from metrics_world import TINY, tiny_clip

from metrics import encoders


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_clip(tmp_path_factory.mktemp("clip"))


@pytest.fixture(scope="module")
def encoder(folder: Path) -> encoders.Encoder:
    return encoders.load(f"local-dir:{folder}")


def images(count: int) -> list[np.ndarray]:
    return list(np.random.default_rng(0).random((count, 40, 40, 3)))


def test_embeddings_are_open_clips_own(folder: Path, encoder: encoders.Encoder) -> None:
    """The same pictures and captions through open_clip by hand, one by one."""
    import open_clip
    from PIL import Image

    model, _, preprocess = open_clip.create_model_and_transforms(f"local-dir:{folder}")
    tokenizer = open_clip.get_tokenizer(f"local-dir:{folder}")
    found = encoders.embed_images(encoder, images(3))
    texts = encoders.embed_texts(encoder, ["a red car", "a blue duck, back view"])
    with torch.no_grad():
        for row, image in zip(found, images(3), strict=True):
            picture = Image.fromarray((image * 255 + 0.5).astype(np.uint8))
            own = model.eval().encode_image(preprocess(picture)[None])
            # fp32 through other batch shapes: a few units in the last place
            np.testing.assert_allclose(row, (own / own.norm()).numpy()[0], atol=1e-6)
        own = model.encode_text(tokenizer(["a blue duck, back view"]))
    np.testing.assert_allclose(texts[1], (own / own.norm()).numpy()[0], atol=1e-6)


def test_embeddings_are_unit_vectors_in_fp32(encoder: encoders.Encoder) -> None:
    rows = encoders.embed_images(encoder, images(2))
    assert rows.dtype == np.float32
    assert rows.shape == (2, TINY["embed_dim"])
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1.0, atol=1e-6)


def test_an_embedding_does_not_depend_on_its_batch(encoder: encoders.Encoder) -> None:
    """Alone, in a full batch, in a second batch: equal to rounding; repeated: the same bits."""
    many = encoders.embed_images(encoder, images(encoders.BATCH + 5))
    for index in (0, 7, encoders.BATCH, encoders.BATCH + 4):
        alone = encoders.embed_images(encoder, [images(encoders.BATCH + 5)[index]])
        np.testing.assert_allclose(alone[0], many[index], atol=1e-6)
    np.testing.assert_array_equal(many, encoders.embed_images(encoder, images(encoders.BATCH + 5)))


def test_equal_pictures_tie_exactly(encoder: encoders.Encoder) -> None:
    rows = encoders.embed_images(encoder, [images(1)[0]] * 40)
    assert (rows == rows[0]).all()


def test_unknown_words_are_named(encoder: encoders.Encoder) -> None:
    with pytest.raises(encoders.EncoderError, match=r"vocabulary: zeppelin; known: .*rocket"):
        encoders.embed_texts(encoder, ["a red car", "a red zeppelin"])


def test_unknown_punctuation_is_refused(encoder: encoders.Encoder) -> None:
    with pytest.raises(encoders.EncoderError, match="vocabulary"):
        encoders.embed_texts(encoder, ["a red <car>"])


def test_captions_that_would_be_cut_are_refused(encoder: encoders.Encoder) -> None:
    assert encoders.count_tokens(encoder, "a red car") == 5  # start, three words, end
    with pytest.raises(encoders.EncoderError, match="caption of 11 tokens, at most 10 fit"):
        encoders.embed_texts(encoder, ["a a a a a a a red car"])


def test_nothing_to_embed_is_an_error(encoder: encoders.Encoder) -> None:
    with pytest.raises(ValueError, match="no captions"):
        encoders.embed_texts(encoder, [])
    with pytest.raises(ValueError, match="no pictures"):
        encoders.embed_images(encoder, [])


def test_byte_pair_encoders_take_the_same_path(tmp_path: Path) -> None:
    encoder = encoders.load(f"local-dir:{tiny_clip(tmp_path, words=False)}")
    assert encoders.count_tokens(encoder, "a red car") == 5
    assert encoders.embed_texts(encoder, ["a zeppelin, drawn"]).shape == (1, 16)
    with pytest.raises(encoders.EncoderError, match="at most 77 fit"):
        encoders.embed_texts(encoder, ["car " * 80])


def test_weights_that_give_nan_are_refused(tmp_path: Path, encoder: encoders.Encoder) -> None:
    broken = encoders.load(f"local-dir:{tiny_clip(tmp_path)}")
    broken.model.visual.proj.data.fill_(float("nan"))
    with pytest.raises(encoders.EncoderError, match="not finite"):
        encoders.embed_images(broken, images(1))


@pytest.mark.parametrize("name", ["open_clip_model.safetensors", "open_clip_config.json"])
def test_missing_files_are_named(tmp_path: Path, name: str) -> None:
    (tiny_clip(tmp_path) / name).unlink()
    with pytest.raises(encoders.EncoderError, match=rf"{name} is missing; restore"):
        encoders.load(f"local-dir:{tmp_path}")


@pytest.mark.parametrize("keep", [0, 7, 2000])
def test_truncated_weights_are_named(tmp_path: Path, keep: int) -> None:
    weights = tiny_clip(tmp_path) / "open_clip_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:keep])
    with pytest.raises(encoders.EncoderError, match=r"open_clip_model.safetensors .*corrupt"):
        encoders.load(f"local-dir:{tmp_path}")


def test_weights_of_another_model_are_refused(tmp_path: Path) -> None:
    config = tiny_clip(tmp_path) / "open_clip_config.json"
    described = json.loads(config.read_text())
    described["model_cfg"]["embed_dim"] = 24
    config.write_text(json.dumps(described))
    with pytest.raises(encoders.EncoderError, match="of another model"):
        encoders.load(f"local-dir:{tmp_path}")


def test_malformed_config_is_refused(tmp_path: Path) -> None:
    (tiny_clip(tmp_path) / "open_clip_config.json").write_text("{")
    with pytest.raises(encoders.EncoderError, match="corrupt"):
        encoders.load(f"local-dir:{tmp_path}")


@pytest.mark.parametrize("spec", ["ViT-B-32", ":openai", "ViT-B-32:", ""])
def test_what_is_no_model_is_refused(spec: str) -> None:
    with pytest.raises(encoders.EncoderError, match="MODEL:TAG"):
        encoders.load(spec)


@pytest.mark.parametrize(
    ("spec", "says"),
    [("ViT-B-32-quickgelu:openia", "its tags: openai"), ("ViT-Z-99:openai", "list_models")],
)
def test_unknown_weights_list_the_known(spec: str, says: str) -> None:
    with pytest.raises(encoders.EncoderError, match=says):
        encoders.load(spec)


def test_offline_without_weights_says_what_to_fetch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import huggingface_hub.constants

    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(encoders.EncoderError) as raised:
        encoders.load("ViT-B-32-quickgelu:openai")
    for part in ("ViT-B-32-quickgelu:openai", "vit_base_patch32_clip_224.openai"):
        assert part in str(raised.value)
    assert "HF_HUB_OFFLINE is set" in str(raised.value)
    assert "local-dir:PATH" in str(raised.value)


@pytest.mark.parametrize("quick", [True, False])
def test_quick_gelu_mismatch_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, quick: bool
) -> None:
    """open_clip's own check on a tag whose weights were trained with QuickGELU, at toy size."""
    import open_clip
    import open_clip.pretrained

    weights = tiny_clip(tmp_path / "clip", words=False) / "open_clip_model.safetensors"
    text = TINY["text_cfg"] | {"vocab_size": 49408, "context_length": 77}  # type: ignore[operator]
    text = {key: value for key, value in text.items() if key != "hf_tokenizer_name"}
    config = tmp_path / f"Tiny-{quick}.json"
    config.write_text(json.dumps(TINY | {"text_cfg": text, "quick_gelu": quick}))
    open_clip.add_model_config(config)
    tag = {"openai": {"file": str(weights), "quick_gelu": True}}
    monkeypatch.setitem(open_clip.pretrained._PRETRAINED, config.stem, tag)
    if quick:
        loaded = encoders.load(f"{config.stem}:openai")
        local = encoders.load(f"local-dir:{tmp_path / 'clip'}")
        assert loaded.model_sha256 == local.model_sha256
    else:
        with pytest.raises(encoders.EncoderError, match=r"QuickGELU mismatch .*would be wrong"):
            encoders.load(f"{config.stem}:openai")
