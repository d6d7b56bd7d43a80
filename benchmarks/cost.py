"""What a preset will take: jobs, hours of its device, disk and memory, from measured runs.

    python -m benchmarks.cost --preset paper --price 3
    python -m benchmarks.cost --preset mini --runs results/mini/runs   # measured there, and now
    python -m benchmarks.cost --preset paper --count   # what its networks compute, a minute
    python -m benchmarks.cost --measure results/mini/runs --as "a CPU core" >>measured.yaml

A run costs its steps at the seconds a step that finished runs of the same preset, column and stage
took on one device, plus what they took before and after. measured.yaml keeps such numbers; --runs
adds those of finished runs. Where nothing was measured the answer is `unknown`, and a sum that has
an unknown part says so; --count adds what the networks compute, which needs no machine. Disk counts
the tables of the scenes alone where hours are unknown, `at least`. --price: of an hour of the
device.
"""

import argparse
import statistics
import sys
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from pipeline.artifacts import exit_status, read_json
from pipeline.config import ConfigError, job, load_preset
from pipeline.recipes import chains, prompts
from pipeline.sizes import scene_mb

MEASURED = Path(__file__).with_name("measured.yaml")
MB = 2**20
HEAD = ("task", "column", "runs", "steps", "hours", "disk, GB", "peak memory, GB", "measured on")


@dataclass(frozen=True)
class Measured:
    """Medians over finished runs of one stage of one column: seconds, MB (2^20 bytes)."""

    preset: str
    column: str
    stage: str
    device: str
    step_seconds: float
    rest_seconds: float
    peak_memory_mb: float
    disk_mb: float
    runs: int


@dataclass(frozen=True)
class Line:
    """One line of the plan; None is unknown. `disk_mb` is a lower bound where hours are unknown."""

    task: str
    column: str
    runs: int
    steps: int
    hours: float | None
    disk_mb: float
    memory_mb: float | None
    device: str | None


def measured(folders: Iterable[Path], device: str | None = None) -> list[Measured]:
    """Medians by preset, column and stage of the finished runs under the folders.

    device: what to call their device, instead of the name in run.json. Runs on several devices are
    kept apart.
    """
    groups: dict[tuple[str, ...], list[tuple[float, ...]]] = defaultdict(list)
    for path in sorted(path for folder in folders for path in folder.rglob("run.json")):
        run = read_json(path)
        whole = (path.parent / "trace.parquet").is_file()  # a snapshot within a run has none
        if not whole or run["status"] != "ok":
            continue
        seconds = run["seconds"]
        files = sum(f.stat().st_size for f in path.parent.rglob("*") if f.is_file())
        key = (run["preset"], run["column"], run["stage"], device or run["device_name"])
        rest = (seconds["imports"] or 0.0) + (seconds["rest"] or 0.0)
        steps = seconds["steps"] / run["settings"]["steps"]
        memory = run.get("peak_device_memory_mb") or run["peak_memory_mb"]
        groups[key].append((steps, rest, memory, files / MB))
    return [
        Measured(*key, *(_rounded(column) for column in zip(*rows, strict=True)), len(rows))
        for key, rows in groups.items()
    ]


def _rounded(values: Sequence[float]) -> float:
    return float(f"{statistics.median(values):.3g}")


def kept(path: Path = MEASURED) -> list[Measured]:
    """What the table of earlier measurements holds."""
    return [Measured(**row) for row in yaml.safe_load(path.read_text(encoding="utf-8")) or []]


def plan(name: str, known: Iterable[Measured]) -> list[Line]:
    """A line for each column of each task. Of several devices the last one measured counts."""
    preset = load_preset(name)
    table = {(one.column, one.stage): one for one in known if one.preset == name}
    return [_line(name, preset, task, column, own, table) for task, column, own in chains(preset)]


def _line(
    name: str,
    preset: Mapping[str, Any],
    task: str,
    column: str,
    chain: Sequence[str],
    table: Mapping[tuple[str, str], Measured],
) -> Line:
    asked = prompts(preset, task)
    runs = len(asked) * len(preset["seeds"])
    first = {"prompt_id": asked[0].prompt_id, "seed": preset["seeds"][0]}
    settings = {s: job(name, column=column, stage=s, **first).settings for s in chain}
    found = [table.get((column, stage)) for stage in chain]
    whole = [one for one in found if one is not None]
    known = len(whole) == len(chain)
    seconds = sum(
        settings[one.stage]["steps"] * one.step_seconds + one.rest_seconds for one in whole
    )
    disk = sum(
        scene_mb(settings[stage]["scene"]) if one is None else one.disk_mb
        for stage, one in zip(chain, found, strict=True)
    )
    return Line(
        task=task,
        column=column,
        runs=runs * len(chain),
        steps=runs * sum(spec["steps"] for spec in settings.values()),
        hours=runs * seconds / 3600 if known else None,
        disk_mb=runs * disk,
        memory_mb=max(one.peak_memory_mb for one in whole) if known else None,
        device=", ".join(dict.fromkeys(one.device for one in whole)) if known else None,
    )


def total(lines: Sequence[Line]) -> Line:
    """All lines together; unknown where a part is."""
    hours = [line.hours for line in lines if line.hours is not None]
    memory = [line.memory_mb for line in lines if line.memory_mb is not None]
    known = len(hours) == len(lines)
    return Line(
        task="all",
        column="",
        runs=sum(line.runs for line in lines),
        steps=sum(line.steps for line in lines),
        hours=sum(hours) if known else None,
        disk_mb=sum(line.disk_mb for line in lines),
        memory_mb=max(memory) if known else None,
        device=None,
    )


def cells(line: Line) -> tuple[str, ...]:
    """A line of the plan in words."""
    disk = f"{line.disk_mb / 1024:.2g}"
    return (
        line.task,
        line.column,
        str(line.runs),
        f"{line.steps:,}",
        "unknown" if line.hours is None else f"{line.hours:.2g}",
        disk if line.hours is not None else f"at least {disk}",
        "unknown" if line.memory_mb is None else f"{line.memory_mb / 1024:.2g}",
        line.device or "",
    )


def counted(name: str) -> dict[tuple[str, str], float]:
    """EFLOP of the networks by (task, column), and of all of them; see flops.py.

    Raises ArtifactError for a prior whose architecture is not known.
    """
    from benchmarks import flops

    found: dict[tuple[str, str], float] = defaultdict(float)
    for line in flops.lines(name):
        for key in ((line.task, line.column), ("all", "")):
            found[key] += line.runs * flops.run_flop(line.job) / 1e18
    return found


def main() -> None:
    """The program."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--preset")
    parser.add_argument("--runs", type=Path, nargs="+", default=[], help="folders of finished runs")
    parser.add_argument("--price", type=float, help="of an hour of the device")
    parser.add_argument("--count", action="store_true", help="what the networks compute as well")
    parser.add_argument("--measure", type=Path, nargs="+", help="print what these runs took")
    parser.add_argument("--as", dest="device", help="what to call the device of --measure")
    given = parser.parse_args()
    if given.measure:
        rows = [vars(one) for one in measured(given.measure, given.device)]
        print(yaml.safe_dump(rows, sort_keys=False, width=200, default_flow_style=None), end="")
        return
    if given.preset is None:
        raise ConfigError("give --preset NAME, or --measure FOLDER")
    lines = plan(given.preset, [*kept(), *measured(given.runs)])
    whole = total(lines)
    table = [HEAD, tuple("---" for _ in HEAD), *map(cells, [*lines, whole])]
    if given.count:
        eflop = counted(given.preset)
        own = (f"{eflop[line.task, line.column]:.3g}" for line in (*lines, whole))
        last = ("networks, EFLOP", "---", *own)
        table = [(*row, cell) for row, cell in zip(table, last, strict=True)]
    print(*("| " + " | ".join(row) + " |" for row in table), sep="\n")
    print(f"\n{whole.runs} optimisations and as many jobs for their pictures.", end=" ")
    if given.price is not None:
        price = "unknown" if whole.hours is None else f"{whole.hours * given.price:,.0f}"
        print(f"At {given.price:g} an hour: {price}.", end="")
    print()


if __name__ == "__main__":
    sys.exit(exit_status(main, ConfigError))
