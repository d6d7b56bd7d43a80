"""Memory that runs out names the preset's keys; nothing else is renamed."""

import pytest
import torch

from pipeline.artifacts import ArtifactError
from pipeline.config import job, load_preset
from pipeline.out_of_memory import naming_what_to_lower
from pipeline.recipes import prompts

HUGE = 2**50  # bytes: no machine has them


@pytest.fixture(scope="module")
def found():
    prompt = prompts(load_preset("smoke"), "geometry")[0].prompt_id
    return job("smoke", column="vsd", stage="nerf", prompt_id=prompt, seed=0)


def test_the_gpus_error_names_keys_with_their_values(found):
    with (
        pytest.raises(
            ArtifactError, match=r"lower one of batch \(now 2\), size \(now 32\)"
        ) as said,
        naming_what_to_lower(found),
    ):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20 GiB\nand more")
    assert "under stages.nerf in presets/smoke.yaml" in str(said.value)
    assert "Tried to allocate 20 GiB" in str(said.value)
    assert "scene.samples (now 40)" in str(said.value)
    assert "scene.resolution" not in str(said.value)  # a radiance field has none


@pytest.mark.parametrize(
    "ask", [lambda: torch.empty(HUGE, dtype=torch.uint8), lambda: bytearray(HUGE)]
)
def test_the_machines_own_memory_counts_as_well(found, ask):
    with pytest.raises(ArtifactError, match="out of memory on cpu"), naming_what_to_lower(found):
        ask()


def test_other_errors_pass_unchanged(found):
    with pytest.raises(RuntimeError, match="shapes"), naming_what_to_lower(found):
        raise RuntimeError("shapes do not fit")
