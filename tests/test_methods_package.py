"""The package by itself: the forward process, the surrogate loss, the docstring's example."""

import doctest
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import methods
from methods import distill


def pictures(dtype: torch.dtype) -> torch.Tensor:
    return torch.randn(2, 3, 4, 8, 8, generator=torch.Generator().manual_seed(0)).to(dtype)


def test_surrogate_has_the_gradient_of_the_reparameterised_squared_error():
    """The form of threestudio: 0.5 ||x - stopgrad(x - g)||^2 / b."""
    x, g = pictures(torch.float64)
    x.requires_grad_()
    (ours,) = torch.autograd.grad(distill.surrogate(x, g), x)
    target = (x - g).detach()
    (theirs,) = torch.autograd.grad(0.5 * (x - target).square().sum() / len(x), x)
    assert torch.allclose(ours, theirs, rtol=0, atol=1e-14)
    assert torch.allclose(ours, g / 3, rtol=0, atol=1e-14)


def test_diffused_is_the_forward_process_of_diffusers():
    from diffusers import DDPMScheduler

    scheduler = DDPMScheduler(beta_schedule="squaredcos_cap_v2")
    x, noise = pictures(torch.float32)
    t = torch.tensor([10, 300, 990])
    expected = scheduler.add_noise(x, noise, t)
    got = distill.diffused(x, noise, scheduler.alphas_cumprod, t)
    assert torch.allclose(got, expected, rtol=0, atol=1e-6)


def test_diffused_lets_the_gradient_through():
    x = torch.zeros(2, 1, 1, 1, requires_grad=True)
    alphas_cumprod = torch.tensor([0.81, 0.25])
    distill.diffused(
        x, torch.ones(2, 1, 1, 1), alphas_cumprod, torch.tensor([0, 1])
    ).sum().backward()
    assert x.grad.flatten().tolist() == pytest.approx([0.9, 0.5])


def test_the_example_in_the_docstring_runs():
    result = doctest.testmod(methods)
    assert result.attempted > 10
    assert result.failed == 0


def test_methods_alone_is_a_package_that_works(tmp_path):
    """Copied out of the project, with nothing of it within reach."""
    shutil.copytree(Path(methods.__file__).parent, tmp_path / "methods")
    program = "import doctest, methods; assert doctest.testmod(methods).failed == 0; print('ran')"
    result = subprocess.run(
        [sys.executable, "-I", "-c", f"import sys; sys.path[:0] = ['.']; {program}"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.stdout == "ran\n", result.stderr
