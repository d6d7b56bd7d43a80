"""What radiance field, mesh and texture have in common: a colour head and what lies behind it.

The head answers at points of the cube [-half_width, half_width]^3 with a density output and three
colour outputs g; the albedo is sigmoid(colour_scale g). Behind the object lies one given colour a
view, or a learned environment. The parts are members of the scene itself, under the names `head`
and `environment`: a state passes from one kind of scene to another by these names.
"""

from collections.abc import Iterable, Mapping
from dataclasses import fields
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from pipeline.cameras import Cameras, rays
from pipeline.scenes.background import EnvironmentMap
from pipeline.scenes.hashgrid import HashGridSettings
from pipeline.scenes.heads import HEADS, MlpHead, SumHead

BACKGROUNDS = ("given", "environment")

Head = SumHead | MlpHead


def checked_keys(place: str, kind: type, data: Mapping[str, Any]) -> dict[str, Any]:
    """A copy of preset data that names exactly the fields of the dataclass `kind`.

    Raises ValueError that names the missing and the unknown keys.
    """
    names = {field.name for field in fields(kind)}
    missing, unknown = sorted(names - set(data)), sorted(set(data) - names)
    if missing or unknown:
        raise ValueError(f"{place}: missing keys {missing}, unknown keys {unknown}")
    return dict(data)


def check_choices(place: str, *, head: str, background: str) -> None:
    """Returns if head and background exist; ValueError lists those that do."""
    for name, value, known in (
        ("head", head, HEADS),
        ("background", background, BACKGROUNDS),
    ):
        if value not in known:
            raise ValueError(f"{place} {name}: {value!r} is not one of {', '.join(known)}")


def head_and_environment(
    head: str, grid: HashGridSettings, background: str, generator: torch.Generator
) -> tuple[Head, EnvironmentMap | None]:
    """Both drawn from `generator`, the head first; None for backgrounds that are given."""
    drawn = HEADS[head](grid, generator)
    return drawn, EnvironmentMap(generator) if background == "environment" else None


def unit_cube(points: Float[Tensor, "3 m"], half_width: float) -> Float[Tensor, "3 m"]:
    """Points of the field's cube where the head expects them, in [0, 1]^3."""
    return points / (2 * half_width) + 0.5


def albedo(raw: Float[Tensor, "4 m"], colour_scale: float) -> Float[Tensor, "3 m"]:
    """Display rgb in (0, 1) of the head's outputs, whose first row is the density's."""
    return torch.sigmoid(colour_scale * raw[1:])


def behind(
    place: str,
    environment: EnvironmentMap | None,
    cameras: Cameras,
    size: tuple[int, int],
    given: Float[Tensor, "b 3"] | None,
) -> Float[Tensor, "b 3 h w"]:
    """What lies behind the object in views of (h, w): the given colours, else the environment.

    Raises ValueError without either.
    """
    if given is not None:
        return given[:, :, None, None].expand(-1, -1, *size)
    if environment is None:
        raise ValueError(f"{place} with background: given, rendered without a background")
    directions = rays(cameras, *size)[1].reshape(-1, 3).t()
    return environment(directions).unflatten(1, (len(cameras), *size)).transpose(0, 1)


def parameter_groups(
    head: Head,
    environment: EnvironmentMap | None,
    learning_rates: Mapping[str, float],
    shape: Mapping[str, Iterable[nn.Parameter]] | None = None,
) -> list[dict[str, Any]]:
    """Groups of the `shape`, then grid, head (the mlp head's) and background, where present.

    Raises ValueError when a group has no learning rate, or a rate no such group.
    """
    groups = {name: list(parameters) for name, parameters in (shape or {}).items()} | {
        "grid": list(head.grid.parameters()),
        "head": [p for name, p in head.named_parameters() if not name.startswith("grid.")],
        "background": [] if environment is None else list(environment.parameters()),
    }
    present = {name: parameters for name, parameters in groups.items() if parameters}
    missing, unknown = set(present) - set(learning_rates), set(learning_rates) - set(groups)
    if missing or unknown:
        raise ValueError(f"learning rates: none for {sorted(missing)}, no group {sorted(unknown)}")
    return [{"name": n, "params": p, "lr": learning_rates[n]} for n, p in present.items()]
