"""A small results folder in the agreed format, made of ray-traced balls: runs, views, traces and
tables.

It holds what a page must survive: failed runs with and without pictures, a missing run, prompts
with quotes, markup, emoji, slashes and 300 words. Everything follows from the seed.
"""

import hashlib
import json
import math
import re
from pathlib import Path
from typing import Any

import numpy as np
from synthetic_balls import Balls, balls, model, picture, save, sheet

from pipeline import artifacts

COLUMNS = ("sds", "csd", "csd_neg", "vsd")
VIEWS = {"front": 0.0, "left": 90.0, "back": 180.0, "right": 270.0}
LONG = " ".join(f"a word number {i} of a very long prompt," for i in range(60))[:1500]
NASTY = (
    "a \"quoted\" car with 'single' quotes",
    '<script>window.hacked = true</script><img src=x onerror="window.hacked=1"> & </script>',
    "a red 🦆 on a skateboard 🛹 — naïve façade, 日本語",
    "a path/like\\prompt/../../etc/passwd?x=1#y%20z",
    LONG,
)
PLAIN = ("a red car", "a yellow duck", "a blue robot", "a green house", "an orange chair")
PLAIN = (*PLAIN, "a purple mushroom")


def prompt_id(text: str) -> str:
    """A file-name-safe name of `text`: slug and eight digits of its sha256."""
    slug = re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:40].strip("-") or "prompt"
    return f"{slug}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"


def write_run(
    folder: Path,
    scene: Balls | None,
    record: dict[str, Any],
    *,
    size: int,
    mesh: bool = False,
    frames: int = 24,
) -> None:
    """One run folder; without a `scene` it has no pictures, as after a crash in the first step.

    With `mesh` the scene also lies there as mesh.glb.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "run.json").write_text(json.dumps(record), encoding="utf-8")
    lines = [f"step {i}: <i>loss</i> {1 / (i + 1):.4f}" for i in range(60)]
    (folder / "optimize.log").write_text("\n".join(lines), encoding="utf-8")
    if scene is None:
        return
    for view, azimuth in VIEWS.items():
        rgba, normal = picture(scene, azimuth, size)
        save(folder / "views" / f"{view}.png", rgba)
        save(folder / "views" / f"{view}_normal.png", normal)
        if view == "front":
            save(folder / "poster.png", rgba)
    columns = 6
    save(folder / "turntable.webp", sheet(scene, frames, columns, size))
    meta: dict[str, Any] = {"frames": frames, "columns": columns, "size": size, "surface": None}
    meta["azimuths"] = [360 * i / frames for i in range(frames)]
    if mesh:
        glb, meta["surface"] = model(scene)
        (folder / "mesh.glb").write_bytes(glb)
    (folder / "views" / "views.json").write_text(json.dumps(meta), encoding="utf-8")


def trace_frame(column: str, generator: np.random.Generator, steps: int = 500) -> Any:
    """A trace with two views a step, terms as in `pipeline.trace`; a missing term is null."""
    import pandas

    rows = []
    for step in range(0, steps, 10):
        for t in generator.integers(20, 980, size=2):
            generative = 40 * (1 - t / 1400) * math.exp(0.1 * generator.normal())
            classifier = 6 * (0.3 + t / 1000) * math.exp(-step / 700 + 0.3 * generator.normal())
            direction = {"sds": generative + 7.5 * classifier}.get(column, classifier)
            parts = {"direction": direction, "generative": generative, "classifier": classifier}
            parts |= {"negative": classifier * 0.6 if column == "csd_neg" else None}
            parts |= {"particle_noise": generative * 0.8 if column == "vsd" else None}
            for term, norm in parts.items():
                weighted = None if norm is None else norm * 0.7
                rows.append((step, int(t), term, norm, weighted))
            rows.append((step, int(t), "posterior", 1 / (1 + math.exp(t / 60 - 9)), None))
        rows.append((step, None, "loss/opaque", 0.1, None))
    names = ["step", "t", "term", "norm", "weighted_norm"]
    frame = pandas.DataFrame(rows, columns=names)
    return frame.astype({"t": float, "norm": float, "weighted_norm": float})


def run_record(text: str, column: str, seed: int, **changes: Any) -> dict[str, Any]:
    """A run.json of a finished run; `changes` replaces keys."""
    record = {
        "schema_version": artifacts.SCHEMA_VERSION,
        "status": "ok",
        "reason": "",
        "placeholder": False,
        "preset": "mini",
        "task": "geometry",
        "column": column,
        "stage": "nerf",
        "prompt": text,
        "prompt_id": prompt_id(text),
        "seed": seed,
        "method": column,
        "method_version": 1,
        "prior": {"name": "mixture", "null_prompt": "marginal", "component_std": 0.1},
        "settings": {"steps": 500, "batch": 2, "size": 32},
        "commit": "0123456789abcdef0123456789abcdef01234567",
        "dirty": False,
        "versions": {"torch": "2.13.0+cpu", "numpy": "2.4.6", "python": "3.11.7"},
        "device": "cpu",
        "threads": 1,
        "seconds": {"imports": 2.1, "steps": 24.0 + 4 * len(column), "rest": 1.5},
        "evaluations": {"text": 1000, "uncond": 1000, "neg": 1000 * (column == "csd_neg")},
        "peak_memory_mb": 640,
    }
    return record | changes


def write_results(
    root: Path,
    *,
    prompts: tuple[str, ...] = (*PLAIN, *NASTY),
    columns: tuple[str, ...] = COLUMNS,
    seeds: tuple[int, ...] = (0,),
    failures: bool = True,
    size: int = 96,
    task: str = "geometry",
    stage: str = "nerf",
    tables: str = "tables",
) -> Path:
    """`root`/runs and `root`/`tables` for every prompt x column x seed. Returns `root`.

    With `failures`, the first column fails on the second prompt (no pictures), the last column on
    the third (placeholder pictures), and the last prompt's last column was never run.
    """
    generator = np.random.default_rng(0)
    runs = []
    for p, text in enumerate(prompts):
        for column in columns:
            for seed in seeds:
                place = (p, columns.index(column))
                record = run_record(text, column, seed, task=task, stage=stage)
                distortion = (0.1 if stage == "nerf" else 0.04) / (1 + place[1])
                if failures and place == (len(prompts) - 1, len(columns) - 1):
                    continue
                scene: Balls | None = balls(p, distortion, generator)
                if failures and place in ((1, 0), (2, len(columns) - 1)):
                    reason = "loss is not finite at step 37 <b>(NaN in the gradient)</b>"
                    record |= {"status": "failed", "reason": reason, "placeholder": True}
                    scene = None if place == (1, 0) else scene
                folder = root / "runs" / task / column / record["prompt_id"] / f"seed{seed}" / stage
                write_run(folder, scene, record, size=size, mesh=stage != "nerf")
                runs.append(record)
    from synthetic_tables import write_tables

    write_tables(root / tables, runs, generator)
    return root


def write_list(root: Path, name: str, stages: dict[str, str]) -> Path:
    """`root`/lists/`name`.txt: of each column in `stages`, the runs of its stage."""
    found = sorted(root.glob("runs/*/*/*/*/*/run.json"))
    chosen = [path.parent for path in found if stages.get(path.parts[-5]) == path.parts[-2]]
    path = root / "lists" / f"{name}.txt"
    path.parent.mkdir(exist_ok=True)
    path.write_text("".join(f"{folder}\n" for folder in chosen), encoding="utf-8")
    return path


def write_stages(root: Path, **options: Any) -> list[str]:
    """Geometry after NeRF and mesh below `root`; the gallery's options that name them."""
    names = {"mesh": "geometry", "nerf": "geometry.nerf"}
    columns = options.get("columns", COLUMNS)
    pairs = []
    for stage, name in names.items():
        write_results(root, stage=stage, tables=f"tables/{name}", **options)
        listed = write_list(root, name, dict.fromkeys(columns, stage))
        pairs.append([str(listed), str(root / "tables" / name)])
    return ["--runs", pairs[0][0], "--tables", pairs[0][1], "--earlier", *pairs[1]]


def write_texture(root: Path, **options: Any) -> list[str]:
    """Painted meshes below `root`; the gallery's options that name them."""
    from trimesh.creation import icosphere

    write_results(root, task="texture", stage="texture", tables="tables/texture", **options)
    for text in options["prompts"]:
        folder = root / "meshes" / prompt_id(text)
        folder.mkdir(parents=True)
        (folder / "bare.glb").write_bytes(icosphere(subdivisions=2).export(file_type="glb"))
        said = {"status": "ok", "file": "ball.glb", "faces": 1280, "changes": ["merged 2 <b>"]}
        (folder / "mesh.json").write_text(json.dumps(said), encoding="utf-8")
    listed = write_list(root, "texture", dict.fromkeys(options.get("columns", COLUMNS), "texture"))
    where = ["--runs", str(listed), "--tables", str(root / "tables" / "texture")]
    return ["--task", "texture", *where, "--meshes", str(root / "meshes")]


if __name__ == "__main__":
    import sys

    write_results(Path(sys.argv[1]), prompts=PLAIN if "--plain" in sys.argv else (*PLAIN, *NASTY))
