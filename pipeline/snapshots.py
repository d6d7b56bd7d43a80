"""What a run had made after some of its steps: a run folder each, below the run's own.

`snapshots/<n>/` holds the scene after n steps, floats in half precision (a picture does not show
the difference), and a run.json of what the run was, with the evaluations and seconds until then.
The stage's key `snapshots` lists the steps; 0 is the scene that the run starts from. Taking one
draws nothing and changes nothing.
"""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pipeline.artifacts import SCHEMA_VERSION, save_safetensors, write_json
from pipeline.config import Job
from pipeline.run_state import Run


def save(out: Path, step: int, job: Job, run: Run) -> None:
    """The run folder `out` holds what was there after `step` steps."""
    folder = folder_of(out, step)
    state = run.scene.state_dict()
    halves = {name: t.half() if t.is_floating_point() else t for name, t in state.items()}
    save_safetensors(folder / "scene.safetensors", halves, {"placeholder": "false"})
    write_json(
        folder / "run.json",
        {
            "schema_version": SCHEMA_VERSION,
            "status": "ok",
            "snapshot": step,
            **asdict(job),
            "seconds": {"steps": round(run.seconds, 3)},
            "evaluations": dict(run.evaluations),
        },
    )


def folder_of(run: Path, step: int) -> Path:
    """Where the run folder `run` keeps what it had after `step` steps."""
    return run / "snapshots" / str(step)


def kept(record: Mapping[str, Any]) -> list[int]:
    """The steps at which the run of this run.json left snapshots; of a failed run those it
    reached. What else lies there is of earlier settings.
    """
    reached = record["settings"]["steps"] - 1
    if record["status"] != "ok":
        reached = -1 if record["failed_step"] is None else record["failed_step"]
    return [step for step in sorted(record["settings"]["snapshots"]) if step <= reached]
