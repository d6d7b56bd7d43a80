"""A training's schedule, averages and checkpoints."""

import itertools

import pytest
import torch

from pipeline.toyworld import (
    prior_nets,
    training,
)


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
    there = training.v_target(x0.double(), noise.double(), (angle + h).cos() ** 2)[0]
    x_t, v = training.v_target(x0.double(), noise.double(), angle.cos() ** 2)
    assert torch.allclose((there - x_t) / h, v, atol=1e-4)


def test_v_is_what_diffusers_calls_velocity():
    scheduler = prior_nets.scheduler(prior_nets.SQUARED_COSINE)
    x0, noise = torch.randn(3, 3, 4, 4), torch.randn(3, 3, 4, 4)
    t = torch.tensor([3, 500, 990])
    x_t, v = training.v_target(x0, noise, scheduler.alphas_cumprod[t])
    assert torch.allclose(scheduler.get_velocity(x0, noise, t), v, atol=1e-6)
    assert torch.allclose(scheduler.add_noise(x0, noise, t), x_t, atol=1e-6)


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
