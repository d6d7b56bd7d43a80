"""Everything that changes while a run goes on, as one value that can be stored and brought back."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import torch

from methods import normalize


@dataclass
class Run:
    """Scene, particle, their optimisers and the one generator; `restore` inverts `state`."""

    scene: Any
    optimizer: torch.optim.Optimizer
    generator: torch.Generator
    particle: Any = None
    particle_optimizer: torch.optim.Optimizer | None = None
    scale: normalize.State = field(default_factory=normalize.initial_state)
    evaluations: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0

    def _parts(self) -> dict[str, Any]:
        parts = {"scene": self.scene, "optimizer": self.optimizer}
        extra = {"particle": self.particle, "particle_optimizer": self.particle_optimizer}
        return parts | {name: part for name, part in extra.items() if part is not None}

    def state(self) -> dict[str, Any]:
        """All of it as a tree of tensors and plain values."""
        return {name: part.state_dict() for name, part in self._parts().items()} | {
            "generator": self.generator.get_state(),
            "scale": self.scale,
            "evaluations": dict(self.evaluations),
            "seconds": self.seconds,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """This run is where `state` was taken."""
        for name, part in self._parts().items():
            part.load_state_dict(state[name])
        self.generator.set_state(state["generator"])
        self.scale = state["scale"]
        self.evaluations = Counter(state["evaluations"])
        self.seconds = state["seconds"]
