"""Which part of a workflow's time no program worked: 1 - seconds in programs / (wall x slots).

    time snakemake --cores 2 --config preset=mini
    python -m benchmarks.overhead --results results/mini --slots 2 --wall 905

Seconds in programs are those of Snakemake's benchmark files, without what each program takes to
start: a run's own count (run.json: steps and rest), for other jobs a start of the same program
(`--help`), timed now. What remains is Snakemake's start and scheduling, interpreters and imports,
and slots without a job to do. To be measured on a machine that does nothing else.
"""

import argparse
import re
import subprocess
import sys
import time
from collections import defaultdict
from pathlib import Path

from pipeline.artifacts import ArtifactError, exit_status, read_json

ROOT = Path(__file__).resolve().parent.parent
SUFFIX = ".benchmark.tsv"


def programs() -> dict[str, list[str]]:
    """The modules that each rule runs, in its order, read from the rules' files."""
    found: dict[str, list[str]] = {}
    for path in sorted((ROOT / "pipeline" / "rules").glob("*.smk")):
        for block in re.split(r"^(?=rule )", path.read_text(encoding="utf-8"), flags=re.M)[1:]:
            name = block.partition(":")[0].removeprefix("rule ")
            found[name] = re.findall(r"python -m ([\w.]+)", block)
    return found


def seconds_of(path: Path) -> float:
    """Wall-clock seconds of one job, from Snakemake's benchmark file."""
    lines = path.read_text(encoding="utf-8").splitlines()
    if len(lines) < 2 or lines[0].split("\t")[0] != "s":
        raise ArtifactError(f"{path}: not a benchmark file of Snakemake; run its job again")
    return float(lines[1].split("\t")[0])


def start_seconds(module: str) -> float:
    """What a program takes until it has read its command line: interpreter and imports."""
    start = time.monotonic()
    command = [sys.executable, "-m", module, "--help"]
    subprocess.run(command, cwd=ROOT, capture_output=True, check=True, timeout=120)
    return time.monotonic() - start


def in_programs(results: Path) -> dict[str, tuple[int, float, float]]:
    """By rule: (jobs, seconds of them, seconds of them after imports)."""
    modules = programs()
    starts: dict[str, float] = {}
    found: dict[str, tuple[int, float, float]] = defaultdict(lambda: (0, 0.0, 0.0))
    for path in sorted(results.rglob(f"*{SUFFIX}")):
        rule = path.name.removesuffix(SUFFIX).partition(".")[0]
        whole = seconds_of(path)
        if rule == "optimize":
            seconds = read_json(path.parent / "run.json")["seconds"]
            inside = seconds["steps"] + (seconds["rest"] or 0.0)
        else:
            for module in modules.get(rule, []):
                if module not in starts:
                    starts[module] = start_seconds(module)
            inside = whole - sum(starts[module] for module in modules.get(rule, []))
        jobs, total, worked = found[rule]
        found[rule] = (jobs + 1, total + whole, worked + min(max(inside, 0.0), whole))
    if not found:
        raise ArtifactError(f"{results}: no benchmark files (logs/*{SUFFIX}); run the preset first")
    return dict(found)


def overhead(worked: float, wall: float, slots: int) -> float:
    """The share of the slots' time that no program used."""
    return 1.0 - worked / (wall * slots)


def main() -> None:
    """The program."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--results", type=Path, required=True)
    parser.add_argument("--wall", type=float, required=True, help="seconds of the whole command")
    parser.add_argument("--slots", type=int, required=True, help="jobs side by side: --cores")
    given = parser.parse_args()
    rules = in_programs(given.results)
    print("| rule | jobs | seconds | after imports |\n|---|---|---|---|")
    for rule, (jobs, total, worked) in sorted(rules.items(), key=lambda item: -item[1][1]):
        print(f"| {rule} | {jobs} | {total:.0f} | {worked:.0f} |")
    worked = sum(one[2] for one in rules.values())
    share = overhead(worked, given.wall, given.slots)
    print(
        f"\n{worked:.0f} s in programs of {given.wall:.0f} s x {given.slots}: overhead {share:.1%}"
    )


if __name__ == "__main__":
    sys.exit(exit_status(main))
