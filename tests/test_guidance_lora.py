"""VSD's LoRA particle: one network, two predictions; off, the frozen one keeps its bits."""

import pytest
import tiny_models as tiny
import torch

from pipeline.artifacts import ArtifactError
from pipeline.guidance.interface import View
from pipeline.guidance.load import load_guidance, load_particle

SIZE = tiny.PIXELS
T = torch.tensor([100, 700])
MODELS = ("pixel", "deepfloyd", "latent", "controlled")


@pytest.fixture(scope="module")
def specs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    pixel = tiny.pixel_folder(folder / "pixel", prediction="v_prediction")
    latent = tiny.latent_folder(folder / "latent", prediction="epsilon")
    net = tiny.control_spec(tiny.control_folder(folder / "c", latent, seed=5), "depth", 1.0)
    return {
        "pixel": tiny.spec("deepfloyd", pixel),
        "deepfloyd": tiny.spec("deepfloyd", tiny.deepfloyd_folder(folder / "if")),
        "latent": tiny.spec("stable_diffusion", latent),
        "controlled": tiny.spec("stable_diffusion", latent, controlnets=[net]),
    }


def pair(specs, name="pixel", *, rank=2, seed=0, **changes):
    """A prior and a particle on it, both fresh."""
    prior = load_guidance(specs[name] | changes, bank=None, prompt="", device="cpu")
    generator = torch.Generator().manual_seed(seed)
    return prior, load_particle({"kind": "lora", "width": rank}, prior, generator), generator


def inputs(prior, seed=0):
    generator = torch.Generator().manual_seed(seed)
    x0 = prior.encode(torch.rand(2, 3, SIZE, SIZE, generator=generator))
    noise = torch.randn(x0.shape, generator=generator)
    c2w = torch.eye(4).repeat(2, 1, 1) + 0.3 * torch.randn(2, 4, 4, generator=generator)
    picture = torch.rand(2, 3, SIZE, SIZE, generator=generator)
    view = View(torch.zeros(2, 3), c2w, {"depth": picture})
    return x0, noise, prior.embed(["a red car"]).expand(2, -1, -1), view


def noised(prior, x0, noise):
    a, sigma = prior.denoiser.scales(T)
    return a * x0 + sigma * noise


def stirred(particle, scale=0.2, seed=9):
    """The particle with all its weights moved away from their start."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in particle.parameters():
            weight += scale * torch.randn(weight.shape, generator=generator)
    return particle


def trained(particle, prior, steps, rate=3e-3):
    optimizer = torch.optim.AdamW(particle.parameters(), lr=rate)
    x0, noise, cond, view = inputs(prior)
    losses = []
    for _ in range(steps):
        optimizer.zero_grad(set_to_none=True)
        loss = particle.loss(x0, T, noise, cond, view)
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    return losses


@pytest.mark.parametrize("name", MODELS)
def test_it_starts_as_the_frozen_prediction(specs, name):
    prior, particle, _ = pair(specs, name)
    x0, noise, cond, view = inputs(prior)
    x_t = noised(prior, x0, noise)
    frozen = prior.eps(x_t, T, cond[None], view)[0]
    assert torch.equal(particle.eps(x_t, T, cond, view), frozen)


@pytest.mark.parametrize("name", MODELS)
def test_the_frozen_prediction_keeps_its_bits_while_the_particle_learns(specs, name):
    untouched = load_guidance(specs[name], bank=None, prompt="", device="cpu")
    x0, noise, cond, view = inputs(untouched)
    x_t = noised(untouched, x0, noise)
    before = untouched.eps(x_t, T, cond[None], view)
    prior, particle, _ = pair(specs, name)
    trained(stirred(particle), prior, 2)
    assert torch.equal(prior.eps(x_t, T, cond[None], view), before)
    assert not torch.equal(particle.eps(x_t, T, cond, view), before[0])


def test_what_it_adds_are_low_rank_products(specs):
    """eps of the particle = eps of a network whose weights are W + B A, without cameras."""
    from diffusers import UNet2DConditionModel

    prior, particle, _ = pair(specs, "latent")
    stirred(particle)
    x0, noise, cond, view = inputs(prior)
    x_t = noised(prior, x0, noise)
    state = particle.state_dict()
    for name in ("camera.linear_2.weight", "camera.linear_2.bias"):
        state[name] = torch.zeros_like(state[name])
    particle.load_state_dict(state)
    plain = UNet2DConditionModel.from_pretrained(f"{specs['latent']['path']}/unet")
    weights = dict(plain.named_parameters())
    factors = [name for name in state if ".lora_A." in name]
    with torch.no_grad():
        for name in factors:
            product = state[name.replace("lora_A", "lora_B")] @ state[name]
            weights[name.replace(".lora_A.particle", "")] += product
        expected = plain(x_t, T, cond).sample
    assert len(factors) == 4 * 8  # 4 blocks; query, key, value, output of self- and cross-attention
    torch.testing.assert_close(particle.eps(x_t, T, cond, view), expected, rtol=1e-4, atol=1e-5)


def test_the_camera_joins_the_time_embedding(specs):
    """As a class embedding of the flattened c2w would (ProlificDreamer)."""
    from diffusers import UNet2DConditionModel

    prior, particle, _ = pair(specs, "latent")
    x0, noise, cond, view = inputs(prior)
    x_t = noised(prior, x0, noise)
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for weight in particle.camera.parameters():
            weight.copy_(torch.randn(weight.shape, generator=generator))
    plain = UNet2DConditionModel.from_pretrained(f"{specs['latent']['path']}/unet")
    plain.class_embedding = particle.camera
    with torch.no_grad():
        expected = plain(x_t, T, cond, class_labels=view.c2w.flatten(1)).sample
    found = particle.eps(x_t, T, cond, view)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    assert not torch.allclose(found, prior.eps(x_t, T, cond[None], view)[0], atol=1e-3)


@pytest.mark.parametrize("name", ["pixel", "latent"])
def test_its_loss_is_that_of_what_the_network_predicts(specs, name):
    """v for the pixel model, epsilon for the latent one; at the start no camera matters."""
    prior, particle, _ = pair(specs, name)
    x0, noise, cond, view = inputs(prior)
    x_t = noised(prior, x0, noise)
    with torch.no_grad():
        predicted = prior.denoiser.unet(x_t, T, cond).sample
    a, sigma = prior.denoiser.scales(T)
    target = a * noise - sigma * x0 if name == "pixel" else noise
    expected = (predicted - target).square().mean()
    torch.testing.assert_close(particle.loss(x0, T, noise, cond, view).detach(), expected)


def test_its_loss_falls_and_reaches_no_render(specs):
    prior, particle, _ = pair(specs, "pixel", rank=4)
    _, noise, cond, view = inputs(prior)
    rgb = torch.rand(2, 3, SIZE, SIZE, requires_grad=True)
    particle.loss(prior.encode(rgb), T, noise, cond, view).backward()
    assert rgb.grad is None
    assert all(not weight.requires_grad for weight in _base(prior))
    losses = trained(particle, prior, 30, rate=1e-2)
    assert losses[-1] < 0.95 * losses[0]


def _base(prior):
    return [p for name, p in prior.denoiser.unet.named_parameters() if "lora" not in name]


def test_all_its_weights_learn_once_none_is_zero(specs):
    prior, particle, _ = pair(specs, "pixel")
    stirred(particle)
    x0, noise, cond, view = inputs(prior)
    particle.loss(x0, T, noise, cond, view).backward()
    assert all(bool(weight.grad.any()) for weight in particle.parameters())


def test_a_tenth_of_the_cameras_is_dropped_by_its_own_generator(specs):
    """Dropping a camera is seeing a matrix of zeros."""
    prior, particle, generator = pair(specs, "pixel")
    stirred(particle, scale=1.0)
    x0, noise, cond, view = inputs(prior)
    states, kept = [], []
    for _ in range(500):
        states.append(generator.get_state())
        kept.append((torch.rand(2, generator=generator) >= 0.1).tolist())
    assert 60 <= sum(row.count(False) for row in kept) <= 140  # 1,000 draws at 0.1: 100 +- 9.5

    def loss(seen, draws):
        generator.set_state(states[kept.index(draws)])
        return particle.loss(x0, T, noise, cond, seen).detach()

    blind = View(view.background, view.c2w * torch.tensor([1.0, 0.0])[:, None, None])
    assert torch.equal(loss(view, [True, False]), loss(blind, [True, True]))
    assert not torch.equal(loss(view, [True, True]), loss(blind, [True, True]))


def test_its_state_is_small_and_comes_back(specs):
    prior, particle, _ = pair(specs, "pixel")
    stirred(particle)
    other_prior, other, _ = pair(specs, "pixel", seed=1)
    other.load_state_dict(particle.state_dict())
    x0, noise, cond, view = inputs(prior)
    x_t = noised(prior, x0, noise)
    assert torch.equal(particle.eps(x_t, T, cond, view), other.eps(x_t, T, cond, view))
    everything = sum(w.numel() for w in prior.denoiser.unet.parameters())
    assert sum(w.numel() for w in particle.state_dict().values()) < everything / 4
    with pytest.raises(ValueError, match="lora_A"):
        other.load_state_dict({n: w for n, w in particle.state_dict().items() if "camera" in n})
    assert len(other_prior.denoiser.unet.peft_config) == 1


def test_a_run_cut_in_two_ends_in_the_same_bits(specs):
    prior, whole, generator = pair(specs, "pixel")
    trained(whole, prior, 1)
    weights = {name: w.clone() for name, w in whole.state_dict().items()}
    state = generator.get_state()
    once_more = trained(whole, prior, 3)
    other_prior, other, generator = pair(specs, "pixel", seed=4)
    other.load_state_dict(weights)
    generator.set_state(state)
    assert trained(other, other_prior, 3) == once_more


def test_the_generator_alone_decides_the_start(specs):
    before = torch.get_rng_state()
    states = [pair(specs, "pixel", seed=seed)[1].state_dict() for seed in (0, 0, 1)]
    assert torch.equal(before, torch.get_rng_state())
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
    assert any(not torch.equal(states[0][name], states[2][name]) for name in states[0])


def test_control_networks_speak_to_the_particle_too(specs):
    prior, particle, _ = pair(specs, "controlled")
    stirred(particle)
    x0, noise, cond, view = inputs(prior)
    x_t = noised(prior, x0, noise)
    other = View(view.background, view.c2w, {"depth": 1.0 - view.control["depth"]})
    difference = particle.eps(x_t, T, cond, view) - particle.eps(x_t, T, cond, other)
    assert float(difference.abs().max()) > 1e-3
    particle.loss(x0, T, noise, cond, view).backward()
    nets = prior.denoiser.controls.networks
    assert all(p.grad is None for net in nets for p in net.network.parameters())


def test_it_learns_beside_a_half_precision_network(specs):
    prior, particle, _ = pair(specs, "pixel", dtype="bf16")
    assert {w.dtype for w in particle.parameters()} == {torch.float32}
    assert {w.dtype for w in _base(prior)} == {torch.bfloat16}
    losses = trained(particle, prior, 3)
    assert losses[-1] < losses[0] < 10.0


def test_a_network_carries_one_particle_and_the_mixture_none(specs):
    prior, _, generator = pair(specs, "pixel")
    with pytest.raises(ValueError, match="particle already"):
        load_particle({"kind": "lora", "width": 2}, prior, generator)
    with pytest.raises(ArtifactError, match="needs a learned prior"):
        load_particle({"kind": "lora", "width": 2}, object(), generator)
