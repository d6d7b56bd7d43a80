"""Which of the twins does a run's work: plain torch, or a package that does the same faster.

Their numbers differ by rounding, as those of two devices do, and like the device they are no part
of what a run is: a checkpoint of one goes on under the other. run.json names all that served.
"""

import torch

from pipeline.raster import interface as raster
from pipeline.raster import visibility
from pipeline.scenes import hashgrid

PARTS = {
    "nerf": ("hash_grid",),
    "mesh": ("hash_grid", "rasterizer"),
    "texture": ("hash_grid", "rasterizer"),
}


def hash_grid(device: str) -> str:
    """tinycudann or plain, on this device. Asking imports the package, or warns of its absence."""
    found = hashgrid.backend(torch.device(device).type)
    return "tinycudann" if found.__name__ == hashgrid.TINYCUDANN else "plain"


def rasterizer(device: str) -> str:
    """nvdiffrast, numba or plain, on this device; numba's bits are the plain ones'."""
    found: object = raster.backend(device)
    if getattr(found, "__name__", None) == raster.BACKENDS["cuda"]:
        return "nvdiffrast"
    fill = visibility.fastest_fill(torch.device(device))
    return "plain" if fill is visibility.fill_torch else "numba"


def serving(kind: str, device: str) -> dict[str, list[str]]:
    """Part -> the name that serves it, for a scene of this kind on this device."""
    names = {"hash_grid": hash_grid, "rasterizer": rasterizer}
    return {part: [names[part](device)] for part in PARTS[kind]}


def followed(before: dict[str, list[str]], now: dict[str, list[str]]) -> dict[str, list[str]]:
    """Part -> all that served it, in order: those of a checkpoint, then those of the run that goes
    on from it, where they differ.
    """
    found = {}
    for part, names in now.items():
        earlier = before.get(part, [])
        found[part] = earlier if earlier[-1:] == names else [*earlier, *names]
    return found
