"""Scenes by the kind that presets name, fresh or from a run folder."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from pipeline.artifacts import ArtifactError, load_safetensors, read_json

Settings = Mapping[str, Any]


def load_scene(
    settings: Settings,
    generator: torch.Generator,
    init_from: Path | None = None,
    *,
    samples: int | None = None,
    mesh: Path | None = None,
) -> Any:
    """The scene of a stage's settings, its state drawn from `generator` or read from `init_from`.

    Where the run in `init_from` was of another kind (its run.json says which), the scene starts as
    what that one shows, if STARTS knows how. samples: instead of the settings' number, for pictures
    finer than the optimisation's; only a radiance field has samples. mesh: the folder of a mesh
    (meshes.load) for a texture that begins. Raises ArtifactError when the run folder's scene is
    missing, a failed run's placeholder, or of another kind, or when a texture has no mesh to begin
    on; SceneFailure when nothing can start from it.
    """
    kind = settings["scene"]["kind"]
    if init_from is None:
        return _on_mesh(SCENES[kind](_spec(settings, samples), generator), kind, mesh)
    path = init_from / "scene.safetensors"
    tensors, metadata = load_safetensors(path)
    if metadata.get("placeholder") == "true":
        raise ArtifactError(f"{path}: the run before this one failed; see its run.json")
    if kind in STARTS:
        earlier = read_json(init_from / "run.json")["settings"]
        start = STARTS[kind].get(earlier["scene"]["kind"])
        if start is not None:
            before = load_scene(earlier, torch.Generator(), init_from)
            try:
                return start(before, settings, generator)
            except ValueError as error:
                raise ArtifactError(f"{path}: {error}") from error
    scene = SCENES[kind](_spec(settings, samples), generator)
    try:
        scene.load_state_dict(tensors)
    except RuntimeError as error:
        reason = str(error).splitlines()[0]
        raise ArtifactError(f"{path}: not a scene of these settings ({reason})") from error
    return scene


def _on_mesh(scene: Any, kind: str, mesh: Path | None) -> Any:
    if (kind == "texture") != (mesh is not None):
        wanted = "takes a mesh" if kind == "texture" else "takes no mesh"
        raise ArtifactError(f"a scene of kind {kind} {wanted}: --mesh is a texture's beginning")
    if mesh is not None:
        path = mesh / "mesh.safetensors"
        tensors, _ = load_safetensors(path)
        try:
            scene.put_on(tensors["vertices"], tensors["faces"])
        except ValueError as error:
            raise ArtifactError(f"{path}: {error}") from error
    return scene


def _spec(settings: Settings, samples: int | None = None) -> dict[str, Any]:
    spec = dict(settings["scene"]) | dict(settings["regularizers"])
    del spec["kind"]
    if samples is not None and "samples" in spec:
        spec["samples"] = samples
    return spec


def _nerf(spec: Settings, generator: torch.Generator) -> Any:
    from pipeline.scenes.nerf import Nerf, NerfSettings

    return Nerf(NerfSettings.from_mapping(spec), generator)


def _mesh(spec: Settings, generator: torch.Generator) -> Any:
    from pipeline.scenes.mesh import Mesh, MeshSettings

    return Mesh(MeshSettings.from_mapping(spec), generator)


def _texture(spec: Settings, generator: torch.Generator) -> Any:
    from pipeline.scenes.texture import Texture, TextureSettings

    return Texture(TextureSettings.from_mapping(spec), generator)


def _mesh_from_nerf(nerf: Any, settings: Settings, generator: torch.Generator) -> Any:
    from pipeline.scenes.mesh import MeshSettings
    from pipeline.scenes.mesh_start import mesh_from_nerf

    return mesh_from_nerf(nerf, MeshSettings.from_mapping(_spec(settings)), generator)


SCENES: dict[str, Callable[[Settings, torch.Generator], Any]] = {
    "nerf": _nerf,
    "mesh": _mesh,
    "texture": _texture,
}
# By kind, then by the kind of the run before: (the scene before, settings, generator) -> scene.
STARTS: dict[str, dict[str, Callable[[Any, Settings, torch.Generator], Any]]] = {
    "mesh": {"nerf": _mesh_from_nerf}
}
