"""Memory that ran out is an error that names what to lower, for a GPU's and for the machine's.

A retry with the same settings would run out again, and settings decide results: nothing is lowered
by itself.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from pipeline.artifacts import ArtifactError
from pipeline.config import Job

CPU = "can't allocate memory"  # how torch's CPU allocator begins its complaint
LOWERED = ("batch", "size", "scene.samples", "scene.resolution", "trace.probe_noises")


def ran_out(error: BaseException) -> bool:
    """Whether the error says that memory, the GPU's or the machine's, did not suffice."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and CPU in str(error)


@contextmanager
def naming_what_to_lower(job: Job) -> Iterator[None]:
    """Out of memory inside becomes an ArtifactError that names this job's keys in its preset."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not ran_out(error):
            raise
        raise ArtifactError(advice(job, error)) from error


def advice(job: Job, error: BaseException) -> str:
    """Which keys of the stage take memory, with their values, and how much was asked for."""
    preset = job.preset.partition("+")[0]
    found = [(key, _value(job, key)) for key in LOWERED]
    keys = ", ".join(f"{key} (now {value})" for key, value in found if value is not None)
    said = str(error).strip().split("\n")[0][:300]
    return (
        f"out of memory on {job.device}: lower one of {keys} under stages.{job.stage} in "
        f"presets/{preset}.yaml, for this column as an override; or end what else uses the memory "
        f"({said})"
    )


def _value(job: Job, key: str) -> object:
    found: object = job.settings
    for part in key.split("."):
        found = found.get(part) if isinstance(found, dict) else None
    return found
