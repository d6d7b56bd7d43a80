"""Published numbers beside ours, each with what it most likely means and a verdict.

A published number is `not comparable` where its making differs from ours in anything that is known
to matter; the verdict says in what. Otherwise it lies inside, above or below our interval, the
printed digits' rounding allowed for. It never enters one of our columns.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from prompts.load import load_set

if TYPE_CHECKING:
    import pandas

FILE = Path(__file__).with_name("published.yaml")
ROUNDING = 0.05  # half of the last printed digit, one decimal
PERCENT = ("r_at_1", "r_at_5", "r_at_10")  # printed in per cent, here shares


@dataclass(frozen=True)
class Ours:
    """What decides whether a published number may be compared with this run's."""

    prompts: frozenset[str]
    model: str


def read(path: Path = FILE) -> list[dict[str, Any]]:
    """The published tables, as in metrics/published.yaml."""
    return list(yaml.safe_load(path.read_text(encoding="utf-8")))


def differences(table: Mapping[str, Any], system: Mapping[str, Any], ours: Ours) -> list[str]:
    """Why a system's numbers are not comparable with ours; empty when nothing known forbids it."""
    found = [] if system["comparable"] else [system["why"]]
    theirs = {prompt.text for prompt in load_set(table["prompts"]).prompts}
    if theirs != ours.prompts:
        found.append(f"ours has {len(ours.prompts)} other prompts than {table['prompts']}")
    if ours.model != table["model"]:
        found.append(f"ours is measured by {ours.model}, theirs by {table['model']}")
    return found


def beside(
    readings: "pandas.DataFrame", ours: Ours, tables: Sequence[Mapping[str, Any]]
) -> "pandas.DataFrame":
    """The `published` table: every published number, our number of the same reading if there is
    one (intent to treat), and the verdict.
    """
    import pandas

    rows = []
    for table in tables:
        chosen = readings[
            (readings["protocol"] == table["protocol"])
            & (readings["population"] == "intent_to_treat")
        ]
        for system in table["systems"]:
            why = differences(table, system, ours)
            mine = chosen[chosen["column"] == system["column"]]
            for quantity, value in system["values"].items():
                rows += _rows(table, system, quantity, value, why, mine)
    return pandas.DataFrame(rows)


def _rows(
    table: Mapping[str, Any],
    system: Mapping[str, Any],
    quantity: str,
    value: float,
    why: Sequence[str],
    mine: "pandas.DataFrame",
) -> list[dict[str, Any]]:
    """One row a stage of ours that has the column; one without a number of ours if none has."""
    scale = 100.0 if quantity in PERCENT else 1.0
    known: dict[str, Any] = {
        "source": table["source"],
        "system": system["system"],
        "quantity": quantity,
        "published": value,
        "reading": table["protocol"],
        "evidence": " ".join(table["evidence"][quantity].split()),
        "column": system["column"],
    }
    nan = float("nan")
    nothing = {"stage": "", "protocol_id": "", "value": nan, "lower": nan, "upper": nan}
    found = []
    for row in mine[mine["quantity"] == quantity].to_dict("records"):
        bounds = {name: scale * row[name] for name in ("value", "lower", "upper")}
        reasons = [*why]
        if row["stage"] != table["stage"]:
            reasons.append(f"ours is after stage {row['stage']}, theirs after {table['stage']}")
        verdict = "; ".join(["not comparable: " + reasons[0], *reasons[1:]]) if reasons else ""
        named = {"stage": row["stage"], "protocol_id": row["protocol_id"], **bounds}
        found.append({**known, **named, "verdict": verdict or _placed(value, bounds)})
    if found:
        return found
    reason = f"not run: no column {system['column']}"
    verdict = f"not comparable: {system['why']}" if not system["comparable"] else reason
    return [{**known, **nothing, "verdict": verdict}]


def _placed(value: float, ours: Mapping[str, float]) -> str:
    if value + ROUNDING < ours["lower"]:
        return "below our interval"
    if value - ROUNDING > ours["upper"]:
        return "above our interval"
    return "inside our interval" if ours["lower"] <= ours["upper"] else "no interval of ours"
