"""Reads answers, refuses what does not belong, and writes tables, figure and page of results.

    OUT/study.{parquet,csv}              `results`: every estimate with its intervals
    OUT/study_responses.{parquet,csv}    `responses`: every accepted answer, unblinded
    OUT/study_figure.{png,svg,csv}       preferences and strengths
    OUT/study_results.html               the page, with the files that were refused and why

Without answers the same files are written, and say that the study was not run.
"""

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.artifacts import SCHEMA_VERSION, atomically, sha256, write_bytes, write_text
from reports.study import figure, results, section
from reports.study.answers import read_answers, read_key, read_study
from reports.study.preferences import RESAMPLES
from reports.study.responses import left_out, responses

if TYPE_CHECKING:
    import pandas


def write_frame(frame: "pandas.DataFrame", stem: Path) -> None:
    """`stem`.parquet, with the schema_version in its metadata, and `stem`.csv hold `frame`."""
    import pyarrow
    import pyarrow.parquet

    table = pyarrow.Table.from_pandas(frame, preserve_index=False)
    described = {**(table.schema.metadata or {}), b"schema_version": SCHEMA_VERSION.encode()}
    table = table.replace_schema_metadata(described)
    write_text(stem.with_suffix(".csv"), frame.to_csv(index=False, lineterminator="\n"))
    atomically(stem.with_suffix(".parquet"), lambda t: pyarrow.parquet.write_table(table, t))


def result_table(
    answers: "pandas.DataFrame",
    study: Mapping[str, Any],
    key: Mapping[str, Any],
    *,
    excluded: Sequence[str],
    draws: int,
) -> "pandas.DataFrame":
    """`results.result_rows` with its columns, also when there are no answers."""
    import pandas

    rows = results.result_rows(
        answers,
        questions=[question["id"] for question in study["questions"]],
        columns=key["columns"],
        reading=study["reading"],
        excluded=excluded,
        draws=draws,
    )
    table = pandas.DataFrame(rows, columns=list(results.COLUMNS))
    texts = {"question", "population", "quantity", "column_a", "column_b", "verdict"}
    kinds = {name: float for name in results.COLUMNS if name not in texts | {"n"}}
    table = table.astype(kinds | {"n": int})
    return table.assign(**{name: table[name].fillna("").astype(str) for name in sorted(texts)})


def analyse(
    paths: Sequence[Path], *, study_path: Path, key_path: Path, out: Path, draws: int = RESAMPLES
) -> None:
    """Write everything below `out`. Raises ReportError for a changed study or a foreign key."""
    import matplotlib

    study = read_study(study_path)
    key = read_key(key_path, study)
    sheets, refusals = read_answers(paths, study)
    answers = responses(sheets, study, key)
    excluded = left_out(answers, study["exclusions"])
    table = result_table(answers, study, key, excluded=list(excluded), draws=draws)
    write_frame(answers, out / "study_responses")
    write_frame(table, out / "study")
    with matplotlib.rc_context(figure.STYLE):
        drawn = figure.preferences(table, study, key)
        picture, vector = io.BytesIO(), io.StringIO()
        drawn.savefig(picture, format="png", dpi=180, metadata={"Software": ""}, facecolor="white")
        drawn.savefig(vector, format="svg", metadata={"Date": None}, transparent=True)
    write_bytes(out / "study_figure.png", picture.getvalue())
    write_text(out / "study_figure.svg", vector.getvalue())
    data = figure.shown(table).to_csv(index=False, lineterminator="\n")
    write_text(out / "study_figure.csv", data)
    context = section.context(
        table, answers, study, key, sheets=sheets, refusals=refusals, excluded=excluded
    )
    context["checksums"] = {path.name: sha256(path) for path in (study_path, key_path)}
    write_text(out / "study_results.html", section.page(context))
    for refusal in refusals:
        print(f"refused {refusal.path}: {refusal.reason}")
    for participant, reasons in excluded.items():
        print(f"left out {participant}: {'; '.join(reasons)}")
    kept = len(sheets) - len(excluded)
    print(f"{len(paths)} files: {len(refusals)} refused, {len(excluded)} left out, {kept} counted")
