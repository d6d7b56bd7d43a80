"""Another system's results become the run folders of a column: images, videos or GLBs.

    python -m pipeline.external --spec renders.yaml --column theirs --preset mini \
        --task geometry --prompts toy6 --limit 6 --settings JSON \
        --out results/mini/runs/geometry/theirs

The description (docs/external_results.md) says where each prompt's files lie and what they show.
Each prompt of the set gets OUT/<prompt_id>/seed0/external/ with run.json (kind `external`, the
files' checksums), views/ and, where there is one, a turntable and mesh.glb. What cannot be scored
has the status `refused` and the reason: a missing view, one file for two prompts or two views, a
text beside it that names another prompt, a background other than the declared one, a broken file.
OUT/external.json lists files that belong to no prompt of the set. The exit status is 0 all the
same: a refusal is a result that pages show.
"""

import argparse
import io
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pipeline.artifacts import (
    SCHEMA_VERSION,
    exit_status,
    sha256,
    write_bytes,
    write_json,
    write_png,
)
from pipeline.cameras import FOUR_VIEWS, four_views, turntable
from pipeline.external_files import OBJECT, Source, looked_up, read_source, strays
from pipeline.external_pictures import (
    Refused,
    at_size,
    azimuths,
    cropped,
    cut_out,
    frame_count,
    nearest_frame,
    read_frames,
    read_image,
)
from pipeline.record import source_state
from pipeline.render_views import Picture, empty_renderer, sheet
from prompts.load import Prompt, PromptError, load_set

STAGE = "external"
LISTED = 50  # files of no prompt that are named


@dataclass(frozen=True)
class Found:
    """What a prompt's files show: the four views, a turntable's frames, the mesh's bytes."""

    views: dict[str, Picture]
    ring: list[np.ndarray] = field(default_factory=list)
    mesh: bytes | None = None
    remarks: tuple[str, ...] = ()


def picture(source: Source, image: np.ndarray, settings: Mapping[str, Any], name: str) -> Picture:
    """`image` cut to its panel, without its background, at the evaluated size."""
    part = cropped(image, source.spec.get("crop"))
    rgba = cut_out(part, source.spec["background"], source.spec["tolerance"], name)
    return Picture(at_size(rgba, settings["size"]), None, np.zeros((0, 0), dtype=np.float32))


def from_images(source: Source, files: Mapping[str, Path], settings: Mapping[str, Any]) -> Found:
    """A picture a view."""
    return Found({v: picture(source, read_image(p), settings, p.name) for v, p in files.items()})


def from_video(source: Source, files: Mapping[str, Path], settings: Mapping[str, Any]) -> Found:
    """The frames nearest to the views, and to a turntable's places as far as they can be cut."""
    path, rule = files[OBJECT], source.spec["video"]
    turned = {"clockwise": rule["direction"] == "clockwise", "closed": rule["closed"]}
    known = azimuths(frame_count(path), first=rule["first"], turn=rule["turn"], **turned)
    near = {view: nearest_frame(known, azimuth, view) for view, azimuth in FOUR_VIEWS.items()}
    count, around = settings["turntable_frames"], []
    remarks: tuple[str, ...] = ()
    try:
        around = [nearest_frame(known, 360.0 * k / count, "a turntable") for k in range(count)]
    except Refused as reason:
        remarks = (f"no turntable: {reason}",)
    shown: dict[int, Picture | Refused] = {}
    for number, frame in read_frames(path, {*near.values(), *around}):
        try:
            shown[number] = picture(source, frame, settings, f"{path.name}, frame {number}")
        except Refused as reason:
            shown[number] = reason
    views = {view: _taken(shown[number]) for view, number in near.items()}
    try:
        return Found(views, [_taken(shown[number]).rgba for number in around], remarks=remarks)
    except Refused as reason:
        return Found(views, remarks=(f"no turntable: {reason}",))


def _taken(found: Picture | Refused) -> Picture:
    if isinstance(found, Refused):
        raise found
    return found


def from_glb(source: Source, files: Mapping[str, Path], settings: Mapping[str, Any]) -> Found:
    """The mesh as our cameras see it."""
    from pipeline.external_glb import glb_renderer, read_glb
    from pipeline.meshes.mesh import MeshError

    path = files[OBJECT]
    try:
        render = glb_renderer(read_glb(path, **source.spec["mesh"]), settings["size"])
    except MeshError as error:
        raise Refused(f"{path.name}: {error.what}") from error
    seen = (settings["distance"], settings["fovy"])
    pictures = render(four_views(*seen, elevation_deg=settings["elevation"]))
    ring = turntable(settings["turntable_frames"], *seen, elevation_deg=settings["elevation"])
    return Found(
        dict(zip(FOUR_VIEWS, pictures, strict=True)),
        [one.rgba for one in render(ring)],
        path.read_bytes(),
    )


FORMS = {"images": from_images, "videos": from_video, "glb": from_glb}


def write_turntable(folder: Path, ring: list[np.ndarray]) -> dict[str, Any]:
    """turntable.webp holds the frames; returns what views.json says of them."""
    from PIL import Image

    grid, columns = sheet(ring)
    buffer = io.BytesIO()
    image = Image.fromarray((grid * 255.0 + 0.5).astype(np.uint8))
    image.save(buffer, format="WEBP", quality=90, method=4)
    write_bytes(folder / "turntable.webp", buffer.getvalue())
    azimuths = [round(360.0 * k / len(ring), 4) for k in range(len(ring))]
    return {"frames": len(ring), "columns": columns, "azimuths": azimuths}


def write_found(
    folder: Path, found: Found | None, settings: Mapping[str, Any], spec: Mapping[str, Any]
) -> None:
    """views/ and what else there is to see; empty pictures for None."""
    size = settings["size"]
    views = {} if found is None else found.views
    empty = empty_renderer(size)(four_views(3.0, 40.0), True)[0]
    for name in FOUR_VIEWS:
        one = views.get(name, empty)
        write_png(folder / "views" / f"{name}.png", one.rgba)
        if one.normal is not None:
            write_png(folder / "views" / f"{name}_normal.png", one.normal)
    write_png(folder / "poster.png", views.get("front", empty).rgba)
    seen = ("size", "elevation", "distance", "fovy")
    described: dict[str, Any] = {key: settings[key] for key in seen}
    declared = spec.get("cameras", "evaluated")
    if declared != "evaluated":
        described |= {"distance": None, "fovy": None, **declared, "cameras": declared}
    if found is not None and found.ring:
        described |= write_turntable(folder, found.ring)
    if found is not None and found.mesh is not None:
        write_bytes(folder / "mesh.glb", found.mesh)
    described |= {"azimuths_of_views": FOUR_VIEWS, "placeholder": found is None, "surface": None}
    write_json(folder / "views" / "views.json", {"schema_version": SCHEMA_VERSION, **described})


def one_prompt(
    prompt: Prompt,
    source: Source,
    files: Mapping[str, Path] | Refused,
    settings: Mapping[str, Any],
    out: Path,
    known: Mapping[str, Any],
) -> str:
    """The run folder of one prompt; returns "", or why it was refused."""
    folder = out / prompt.prompt_id / "seed0" / STAGE
    reason, found = "", None
    try:
        if isinstance(files, Refused):
            raise files
        found = FORMS[source.spec["form"]](source, files, settings)
    except Refused as error:
        reason = str(error)
    write_found(folder, found, settings, source.spec)
    named = {} if isinstance(files, Refused) else files.values()
    inputs = {str(path.relative_to(source.folder)): sha256(path) for path in named}
    write_json(
        folder / "run.json",
        {
            "schema_version": SCHEMA_VERSION,
            "status": "refused" if reason else "ok",
            "reason": reason or None,
            "failed_step": None,
            "placeholder": found is None,
            **known,
            "prompt": prompt.text,
            "prompt_id": prompt.prompt_id,
            "remarks": list(found.remarks) if found else [],
            "inputs": inputs,
        },
    )
    return reason


def main(arguments: Sequence[str] | None = None) -> None:
    """Reads the description, writes every prompt's run folder and the report."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--spec", required=True, type=Path, help="the description, YAML")
    for name in ("column", "preset", "task"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--prompts", required=True, help="the task's prompt set")
    parser.add_argument("--limit", type=int, help="its first prompts only")
    parser.add_argument("--settings", required=True, help="the preset's views, as JSON")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", required=True, type=Path, help="the column's folder of runs")
    given = parser.parse_args(arguments)
    torch.set_num_threads(given.threads)
    source, settings = read_source(given.spec), json.loads(given.settings)
    asked = load_set(given.prompts).prompts[: given.limit]
    files = looked_up(source, asked)
    known = {"preset": given.preset, "task": given.task, "column": given.column, "stage": STAGE}
    known |= {"seed": 0, "kind": STAGE, "spec": dict(source.spec), "settings": {"views": settings}}
    known |= {"spec_sha256": sha256(given.spec), **source_state()}
    if source.spec["task"] != given.task:
        wrong = Refused(f"the files are of task {source.spec['task']}, not {given.task}")
        files = dict.fromkeys(files, wrong)
    reasons = {
        prompt.text: one_prompt(prompt, source, files[prompt.text], settings, given.out, known)
        for prompt in asked
    }
    refused = {text: reason for text, reason in reasons.items() if reason}
    left = strays(source, asked)
    others = sorted(set(source.spec.get("names", {})) - set(reasons))
    report = {"prompts": len(reasons), "refused": refused, "files_of_no_prompt": len(left)}
    report |= {"some_of_them": left[:LISTED], "names_of_no_prompt": others}
    write_json(given.out / f"{STAGE}.json", {"schema_version": SCHEMA_VERSION, **report})
    for text, reason in refused.items():
        print(f"refused {text!r}: {reason}")
    print(f"{given.column}: {len(reasons) - len(refused)} of {len(reasons)} prompts can be scored")
    if left or others:
        print(f"{len(left)} files and {len(others)} names are of no prompt of {given.prompts}")


if __name__ == "__main__":
    sys.exit(exit_status(main, PromptError, json.JSONDecodeError))
