"""The image bank as mixture components, each with its exact share of the world.

The world q: objects (shape x colour) equally likely; camera and instance uniform over the bank's
renders; clean with probability 1 - p, else degraded: the kind uniform, then uniform over the
renders of that kind. Every component carries its probability under q, so that
q(x) = sum_y q(y) q(x | y) holds by construction for any partition of the captions y.

Two nulls. `marginal`: q itself. `heldout`: a second sample of the world, whose renders no caption
uses; it is not the sum of the conditionals, so delta_cls need not vanish where y is certain.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import torch
from jaxtyping import Float, Int
from torch import Tensor

from pipeline.artifacts import ArtifactError, load_safetensors
from pipeline.guidance.captions import CLEAN, World, parse, view_indices
from pipeline.guidance.renders import Renders, composed

NULLS = ("marginal", "heldout")
SECTOR = 400  # renders; fewer touch fewer pixels each, but a product has a cost of its own


@dataclass(frozen=True)
class Components:
    """What captions can ask of each component, and its probability in the world and in the null."""

    shape: Int[Tensor, " n"]
    colour: Int[Tensor, " n"]
    kind: Int[Tensor, " n"]
    view: Int[Tensor, " n"]
    prior: Float[Tensor, " n"]
    null: Float[Tensor, " n"]


@dataclass(frozen=True)
class Choice:
    """Renders drawn from a file, and each one's share of the file (shares sum to 1)."""

    index: Int[Tensor, " m"]
    share: Float[Tensor, " m"]


@dataclass(frozen=True)
class Sampling:
    """How many renders of each file become components. See `mixture.load` for the meaning."""

    null: str
    own_count: int
    others_per_caption: int
    degraded_mass: float


def stratified(
    azimuth: Float[Tensor, " n"], among: Int[Tensor, " m"], count: int, generator: torch.Generator
) -> Choice:
    """`count` of the renders `among`, one from each of `count` equal shares of the azimuths.

    A render's share is the size of its stratum: that, and not 1 / count, makes sums over the subset
    unbiased when `count` does not divide m.
    """
    order = among[torch.argsort(azimuth[among], stable=True)]
    edges = torch.arange(count + 1) * len(order) // count
    sizes = edges.diff()
    place = (torch.rand(count, generator=generator, dtype=torch.float64) * sizes).long()
    return Choice(order[edges[:-1] + place], sizes.double() / len(order))


def load_components(
    bank: Path,
    world: World,
    prompts: Sequence[str],
    sampling: Sampling,
    *,
    generator: torch.Generator,
    dtype: torch.dtype,
) -> tuple[list[Renders], Components]:
    """Groups of renders and, in that order, their components. Raises ArtifactError, ValueError."""
    _check(sampling)
    dense = {_object(prompt, world) for prompt in prompts}
    groups: list[tuple[Renders, Components]] = []
    for shape in range(len(world.shapes)):
        own = [
            colour
            for colour in range(len(world.colours))
            if any(s in (None, shape) and c in (None, colour) for s, c in dense)
        ]
        groups += _clean_groups(bank, world, shape, own, sampling, generator, dtype)
    groups.append(_degraded_group(bank, world, sampling, generator, dtype))
    tables = [components for _, components in groups]
    joined = {
        field.name: torch.cat([getattr(table, field.name) for table in tables])
        for field in fields(Components)
    }
    return [renders for renders, _ in groups], Components(**joined)


def _check(sampling: Sampling) -> None:
    if sampling.null not in NULLS:
        raise ValueError(f"null {sampling.null!r} is not one of {', '.join(NULLS)}")
    if not 0.0 < sampling.degraded_mass < 1.0:
        raise ValueError(f"degraded_mass {sampling.degraded_mass} is not between 0 and 1")
    if sampling.own_count < 1 or sampling.others_per_caption < 1:
        raise ValueError("own_count and others_per_caption must be at least 1")


def _object(prompt: str, world: World) -> tuple[int | None, int | None]:
    caption = parse(prompt, world)
    return caption.shape, caption.colour


def _clean_groups(
    bank: Path,
    world: World,
    shape: int,
    own: list[int],
    sampling: Sampling,
    generator: torch.Generator,
    dtype: torch.dtype,
) -> Iterator[tuple[Renders, Components]]:
    """The prompt's colours from many renders; all others share a small set."""
    path = bank / f"{world.shapes[shape]}.safetensors"
    tensors = _read(path, ("base", "tint", "shade", "azimuth_deg", "elevation_deg"), world.size)
    many, some, aside = _choices(
        tensors["azimuth_deg"], sampling, dense=bool(own), path=path, generator=generator
    )
    every = list(range(len(world.colours)))
    others = [colour for colour in every if colour not in own]
    mass = (1.0 - sampling.degraded_mass) / (len(world.shapes) * len(world.colours))
    both = float(aside is None)
    plan = [(part, own, 1.0, both) for part in many]
    plan += [(some, others, 1.0, both)] if others else []
    plan += [(aside, every, 0.0, 1.0)] if aside else []
    for choice, colours, in_prior, in_null in plan:
        share = mass * choice.share.repeat_interleave(len(colours))
        yield (
            _compose(tensors, choice.index, colours, world, dtype),
            Components(
                shape=torch.full_like(share, shape, dtype=torch.long),
                colour=torch.tensor(colours).repeat(len(choice.index)),
                kind=torch.full_like(share, CLEAN, dtype=torch.long),
                view=_views(tensors, choice.index, world).repeat_interleave(len(colours)),
                prior=share * in_prior,
                null=share * in_null,
            ),
        )


def _choices(
    azimuth: Float[Tensor, " n"],
    sampling: Sampling,
    *,
    dense: bool,
    path: Path,
    generator: torch.Generator,
) -> tuple[list[Choice], Choice, Choice | None]:
    """The prompt's dense set, the small set of all others, and what only a held-out null sees."""
    held = sampling.null == "heldout"
    count = sampling.others_per_caption
    wanted = max(sampling.own_count if dense else 0, count)
    if wanted + count * held > len(azimuth):
        raise ValueError(
            f"{path} has {len(azimuth)} renders, but {wanted} are asked for captions and "
            f"{count * held} for a held-out null: write a larger bank or ask for fewer"
        )
    free = torch.arange(len(azimuth))
    aside = stratified(azimuth, free, count, generator) if held else None
    if aside is not None:
        free = free[~torch.isin(free, aside.index)]
    many = stratified(azimuth, free, sampling.own_count, generator) if dense else None
    parts = [] if many is None else _parts(many)
    return parts, stratified(azimuth, free, count, generator), aside


def _parts(choice: Choice) -> list[Choice]:
    """The choice, which is in order of azimuth, in sectors: each needs only its own pixels."""
    pairs = zip(choice.index.split(SECTOR), choice.share.split(SECTOR), strict=True)
    return [Choice(index, share) for index, share in pairs]


def _degraded_group(
    bank: Path, world: World, sampling: Sampling, generator: torch.Generator, dtype: torch.dtype
) -> tuple[Renders, Components]:
    """Every degraded render; a held-out null has one half of each kind, captions the other."""
    path = bank / "degraded.safetensors"
    names = ("rgba", "shape", "colour", "kind", "azimuth_deg", "elevation_deg")
    tensors = _read(path, names, world.size)
    kind = tensors["kind"].long()
    prior, null = torch.zeros(2, len(kind), dtype=torch.float64)
    for word in range(len(world.degradations)):
        index = torch.nonzero(kind == word).flatten()
        index = index[torch.randperm(len(index), generator=generator)]
        half = len(index) // 2 if sampling.null == "heldout" else 0
        for target, chosen in ((prior, index[half:]), (null, index[:half] if half else index)):
            if not len(chosen):
                raise ValueError(f"{path} has too few renders of {world.degradations[word]!r}")
            target[chosen] = sampling.degraded_mass / len(world.degradations) / len(chosen)
    rgba = tensors["rgba"].float().flatten(2)
    count = len(rgba)
    renders = composed(rgba, torch.zeros_like(rgba[:, 0]), torch.zeros(count, 1, 3), dtype)
    return renders, Components(
        shape=tensors["shape"].long(),
        colour=tensors["colour"].long(),
        kind=kind,
        view=_views(tensors, torch.arange(count), world),
        prior=prior,
        null=null,
    )


def _compose(
    tensors: dict[str, Tensor],
    index: Int[Tensor, " m"],
    colours: list[int],
    world: World,
    dtype: torch.dtype,
) -> Renders:
    palette = torch.tensor(world.rgb)[colours]
    rgb = (palette + tensors["shade"][index][:, None]).clamp(0.0, 1.0)
    base = tensors["base"][index].float().flatten(2) / 255.0
    return composed(base, tensors["tint"][index].float().flatten(1) / 255.0, rgb, dtype)


def _views(tensors: dict[str, Tensor], index: Int[Tensor, " m"], world: World) -> Int[Tensor, " m"]:
    return view_indices(tensors["azimuth_deg"][index], tensors["elevation_deg"][index], world)


def _read(path: Path, names: Sequence[str], size: int) -> dict[str, Tensor]:
    tensors, _ = load_safetensors(path)
    missing = [name for name in names if name not in tensors]
    if missing:
        raise ArtifactError(f"{path} lacks {', '.join(missing)}; delete it and write it again")
    images = tensors[names[0]]
    if images.shape[-2:] != (size, size):
        raise ArtifactError(
            f"{path} holds {images.shape[-1]} pixel renders, world.json says {size}; "
            "write the whole bank again"
        )
    return tensors
