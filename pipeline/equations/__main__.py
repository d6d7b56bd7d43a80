"""Every equation of the paper held against the exact mixture, on inputs drawn anew.

    python -m pipeline.equations --bank results/mini/bank --out residuals.csv

For some draws of images, backgrounds, noises, t and weights, each check (`distillation`, `others`)
has two sides that must agree. Writes one row a check: equation, what is compared, largest residual
over all draws and entries, largest entry of what is expected, tolerance, whether it holds, and the
number of draws. Prints the same. The exit status does not depend on it, so that a page can show
what fails (reports.paper.equations ends with 1 then).
"""

import argparse
import csv
import io
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch

from pipeline.artifacts import exit_status, write_text
from pipeline.equations import distillation, others
from pipeline.equations.case import OTHER, PROMPT, SOURCE, Case, case_at
from pipeline.equations.moments import exact_prior, moment

CHECKS = (*distillation.CHECKS, *others.CHECKS)
NAMES = ("equation", "compared", "residual", "largest", "tolerance", "holds", "draws", "seed")


def drawn(bank: Path, *, draws: int, seed: int) -> Iterator[Case]:
    """Independent cases. Weights are at most 2: they scale residuals, not what is checked."""
    prior = exact_prior(bank, [PROMPT, OTHER, SOURCE], seed)
    generator = torch.Generator().manual_seed(seed)
    for _ in range(draws):
        quarters = torch.randint(1, 9, (2,), generator=generator) / 4.0
        yield case_at(
            moment(prior, generator, between=(PROMPT, OTHER)),
            omega=float(quarters[0]),
            omega_2=float(quarters[1]),
            generator=generator,
        )


def residuals(cases: Iterable[Case], *, seed: int) -> list[dict[str, Any]]:
    """A row a check. What is not finite does not hold."""
    worst, largest, draws = [0.0] * len(CHECKS), [0.0] * len(CHECKS), 0
    for case in cases:
        draws += 1
        for i, check in enumerate(CHECKS):
            ours, expected = check.sides(case)
            apart = (ours - expected).abs().nan_to_num(nan=torch.inf).max()
            worst[i] = max(worst[i], float(apart))
            largest[i] = max(largest[i], float(expected.abs().max()))
    return [
        {
            "equation": check.equation,
            "compared": check.compared,
            "residual": residual,
            "largest": size,
            "tolerance": check.tolerance,
            "holds": residual <= check.tolerance,
            "draws": draws,
            "seed": seed,
        }
        for check, residual, size in zip(CHECKS, worst, largest, strict=True)
    ]


def main(arguments: Sequence[str] | None = None) -> None:
    """The program."""
    parser = argparse.ArgumentParser(
        prog="python -m pipeline.equations", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("--bank", type=Path, required=True, help="of the toy world")
    parser.add_argument("--draws", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0, help="of the draws")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, required=True, help="a CSV file")
    given = parser.parse_args(arguments)
    torch.set_num_threads(given.threads)
    rows = residuals(drawn(given.bank, draws=given.draws, seed=given.seed), seed=given.seed)
    text = io.StringIO()
    writer = csv.DictWriter(text, NAMES, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_text(given.out, text.getvalue())
    for row in rows:
        word = "holds" if row["holds"] else "FAILS"
        numbers = f"{row['residual']:.1e} <= {row['tolerance']:.0e}"
        print(f"{row['equation']:>10}  {numbers}  {word}  {row['compared']}")


if __name__ == "__main__":
    sys.exit(exit_status(main))
