"""What the optimisation loop asks of a scene, and what a scene's picture consists of."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from jaxtyping import Float
from torch import Tensor

from pipeline.cameras import Cameras


@dataclass(frozen=True)
class Rendering:
    """One batch of views; `rgb` lies over `background`, everything else is the object alone.

    depth: mean distance along the ray from the camera, 0 where alpha is 0; carries no gradient.
    normal: unit vectors in the world, 0 where alpha is 0; None if nothing asked for it.
    terms: per-pixel quantities of the regularisers, by the regulariser's name.
    """

    rgb: Float[Tensor, "b 3 h w"]
    alpha: Float[Tensor, "b 1 h w"]
    depth: Float[Tensor, "b 1 h w"]
    normal: Float[Tensor, "b 3 h w"] | None
    background: Float[Tensor, "b 3 h w"]
    terms: Mapping[str, Float[Tensor, "b 1 h w"]] = field(default_factory=dict)


class Scene(Protocol):
    """A differentiable scene; its learned state is a module's state_dict."""

    def render(
        self,
        cameras: Cameras,
        *,
        height: int,
        width: int,
        generator: torch.Generator | None = None,
        background: Float[Tensor, "b 3"] | None = None,
        shading: str = "albedo",
        normals: bool = False,
    ) -> Rendering:
        """The views; samples are jittered by `generator`, and deterministic without one."""
        ...

    def parameter_groups(self, learning_rates: Mapping[str, float]) -> list[dict[str, Any]]:
        """Optimiser groups with keys name, params and lr."""
        ...

    def regularization(self, rendering: Rendering, step: int) -> dict[str, Float[Tensor, ""]]:
        """The regularisers that act at this step, by name, already times their weights."""
        ...

    def after_step(self, step: int, generator: torch.Generator) -> None:
        """Bookkeeping that follows the optimiser's step (occupancy, projections)."""
        ...
