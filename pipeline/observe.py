"""What a step looks at: the scene from random cameras, and what a prior is told of the views."""

from collections.abc import Mapping
from typing import Any

import torch

from pipeline.cameras import Cameras
from pipeline.control_images import control_images
from pipeline.draws import draw_background, draw_cameras, draw_shading
from pipeline.guidance.interface import Guidance, View
from pipeline.scenes.interface import Rendering, Scene


def observe(
    step: int,
    scene: Scene,
    settings: Mapping[str, Any],
    guidance: Guidance,
    prior: Mapping[str, Any],
    generator: torch.Generator,
) -> tuple[Rendering, Cameras, View]:
    """One rendering of the step's batch; everything random comes from `generator`.

    Rendering and view lie where the prior does, the cameras on the CPU.

    `prior`: as the preset describes it; where it has ControlNets the view holds their pictures.
    """
    batch, size, nets = settings["batch"], settings["size"], prior.get("controlnets", [])
    device = guidance.alphas_cumprod.device
    cameras = draw_cameras(step, settings["cameras"], batch, generator)
    there = cameras.to(device)
    grey = draw_background(settings["background"], batch, generator)
    grey = None if grey is None else grey.to(device, non_blocking=True)
    shading = draw_shading(step, settings["shading"], generator)
    rendering = scene.render(
        there,
        height=size,
        width=size,
        generator=generator,
        background=grey,
        shading=shading,
        normals=bool(nets),
    )
    # a prior that conditions on the background sees the mean colour of the scene's own
    behind = rendering.background.detach().mean((2, 3)) if grey is None else grey
    control = {}
    if nets:
        control = control_images(rendering, there, nets, guidance.picture_size)  # type: ignore[attr-defined]
    return rendering, cameras, View(behind, there.c2w, control, step)
