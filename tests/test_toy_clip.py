"""The toy CLIP: its pictures, targets, losses, training, resumption, and the committed weights."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from pipeline.artifacts import load_safetensors
from pipeline.cameras import orbit
from pipeline.toyworld import clip_data, clip_eval, clip_train
from pipeline.toyworld.clip_data import BLOB, BLOBS, DEGRADED, JANUS, TRUE, candidates, targets
from pipeline.toyworld.clip_model import (
    CONTEXT,
    UNKNOWN,
    WORDS,
    model_config,
    token_ids,
    write_description,
)
from pipeline.toyworld.fakes import FAR, blobs, janus, wrong_words
from pipeline.toyworld.parts import RADIUS, surface
from pipeline.toyworld.render import render
from pipeline.toyworld.vocabulary import COLOURS, DEGRADATIONS, DIRECTIONAL, SHAPES, caption
from pipeline.toyworld.world import instances, seeded
from prompts.views import view_word

WEIGHTS = Path(clip_train.__file__).parent / "weights" / "toy_clip"
TINY = clip_train.Settings(steps=8, batch=20, pool=3, warmup=2)


@pytest.fixture(scope="module")
def small_pool():
    return clip_data.pool(6, seed=5)


def test_blobs_lie_in_the_ball_and_depend_on_the_seed():
    heap = blobs(40, seeded("a"))
    assert torch.nan_to_num(surface(heap).norm(dim=-1), nan=0.0).max() <= RADIUS + 1e-4
    present = torch.stack([p.present for p in heap]).sum(0)
    assert present.min() >= 1
    assert present.max() >= 2
    other = blobs(40, seeded("b"))
    assert not torch.equal(heap[0].centre, other[0].centre)


def test_a_janus_object_looks_the_same_from_both_sides():
    doubled = janus(instances("duck", seed=0, diversity=0.0))
    cameras = orbit([10.0, 190.0], 15.0, 3.0, 40.0)
    index = torch.zeros(2, dtype=torch.long)
    parts = [p[index] for p in doubled.parts]
    layers = render(parts, doubled.lights[index], cameras, 32)
    torch.testing.assert_close(layers.alpha[0], layers.alpha[1], atol=0.26, rtol=0)
    assert (layers.alpha[0] - layers.alpha[1]).abs().mean() < 1e-3
    # the light comes from the front, so shades differ but main-colour pixels do not
    assert ((layers.tint[0] > 0) != (layers.tint[1] > 0)).float().mean() < 2e-3
    single = [p[index] for p in instances("duck", seed=0, diversity=0.0).parts]
    plain = render(single, doubled.lights[index], cameras, 32)
    assert (plain.alpha[0] - plain.alpha[1]).abs().mean() > 0.01


@pytest.mark.parametrize(
    ("azimuth", "expected"),
    [
        (0, ["side", "back"]),
        (14, ["side", "back"]),
        (16, ["back"]),
        (74, ["back"]),
        (76, ["front", "back"]),
        (90, ["front", "back"]),
        (-106, ["front"]),
        (180, ["front", "side"]),
        (190, ["front", "side"]),
    ],
)
def test_wrong_words_are_far_from_the_camera(azimuth, expected):
    assert FAR == 30.0
    assert wrong_words(float(azimuth)) == expected


@pytest.mark.parametrize("kind", clip_eval.KINDS)
def test_fakes_of_other_seeds_differ_and_claim_captions_of_the_world(kind):
    one, same, other = (clip_eval.fakes(kind, 4, seed=s) for s in (1, 1, 2))
    assert torch.equal(one.images, same.images)
    assert not torch.equal(one.images, other.images)
    assert set(one.plain() + one.viewed()) <= set(candidates())
    if kind == "wrong view":
        for azimuth, word in zip(one.azimuth.tolist(), one.word, strict=True):
            assert view_word(azimuth, 0.0) != word


def test_tokens_are_those_of_the_folder_that_open_clip_loads(tmp_path):
    from pipeline.torchvision_shim import ensure_torchvision

    ensure_torchvision()
    import open_clip

    write_description(tmp_path, model_config())
    tokenizer = open_clip.get_tokenizer(f"local-dir:{tmp_path}")
    texts = candidates()
    assert torch.equal(tokenizer(texts), token_ids(texts))
    assert torch.equal(tokenizer(["A Red  Car"]), token_ids(["a red car"]))
    assert tokenizer.tokenizer.unk_token_id == UNKNOWN
    assert (tokenizer(["a red lamp"]) == UNKNOWN).sum() == 1
    with pytest.raises(ValueError, match="lamp outside the vocabulary"):
        token_ids(["a red lamp"])
    with pytest.raises(ValueError, match="at most 8 fit"):
        token_ids(["a red car, front view, back view"])
    # pooling reads the largest id: it must be the end token
    assert (token_ids(texts).amax(1) == WORDS.index("[END]")).all()
    assert token_ids(texts).shape == (len(texts), CONTEXT)


def test_batches_depend_on_the_seed_and_hold_every_kind(small_pool):
    one = clip_data.batch(small_pool, 40, seeded("x"))
    same = clip_data.batch(small_pool, 40, seeded("x"))
    other = clip_data.batch(small_pool, 40, seeded("y"))
    assert torch.equal(one.images, same.images)
    assert not torch.equal(one.images, other.images)
    assert one.images.min() >= 0
    assert one.images.max() <= 1
    assert sorted(one.kind.unique().tolist()) == [TRUE, BLOB, BLOBS, DEGRADED, JANUS]


def expected_target(kind, shape, colour, other, azimuth, elevation, text):
    """The definition, caption by caption: 1 true, 0 false, -1 undecided."""
    colours = list(COLOURS)
    own = caption(SHAPES[shape], colours[colour])
    if kind == BLOB:
        return int(text == caption(None, colours[colour]))
    if kind == BLOBS:
        return -1 if text in {caption(None, colours[c]) for c in (colour, other)} else 0
    if kind == DEGRADED:
        return int(text == DEGRADATIONS[other])
    if not text.startswith(own):
        return 0
    if text == own:
        return 1 if kind == TRUE else -1
    word = text.removeprefix(own + ", ").removesuffix(" view")
    directional = SHAPES[shape] in DIRECTIONAL
    if kind == JANUS:
        return 0 if directional else -1
    if word == view_word(azimuth, elevation):
        return 1
    turns, tilts = (-11.99, 0.0, 11.99), (-11.99, 0.0, 11.99)
    near = {view_word(azimuth + turn, elevation + tilt) for turn in turns for tilt in tilts}
    if elevation < 72 and not directional and word != "overhead":
        return -1
    return -1 if word in near else 0


def test_targets_follow_the_definition_caption_by_caption(small_pool):
    b = clip_data.batch(small_pool, 60, seeded("targets"))
    table = targets(b)
    texts = candidates()
    assert table.shape == (60, len(texts))
    wrong = []
    for k in range(60):
        facts = [x[k].item() for x in (b.kind, b.shape, b.colour, b.other, b.azimuth, b.elevation)]
        for j, text in enumerate(texts):
            expected = expected_target(*facts, text)
            if table[k, j] != expected:
                wrong.append((facts, text, table[k, j].item(), expected))
    assert not wrong[:3]


def test_strict_labels_name_object_and_view(small_pool):
    b = clip_data.batch(small_pool, 60, seeded("strict"))
    columns = clip_train.strict_columns()
    texts = [candidates()[c] for c in columns]
    assert len(texts) == 81 * 3 + 9
    labels = clip_data.strict_label(b)
    assert (labels >= 0).sum() > 5
    for k in torch.nonzero(labels >= 0)[:, 0].tolist():
        word = view_word(b.azimuth[k].item(), b.elevation[k].item())
        named = caption(SHAPES[b.shape[k]], list(COLOURS)[b.colour[k]], word)
        assert texts[labels[k]] == named
        assert b.kind[k] == TRUE


def test_losses_have_their_closed_forms():
    logits = torch.tensor([[2.0, -1.0, 5.0]])
    target = torch.tensor([[1.0, 0.0, -1.0]])
    expected = torch.log1p(torch.exp(torch.tensor(-2.0))) + torch.log1p(
        torch.exp(torch.tensor(-1.0))
    )
    weight = torch.tensor([[1.0, 1.0, 9.0]])
    torch.testing.assert_close(clip_train.pair_loss(logits, target, weight)[0], expected)
    double = clip_train.pair_loss(logits, target, 2 * weight)[0]
    torch.testing.assert_close(double, 2 * expected)
    assert clip_train.rank_loss(logits, torch.tensor([-1])) == 0
    both = clip_train.rank_loss(logits.repeat(2, 1), torch.tensor([2, -1]))
    torch.testing.assert_close(both, -torch.log_softmax(logits, 1)[0, 2])


def test_the_rate_warms_up_and_falls_to_zero():
    settings = clip_train.Settings(steps=100, warmup=10, learning_rate=1.0)
    rates = [clip_train.rate(k, settings) for k in range(101)]
    assert rates[0] == pytest.approx(0.1)
    assert max(rates) == rates[10] == rates[9] == 1.0
    assert rates[55] == pytest.approx(0.5)
    assert rates[100] == pytest.approx(0.0)


def weights_of(folder):
    return load_safetensors(folder / "open_clip_model.safetensors")[0]


def test_training_resumes_to_the_same_bits_and_saves_an_open_clip_folder(tmp_path):
    whole = clip_train.train(tmp_path / "whole", TINY, resume=False)
    parted = tmp_path / "parted"
    assert clip_train.train(parted, TINY, resume=True, stop_after=3) is None
    assert (parted / "checkpoint" / "state.safetensors").exists()
    assert clip_train.train(parted, TINY, resume=True) == parted / whole.name
    one, two = weights_of(tmp_path / "whole"), weights_of(parted)
    assert set(one) == set(two)
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert not (parted / "checkpoint").exists()
    assert json.loads((parted / "training.json").read_text())["steps"] == TINY.steps
    model, preprocess, tokenizer = clip_eval.load(parted)
    start = clip_train.Trainer(TINY).model.state_dict()
    moved = [name for name, p in model.named_parameters() if not torch.equal(p, start[name])]
    assert len(moved) > 0.9 * len(list(model.parameters()))
    assert tokenizer(["a red car"]).shape == (1, CONTEXT)
    assert "48" in str(preprocess)


def test_a_checkpoint_of_other_settings_is_not_resumed(tmp_path):
    trainer = clip_train.Trainer(TINY)
    trainer.train_step(clip_data.pool(3, seed=0))
    trainer.save(tmp_path / "state.safetensors")
    assert clip_train.Trainer(TINY).load(tmp_path / "state.safetensors")
    other = clip_train.Trainer(replace(TINY, learning_rate=1e-4))
    assert not other.load(tmp_path / "state.safetensors")
    assert other.step == 0


def test_thirty_updates_on_one_batch_lower_its_loss(small_pool):
    trainer = clip_train.Trainer(clip_train.Settings(steps=1000, batch=24, warmup=1))
    losses = []
    for _ in range(30):
        losses.append(trainer.train_step(small_pool))
        trainer.step = 0  # the batch depends on the seed and the step only
    assert losses[-1] < 0.75 * losses[0]


def test_committed_weights_meet_the_bars_on_new_renders():
    """The full evaluation is in the folder's evaluation.json; here 162 renders and 108 fakes.

    The bars are 97 % and 90 %. The sampling error of a share of 0.97 among 162 is 0.013, of 0.9
    among 108 it is 0.029: two of them are granted.
    """
    table = clip_eval.evaluate(WEIGHTS, seed=77, count=162, per_kind=12)
    assert table["retrieval"]["top1_among_81"] >= 0.97 - 2 * 0.013
    assert table["caught"]["overall"] >= 0.90 - 2 * 0.029
    assert table["true_cosine_plain"]["p50"] > 0.2


def test_the_committed_folder_is_small_described_and_of_one_piece():
    from pipeline.artifacts import read_json, sha256

    evaluation = read_json(WEIGHTS / "evaluation.json")
    assert evaluation["weights_sha256"] == sha256(WEIGHTS / "open_clip_model.safetensors")
    assert evaluation["retrieval"]["top1_among_81"] >= 0.97
    assert evaluation["caught"]["overall"] >= 0.90
    assert sum(row["fakes"] for row in evaluation["fakes"].values()) >= 500
    card = (WEIGHTS / "README.md").read_text()
    assert evaluation["weights_sha256"] in card
    assert f"{evaluation['retrieval']['top1_among_81']:.3f}" in card
    assert sum(f.stat().st_size for f in WEIGHTS.iterdir()) < 2e6
    assert read_json(WEIGHTS / "open_clip_config.json") == model_config()
    suffixes = {f.suffix for f in WEIGHTS.iterdir()}
    assert suffixes == {".json", ".md", ".safetensors"}
