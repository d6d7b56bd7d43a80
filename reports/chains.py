"""How the columns of a page were made, as their records tell: by which stages, and what differs
between them beside the method.
"""

from collections.abc import Mapping, Sequence

from reports.cells import named
from reports.gallery_rows import Shown
from reports.records import Run

OWN = "chain of stages"  # how a difference in stages is written


def stages_of(parts: Sequence[Shown], column: str) -> tuple[str, ...]:
    """The stages of `column`, first to last; `parts` begin with the last, then go backwards."""
    found = [
        str(run.record["stage"])
        for part in reversed(parts)
        for run in part.runs
        if run.key[0] == column and not run.external
    ]
    return tuple(dict.fromkeys(found))


def chains(parts: Sequence[Shown], columns: Sequence[str]) -> list[tuple[str, list[str]]]:
    """The distinct ways through the stages, each with its columns."""
    found: dict[tuple[str, ...], list[str]] = {}
    for column in columns:
        if own := stages_of(parts, column):
            found.setdefault(own, []).append(column)
    return [(", then ".join(map(named, own)), names) for own, names in found.items()]


def differences(parts: Sequence[Shown], columns: Sequence[str]) -> list[str]:
    """What differs between columns beside the method and its settings: the chain of stages, and
    settings of a stage that they share, on one prompt and seed.
    """
    found = [OWN] if len(chains(parts, columns)) > 1 else []
    first: dict[tuple[str, str, int], Run] = {}
    keys: set[str] = set()
    for run in (run for part in parts for run in part.runs):
        if run.external or run.key[0] not in columns:
            continue
        other = first.setdefault((str(run.record["stage"]), *run.key[1:]), run)
        keys |= _different(other.record.get("settings") or {}, run.record.get("settings") or {})
    return found + sorted(key.replace("_", " ") for key in keys)


def _different(a: Mapping[str, object], b: Mapping[str, object]) -> set[str]:
    return {key for key in a.keys() | b.keys() if a.get(key) != b.get(key)}
