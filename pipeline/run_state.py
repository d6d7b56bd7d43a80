"""Everything that changes while a run goes on, as one value that can be stored and brought back."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import torch

from methods import normalize
from pipeline.artifacts import digest
from pipeline.backends import followed


@dataclass
class Run:
    """Scene, particle, their optimisers and generators; `restore` inverts `state`.

    `generator` draws what every method draws alike: cameras, backgrounds, t and noise of the
    direction. All that only a particle draws comes from `particle_generator`, all that only a
    prior draws (samples of an autoencoder's posterior) from `guidance_generator`. `backends`: by
    part, all that served it, across resumptions.
    """

    scene: Any
    optimizer: torch.optim.Optimizer
    generator: torch.Generator
    particle: Any = None
    particle_optimizer: torch.optim.Optimizer | None = None
    particle_generator: torch.Generator | None = None
    guidance_generator: torch.Generator | None = None
    scale: normalize.State = field(default_factory=normalize.initial_state)
    evaluations: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0
    backends: dict[str, list[str]] = field(default_factory=dict)

    def _parts(self) -> dict[str, Any]:
        parts = {"scene": self.scene, "optimizer": self.optimizer}
        extra = {"particle": self.particle, "particle_optimizer": self.particle_optimizer}
        return parts | {name: part for name, part in extra.items() if part is not None}

    def _generators(self) -> dict[str, torch.Generator]:
        named = {
            "generator": self.generator,
            "particle_generator": self.particle_generator,
            "guidance_generator": self.guidance_generator,
        }
        return {name: generator for name, generator in named.items() if generator is not None}

    def state(self) -> dict[str, Any]:
        """All of it as a tree of tensors and plain values."""
        generators = {name: found.get_state() for name, found in self._generators().items()}
        return {name: part.state_dict() for name, part in self._parts().items()} | {
            **generators,
            "scale": self.scale,
            "evaluations": dict(self.evaluations),
            "seconds": self.seconds,
            "backends": self.backends,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """This run is where `state` was taken, and goes on with its own backends."""
        for name, part in self._parts().items():
            part.load_state_dict(state[name])
        for name, generator in self._generators().items():
            generator.set_state(state[name])
        self.scale = state["scale"]
        self.evaluations = Counter(state["evaluations"])
        self.seconds = state["seconds"]
        # checkpoints of earlier versions do not say
        self.backends = followed(state.get("backends", {}), self.backends)


def named_generator(seed: int, name: str) -> torch.Generator:
    """A generator of the run `seed` for one purpose: independent of every other name's."""
    return torch.Generator().manual_seed(int(digest([seed, name])[:15], 16))
