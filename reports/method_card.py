"""One page about one method: its row, its direction at two pictures, three toy prompts.

    python -m reports.method_card --method nfsd --folder results/cards

Reads what pipeline.try_method and metrics.true_objects left there; writes FOLDER/<method>.html,
which works from file://, and FOLDER/<method>.png.
"""

import argparse
import base64
import io
import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.artifacts import read_json, write_bytes, write_text
from reports import pages
from reports.contact_sheet import tile
from reports.method_card_figure import PICTURES, directions_svg, draw_card, series
from reports.records import VIEWS, ReportError, Run, read_run, reported

if TYPE_CHECKING:
    import pandas

MIDDLE = 450  # the t of the table
TOLERANCE = 1e-5  # of a row's sum in float32
Truths = Mapping[tuple[str, str], Mapping[str, Any]]


@dataclass(frozen=True)
class Card:
    """All that is known of the method, and of those beside it, by name; it comes first."""

    method: Mapping[str, Any]
    runs: Mapping[str, list[Run]]
    truths: Truths
    directions: Mapping[str, "pandas.DataFrame"]
    pictures: Mapping[str, Path]


def read_card(folder: Path, name: str) -> Card:
    """The card of `name`. Raises ReportError or ArtifactError for what is missing."""
    import pandas

    own = folder / name
    if not (own / "runs.txt").is_file():
        raise ReportError(f"{own}: nothing was tried; make try METHOD={name}")
    runs: dict[str, list[Run]] = {}
    for line in (own / "runs.txt").read_text(encoding="utf-8").splitlines():
        run = read_run(Path(line))
        runs.setdefault(run.key[0], []).append(run)
    truths = {(row["column"], row["prompt_id"]): row for row in read_json(own / "truth.json")}
    return Card(
        method=read_json(own / "method.json"),
        runs=runs,
        truths=truths,
        directions={column: pandas.read_csv(folder / column / "directions.csv") for column in runs},
        pictures={picture: own / f"{picture}.png" for picture in PICTURES},
    )


def shown_row(rows: Sequence[Mapping[str, float]]) -> tuple[list[str], list[dict[str, Any]]]:
    """(headings, lines) of the coefficients; steps and t among which nothing differs are joined."""
    names = [name for name in rows[0] if name not in ("step", "t")]
    for key in ("step", "t"):
        values = list(dict.fromkeys(row[key] for row in rows))
        groups = [
            {
                (*(row[o] for o in ("step", "t") if o != key), *(row[n] for n in names))
                for row in rows
                if row[key] == value
            }
            for value in values
        ]
        if all(group == groups[0] for group in groups):
            rows = [{**row, key: math.nan} for row in rows if row[key] == values[0]]
    headings = [
        ", ".join(f"{key} {row[key]:g}" for key in ("step", "t") if not math.isnan(row[key]))
        or "at every step and t"
        for row in rows
    ]
    lines = [
        {"name": n, "values": [f"{row[n] + 0.0:g}".replace("-", "−") for row in rows]}
        for n in names
    ]
    return headings, lines


def evaluations(runs: Sequence[Run]) -> dict[str, float]:
    """Denoiser evaluations a step and image, by prediction, mean over the runs."""
    asked = {name for run in runs for name in run.record["evaluations"]}
    count = sum(run.record["settings"]["steps"] * run.record["settings"]["batch"] for run in runs)
    return {
        name: sum(run.record["evaluations"].get(name, 0) for run in runs) / count
        for name in sorted(asked)
    }


def direction_numbers(table: "pandas.DataFrame") -> dict[str, float]:
    """At t = MIDDLE: mean over spread at the start; how much of the mean's norm the goal leaves."""
    at = {
        (picture, term): dict(zip(*series(table, picture, f"direction/{term}"), strict=True))[
            MIDDLE
        ]
        for picture in PICTURES
        for term in ("mean", "spread")
    }
    start = at["start", "mean"]
    return {"signal": start / at["start", "spread"], "left": at["goal", "mean"] / start}


def compared(card: Card) -> list[dict[str, Any]]:
    """One line a method: truth metrics, cost, direction."""
    lines = []
    for name, runs in card.runs.items():
        rows = [card.truths[run.key[0], run.key[1]] for run in runs]
        told = [row["front_back"] for row in rows if row["front_back"] is not None]
        numbers, cost = direction_numbers(card.directions[name]), evaluations(runs)
        seconds = [run.record["seconds"]["steps"] for run in runs if not run.failed]
        lines.append(
            {
                "name": name,
                "own": name == card.method["name"],
                "settings": settings_in_words(runs[0].record["method_settings"]),
                "iou": f"{statistics.mean(row['truth_iou'] for row in rows):.2f}",
                "psnr": f"{statistics.mean(row['truth_psnr'] for row in rows):.1f}",
                "front": f"{sum(told):.0f} of {len(told)}",
                "evaluations": f"{sum(cost.values()):.2g}",
                "parts": ", ".join(f"{part} {value:.2g}" for part, value in cost.items()),
                "seconds": f"{statistics.mean(seconds):.0f}" if seconds else "–",
                "signal": f"{numbers['signal']:.1f}",
                "left": f"{100 * numbers['left']:.1f} %",
                "failed": sum(run.failed for run in runs),
            }
        )
    return lines


def settings_in_words(settings: Mapping[str, Any]) -> str:
    """`omega = 7.5`, or "none"."""
    return ", ".join(f"{key} = {value}" for key, value in settings.items()) or "none"


def captions(card: Card) -> dict[tuple[str, str], str]:
    """(column, prompt_id) -> the numbers below an object."""
    return {
        key: "failed"
        if row["failed"]
        else f"IoU {row['truth_iou']:.2f}, {row['truth_psnr']:.1f} dB"
        for key, row in card.truths.items()
    }


def png_url(run: Run) -> str:
    """The four views side by side as a data URL."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(tile(run, views=VIEWS, size=128, background=0.92)).save(buffer, "png")
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def objects(card: Card) -> list[dict[str, Any]]:
    """One entry a prompt: the wrong shape's IoU and a cell a method."""
    below, found = captions(card), []
    for prompt_id in dict.fromkeys(run.key[1] for run in card.runs[card.method["name"]]):
        runs = [run for several in card.runs.values() for run in several if run.key[1] == prompt_id]
        row = card.truths[runs[0].key[0], prompt_id]
        cells = [
            {"name": run.key[0], "src": png_url(run), "caption": below[run.key[0], prompt_id]}
            for run in runs
        ]
        floor = f"{row['iou_floor']:.2f}"
        found.append({"prompt": runs[0].record["prompt"], "floor": floor, "cells": cells})
    return found


def verdict(method: Mapping[str, Any]) -> tuple[str, bool]:
    """(whether the row sums to zero, in words; whether that contradicts what METHODS says)."""
    zero = method["largest_sum"] <= TOLERANCE
    words = "yes" if zero else f"no: up to {method['largest_sum']:.3g} in size"
    if zero == method["centred"]:
        return words, False
    return f"{words}, but METHODS says centred = {method['centred']}", True


def heading(card: Card) -> tuple[str, str]:
    """The picture's title, and what it says of the row."""
    method, (words, _) = card.method, verdict(card.method)
    settings = settings_in_words(method["settings"])
    said = f"{method['equation']}.   Settings: {settings}.   Row sums to zero: {words}."
    return f"{method['name']}, version {method['version']}", said


COLUMNS = {
    "name": "",
    "iou": "IoU",
    "psnr": "PSNR, dB",
    "front": "front told",
    "evaluations": "evaluations",
    "seconds": "seconds",
    "signal": "mean / spread",
    "left": "left at goal",
}


def page(card: Card) -> str:
    """The card as HTML."""
    method, run = card.method, card.runs[card.method["name"]][0]
    headings, coefficients = shown_row(method["rows"])
    words, wrong = verdict(method)
    return pages.render(
        "method_card.html.j2",
        style=pages.style("method_card.css"),
        method=method,
        settings=settings_in_words(method["settings"]),
        verdict=words,
        wrong=wrong,
        headings=headings,
        coefficients=coefficients,
        evaluations=evaluations(card.runs[method["name"]]),
        figure=directions_svg(card.directions, card.pictures, method["noises"]),
        middle=MIDDLE,
        rows=compared(card),
        objects=objects(card),
        floor=statistics.mean(
            row["iou_floor"] for key, row in card.truths.items() if key[0] == method["name"]
        ),
        n=len(card.runs[method["name"]]),
        columns=list(card.runs),
        commit=str(run.record.get("commit") or "unknown")[:10],
        dirty=bool(run.record.get("dirty")),
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Writes the page and the picture."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--method", required=True)
    parser.add_argument("--folder", type=Path, default=Path("results/cards"))
    given = parser.parse_args(arguments)
    card = read_card(given.folder, given.method)
    out = given.folder / f"{given.method}.html"
    write_text(out, page(card))
    picture = draw_card(
        heading(card),
        [[*COLUMNS.values()], *([row[key] for key in COLUMNS] for row in compared(card))],
        card.directions,
        card.pictures,
        card.method["noises"],
        card.runs,
        captions(card),
    )
    write_bytes(out.with_suffix(".png"), picture)
    print(f"The card: {out.resolve()}")


if __name__ == "__main__":
    reported(main)
