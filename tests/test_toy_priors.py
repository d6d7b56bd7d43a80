"""Training of the learned priors: data, resuming, folders that the libraries read."""

import itertools
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from pipeline.controls import canny, nearness
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
from pipeline.toyworld.objects import build
from pipeline.toyworld.prior_data import GREYS, batch, pool, view_word
from pipeline.toyworld.render import geometry
from pipeline.toyworld.vocabulary import DEGRADATIONS, SHAPES
from pipeline.toyworld.world import seeded

SMALL = ["--pool", "4", "--batch", "2"]
ensure_torchvision()


@pytest.fixture(scope="module")
def pictures():
    return pool(12, seed=3, size=32, with_geometry=True)


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


def test_a_batch_depends_on_its_generator_only(pictures):
    one, same, other = (batch(pictures, 16, seeded("batch", k)) for k in (1, 1, 2))
    assert torch.equal(one.rgb, same.rgb)
    assert one.captions == same.captions
    assert not torch.equal(one.rgb, other.rgb)


def test_captions_name_what_the_pool_shows(pictures):
    b = batch(pictures, 300, seeded("captions"))
    for text, at in zip(b.captions, b.index.tolist(), strict=True):
        if not text or text.split(",")[0] in DEGRADATIONS:
            continue
        assert text.replace(",", "").split()[2] == SHAPES[int(pictures.shape[at])]
        if text.endswith("view"):
            azimuth, elevation = float(pictures.azimuth[at]), float(pictures.elevation[at])
            assert text.split(", ")[1] == f"{view_word(azimuth, elevation)} view"
    share = np.mean([not text for text in b.captions])
    assert 0.06 < share < 0.19  # 0.12 +- three standard errors of 300


def test_the_shares_of_faults_and_of_empty_captions_are_the_callers(pictures):
    clean = batch(pictures, 64, seeded("clean"), degraded=0.0, no_caption=0.0)
    assert not any(text == "" or text.split(",")[0] in DEGRADATIONS for text in clean.captions)
    spoilt = batch(pictures, 64, seeded("spoilt"), degraded=1.0, no_caption=0.0)
    assert all(text.split(",")[0] in DEGRADATIONS for text in spoilt.captions)
    assert all(not text for text in batch(pictures, 8, seeded("no"), no_caption=1.0).captions)


def test_backgrounds_are_greys_of_the_range(pictures):
    corner = batch(pictures, 200, seeded("grey"), degraded=0.0).rgb[:, :, 0, 0]
    assert torch.equal(corner[:, 0], corner[:, 1])
    assert torch.equal(corner[:, 0], corner[:, 2])
    assert GREYS[0] <= float(corner.min()) < 0.3
    assert 0.7 < float(corner.max()) <= GREYS[1]


def test_geometry_covers_what_the_layers_cover(pictures):
    alpha, nearest = pictures.planes[:, 3].float() / 255, pictures.geometry[:, 3].float() / 255
    assert torch.equal(nearest.flatten(1).amax(1), torch.ones(len(nearest)))
    assert float(nearest[alpha == 0].max()) == 0.0
    lit = pictures.geometry[:, :3].float().sum(1)
    assert bool(((lit > 0) == (alpha > 0)).all())


def test_normals_of_a_sphere_point_outwards():
    from pipeline.cameras import orbit, rays
    from pipeline.toyworld.parts import expanded, part

    ball = expanded([part("ellipsoid", (0, 0, 0), (0.8, 0.8, 0.8))], 1)
    cameras = orbit(30.0, 20.0, 3.0, 40.0)
    normal, near, alpha = geometry(ball, cameras, 64)
    origin, ray = (r[0].reshape(-1, 3) for r in rays(cameras, 64, 64))
    along = (origin * ray).sum(-1)
    inside = (alpha.flatten() == 1) & (along.square() - origin.square().sum(-1) + 0.64 > 0.02)
    reach = -along - (along.square() - origin.square().sum(-1) + 0.64).clamp_min(0).sqrt()
    true = ((origin + reach[:, None] * ray) / 0.8)[inside]
    found = normal[0].flatten(1).T[inside]
    assert inside.sum() > 800
    assert float((found * true).sum(-1).min()) > 0.998
    assert float(near.max()) == 1.0


def test_nearness_is_normalised_for_each_image_alone():
    depth = torch.tensor([[2.0, 4.0, 9.0], [20.0, 30.0, 9.0]])[:, None, None]
    alpha = torch.tensor([[1.0, 1.0, 0.0], [0.5, 1.0, 0.0]])[:, None, None]
    expected = torch.tensor([[1.0, 0.0, 0.0], [1.0, 0.0, 0.0]])[:, None, None]
    assert torch.equal(nearness(depth, alpha), expected)


def test_canny_is_opencvs_and_refuses_an_even_blur():
    import cv2

    generator = torch.Generator().manual_seed(0)
    normal = torch.nn.functional.interpolate(
        torch.rand(2, 3, 5, 5, generator=generator), (40, 40), mode="bilinear"
    )
    eight_bit = (normal[1] * 255 + 0.5).to(torch.uint8).permute(1, 2, 0).numpy().copy()
    expected = cv2.Canny(cv2.blur(eight_bit, (3, 3)), 20, 40) > 0
    found = canny(normal, blur=3, low=20, high=40)
    assert found.shape == (2, 1, 40, 40)
    assert 0 < float(found.mean()) < 0.5
    assert np.array_equal(found[1, 0].numpy() > 0, expected)
    with pytest.raises(ValueError, match="odd"):
        canny(normal, blur=4)


def test_a_square_has_edges_around_it():
    normal = torch.zeros(1, 3, 32, 32)
    normal[:, 0, 8:24, 8:24] = 1.0
    edge = canny(normal, blur=1)[0, 0]
    assert float(edge[10:22, 10:22].sum()) == 0
    assert float(edge[:6].sum()) == 0
    assert float(edge[16, 6:10].sum()) >= 1
    assert float(edge[6:10, 16].sum()) >= 1


def test_the_rate_warms_up_holds_and_falls():
    settings = training.Settings(steps=1000, warmup=100, hold=0.5)
    rates = [training.rate(step, settings) for step in range(1000)]
    assert rates[0] == pytest.approx(1e-5)
    assert rates[99] == 1e-3 == rates[499]
    assert rates[750] == pytest.approx((1e-3 + 2e-5) / 2)
    assert rates[999] < 2.1e-5
    assert all(a >= b for a, b in itertools.pairwise(rates[499:]))


def test_times_are_stratified():
    t = training.stratified_times(8, torch.Generator().manual_seed(1))
    assert sorted((t // 125).tolist()) == list(range(8))


def test_v_is_the_derivative_of_the_noising_path():
    generator = torch.Generator().manual_seed(0)
    x0, noise = torch.randn(2, 3, 4, 4, generator=generator), torch.randn(2, 3, 4, 4)
    angle = torch.tensor([0.3, 1.2], dtype=torch.float64)
    h = 1e-6
    there = train_pixel.v_target(x0.double(), noise.double(), (angle + h).cos() ** 2)[0]
    x_t, v = train_pixel.v_target(x0.double(), noise.double(), angle.cos() ** 2)
    assert torch.allclose((there - x_t) / h, v, atol=1e-4)


def test_v_is_what_diffusers_calls_velocity():
    scheduler = prior_nets.scheduler(prior_nets.SQUARED_COSINE)
    x0, noise = torch.randn(3, 3, 4, 4), torch.randn(3, 3, 4, 4)
    t = torch.tensor([3, 500, 990])
    x_t, v = train_pixel.v_target(x0, noise, scheduler.alphas_cumprod[t])
    assert torch.allclose(scheduler.get_velocity(x0, noise, t), v, atol=1e-6)
    assert torch.allclose(scheduler.add_noise(x0, noise, t), x_t, atol=1e-6)


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


def test_a_checkpoint_of_another_training_is_refused(tmp_path):
    settings = training.Settings(steps=20)
    parameter = torch.nn.Parameter(torch.ones(2, 2))
    mine = training.Trainer({"w": parameter}, settings, "mine")
    mine.update(parameter.square().sum())
    mine.save(tmp_path / "state.safetensors")
    other = training.Trainer({"w": torch.nn.Parameter(torch.ones(2, 2))}, settings, "other")
    with pytest.raises(ValueError, match="other settings"):
        other.load(tmp_path / "state.safetensors")


def test_more_steps_only_while_the_rate_is_held(tmp_path):
    def trainer(steps):
        settings = training.Settings(steps=steps, warmup=1)
        return training.Trainer({"w": torch.nn.Parameter(torch.ones(2))}, settings, "w")

    path = tmp_path / "state.safetensors"
    first = trainer(20)
    for _ in range(8):
        first.update(first.named["w"].square().sum())
    first.save(path)
    longer = trainer(40)
    longer.load(path)
    assert longer.step == 8
    assert torch.equal(longer.average["w"], first.average["w"])
    for _ in range(5):
        first.update(first.named["w"].square().sum())
    first.save(path)
    with pytest.raises(ValueError, match="--steps 20"):
        trainer(40).load(path)


def test_a_loss_that_is_not_finite_stops_the_training():
    weight = torch.nn.Parameter(torch.ones(1))
    trainer = training.Trainer({"w": weight}, training.Settings(steps=5), "w")
    with pytest.raises(FloatingPointError, match="step 0"):
        trainer.update((weight * float("nan")).sum())


def test_the_average_follows_the_weights():
    weight = torch.nn.Parameter(torch.zeros(1))
    trainer = training.Trainer({"w": weight}, training.Settings(steps=9, averaging=0.5), "w")
    expected = torch.zeros(1)
    for step in range(5):
        trainer.update((weight - 1).square().sum())
        keep = min(0.5, (1 + step) / (10 + step))
        expected = keep * expected + (1 - keep) * weight.detach()
    assert torch.allclose(trainer.average["w"], expected)
    trainer.use_average()
    assert torch.equal(weight.detach(), trainer.average["w"])


def test_init_starts_from_the_folder_and_refuses_another_network(trained, tmp_path):
    argv = ["--out", str(tmp_path / "more"), "--steps", "1", *SMALL]
    train_pixel.main([*argv, "--init", str(trained / "toy_pixel"), "--learning-rate", "1e-12"])
    one = load_file(tmp_path / "more/unet/diffusion_pytorch_model.safetensors")
    other = load_file(trained / "toy_pixel/unet/diffusion_pytorch_model.safetensors")
    assert all(torch.allclose(one[n].float(), other[n].float(), atol=1e-3) for n in other)
    with pytest.raises(ValueError, match="other weights"):
        train_pixel.main(
            [
                "--out",
                str(tmp_path / "no"),
                "--steps",
                "1",
                *SMALL,
                "--init",
                str(trained / "toy_latent"),
            ]
        )


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


def test_objects_vary_between_training_and_evaluation():
    """Seeds name other proportions: what is held out was never seen."""
    one, other = (build("duck", 3, 1.0, seeded("instances", s, "duck")) for s in (0, 1000))
    assert not torch.equal(one[0].half, other[0].half)
