"""The 3D models of a page: sidecars of its runs' meshes, and the buttons that open them.

They lie in a folder named after the page, `geometry.assets/` beside geometry.html; the viewer's
library lies once beside the pages of a preset, in `viewer/`. Both are written anew with the page.
"""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pipeline.artifacts import read_json
from reports import viewer
from reports.cells import shortened
from reports.records import Run

LIBRARY = "viewer"


def folder_of(page: Path) -> Path:
    """Where the sidecars of `page` lie."""
    return page.with_suffix(".assets")


def write_models(runs: Sequence[Run], page: Path) -> dict[Path, str]:
    """Run folder -> button of its mesh; sidecars of an earlier page of this name are gone.

    Raises ArtifactError for a mesh.glb that is none.
    """
    for stale in folder_of(page).glob("*.glb.js"):
        stale.unlink()
    meshes = [(r, path) for r in runs if (path := r.beside("mesh.glb")) and not r.failed]
    buttons = {}
    for run, path in meshes:
        column, prompt_id, seed = run.key
        name = f"{column}.{prompt_id}.{seed}.{run.record['stage']}"
        alt = f"“{shortened(run.record['prompt'])}” by {column} as a 3D model"
        buttons[run.folder] = _button(page, name, path, alt)
    return buttons


def write_bare(folder: Path, prompts: Mapping[str, str], page: Path) -> dict[str, dict[str, Any]]:
    """prompt_id -> what `folder`/<prompt_id>/mesh.json says of the given mesh, with the button of
    its bare shape as "model"; {} where it has no record.

    Raises ArtifactError for a broken record.
    """
    found: dict[str, dict[str, Any]] = {}
    for prompt_id, text in prompts.items():
        described, shape = (folder / prompt_id / name for name in ("mesh.json", "bare.glb"))
        found[prompt_id] = dict(read_json(described)) if described.exists() else {}
        if shape.exists():
            alt = f"the bare mesh for “{shortened(text)}” as a 3D model"
            found[prompt_id]["model"] = _button(page, f"{prompt_id}.bare", shape, alt)
    return found


def _button(page: Path, name: str, glb: Path, alt: str) -> str:
    sidecar = folder_of(page) / f"{name}.glb.js"
    key = viewer.write_sidecar(sidecar, glb.read_bytes())
    library = page.parent / LIBRARY / viewer.LIBRARY
    if not library.exists():
        viewer.write_library(library.parent)
    beside = (os.path.relpath(path, page.parent) for path in (sidecar, library))
    return viewer.button(*beside, key=key, alt=alt)
