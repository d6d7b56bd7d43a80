"""Which of the paper's statements the recorded tables bear out, prior by prior, on one page.

    python -m reports.statements --page docs/results/statements.md \
        marginal=docs/results/toy81 heldout=docs/results/heldout learned=docs/results/learned
    python -m reports.statements mini=results/mini/tables/geometry --out statements.md

Each argument is a prior's name and a folder with `summary.csv` and `pairs.csv` (metrics.score) and,
for norms, `norms.csv` (metrics.norms), for speed, `speed_summary.csv` (metrics.speed), which may
also lie where the workflow puts it, in the preset's `figures/speed`. A folder that does not exist
was not run, and the page says so. The statements are in reports.claims. Every check is a rule on
the tables, the same for every prior:

- of a pair of columns: the paired comparison's verdict after Holm's correction;
- above a floor: the whole interval of the column lies above the mean of the floor;
- of a share of objects or of a norm: the whole interval lies above a bound;
- of speed: the verdict `faster` on the way that both columns share, after Holm's correction.

A statement holds when all its checks do, fails when all fail, is undecided when no check decides,
and is mixed otherwise.
"""

import argparse
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.artifacts import exit_status, write_text
from reports.claims import STATEMENTS, Check, Statement
from reports.records import ReportError

if TYPE_CHECKING:
    import pandas

NOTE = (
    "Statements of arXiv 2310.19415 in our words; every verdict follows from a rule on the tables, "
    "the same for every prior (reports/statements.py). Few prompts decide little: undecided "
    "and mixed are not wrong."
)
MARKERS = ("<!-- statements -->", "<!-- /statements -->")
HOLDS, FAILS, MIXED, UNDECIDED, NOT_RUN = "holds", "fails", "mixed", "undecided", "not run"


@dataclass(frozen=True)
class Tables:
    """The committed tables of one prior."""

    summary: "pandas.DataFrame"
    pairs: "pandas.DataFrame"
    norms: "pandas.DataFrame | None"
    speed: "pandas.DataFrame | None" = None


def read(folder: Path) -> Tables | None:
    """The tables in `folder`; None when there is no such folder. Raises ReportError for half of
    them.
    """
    import pandas

    if not folder.is_dir():
        return None
    files = {name: folder / f"{name}.csv" for name in ("summary", "pairs", "norms")}
    missing = [str(files[name]) for name in ("summary", "pairs") if not files[name].is_file()]
    if missing:
        raise ReportError(f"no {', '.join(missing)}; score the runs and keep both tables")
    norms = pandas.read_csv(files["norms"]) if files["norms"].is_file() else None
    places = (folder, folder.parent.parent / "figures" / "speed")
    found = [path for place in places if (path := place / "speed_summary.csv").is_file()]
    speed = pandas.read_csv(found[0]) if found else None
    return Tables(pandas.read_csv(files["summary"]), pandas.read_csv(files["pairs"]), norms, speed)


def judged(check: Check, tables: Tables, *, no_worse: bool) -> tuple[str, str]:
    """(verdict, numbers) of one check; `not run` where the tables lack it."""
    if check.kind == "pair":
        return _pair(check, tables.pairs, no_worse=no_worse)
    if check.kind in ("floor", "share"):
        return _mean(check, tables.summary)
    if check.kind == "speed":
        return _speed(check, tables.speed)
    return _norm(check, tables.norms)


def _sole(rows: "pandas.DataFrame", what: str) -> "pandas.Series | None":
    if len(rows) > 1:
        raise ReportError(f"{what}: {len(rows)} rows of several protocols or stages; keep one")
    return rows.iloc[0] if len(rows) else None


def _pair(check: Check, pairs: "pandas.DataFrame", *, no_worse: bool) -> tuple[str, str]:
    columns = {check.a, check.b}
    chosen = pairs[pairs["metric"] == check.metric]
    chosen = chosen[
        [{a, b} == columns for a, b in zip(chosen.column_a, chosen.column_b, strict=True)]
    ]
    row = _sole(chosen, f"{check.metric} of {check.a} and {check.b}")
    if row is None:
        return NOT_RUN, ""
    first = row["column_a"] == check.a
    sign, low, high = (1, "lower", "upper") if first else (-1, "upper", "lower")
    above, below = ("a above b", "b above a") if first else ("b above a", "a above b")
    numbers = f"{sign * row['difference']:+.3g} ({sign * row[low]:+.3g} to {sign * row[high]:+.3g})"
    text = f"`{check.a}` − `{check.b}` {check.metric} {numbers}, p {row['p_holm']:.2g}"
    if row["verdict"] == above:
        return HOLDS, text
    if row["verdict"] == below:
        return FAILS, text
    # not separated is no proof of equality: "not below" cannot hold by it, and cannot fail either
    return (UNDECIDED if no_worse or row["verdict"] != "not separated" else FAILS), text


def _mean(check: Check, summary: "pandas.DataFrame") -> tuple[str, str]:
    rows = summary[summary["population"] == "intent_to_treat"]
    rows = rows[rows["column"] == check.a]
    own = _sole(rows[rows["metric"] == check.metric], f"{check.metric} of {check.a}")
    if isinstance(check.b, str):
        floor = _sole(rows[rows["metric"] == check.b], f"{check.b} of {check.a}")
        bound, name = (None, "") if floor is None else (float(floor["mean"]), f"{check.b} ")
    else:
        bound, name = check.b, ""
    if own is None or bound is None:
        return NOT_RUN, ""
    text = f"`{check.a}` {check.metric} {own['mean']:.3g} ({own['lower']:.3g} to "
    text += f"{own['upper']:.3g}) against {name}{bound:.3g}"
    return _placed(float(own["lower"]), float(own["upper"]), bound), text


def _placed(lower: float, upper: float, bound: float) -> str:
    return HOLDS if lower > bound else FAILS if upper < bound else UNDECIDED


def _norm(check: Check, norms: "pandas.DataFrame | None") -> tuple[str, str]:
    if norms is None:
        return NOT_RUN, ""
    quantity, third = check.metric.split()
    rows = norms[(norms["column"] == check.a) & (norms["quantity"] == quantity)]
    row = _sole(rows[rows["third"] == third], f"{check.metric} of {check.a}")
    if row is None:
        return NOT_RUN, ""
    text = f"`{check.a}` {quantity}, {third} third: {row['value']:.3g} ({row['lower']:.3g} to "
    text += f"{row['upper']:.3g}), bound {float(check.b):.2g}"
    return _placed(float(row["lower"]), float(row["upper"]), float(check.b)), text


def _speed(check: Check, speed: "pandas.DataFrame | None") -> tuple[str, str]:
    """A row's difference is in steps, negative where `a` is faster; a run that never arrives counts
    with all its steps.
    """
    if speed is None:
        return NOT_RUN, ""
    rows = speed[(speed["kind"] == "shared") & (speed["reference"] == check.b)]
    rows = rows[(rows["metric"] == check.metric) & (rows["column"] == check.a)]
    row = _sole(rows, f"steps of {check.a} by {check.metric}")
    if row is None or check.a == check.b:
        return NOT_RUN, ""
    text = f"`{check.a}` − `{check.b}` steps to nine tenths by {check.metric} "
    text += f"{row['difference']:+.3g} ({row['difference_lower']:+.3g} to "
    text += f"{row['difference_upper']:+.3g}), {row['n_not_reached']:g} of {row['n_runs']:g} runs "
    text += f"never there, p {row['p_holm']:.2g}"
    return {"faster": HOLDS, "slower": FAILS}.get(row["verdict"], UNDECIDED), text


def verdict(statement: Statement, tables: Tables | None) -> tuple[str, list[str]]:
    """The statement's verdict under one prior, and the numbers of its checks."""
    if tables is None or not statement.checks:
        return NOT_RUN, []
    found = [judged(check, tables, no_worse=statement.no_worse) for check in statement.checks]
    lines = [f"{what}: {text}" for what, text in found if what != NOT_RUN]
    verdicts = {what for what, _ in found}
    part = " (in part not run)" if NOT_RUN in verdicts and len(verdicts) > 1 else ""
    if part:
        verdicts.remove(NOT_RUN)
    return (verdicts.pop() if len(verdicts) == 1 else MIXED) + part, lines


def markdown(priors: Mapping[str, Tables | None]) -> str:
    """A table of verdicts, then the numbers of every check that was run."""
    lines = [_row(["", "where", "statement", *priors]), "|---" * (3 + len(priors)) + "|"]
    details: list[str] = []
    for number, statement in enumerate(STATEMENTS, 1):
        found = {name: verdict(statement, tables) for name, tables in priors.items()}
        cells = [f"**{what}**" if what != NOT_RUN else what for what, _ in found.values()]
        lines.append(_row([str(number), statement.where, statement.says, *cells]))
        for name, (_, texts) in found.items():
            details += [f"- {number}, {name}: {text}" for text in texts]
    sizes = [
        f"{name}: {tables.summary['n_prompts'].max()} prompts" if tables else f"{name}: not run"
        for name, tables in priors.items()
    ]
    return "\n".join([*lines, "", *details, "", "; ".join(sizes) + "."])


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def main(arguments: Sequence[str] | None = None) -> None:
    """Prints the page's table; with --page also writes it between the page's markers."""
    parser = argparse.ArgumentParser(prog="python -m reports.statements")
    parser.add_argument("priors", nargs="+", metavar="NAME=FOLDER")
    parser.add_argument("--page", type=Path, help="a page to write it into")
    parser.add_argument("--out", type=Path, help="a file of its own")
    given = parser.parse_args(arguments)
    named = dict(text.partition("=")[::2] for text in given.priors)
    if not all(named.values()):
        parser.error(f"expected NAME=FOLDER, got {given.priors}")
    text = markdown({name: read(Path(folder)) for name, folder in named.items()})
    if given.page is not None:
        page = given.page.read_text(encoding="utf-8")
        if any(page.count(marker) != 1 for marker in MARKERS):
            raise ReportError(f"{given.page} needs one {MARKERS[0]} and one {MARKERS[1]}")
        before, rest = page.split(MARKERS[0])
        after = rest.split(MARKERS[1])[1]
        write_text(given.page, f"{before}{MARKERS[0]}\n{text}\n{MARKERS[1]}{after}")
    if given.out is not None:
        write_text(given.out, f"# The paper's statements\n\n{NOTE}\n\n{text}\n")
    print(text)


if __name__ == "__main__":
    sys.exit(exit_status(main, ReportError))
