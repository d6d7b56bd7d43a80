"""Figures as PNG, SVG and CSV: the same input gives the same bytes of SVG and CSV.

python -m reports.figures gradient_norms --trace trace.parquet --out DIR
python -m reports.figures gradient_norms --trace tables/traces.parquet --columns csd --out DIR
python -m reports.figures sweep --runs results/mini/runs --columns sds-omega-0 --out DIR
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.artifacts import ArtifactError, read_table, sha256, write_bytes, write_png, write_text
from reports import contact_sheet
from reports.gradient_norms import draw_gradient_norms
from reports.records import reported

if TYPE_CHECKING:
    import pandas


def read_traces(paths: Sequence[Path]) -> "pandas.DataFrame":
    """One table with a `column`: of a `traces` table as it stands, of run traces the run's column.

    Raises ArtifactError for a file that is neither.
    """
    import pandas

    frames = []
    for path in paths:
        frame = read_table(path, "trace")
        if "column" not in frame:
            frame = frame.assign(column=_column_of(path))
        frames.append(frame)
    return pandas.concat(frames, ignore_index=True)


def _column_of(path: Path) -> str:
    from reports.records import read_run

    try:
        return str(read_run(path.parent).record["column"])
    except ArtifactError:
        return path.stem


def write_gradient_norms(args: argparse.Namespace) -> None:
    """gradient_norms.{png,svg,csv} in the folder asked for."""
    traces = read_traces(args.trace)
    columns = args.columns or list(dict.fromkeys(traces["column"]))
    table, text, picture = draw_gradient_norms(traces, columns=columns, quantity=args.quantity)
    write_text(args.out / "gradient_norms.csv", table.to_csv(index=False, lineterminator="\n"))
    write_text(args.out / "gradient_norms.svg", text)
    write_bytes(args.out / "gradient_norms.png", picture)


def write_sweep(args: argparse.Namespace) -> None:
    """sweep.png, one row per prompt and one column per swept value, and sweep.csv naming each
    image.
    """
    import pandas

    runs = contact_sheet.select(
        args.runs,
        task=args.task,
        columns=args.columns,
        prompt_ids=args.prompt_ids,
        stage=args.stage,
    )
    columns = args.columns or list(dict.fromkeys(run.key[0] for run in runs))
    sheet = contact_sheet.labelled(
        runs, columns=columns, views=args.views, size=args.size, background=args.background
    )
    names = ("column", "stage", "prompt_id", "prompt", "seed", "status")
    rows = [
        {**{name: run.record[name] for name in names}, "view": view, "image": str(path)}
        | {"sha256": sha256(path) if path else ""}
        for run in runs
        for view in args.views
        for path in [run.picture(view) or ""]
    ]
    write_png(args.out / "sweep.png", sheet)
    text = pandas.DataFrame(rows).to_csv(index=False, lineterminator="\n")
    write_text(args.out / "sweep.csv", text)


def main(arguments: Sequence[str] | None = None) -> None:
    """Write one figure's files."""
    parser = argparse.ArgumentParser(prog="reports.figures", description=__doc__)
    programs = parser.add_subparsers(required=True)
    norms = programs.add_parser("gradient_norms")
    norms.add_argument("--trace", type=Path, nargs="+", required=True)
    norms.add_argument("--columns", nargs="+")
    norms.add_argument("--quantity", choices=("norm", "weighted_norm"), default="norm")
    norms.add_argument("--out", type=Path, required=True)
    norms.set_defaults(write=write_gradient_norms)
    sweep = programs.add_parser("sweep")
    contact_sheet.add_selection(sweep)
    sweep.add_argument("--out", type=Path, required=True)
    sweep.set_defaults(write=write_sweep)
    args = parser.parse_args(arguments)
    args.write(args)


if __name__ == "__main__":
    reported(main)
