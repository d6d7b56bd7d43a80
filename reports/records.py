"""Finished runs and tables, read from disk as plain records; nothing here computes a score.

A run folder is `<runs>/<task>/<column>/<prompt_id>/seed<k>/<stage>/` with a run.json; its pictures
lie in `views/` and beside it. Whatever a page says about a run comes from that file, never from the
folder's name.
"""

import functools
import math
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.artifacts import (
    ArtifactError,
    check_schema,
    exit_status,
    read_json,
    read_table,
    sha256,
)
from prompts.load import PromptError

if TYPE_CHECKING:
    import pandas

LOG_BYTES = 8192  # of a failed run's log that are read
VIEWS = ("front", "left", "back", "right")
TABLES = ("scores", "summary", "pairs", "traces")
SOURCES = ("pipeline", "methods", "prompts")  # what decides a run's result, presets apart


class ReportError(RuntimeError):
    """A page or figure that cannot be made; the message names what is missing and the remedy."""


def reported(program: Callable[[], None]) -> None:
    """Runs `program`; what it lacks ends the process with one line instead of a traceback."""
    raise SystemExit(exit_status(program, ReportError, PromptError))


@dataclass(frozen=True)
class Turntable:
    """A sprite sheet: frame i stands in row i // columns, column i % columns, seen from
    azimuths[i].
    """

    path: Path
    frames: int
    columns: int
    azimuths: tuple[float, ...]


@dataclass(frozen=True)
class Run:
    """One run.json and where it lies. `record` is the file's content."""

    folder: Path
    record: Mapping[str, Any]

    @property
    def key(self) -> tuple[str, str, int]:
        """(column, prompt_id, seed)."""
        return self.record["column"], self.record["prompt_id"], int(self.record["seed"])

    @property
    def task(self) -> str | None:
        """What was made, such as "geometry"; None where the record does not say."""
        return self.record.get("task")

    @property
    def failed(self) -> bool:
        """Whether there is nothing to look at: its pictures are placeholders. So are a refused
        run's.
        """
        return self.record["status"] != "ok"

    @property
    def refused(self) -> bool:
        """Whether it is another system's files that cannot be scored: no failure of a run."""
        return self.record["status"] == "refused"

    @property
    def external(self) -> bool:
        """Whether another system made it: its record has a description, no prior and no cost."""
        return self.record.get("kind") == "external"

    @property
    def seconds(self) -> float | None:
        """Wall-clock seconds of the whole run, or None where it does not say."""
        return _total(self.record.get("seconds"))

    @property
    def evaluations(self) -> float | None:
        """Denoiser evaluations of every kind together (one image, one condition each), or None."""
        return _total(self.record.get("evaluations"))

    def picture(self, view: str, kind: str = "") -> Path | None:
        """The image of `view` (`kind` "normal" or "depth"; "" = colour), or None when there is
        none.
        """
        path = self.folder / "views" / (f"{view}_{kind}.png" if kind else f"{view}.png")
        return path if path.exists() else None

    def beside(self, name: str) -> Path | None:
        """The file `name` of the run folder, or None when there is none."""
        path = self.folder / name
        return path if path.exists() else None

    @functools.cached_property
    def described(self) -> Mapping[str, Any]:
        """How the pictures were taken, as views/views.json says; empty where there is none."""
        path = self.beside("views/views.json")
        return read_json(path) if path else {}

    @property
    def surface(self) -> Mapping[str, Any]:
        """Counts of the mesh beside the pictures, its "seam" too; empty without a mesh."""
        return self.described.get("surface") or {}

    def log_tail(self, lines: int = 30) -> str:
        """The last `lines` of what the run said while it was optimised; "" without a log."""
        path = self.beside("optimize.log")
        if path is None:
            return ""
        text = path.read_bytes()[-LOG_BYTES:].decode("utf-8", errors="replace")
        return "\n".join(line.rstrip() for line in text.splitlines()[-lines:]).strip()

    def turntable(self) -> Turntable | None:
        """The sprite sheet, or None. Raises ReportError when its description does not fit."""
        path, meta = self.beside("turntable.webp"), self.described
        if path is None or not meta:
            return None
        described = self.folder / "views/views.json"
        try:
            azimuths = tuple(float(a) for a in meta["azimuths"])
            table = Turntable(path, int(meta["frames"]), int(meta["columns"]), azimuths)
        except (KeyError, TypeError, ValueError) as error:
            raise ReportError(
                f"{described}: no turntable description ({error}); rerun render_views"
            ) from error
        if table.frames != len(azimuths) or table.columns < 1:
            raise ReportError(f"{described}: {table.frames} frames but {len(azimuths)} azimuths")
        return table


def _total(parts: Any) -> float | None:
    if isinstance(parts, Mapping):
        numbers = [v for v in parts.values() if isinstance(v, int | float)]
        return float(sum(numbers)) if numbers else None
    return float(parts) if isinstance(parts, int | float) and math.isfinite(parts) else None


REQUIRED = ("status", "preset", "column", "stage", "prompt", "prompt_id", "seed")


def find_runs(root: Path, *, task: str, columns: Sequence[str] | None = None) -> list[Run]:
    """The runs of `task` below the folder `root`, or those that the file `root` lists; of `columns`
    if given, sorted by folder.

    A list (`python -m pipeline.plan`) names run folders, one a line, seen from the working
    directory, and hides what else lies beside them. Raises ReportError when there is no run, or a
    listed one is not finished, and ArtifactError for a broken run.json.
    """
    root = Path(root)
    folders = _listed(root) if root.is_file() else _below(root / task)
    runs = [run for folder in folders if (run := read_run(folder)).task in (None, task)]
    runs = [run for run in runs if columns is None or run.record["column"] in columns]
    if not runs:
        of = f" of {', '.join(columns)}" if columns else ""
        where = root if root.is_file() else root / task
        raise ReportError(f"{where}: no finished run{of}; run the workflow for this preset first")
    return runs


def _below(folder: Path) -> list[Path]:
    return [path.parent for path in sorted(folder.glob("*/*/seed*/*/run.json"))]


def _listed(path: Path) -> list[Path]:
    folders = [Path(line) for line in path.read_text(encoding="utf-8").splitlines() if line]
    missing = [folder for folder in folders if not (folder / "run.json").is_file()]
    if missing:
        raise ReportError(
            f"{path}: {len(missing)} of {len(folders)} runs are not finished, {missing[0]} among "
            "them; run the workflow, or name the folder of all runs to show those there are"
        )
    return sorted(folders)


def read_run(folder: Path) -> Run:
    """The run in `folder`. Raises ArtifactError when its run.json is broken, of another schema, or
    lacks keys.
    """
    path = Path(folder) / "run.json"
    record = read_json(path)
    if not isinstance(record, dict):
        raise ArtifactError(f"{path}: not a run record; delete the folder and run again")
    check_schema(record.get("schema_version"), path)
    missing = [name for name in REQUIRED if name not in record]
    if missing:
        raise ArtifactError(f"{path}: lacks {', '.join(missing)}; delete the folder and run again")
    return Run(Path(folder), record)


def choose_stage(runs: Sequence[Run], stage: str | None) -> list[Run]:
    """The runs of `stage`, or all of them where they hold each (column, prompt, seed) once: columns
    may end in different stages. Raises ReportError.
    """
    stages = list(dict.fromkeys(run.record["stage"] for run in runs))
    chosen = [run for run in runs if stage is None or run.record["stage"] == stage]
    if not chosen:
        raise ReportError(f"no run of stage {stage}; there are {', '.join(stages)}")
    once: dict[tuple[str, str, int], Run] = {}
    for run in chosen:
        other = once.setdefault(run.key, run)
        if other is not run:
            raise ReportError(
                f"{run.folder} and {other.folder} are runs of one object; choose one with --stage, "
                "or hand over a list of one stage"
            )
    return chosen


@dataclass(frozen=True)
class Tables:
    """The tables of one preset and the sha256 of each file."""

    scores: "pandas.DataFrame"
    summary: "pandas.DataFrame"
    pairs: "pandas.DataFrame"
    traces: "pandas.DataFrame | None"
    protocols: Mapping[str, Any]
    checksums: Mapping[str, str]


def read_tables(folder: Path) -> Tables:
    """The tables in `folder`; traces.parquet and protocols.json may be absent. Raises
    ArtifactError.
    """
    folder = Path(folder)
    present = [name for name in TABLES if name != "traces" or (folder / "traces.parquet").exists()]
    frames = {name: read_table(folder / name, name) for name in present}
    described = folder / "protocols.json"
    files = [folder / f"{name}.parquet" for name in present]
    files += [described] if described.exists() else []
    return Tables(
        scores=frames["scores"],
        summary=frames["summary"],
        pairs=frames["pairs"],
        traces=frames.get("traces"),
        protocols=read_json(described) if described.exists() else {},
        checksums={path.name: sha256(path) for path in files},
    )


def rows_of(frame: "pandas.DataFrame") -> list[Any]:
    """The rows of `frame` as named tuples."""
    return list(frame.itertuples(index=False))


@functools.lru_cache(maxsize=64)
def sources_differ(commit: str) -> bool | None:
    """Whether the sources that decide a result have changed since `commit`; None where git cannot
    tell.
    """
    here = Path(__file__).resolve().parent.parent
    command = ["git", "-C", str(here), "diff", "--quiet", commit, "--", *SOURCES]
    try:
        code = subprocess.run(command, capture_output=True, check=False).returncode
    except OSError:
        return None
    return {0: False, 1: True}.get(code)


def source_remark(run: Run) -> str:
    """What is known of the difference between the sources that made `run` and the present ones.

    Empty when there is none.
    """
    commit = str(run.record.get("commit") or "")
    if run.record.get("dirty"):
        return "made with uncommitted changes"
    if not commit or commit.startswith("-"):
        return "made by sources of unknown version"
    differ = sources_differ(commit)
    if differ is None:
        return f"made by commit {commit[:10]}, which cannot be compared with the present sources"
    return f"made by other sources (commit {commit[:10]})" if differ else ""
