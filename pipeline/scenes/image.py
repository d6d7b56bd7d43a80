"""A plain picture as a scene: the smallest thing a score-distillation method can optimise.

Its pixels are the parameters themselves, so their gradient is the method's direction and nothing
else (the setting of image editing, and the playground for methods).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from pipeline.cameras import Cameras
from pipeline.scenes.interface import Rendering

INITIAL_SPREAD = 0.1


@dataclass(frozen=True)
class ImageSettings:
    """Preset data: the side of the square picture in pixels."""

    size: int

    def __post_init__(self) -> None:
        if self.size < 1:
            raise ValueError(f"image size: {self.size} pixels")


class Image(nn.Module):
    """One picture in [0,1]; it shows the same from every camera and covers its background."""

    def __init__(self, settings: ImageSettings, generator: torch.Generator) -> None:
        """Grey with a little noise, so that no symmetry has to be broken by the method."""
        super().__init__()
        noise = torch.randn(1, 3, settings.size, settings.size, generator=generator)
        self.rgb = nn.Parameter((0.5 + INITIAL_SPREAD * noise).clamp(0, 1))

    @torch.no_grad()
    def load_picture(self, rgb: Float[Tensor, "3 h w"]) -> None:
        """Start from a given picture of the scene's size, for editing."""
        if rgb.shape != self.rgb.shape[1:]:
            raise ValueError(f"picture of {tuple(rgb.shape)}, scene of {tuple(self.rgb.shape[1:])}")
        self.rgb.copy_(rgb[None].clamp(0, 1))

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
        """The picture once a camera, resized by area averages (down) or bilinearly (up)."""
        if shading != "albedo" or normals:
            raise ValueError(f"a picture has neither normals nor shading: {shading!r}")
        shape = (len(cameras), 1, height, width)
        if background is None:
            background = torch.zeros(len(cameras), 3)
        return Rendering(
            rgb=self._resized(height, width).expand(len(cameras), -1, -1, -1),
            alpha=torch.ones(shape, device=self.rgb.device),
            depth=cameras.distance.to(self.rgb.device)[:, None, None, None].expand(shape),
            normal=None,
            background=background[:, :, None, None].expand(-1, -1, height, width),
        )

    def _resized(self, height: int, width: int) -> Float[Tensor, "1 3 h w"]:
        if (height, width) == self.rgb.shape[2:]:
            return self.rgb
        if height <= self.rgb.shape[2] and width <= self.rgb.shape[3]:
            return F.interpolate(self.rgb, (height, width), mode="area")
        return F.interpolate(self.rgb, (height, width), mode="bilinear", align_corners=False)

    def parameter_groups(self, learning_rates: Mapping[str, float]) -> list[dict[str, Any]]:
        """One group, image; raises ValueError unless exactly its learning rate is given."""
        if set(learning_rates) != {"image"}:
            raise ValueError(f"learning rates: need exactly image, got {sorted(learning_rates)}")
        return [{"name": "image", "params": [self.rgb], "lr": learning_rates["image"]}]

    def regularization(self, rendering: Rendering, step: int) -> dict[str, Float[Tensor, ""]]:
        """None: a picture has no geometry to regularise."""
        return {}

    @torch.no_grad()
    def after_step(self, step: int, generator: torch.Generator) -> None:
        """Project the pixels onto [0,1]."""
        self.rgb.clamp_(0, 1)
