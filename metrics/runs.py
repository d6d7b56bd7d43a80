"""Run folders as the metrics see them: who was run, whether it worked, and its four views.

A run folder ends in `<column>/<prompt_id>/seed<k>/<stage>`; `run.json` in it says what it is. The
pictures are `views/{front,left,back,right}.png`, RGBA with straight alpha; `views/views.json` tells
of a surface, if there is one. Status `ok` and `failed` count; `refused` (pipeline.external: files
that cannot be scored) has a reason and no number.
"""

import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from pipeline.artifacts import ArtifactError, check_schema, read_json, read_png

# Azimuths in degrees: 0 is the object's front, growing counter-clockwise seen from above.
VIEWS: dict[str, float] = {"front": 0.0, "left": 90.0, "back": 180.0, "right": 270.0}
ELEVATION = 15.0  # degrees, of all four


@dataclass(frozen=True)
class Run:
    """What `run.json` says about one stage of one (column, prompt, seed)."""

    folder: Path
    preset: str
    column: str
    stage: str
    prompt: str
    prompt_id: str
    seed: int
    failed: bool  # nothing to look at; so are refused runs
    refused: str = ""  # why the run is not to be scored
    external: bool = False  # another system's files: no trace, no settings of ours

    @property
    def key(self) -> dict[str, Any]:
        """The columns that name this run in every table."""
        names = ("preset", "column", "stage", "prompt_id", "seed")
        return {name: getattr(self, name) for name in names}

    def view(self, name: str) -> Path:
        """The picture of one view."""
        return self.folder / "views" / f"{name}.png"


def read_run(folder: Path) -> Run:
    """The run in `folder`. Raises ArtifactError for a missing key, a wrong status or an unknown
    schema.
    """
    path = folder / "run.json"
    described = read_json(path)
    if not isinstance(described, dict):
        raise ArtifactError(f"{path}: not a JSON object; delete the folder and run again")
    check_schema(described.get("schema_version"), path)
    names = ("preset", "column", "stage", "prompt", "prompt_id", "seed", "status")
    missing = [name for name in names if name not in described]
    if missing:
        raise ArtifactError(f"{path}: lacks {', '.join(missing)}; delete the folder and run again")
    status = described.pop("status")
    if status not in ("ok", "failed", "refused"):
        raise ArtifactError(f"{path}: status {status!r} is neither 'ok', 'failed' nor 'refused'")
    failed = status != "ok" or bool(described.get("placeholder", False))
    refused = str(described.get("reason") or "no reason given") if status == "refused" else ""
    known = {name: described[name] for name in names[:-1]}
    external = described.get("kind") == "external"
    return Run(folder=folder, failed=failed, refused=refused, external=external, **known)


def read_runs(folders: Iterable[Path | str]) -> list[Run]:
    """One Run a folder, in the order given.

    Raises ArtifactError that names every missing folder, and for two folders that say they are the
    same run (a copied folder would otherwise count twice).
    """
    paths = [Path(folder) for folder in folders]
    missing = [str(path) for path in paths if not (path / "run.json").is_file()]
    if missing:
        raise ArtifactError(
            f"{len(missing)} of {len(paths)} runs have no run.json; finish or remove them: "
            + ", ".join(missing)
        )
    runs = [read_run(path) for path in paths]
    seen: dict[tuple[Any, ...], Path] = {}
    for run in runs:
        key = tuple(run.key.values())
        if key in seen:
            raise ArtifactError(f"{run.folder} and {seen[key]} both say they are {run.key}")
        seen[key] = run.folder
    return runs


def counted(runs: Iterable[Run]) -> list[Run]:
    """The runs that tables speak of: one stage a column, and none that is refused (said on stderr).

    Runs of one table may end in different stages by column, as published systems do. Raises
    ArtifactError for a column that ends in several.
    """
    kept: list[Run] = []
    stages: dict[tuple[str, str], str] = {}
    for run in runs:
        stage = stages.setdefault((run.preset, run.column), run.stage)
        if stage != run.stage:
            raise ArtifactError(
                f"{run.folder}: column {run.column} also has runs of stage {stage}; name the runs "
                "of one stage a column, as the lists of the workflow do"
            )
        if run.refused:
            print(f"not scored: {run.folder}: {run.refused}", file=sys.stderr)
        else:
            kept.append(run)
    return kept


def seam_ratio(run: Run) -> float | None:
    """How much more a texture jumps across its seams than elsewhere; None without a texture.

    1 cannot be seen; from views/views.json, where pipeline.meshes.seams left it.
    """
    ratio = ((_described(run).get("surface") or {}).get("seam") or {}).get("ratio")
    return None if ratio is None else float(ratio)


def seam_definition(run: Run) -> dict[str, Any] | None:
    """What the run's seam ratio depends on, as it was measured; None without one."""
    if run.failed or seam_ratio(run) is None:
        return None
    return dict(_described(run)["surface"].get("seam_definition") or {})


def own_cameras(run: Run) -> dict[str, Any] | None:
    """The cameras of another system's pictures where they are not the evaluated ones."""
    found = _described(run).get("cameras")
    return None if found is None else dict(found)


def from_evaluated(runs: Iterable[Run]) -> list[Run]:
    """The runs seen from the evaluated cameras; the others are named on stderr."""
    kept = []
    for run in runs:
        if own_cameras(run) is None:
            kept.append(run)
        else:
            print(f"left out, seen from cameras of its own: {run.folder}", file=sys.stderr)
    return kept


def _described(run: Run) -> dict[str, Any]:
    """views/views.json, or nothing where there is none."""
    path = run.folder / "views" / "views.json"
    found = read_json(path) if path.is_file() else {}
    return found if isinstance(found, dict) else {}


def read_view(run: Run, view: str) -> Float[np.ndarray, "h w 4"]:
    """A view with straight alpha, values in [0, 1]. Raises ArtifactError unless it is RGBA."""
    image = read_png(run.view(view))
    if image.ndim != 3 or image.shape[2] != 4:
        raise ArtifactError(f"{run.view(view)}: shape {image.shape}, expected RGBA (h, w, 4)")
    return image


def view_size(runs: Iterable[Run]) -> list[int] | None:
    """(height, width) of all views of the runs that worked; None when none did.

    Raises ArtifactError when they differ: numbers of one table share a protocol.
    """
    sizes = {_size(run.view(view)): run for run in runs if not run.failed for view in VIEWS}
    if len(sizes) > 1:
        found = ", ".join(f"{size} in {run.folder}" for size, run in sizes.items())
        raise ArtifactError(f"views of different sizes cannot share a table: {found}")
    return list(next(iter(sizes))) if sizes else None


def _size(path: Path) -> tuple[int, int]:
    """(height, width) from the picture's header alone: thousands of views are asked."""
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(path) as image:
            return image.height, image.width
    except FileNotFoundError as error:
        raise ArtifactError(f"{path}: no such image; run the rule that renders it") from error
    except (UnidentifiedImageError, OSError, SyntaxError) as error:
        raise ArtifactError(
            f"{path}: not a readable image ({error}); delete it and rerun"
        ) from error


def composited(rgba: Float[np.ndarray, "h w 4"], background: float) -> Float[np.ndarray, "h w 3"]:
    """`rgba` (straight alpha) over a uniform grey of the value `background`."""
    alpha = rgba[..., 3:]
    return rgba[..., :3] * alpha + (1.0 - alpha) * background
