"""The files of one figure or table, and a caption that says what was run.

A figure NAME is NAME.png, NAME.svg, NAME.csv (what it shows, in numbers or as checksums of the
pictures) and NAME.txt, its caption. Where a preset lacks what a figure shows, there is
NAME.not_run.txt instead, one line, and the program that should have made the figure fails.
"""

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from pipeline.artifacts import write_bytes, write_text
from reports.fig2 import prior_in_words
from reports.gradient_norms import STYLE, svg
from reports.records import ReportError, Run, find_runs

if TYPE_CHECKING:
    import pandas
    from matplotlib.figure import Figure

DPI = 150
NOTHING_ORDERED = (
    "Pictures of so few prompts order nothing; table2 and the gallery have the numbers."
)
# Of columns in their order; told apart by people who do not tell red from green as well.
COLOURS = (
    *("#2466a8", "#b4531a", "#1f7f5c", "#7a4b9e", "#8a6a00", "#c2408a", "#4a90a4", "#59616b"),
)


def styled() -> Any:
    """matplotlib's settings inside `with`: those of every figure here, and reproducible SVG."""
    import matplotlib

    return matplotlib.rc_context({**STYLE, "axes.grid": False})


def write_figure(
    figure: "Figure", folder: Path, name: str, *, table: "pandas.DataFrame", caption: str
) -> None:
    """The four files of the figure; an earlier NAME.not_run.txt is gone. Call inside `styled`."""
    picture = io.BytesIO()
    text = svg(figure)
    options: Any = {"metadata": {"Software": ""}, "facecolor": "white"}
    figure.savefig(picture, format="png", dpi=DPI, **options)
    write_bytes(folder / f"{name}.png", picture.getvalue())
    write_text(folder / f"{name}.svg", text)
    write_table(folder, name, table=table, caption=caption)


def write_table(folder: Path, name: str, *, table: "pandas.DataFrame", caption: str) -> None:
    """NAME.csv and NAME.txt; an earlier NAME.not_run.txt is gone."""
    write_text(folder / f"{name}.csv", table.to_csv(index=False, lineterminator="\n"))
    write_text(folder / f"{name}.txt", caption.rstrip() + "\n")
    (folder / f"{name}.not_run.txt").unlink(missing_ok=True)


def not_run(folder: Path, name: str, why: str) -> NoReturn:
    """NAME.not_run.txt says why there is no such figure. Raises ReportError with the same line."""
    line = f"{name}: not run: {why}"
    write_text(folder / f"{name}.not_run.txt", line + "\n")
    raise ReportError(line)


def listed_runs(path: Path, *, task: str, columns: Sequence[str] | None = None) -> list[Run]:
    """The runs of `task` in the list `path`, in its order, which is the preset's; or all below the
    folder `path`, sorted. Raises ReportError and ArtifactError as `find_runs` does.
    """
    runs = find_runs(path, task=task, columns=columns)
    if path.is_dir():
        return runs
    lines = path.read_text(encoding="utf-8").splitlines()
    place = {Path(line): i for i, line in enumerate(lines)}
    return sorted(runs, key=lambda run: place[run.folder])


def columns_of(runs: Sequence[Run], asked: Sequence[str] | None = None) -> list[str]:
    """The columns to show: those asked for that the runs have, or all in the order met. Raises
    ReportError for one that no run has.
    """
    met = list(dict.fromkeys(run.key[0] for run in runs))
    strange = [column for column in asked or () if column not in met]
    if strange:
        raise ReportError(f"no run of column {', '.join(strange)}; there are {', '.join(met)}")
    return list(asked or met)


def prompts_of(runs: Sequence[Run], limit: int | None = None) -> dict[str, str]:
    """prompt_id -> text of the first `limit` prompts, in the order met."""
    every = {run.key[1]: str(run.record["prompt"]) for run in runs}
    return dict(list(every.items())[:limit])


def made_from(runs: Sequence[Run]) -> str:
    """What was run: preset, stages, priors, n, failures and commits, a line each. Files of other
    systems (external runs) have no stage, prior or commit of ours, and it says so.
    """
    own = [run for run in runs if "settings" in run.record]
    others = sorted({run.key[0] for run in runs if "settings" not in run.record})
    stages: dict[str, list[str]] = {}
    for run in own:
        name = f"{run.record['stage']}, {run.record['settings']['steps']} steps"
        columns = stages.setdefault(name, [])
        columns += [run.key[0]] if run.key[0] not in columns else []
    shown = [f"{name}: {', '.join(columns)}" for name, columns in stages.items()]
    shown += [f"files of other systems: {', '.join(others)}"] if others else []
    priors = {run.record["prior"]["name"]: prior_in_words(run.record["prior"]) for run in own}
    named = "; ".join(f"{name} ({words})" for name, words in priors.items()) or "none of ours"
    prompts, seeds = len({run.key[1] for run in runs}), len({run.key[2] for run in runs})
    refused = sum(run.refused for run in runs)
    failed = sum(run.failed for run in runs) - refused
    ends = f", {refused} not scored" if refused else ""
    return "\n".join(
        [
            f"Preset {runs[0].record['preset']}. {'; '.join(shown)}.",
            f"Prior: {named}.",
            f"n = {prompts} prompt{'s' * (prompts != 1)} x {seeds} seed{'s' * (seeds != 1)}: "
            f"{len(runs)} runs, {failed} failed{ends}.",
            *([commits([run.record for run in own])] if own else []),
        ]
    )


def commits(records: Sequence[Mapping[str, Any]], kind: str = "run") -> str:
    """The commits that the records name, and how many were made with uncommitted changes."""
    found = sorted({str(record.get("commit") or "unknown")[:10] for record in records})
    dirty = sum(bool(record.get("dirty")) for record in records)
    changed = f" ({dirty} {kind}{'s' * (dirty > 1)} with uncommitted changes)" if dirty else ""
    return f"Made by commit{'s' * (len(found) > 1)} {', '.join(found)}{changed}."
