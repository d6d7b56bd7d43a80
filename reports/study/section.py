"""What the page of results says, as plain data; and the page.

`study_section.html.j2` is the section that another page may include with the same context.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from reports import pages
from reports.records import rows_of
from reports.study import results
from reports.study.answers import Refusal, Sheet
from reports.study.design import MAIN, column_sets
from reports.study.preferences import goodman
from reports.study.texts import PAIRS

if TYPE_CHECKING:
    import pandas

# Table 1 of the paper: counts behind the printed shares of 2289 answers (30.3, 10.3, 59.4 %).
PUBLISHED = {"DreamFusion": 694, "Magic3D": 236, "CSD": 1359}


def percent(value: float) -> str:
    """A share as a percentage without its sign; "–" for none."""
    return "–" if value != value else f"{100 * value:.1f}"


def decimal(value: float) -> str:
    """Two decimals; "–" for none."""
    return "–" if value != value else f"{value:.2f}".replace("-", "−")


def p_value(value: float) -> str:
    """Three decimals, "< 0.001" below them; "–" for none."""
    return "–" if value != value else "< 0.001" if value < 0.001 else f"{value:.3f}"


def published() -> list[dict[str, str]]:
    """The paper's shares with the intervals that independent answers would have."""
    import numpy as np

    counts = np.array(list(PUBLISHED.values()), dtype=np.float64)
    return [
        {"name": name, "share": percent(n / counts.sum()), "range": interval(low, high)}
        for (name, n), (low, high) in zip(PUBLISHED.items(), goodman(counts), strict=True)
    ]


def interval(low: float, high: float, form: Any = percent) -> str:
    """ "low to high"; "" when there is none."""
    return "" if low != low or high != high else f"{form(low)} to {form(high)}"


def block(rows: "pandas.DataFrame", reading: str) -> dict[str, Any]:
    """One question in one population: comparisons, columns, and what the answers say of
    themselves.
    """
    by_quantity = {str(quantity): rows_of(own) for quantity, own in rows.groupby("quantity")}
    pairs = by_quantity["preferred" if reading == PAIRS else "preferred_luce"]
    undecided = by_quantity.get("no_difference", [None] * len(pairs))
    return {
        "pairs": [_pair(row, same) for row, same in zip(pairs, undecided, strict=True)],
        "columns": _columns(by_quantity),
        "quality": {name: by_quantity[name][0] for name in _QUALITY},
    }


_QUALITY = ("first_place", "consistency", "agreement")


def _pair(row: Any, same: Any) -> dict[str, Any]:
    first_wins = {"a above b": row.column_a, "b above a": row.column_b}.get(row.verdict)
    return {
        "a": row.column_a,
        "b": row.column_b,
        "n": row.n,
        "value": percent(row.value),
        "bar": None if row.value != row.value else round(100 * row.value, 2),
        "range": interval(row.lower, row.upper),
        "people": interval(row.people_lower, row.people_upper),
        "both": interval(row.both_lower, row.both_upper),
        "both_bar": _bar(row.both_lower, row.both_upper),
        "same": "" if same is None else percent(same.value),
        "p": p_value(row.p_holm),
        "verdict": f"{first_wins} preferred" if first_wins else row.verdict,
        "decided": bool(first_wins),
    }


def _bar(low: float, high: float) -> tuple[float, float] | None:
    return None if low != low or high != high else (round(100 * low, 2), round(100 * high, 2))


def _columns(by_quantity: Mapping[str, Sequence[Any]]) -> list[dict[str, str]]:
    found = []
    for i, row in enumerate(by_quantity["strength"]):
        expected = by_quantity["first_choice"][i]
        own = {
            "name": row.column_a,
            "strength": decimal(row.value),
            "strength_range": interval(row.both_lower, row.both_upper, decimal),
            "expected": percent(expected.value),
            "expected_range": interval(expected.both_lower, expected.both_upper),
        }
        if "share" in by_quantity:
            share = by_quantity["share"][i]
            own |= {
                "share": percent(share.value),
                "share_range": interval(share.lower, share.upper),
                "share_both": interval(share.both_lower, share.both_upper),
                "by_people": percent(by_quantity["share_by_people"][i].value),
                "by_prompts": percent(by_quantity["share_by_prompts"][i].value),
            }
        found.append(own)
    return found


def shown_times(study: Mapping[str, Any]) -> str:
    """How often the frozen design shows each comparison: "3" or "3 or 4"."""
    design = study["design"]
    cells = len(column_sets(design["columns"], design["options"])) * design["prompts"]
    often, rest = divmod(design["forms"] * design["trials"], cells)
    return f"{often} or {often + 1}" if rest else str(often)


def context(
    table: "pandas.DataFrame",
    answers: "pandas.DataFrame",
    study: Mapping[str, Any],
    key: Mapping[str, Any],
    *,
    sheets: Sequence[Sheet],
    refusals: Sequence[Refusal],
    excluded: Mapping[str, Sequence[str]],
) -> dict[str, Any]:
    """Everything that the section's template names."""
    parts = []
    for question in study["questions"]:
        own = table[table["question"] == question["id"]]
        blocks = [
            {"population": results.POPULATIONS[name]}
            | block(own[own["population"] == name], study["reading"])
            for name in results.POPULATIONS
            if (own["population"] == name).any()
        ]
        parts.append({**question, "blocks": blocks})
    main = answers[answers["kind"] == MAIN]
    kept = main[~main["participant"].isin(list(excluded))]
    failed = sum(
        picture["status"] != "ok" and not picture["scrambled"]
        for picture in key["pictures"].values()
    )
    return {
        "study": study,
        "pairs": study["reading"] == PAIRS,
        "columns": key["columns"],
        "preset": key["preset"],
        "parts": parts,
        "ran": len(sheets) > 0,
        "sheets": sheets,
        "refusals": refusals,
        "excluded": dict(excluded),
        "n_kept": len(sheets) - len(excluded),
        "n_answers": len(kept),
        "n_failed": failed,
        "seconds": "" if kept.empty else f"{kept['rt_ms'].median() / 1000:.1f}",
        "times": shown_times(study),
        "published": published(),
        "quality_words": {"percent": percent, "decimal": decimal, "p": p_value},
    }


def page(context: Mapping[str, Any]) -> str:
    """study_results.html: the section on a page of its own."""
    return pages.render("study_results.html.j2", **context, style=pages.style("study_results.css"))
