"""A whole step on a GPU against the same step on a CPU; run where there is one."""

from pathlib import Path

import pytest
import torch

from pipeline.config import Job
from pipeline.distillation import one_step, problem_of, start_run
from pipeline.guidance.load import load_guidance

needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")


def _gradients(job: Job, bank: Path, device: str) -> dict[str, torch.Tensor]:
    """What the first step's backward left in the scene's parameters."""
    guidance = load_guidance(job.prior, bank=bank, prompt=job.prompt, device=device)
    problem = problem_of(job, guidance)
    run = start_run(problem, device, None)
    one_step(0, run, problem)
    return {name: p.grad.cpu() for name, p in run.scene.named_parameters() if p.grad is not None}


def _assert_close(there: dict[str, torch.Tensor], here: dict[str, torch.Tensor]) -> None:
    """Within 1 % of the largest: a softmax over all renders stands between two roundings."""
    assert list(there) == list(here) == ["head.grid.table"]
    for name, expected in here.items():
        largest = float(expected.abs().max())
        assert largest > 0
        torch.testing.assert_close(there[name], expected, rtol=0, atol=0.01 * largest)


@pytest.mark.requires_cuda
@needs_cuda
@pytest.mark.parametrize("column", ["csd", "csd_neg", "vsd"])
def test_a_step_on_cuda_has_the_gradient_of_one_on_a_cpu(tiny_job, tiny_bank, column):
    """Everything random is drawn on the CPU: both see the same cameras, t and noise."""
    here, there = (_gradients(tiny_job(column), tiny_bank, device) for device in ("cpu", "cuda"))
    _assert_close(there, here)


def test_a_step_is_the_same_twice_and_another_seeds_is_another(tiny_job, tiny_bank):
    first, again, other = (
        _gradients(tiny_job("vsd", seed=seed), tiny_bank, "cpu") for seed in (0, 0, 1)
    )
    _assert_close(again, first)
    with pytest.raises(AssertionError, match="not close"):
        _assert_close(other, first)
