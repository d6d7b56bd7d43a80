"""The 3D models of a page: sidecars of its runs' meshes, and the buttons that open them.

They lie in a folder named after the page, `geometry.assets/` beside geometry.html; the viewer's
library lies once beside the pages of a preset, in `viewer/`. Both are written anew with the page.
"""

import os
from collections.abc import Sequence
from pathlib import Path

from reports import viewer
from reports.bare import bare_glb
from reports.cells import shortened
from reports.records import Run

LIBRARY = "viewer"


def folder_of(page: Path) -> Path:
    """Where the sidecars of `page` lie."""
    return page.with_suffix(".assets")


def write_models(
    runs: Sequence[Run], page: Path, *, bare: bool
) -> tuple[dict[Path, str], dict[str, str]]:
    """(run folder -> button of its mesh, prompt_id -> button of the mesh without its colours).

    The second is empty unless `bare`. Sidecars of an earlier page of this name are gone. Raises
    ArtifactError for a mesh.glb that is none.
    """
    folder = folder_of(page)
    for stale in folder.glob("*.glb.js"):
        stale.unlink()
    meshes = [(r, path) for r in runs if (path := r.beside("mesh.glb")) and not r.failed]
    if not meshes:
        return {}, {}
    library = viewer.write_library(page.parent / LIBRARY)
    coloured: dict[Path, str] = {}
    plain: dict[str, str] = {}

    def button(name: str, glb: bytes, alt: str) -> str:
        path = folder / f"{name}.glb.js"
        key = viewer.write_sidecar(path, glb)
        beside = (os.path.relpath(p, page.parent) for p in (path, library))
        return viewer.button(*beside, key=key, alt=alt)

    for run, path in meshes:
        column, prompt_id, seed = run.key
        name = f"{column}.{prompt_id}.{seed}.{run.record['stage']}"
        glb = path.read_bytes()
        text = f"“{shortened(run.record['prompt'])}”"
        coloured[run.folder] = button(name, glb, f"{text} by {column} as a 3D model")
        if bare and prompt_id not in plain:
            glb = bare_glb(glb, path)
            plain[prompt_id] = button(f"{prompt_id}.bare", glb, f"bare mesh for {text}, 3D model")
    return coloured, plain
