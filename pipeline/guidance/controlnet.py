"""ControlNets beside a latent prior: pictures of the object steer the noise prediction.

Each network sees one kind of picture (View.control) and adds its residuals, times its weight, to
the UNet's; residuals of several networks are summed (2302.05543; the CSD paper's texture stage,
A.4, uses canny and depth).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from pipeline.artifacts import ArtifactError
from pipeline.guidance.interface import View
from pipeline.guidance.pretrained import WHOLE, Source, load_module, resolve

CONTROL_ON = ("all", "text")
SHARED = ("in_channels", "block_out_channels", "layers_per_block", "cross_attention_dim")


@dataclass(frozen=True)
class Control:
    """One network: which picture it sees, and its weight before and from the step `switch`."""

    network: Any
    image: str
    before: float
    after: float
    switch: int

    def weight(self, step: int) -> float:
        """0.5 for the first 1,000 steps, then 0.2 (A.4): a jump, not a ramp."""
        return self.before if step < self.switch else self.after


@dataclass(frozen=True)
class Controls:
    """The networks; with `text_only`, conditions other than the prompt go without residuals."""

    networks: tuple[Control, ...]
    text_only: bool


Residuals = tuple[list[Tensor], Tensor]  # of the blocks on the way down; of the middle


@torch.no_grad()
def residuals(
    controls: Controls,
    x_t: Float[Tensor, "kb c h w"],
    t: Int[Tensor, " kb"],
    texts: Float[Tensor, "kb L d"],
    view: View,
    k: int,
) -> Residuals | None:
    """The summed residuals of k conditions on b inputs, condition-major; None when nobody sees."""
    rows = _seen(controls, view, k, len(x_t) // k, x_t.device)
    total: Residuals | None = None
    if not len(rows):
        return None
    for control in controls.networks:
        picture = _picture(control, view, x_t).repeat(k, 1, 1, 1)
        down, middle = control.network(
            x_t[rows],
            t[rows],
            texts[rows],
            controlnet_cond=picture[rows],
            conditioning_scale=control.weight(view.step),
            return_dict=False,
        )
        if total is not None:
            down = [one + other for one, other in zip(total[0], down, strict=True)]
            middle = total[1] + middle
        total = down, middle
    assert total is not None
    if len(rows) == len(x_t):
        return total
    return [_spread(part, rows, len(x_t)) for part in total[0]], _spread(total[1], rows, len(x_t))


def load(
    specs: Sequence[Mapping[str, Any]], control_on: str, *, dtype: torch.dtype, device: str
) -> tuple[Controls | None, list[Source]]:
    """The networks of a preset's `controlnets` and where each is; None when it lists none.

    A spec: `path` or `hub` (pretrained.py), `image`: the key in View.control, `weight`: a number
    or [before, after, step]. Raises ArtifactError.
    """
    if control_on not in CONTROL_ON:
        raise ArtifactError(f"control_on {control_on!r} is not one of {', '.join(CONTROL_ON)}")
    networks, sources = [], []
    for spec in specs:
        source = resolve(spec, [WHOLE])
        network = load_module(source, WHOLE, ("ControlNetModel",), dtype=dtype, device=device)
        networks.append(Control(network, spec["image"], *_schedule(spec["weight"])))
        sources.append(source)
    if not networks:
        return None, []
    return Controls(tuple(networks), control_on == "text"), sources


def require_fit(controls: Controls, sources: Sequence[Source], unet: Any) -> None:
    """Raises ArtifactError when a network's residuals cannot be added to this UNet's."""
    for control, source in zip(controls.networks, sources, strict=True):
        for key in SHARED:
            own, wanted = control.network.config[key], unet.config[key]
            if own != wanted:
                raise ArtifactError(
                    f"{source.path / 'config.json'}: {key} is {own}, the UNet's is {wanted}: this "
                    "ControlNet was trained beside another model"
                )


def _schedule(weight: Any) -> tuple[float, float, int]:
    if isinstance(weight, int | float):
        return float(weight), float(weight), 0
    if len(weight) != 3:
        raise ArtifactError(f"a ControlNet's weight {weight} is not a number or [before, after, n]")
    before, after, switch = weight
    return float(before), float(after), int(switch)


def _seen(controls: Controls, view: View, k: int, b: int, device: torch.device) -> Tensor:
    """The rows of the batch that the networks see."""
    if not controls.text_only or view.prompted is None:
        return torch.arange(k * b, device=device)
    if len(view.prompted) != k:
        raise ValueError(f"{len(view.prompted)} marks in View.prompted for {k} conditions")
    chosen = torch.tensor(view.prompted, device=device).repeat_interleave(b)
    return torch.nonzero(chosen).flatten()


def _picture(
    control: Control, view: View, x_t: Float[Tensor, "kb c h w"]
) -> Float[Tensor, "b m height width"]:
    """The network's picture; a single channel stands for all.

    Raises ValueError when it is missing or of the wrong size. Nothing is resized here: edges drawn
    at another size are other edges.
    """
    if control.image not in view.control:
        known = ", ".join(view.control) or "none"
        raise ValueError(f"a ControlNet needs the picture {control.image!r}; given are: {known}")
    picture, config = view.control[control.image], control.network.config
    factor = 2 ** (len(config.conditioning_embedding_out_channels) - 1)
    size = (factor * x_t.shape[-2], factor * x_t.shape[-1])
    channels = config.conditioning_channels
    if tuple(picture.shape[-2:]) != size or picture.shape[1] not in (1, channels):
        raise ValueError(
            f"the picture {control.image!r} is {tuple(picture.shape[1:])}, its ControlNet needs "
            f"{(channels, *size)} (channels, height, width)"
        )
    return picture.to(x_t).expand(-1, channels, -1, -1)


def _spread(part: Tensor, rows: Tensor, count: int) -> Tensor:
    """`part` at `rows` of a batch of `count`, zero elsewhere."""
    whole = part.new_zeros(count, *part.shape[1:])
    whole[rows] = part
    return whole
