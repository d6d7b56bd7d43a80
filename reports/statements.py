"""Which of the paper's statements the recorded tables bear out, prior by prior, on one page.

    python -m reports.statements --records docs/results/statements.yaml \
        --page docs/results/statements.md
    python -m reports.statements mini=results/mini/tables/geometry --out statements.md

A file of records says which committed tables bear on which prior: reports.statements.read_records.
Else each argument is a name and a folder with `summary.csv` and `pairs.csv` (metrics.score) and,
for norms, `norms.csv` (metrics.norms), for speed, `speed_summary.csv` (metrics.speed), which may
also lie where the workflow puts it, in the preset's `figures/speed`. What does not exist was not
run, and the page says so. The statements are in reports.claims, how a check is judged in
reports.statement_checks.

A statement holds when all its checks do, fails when all fail, is undecided when no check decides,
and is mixed otherwise. Not separated is undecided: it is no proof of equality.
"""

import argparse
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import yaml

from pipeline.artifacts import exit_status, write_text
from reports.claims import STATEMENTS, Statement
from reports.records import ReportError
from reports.statement_checks import FAILS, HOLDS, UNDECIDED, Found, Table, judged

if TYPE_CHECKING:
    import pandas

NOTE = (
    "Statements of arXiv 2310.19415 in our words; every verdict follows from a rule on the tables, "
    "the same for every prior (reports/claims.py). Few prompts decide little: undecided "
    "and mixed are not wrong."
)
MARKERS = ("<!-- statements -->", "<!-- /statements -->")
MIXED, NOT_RUN = "mixed", "not run"
VERDICTS = (HOLDS, FAILS, MIXED, UNDECIDED, NOT_RUN)
MARKS = {HOLDS: "✓", FAILS: "✗", UNDECIDED: "?"}
NAMES = ("column", "column_a", "column_b")  # of a table, that hold columns' names
Records = Mapping[str, Table]


@dataclass(frozen=True)
class Judged:
    """A statement under one prior: its verdict, what the checks found, whether some were not run,
    and the tables behind them.
    """

    verdict: str
    found: tuple[Found, ...] = ()
    in_part: bool = False
    records: tuple[str, ...] = ()


def read(folder: Path) -> Records:
    """The tables in `folder`; none when there is no such folder. Raises ReportError for half of
    them.
    """
    if not folder.is_dir():
        return {}
    places = {name: [folder / f"{name}.csv"] for name in ("summary", "pairs", "norms")}
    speeds = (folder, folder.parent.parent / "figures" / "speed")
    places["speed"] = [place / "speed_summary.csv" for place in speeds]
    missing = [
        str(places[name][0]) for name in ("summary", "pairs") if not places[name][0].is_file()
    ]
    if missing:
        raise ReportError(f"no {', '.join(missing)}; score the runs and keep both tables")
    there = {name: [path for path in paths if path.is_file()] for name, paths in places.items()}
    return {name: Table(_csv(paths[:1]), str(paths[0])) for name, paths in there.items() if paths}


def read_records(path: Path) -> dict[str, Records]:
    """prior -> its tables, from a YAML file:

        prior:
          names: [...]              # what tables with a column `prior` call it
          columns: {theirs: ours}   # names of columns that differ from those in reports.claims
          tables: {summary: file, fig2b: [file, file], ...}

    Files are given from the YAML file's folder; tables that reports.claims does not name are
    refused with ReportError, files that are not there were not run.
    """
    known = {check.table for s in STATEMENTS for check in (*s.checks, *s.otherwise)}
    priors: dict[str, Records] = {}
    for prior, described in yaml.safe_load(path.read_text(encoding="utf-8")).items():
        tables = {}
        for name, given in described["tables"].items():
            if name not in known:
                raise ReportError(f"{path}: {prior} has a table {name!r}, not of {sorted(known)}")
            files = [given] if isinstance(given, str) else given
            if not all((path.parent / file).is_file() for file in files):
                continue
            frame = _csv([path.parent / file for file in files])
            if "prior" in frame:
                frame = frame[frame["prior"].isin(described["names"])]
            frame = frame.replace(dict.fromkeys(NAMES, described.get("columns", {})))
            tables[name] = Table(frame, ", ".join(f"[{file}]({file})" for file in files))
        priors[prior] = tables
    return priors


def _csv(paths: Sequence[Path]) -> "pandas.DataFrame":
    import pandas

    return pandas.concat([pandas.read_csv(path) for path in paths], ignore_index=True)


def verdict(statement: Statement, tables: Records) -> Judged:
    """The statement under one prior; by its other checks where none of the first was run."""
    for checks in (statement.checks, statement.otherwise):
        tried = [(check, judged(check, tables, tests=len(checks))) for check in checks]
        found = tuple(result for _, result in tried if result is not None)
        if found:
            said = {one.verdict for one in found}
            records = dict.fromkeys(tables[c.table].record for c, one in tried if one is not None)
            whole = said.pop() if len(said) == 1 else MIXED
            return Judged(whole, found, len(found) < len(tried), tuple(records))
    return Judged(NOT_RUN)


def markdown(priors: Mapping[str, Records]) -> str:
    """How many statements hold; a table of verdicts; the numbers of every statement, folded."""
    heads = ["", "statement", *priors]
    lines = [_row(heads), "|---" * len(heads) + "|"]
    details: list[str] = []
    counts = {name: dict.fromkeys(VERDICTS, 0) for name in priors}
    for number, statement in enumerate(STATEMENTS, 1):
        found = {name: verdict(statement, tables) for name, tables in priors.items()}
        for name, one in found.items():
            counts[name][one.verdict] += 1
        cells = [cell(one) for one in found.values()]
        lines.append(_row([str(number), f"{statement.says} ({statement.where})", *cells]))
        details += ["", *folded(f"{number}. {statement.where}", statement, found)]
    told = [
        f"- *{name}*: " + ", ".join(f"{what} {n}" for what, n in counted.items())
        for name, counted in counts.items()
    ]
    return "\n".join([*told, "", *lines, *details])


def cell(one: Judged) -> str:
    """The verdict, n, the numbers, and what kept it from deciding."""
    if one.verdict == NOT_RUN:
        return NOT_RUN
    sizes = sorted({found.n for found in one.found})
    size = "–".join(str(n) for n in dict.fromkeys((sizes[0], sizes[-1])))
    head = f"**{one.verdict}**, {size} {one.found[0].units}"
    if one.verdict == UNDECIDED:
        few = all("too few" in found.why for found in one.found)
        head += f"{' (too few)' if few else ''}, {pointing(one.found)}"
    mark = one.verdict == MIXED
    numbers = [f"{MARKS[found.verdict]} {found.short}" if mark else found.short
               for found in one.found]  # fmt: skip
    return "<br>".join([head, *numbers, *(["rest not run"] if one.in_part else [])])


def pointing(found: Sequence[Found]) -> str:
    """Which way numbers lie that decide nothing."""
    signs = {one.points for one in found} - {0}
    if not signs:
        return "points nowhere"
    return "points both ways" if len(signs) == 2 else f"points {'for' if 1 in signs else 'against'}"


def folded(title: str, statement: Statement, priors: Mapping[str, Judged]) -> list[str]:
    """A statement's rule and its numbers, behind one line."""
    said = ", ".join(f"{name} {one.verdict}" for name, one in priors.items())
    lines = [f"<details><summary><b>{title}</b> {statement.says} <i>{said}</i></summary>", ""]
    lines += [statement.why, ""]
    heads = ["prior", "number", "value (interval)", "n", "p", "verdict", "tables"]
    if not any(one.found for one in priors.values()):
        return [*lines, "Not run.", "", "</details>"]
    lines += [_row(heads), "|---" * len(heads) + "|"]
    for name, one in priors.items():
        for found in one.found:
            why = f": {found.why}" if found.why else ""
            cells = [name, found.number, found.value, str(found.n), found.p or "–"]
            lines.append(_row([*cells, found.verdict + why, ", ".join(one.records)]))
    return [*lines, "", "</details>"]


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def main(arguments: Sequence[str] | None = None) -> None:
    """Prints the table; with --page also writes it between the page's markers."""
    parser = argparse.ArgumentParser(prog="python -m reports.statements")
    parser.add_argument("priors", nargs="*", metavar="NAME=FOLDER")
    parser.add_argument("--records", type=Path, help="a YAML file of tables, prior by prior")
    parser.add_argument("--page", type=Path, help="a page to write it into")
    parser.add_argument("--out", type=Path, help="a file of its own")
    given = parser.parse_args(arguments)
    named = dict(text.partition("=")[::2] for text in given.priors)
    if not all(named.values()) or bool(named) == bool(given.records):
        parser.error(f"expected NAME=FOLDER or --records, got {given.priors}")
    found = {name: read(Path(folder)) for name, folder in named.items()}
    text = markdown(read_records(given.records) if given.records else found)
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
