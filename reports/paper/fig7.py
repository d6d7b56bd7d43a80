"""Figure 7 of the paper in the toy world: DDS and what is left of it without some of its parts.

    python -m reports.paper.fig7 --tables results/mini/figures/fig7 \
        --pictures results/mini/figures/fig7/pictures/mixture/colour/dds/seed0 ... \
        --out results/mini/figures/fig7

`--pictures` are folders <prior>/<edit>/<column>/seed<k> of pipeline.edit_image. Tables are
metrics.fig7's. A row a prior and edit, a column a method; of several seeds the first is drawn, and
the numbers below are means over seeds.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.artifacts import read_json
from reports.fig2 import prior_in_words
from reports.paper.files import commits, styled, write_figure
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


def cell(folder: Path, of_edit: "pandas.DataFrame", column: str) -> Cell | None:
    """The picture of one column with its numbers, in the edit's `folder`; None where the plan has
    no such column.
    """
    rows = of_edit[of_edit["column"] == column]
    if rows.empty:
        return None
    if column in ("source", "target"):
        path = folder / f"{column}.png"
    else:
        path = folder / column / f"seed{int(rows['seed'].min())}" / "picture.png"
    failed = rows.sort_values("seed")["status"].iloc[0] == "failed"
    if (rows["status"] == "failed").all():
        return Cell(enlarged(path, SIZE), ("", ""), "failed")
    means = rows[["psnr_target", "to_target", "to_source"]].mean()
    decibel = "" if column == "target" else f"{means['psnr_target']:.1f} dB"
    nearest = f"{means['to_target']:.2f} / {means['to_source']:.2f}"
    return Cell(enlarged(path, SIZE), (decibel, nearest), "failed" if failed else "")


def caption(records: Sequence[dict[str, Any]], table: "pandas.DataFrame") -> str:
    """What was run: priors, edits, steps, n, failures and commits."""
    priors = {one["prior"]["name"]: prior_in_words(one["prior"]) for one in records}
    made = table[~table["column"].isin(["source", "target"])]
    edits = made[["source", "target"]].drop_duplicates()
    named = "; ".join(f"{row.source} -> {row.target}" for row in edits.itertuples())
    settings = records[0]["settings"]
    omegas = sorted({one["method_settings"].get("omega", 0.0) for one in records})
    failed = int((made["status"] == "failed").sum())
    return "\n".join(
        [
            CAPTION,
            f"Priors: {'; '.join(f'{name} ({words})' for name, words in priors.items())}.",
            f"Edits: {named}. {settings['steps']} steps of Adam on {settings['size']} x "
            f"{settings['size']} pixels, omega {', '.join(f'{o:g}' for o in omegas)}, gradients "
            f"normalised ({settings['normalize']['kind']}).",
            f"n = {len(made)} pictures: {len(edits)} edits, {made['seed'].nunique()} seeds a "
            f"method and prior; {failed} failed, in no mean. So few order nothing. The first "
            "seed is drawn.",
            commits(records, "picture"),
        ]
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """fig7.png, .svg, .csv and .txt."""
    parser = argparse.ArgumentParser(prog="reports.paper.fig7", description=__doc__)
    parser.add_argument("--tables", type=Path, required=True, help="folder of metrics.fig7's")
    parser.add_argument("--pictures", type=Path, nargs="+", required=True, help="their folders")
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args(arguments)
    table = read_csv(args.tables / "fig7_pictures.csv")
    columns = {name: head for name, head in COLUMNS.items() if name in set(table["column"])}
    rows: list[tuple[str, list[Any]]] = []
    records = {folder: read_json(folder / "picture.json") for folder in args.pictures}
    places = {(r["prior"]["name"], r["edit"]): f.parents[1] for f, r in records.items()}
    for (prior, edit), folder in places.items():
        own = table[(table["prior"] == prior) & (table["edit"] == edit)]
        if own.empty:
            raise ReportError(f"{folder}: not in fig7_pictures.csv; run metrics.fig7 again")
        label = f"{prior}\n\n{own['source'].iloc[0]}\n→ {own['target'].iloc[0]}"
        rows.append((label, [cell(folder, own, name) for name in columns]))
    with styled():
        figure = drawn(rows, list(columns.values()), label=1.1)
        summary = read_csv(args.tables / "fig7.csv")
        text = caption(list(records.values()), table)
        write_figure(figure, args.out, "fig7", table=summary, caption=text)


if __name__ == "__main__":
    reported(main)
