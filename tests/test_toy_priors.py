"""The training programs and the folders they leave, which diffusers and transformers read."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from pipeline.torchvision_shim import ensure_torchvision
from pipeline.toyworld import (
    prior_eval,
    prior_nets,
    sampling,
    train_autoencoder,
    train_controlnet,
    train_latent,
    train_pixel,
    training,
)
from pipeline.toyworld.vocabulary import DEGRADATIONS

SMALL = ["--pool", "4", "--batch", "2"]
ensure_torchvision()


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """All five models after two steps, in the folders of the weights."""
    root = tmp_path_factory.mktemp("weights")
    train_pixel.main(["--out", str(root / "toy_pixel"), "--steps", "20", *SMALL])
    train_autoencoder.main(["--out", str(root / "vae"), "--steps", "2", *SMALL])
    latent = ["--autoencoder", str(root / "vae"), "--out", str(root / "toy_latent")]
    train_latent.main([*latent, "--steps", "2", "--draws", "32", *SMALL])
    for image in ("depth", "canny"):
        out = ["--out", str(root / f"toy_controlnet_{image}"), "--image", image]
        model = ["--model", str(root / "toy_latent"), "--draws", "32"]
        train_controlnet.main([*out, *model, "--steps", "2", *SMALL])
    return root


def test_a_resumed_training_gives_the_same_bits(trained, tmp_path, monkeypatch):
    """Stopped after its second checkpoint, and its command given again."""
    argv = ["--out", str(tmp_path), "--steps", "20", "--every", "5", *SMALL]
    calls = 0
    update = training.Trainer.update

    def dying(self, loss):
        nonlocal calls
        calls += 1
        if calls == 13:
            raise KeyboardInterrupt
        return update(self, loss)

    monkeypatch.setattr(training.Trainer, "update", dying)
    with pytest.raises(KeyboardInterrupt):
        train_pixel.main(argv)
    monkeypatch.setattr(training.Trainer, "update", update)
    train_pixel.main(argv)
    assert not (tmp_path / "checkpoint").exists()
    for part in ("unet/diffusion_pytorch_model", "text_encoder/model"):
        one = load_file(tmp_path / f"{part}.safetensors")
        other = load_file(trained / "toy_pixel" / f"{part}.safetensors")
        assert all(torch.equal(one[name], other[name]) for name in other)


def test_init_starts_from_the_folder_and_refuses_another_network(trained, tmp_path):
    argv = ["--out", str(tmp_path / "more"), "--steps", "1", *SMALL]
    train_pixel.main([*argv, "--init", str(trained / "toy_pixel"), "--learning-rate", "1e-12"])
    one = load_file(tmp_path / "more/unet/diffusion_pytorch_model.safetensors")
    other = load_file(trained / "toy_pixel/unet/diffusion_pytorch_model.safetensors")
    assert all(torch.allclose(one[n].float(), other[n].float(), atol=1e-3) for n in other)
    refused = ["--out", str(tmp_path / "no"), "--steps", "1", *SMALL, "--init"]
    with pytest.raises(ValueError, match="other weights"):
        train_pixel.main([*refused, str(trained / "toy_latent")])
    with pytest.raises(ValueError, match="holds no weights"):
        train_pixel.main([*refused, str(tmp_path)])


def test_the_text_encoder_ends_where_the_text_ends():
    """Padding changes no state of a word: the encoder is causal."""
    encoder = prior_nets.text_encoder(0)
    short, long = prior_nets.token_ids(["a red car", "a red car, front view"])
    states = [encoder(ids[None]).last_hidden_state[0] for ids in (short, long)]
    assert torch.allclose(states[0][:3], states[1][:3], atol=1e-5)
    assert not torch.allclose(states[0][3], states[1][3], atol=1e-3)


def test_tokens_are_those_of_the_folders_tokenizer(trained):
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(trained / "toy_pixel" / "tokenizer")
    texts = ["a red car, front view", "", ", ".join(DEGRADATIONS)]
    found = tokenizer(texts, padding="max_length", max_length=12, return_tensors="pt").input_ids
    assert torch.equal(found, prior_nets.token_ids(texts))
    with pytest.raises(ValueError, match="zebra"):
        prior_nets.token_ids(["a red zebra"])


def test_diffusers_own_pipeline_reads_the_latent_folder(trained):
    from diffusers import StableDiffusionPipeline

    pipe = StableDiffusionPipeline.from_pretrained(
        trained / "toy_latent", local_files_only=True, torch_dtype=torch.float32
    )
    assert str(trained) not in (trained / "toy_latent" / "vae" / "config.json").read_text()
    image = pipe("a red car", num_inference_steps=2, output_type="np").images[0]
    assert image.shape == (64, 64, 3)


def test_a_controlnet_starts_silent(trained):
    """Its outputs are zero until the first update (2302.05543, section 3.1)."""
    unet = prior_nets.pretrained("unet", trained / "toy_latent" / "unet", "cpu")
    net = prior_nets.controlnet(unet, 0).eval()
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(2, 4, 16, 16, generator=generator)
    states, t = torch.randn(2, 12, 64, generator=generator), torch.tensor([10, 900])
    control = torch.rand(2, 3, 64, 64, generator=generator)
    plain = unet(x, t, states, return_dict=False)[0]
    found = train_controlnet.controlled(unet, net, x, t, states, control)
    assert torch.equal(plain, found)
    config = net.config
    assert config.addition_embed_type_num_heads == unet.config.addition_embed_type_num_heads


def test_samples_follow_their_generator(trained):
    def draw(seed):
        generator = torch.Generator().manual_seed(seed)
        captions = ["a red car", "a blue duck, side view", ""]
        return sampling.sample(
            trained / "toy_pixel", captions, omega=2.0, steps=3, generator=generator
        )

    assert torch.equal(draw(0), draw(0))
    assert not torch.equal(draw(0), draw(1))
    assert draw(0).shape == (3, 3, 32, 32)


def test_real_renders_are_retrieved_and_their_silhouettes_found():
    """The ceiling of the quality table, on a few captions."""
    from pipeline.toyworld import clip_eval

    loaded = clip_eval.load(Path("pipeline/toyworld/weights/toy_clip"))
    asked = [prior_eval.STRICT[k] for k in range(0, 243, 27)]
    images = prior_eval.real(asked, 32, seed=1000)
    rank = prior_eval.retrieval(loaded, images, asked, prior_eval.STRICT)
    assert float((rank == 1).float().mean()) >= 0.7
    assert 0.1 < float(prior_eval.silhouette(images).float().mean()) < 0.6


def test_ranks_count_ties_against():
    class Same:
        """All pictures and captions alike."""

    ones = torch.ones(2, 4)
    original = prior_eval.clip_eval.embedded, prior_eval.clip_eval.captions_embedded
    try:
        prior_eval.clip_eval.embedded = lambda *_: ones
        prior_eval.clip_eval.captions_embedded = lambda _, texts: torch.ones(len(texts), 4)
        rank = prior_eval.retrieval(Same(), ones, ["a", "b"], ["a", "b", "c"])
    finally:
        prior_eval.clip_eval.embedded, prior_eval.clip_eval.captions_embedded = original
    assert rank.tolist() == [3, 3]


def test_overlap_of_two_squares():
    a, b = torch.zeros(1, 8, 8, dtype=torch.bool), torch.zeros(1, 8, 8, dtype=torch.bool)
    a[:, :4], b[:, 2:6] = True, True
    assert float(prior_eval.overlap(a, b)) == pytest.approx(2 / 6)


def test_the_evaluation_writes_card_table_and_sheet(trained):
    folder = trained / "toy_latent" / "vae"
    (folder / "training.json").write_text((trained / "vae" / "training.json").read_text())
    prior_eval.main(["--weights", str(trained), "--models", "toy_autoencoder"])
    table = json.loads((folder / "evaluation.json").read_text())
    assert 3 < table["psnr"] < 30
    assert f"{table['psnr']:.1f}" in (folder / "README.md").read_text()
    assert (folder / "samples.png").exists()
