"""Figure 7 of the paper in the toy world: DDS and what is left of it without some of its parts.

    python -m reports.paper.fig7 --tables results/mini/figures/fig7 \
        --pictures results/mini/figures/fig7/pictures/mixture ... --out results/mini/figures/fig7

Tables are metrics.fig7's. A row a prior and edit, a column a method; of several seeds the first is
drawn, and the numbers below are means over seeds.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.artifacts import read_json
from reports.fig2 import prior_in_words
from reports.paper.files import styled, write_figure
from reports.paper.grid import Cell, drawn, enlarged
from reports.records import ReportError, reported

if TYPE_CHECKING:
    import pandas

SIZE = 192  # pixels a side of a drawn picture
COLUMNS = {
    "source": "source",
    "dds": "DDS (eq. 14)",
    "dds_omega0": "ω = 0",
    "dds_no_cls": "without δ_cls",
    "dds_cls": "δ_cls alone",
    "target": "true target",
}
CAPTION = (
    "Figure 7 in the toy world. Pictures of a toy object (source) edited towards another caption; "
    "the world's render of that caption from the same camera stands on the right. DDS: "
    "[text - source_text] + omega [text - uncond] - omega [source_text - source_uncond], eq. 14, "
    "with the same t and noise for both pictures; omega = 0: the first bracket alone; without "
    "delta_cls: the second left out; delta_cls alone: only the second, which is CSD. Below each: "
    "PSNR to the true target, and root mean square difference (channels in [0, 1]) to the nearest "
    "render of the target / of the source caption in any pose."
)


def read_csv(path: Path) -> "pandas.DataFrame":
    """A table of the figure's metrics. Raises ReportError when it is not there."""
    import pandas

    if not path.is_file():
        raise ReportError(f"{path}: no such table; run the figure's metrics first")
    return pandas.read_csv(path)


def cell(folder: Path, prior_rows: "pandas.DataFrame", edit: str, column: str) -> Cell | None:
    """The picture of one column with its numbers; None where the plan has no such column."""
    rows = prior_rows[(prior_rows["edit"] == edit) & (prior_rows["column"] == column)]
    if rows.empty:
        return None
    if column in ("source", "target"):
        path = folder / edit / f"{column}.png"
    else:
        path = folder / edit / column / f"seed{int(rows['seed'].min())}" / "picture.png"
    means = rows[["psnr_target", "to_target", "to_source"]].mean()
    decibel = "" if column == "target" else f"{means['psnr_target']:.1f} dB"
    nearest = f"{means['to_target']:.2f} / {means['to_source']:.2f}"
    return Cell(enlarged(path, SIZE), (decibel, nearest))


def caption(pictures: Sequence[Path], table: "pandas.DataFrame") -> str:
    """What was run: priors, edits, steps, n and commits."""
    records = [read_json(path) for root in pictures for path in root.glob("*/*/seed*/picture.json")]
    priors = {one["prior"]["name"]: prior_in_words(one["prior"]) for one in records}
    made = table[~table["column"].isin(["source", "target"])]
    edits = made[["source", "target"]].drop_duplicates()
    named = "; ".join(f"{row.source} -> {row.target}" for row in edits.itertuples())
    settings = records[0]["settings"]
    omegas = sorted({one["method_settings"].get("omega", 0.0) for one in records})
    commits = sorted({str(one.get("commit") or "unknown")[:10] for one in records})
    return "\n".join(
        [
            CAPTION,
            f"Priors: {'; '.join(f'{name} ({words})' for name, words in priors.items())}.",
            f"Edits: {named}. {settings['steps']} steps of Adam on {settings['size']} x "
            f"{settings['size']} pixels, omega {', '.join(f'{o:g}' for o in omegas)}, gradients "
            f"normalised ({settings['normalize']['kind']}).",
            f"n = {len(made)} pictures: {len(edits)} edits, {made['seed'].nunique()} seeds a "
            "method and prior; so few order nothing. The first seed is drawn.",
            f"Made by commit {', '.join(commits)}.",
        ]
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """fig7.png, .svg, .csv and .txt."""
    parser = argparse.ArgumentParser(prog="reports.paper.fig7", description=__doc__)
    parser.add_argument("--tables", type=Path, required=True, help="folder of metrics.fig7's")
    parser.add_argument("--pictures", type=Path, nargs="+", required=True, help="a folder a prior")
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args(arguments)
    table = read_csv(args.tables / "fig7_pictures.csv")
    columns = {name: head for name, head in COLUMNS.items() if name in set(table["column"])}
    rows: list[tuple[str, list[Any]]] = []
    for folder in args.pictures:
        first = next(iter(sorted(folder.glob("*/*/seed*/picture.json"))), None)
        if first is None:
            raise ReportError(f"{folder}: no pictures; run python -m pipeline.edit_image first")
        prior = read_json(first)["prior"]["name"]
        own = table[table["prior"] == prior]
        for edit, of_edit in own.groupby("edit", sort=False):
            label = f"{prior}\n\n{of_edit['source'].iloc[0]}\n→ {of_edit['target'].iloc[0]}"
            rows.append((label, [cell(folder, own, str(edit), name) for name in columns]))
    with styled():
        figure = drawn(rows, list(columns.values()), label=1.1)
        summary = read_csv(args.tables / "fig7.csv")
        text = caption(args.pictures, table)
        write_figure(figure, args.out, "fig7", table=summary, caption=text)


if __name__ == "__main__":
    reported(main)
