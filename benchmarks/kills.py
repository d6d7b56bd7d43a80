"""Kills runs at random moments, lets the same command go on, and compares bits.

    python -m benchmarks.kills --preset mini --kills 100

One run of each column is left in peace; then runs of the same columns are killed with SIGKILL,
`--each` times each, and the command is repeated until it ends. After every kill no file under its
final name may be half a file; at the end the scene and the trace must be those of the undisturbed
run. Exit status 1 otherwise.
"""

import argparse
import os
import random
import shutil
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.victims import Victim, bank_of, broken, prepare, signalled, victims
from pipeline.artifacts import exit_status


@dataclass
class Count:
    """What happened in all runs together."""

    kills: int = 0
    runs: int = 0
    same: int = 0
    resumed: int = 0
    half: list[str] = field(default_factory=list)


def worked(process: int) -> float:
    """Seconds that the process has computed: other work on the machine does not count."""
    text = Path(f"/proc/{process}/stat").read_text(encoding="utf-8")
    user, system = text.rpartition(")")[2].split()[11:13]
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


def killed_run(
    victim: Victim, seconds: float, kills: int, generator: random.Random, count: Count
) -> None:
    """Kills the victim `kills` times, each within the work that it still had, then lets it end."""
    for _ in range(kills):
        left = 1.0 - victim.steps_kept() / victim.settings["steps"]
        moment = generator.uniform(0.0, seconds * left)
        process = victim.start()
        if not signalled(process, lambda: worked(process) >= moment):  # noqa: B023
            break  # it ended before
        count.kills += 1
        count.half += broken(victim.out)
    victim.finish()
    count.resumed += victim.log().count("resumed from")


def main() -> int:
    """The program."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--preset", default="mini")
    parser.add_argument("--bank", type=Path, help="instead of the one under results/")
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--each", type=int, default=5, help="kills of one run")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    bank = bank_of(given.preset, given.bank)
    prepare()
    generator, count = random.Random(given.seed), Count()
    with tempfile.TemporaryDirectory() as folder:
        whole = victims(given.preset, bank, Path(folder) / "whole")
        expected, seconds = {}, {}
        for victim in whole:
            before = os.times()
            victim.finish()
            after = os.times()
            seconds[victim.column] = sum(after[2:4]) - sum(before[2:4])  # of children
            expected[victim.column] = victim.results()
        while count.kills < given.kills:
            for victim in victims(given.preset, bank, Path(folder) / "killed"):
                each = min(given.each, given.kills - count.kills)
                if each == 0:
                    break
                killed_run(victim, seconds[victim.column], each, generator, count)
                count.runs += 1
                count.same += victim.results() == expected[victim.column]
                shutil.rmtree(victim.out)
                print(
                    f"{count.kills} kills, {count.same} of {count.runs} runs the same", flush=True
                )
    print(*count.half, sep="\n", end="")
    print(
        f"{count.kills} kills of {given.preset} runs at random moments (seed {given.seed}), "
        f"{count.resumed} times resumed from a checkpoint, else begun again; {count.same} of "
        f"{count.runs} runs ended in the bits of an undisturbed one; {len(count.half)} half files"
    )
    return int(count.same < count.runs or bool(count.half))


if __name__ == "__main__":
    sys.exit(exit_status(main))
