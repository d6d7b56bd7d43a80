"""Where a page's content comes from: commits, devices, versions, checksums, priors, other
systems.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from reports.records import Run, source_remark


def provenance(runs: Sequence[Run], checksums: Mapping[str, str]) -> dict[str, Any]:
    """What the records of `runs` say of their making, counted; `checksums` are of the tables."""

    def distinct(name: str) -> list[tuple[str, int]]:
        counts: dict[str, int] = {}
        for run in runs:
            value = run.record.get(name)
            counts[str(value)] = counts.get(str(value), 0) + (value is not None)
        return sorted((value, n) for value, n in counts.items() if n)

    versions: dict[str, set[str]] = {}
    remarks: dict[str, int] = {}
    for run in runs:
        for package, version in (run.record.get("versions") or {}).items():
            versions.setdefault(package, set()).add(str(version))
        if remark := source_remark(run):
            remarks[remark] = remarks.get(remark, 0) + 1
    return {
        "commits": distinct("commit"),
        "dirty": sum(bool(run.record.get("dirty")) for run in runs),
        "devices": distinct("device_name") or distinct("device"),
        "threads": distinct("threads"),
        "versions": {name: sorted(found) for name, found in sorted(versions.items())},
        "checksums": dict(checksums),
        "remarks": sorted(remarks.items()),
        "externals": externals(runs),
    }


def priors(runs: Sequence[Run]) -> list[dict[str, str]]:
    """The distinct priors of our runs as the records describe them, every value as text."""
    found: list[dict[str, str]] = []
    for run in runs:
        if run.external:
            continue
        prior = run.record.get("prior") or {"name": "not recorded"}
        plain = {key: v if isinstance(v, str) else json.dumps(v) for key, v in prior.items()}
        if plain not in found:
            found.append(plain)
    return found


def externals(runs: Sequence[Run]) -> list[dict[str, Any]]:
    """Each column of another system's files: what its description says of them, how many prompts
    are scored and how many are not.
    """
    found: dict[str, dict[str, Any]] = {}
    for run in (run for run in runs if run.external):
        spec = run.record.get("spec") or {}
        said = {name: str(spec.get(name) or "not stated") for name in ("source", "licence")}
        own = found.setdefault(run.key[0], {"column": run.key[0], **said, "n": 0, "refused": 0})
        own["refused" if run.refused else "n"] += 1
    return list(found.values())
