"""A mesh turned, centred and scaled into the project's world, and the way back.

`up` and `front` name the file's axes: x, y, z or -x, -y, -z. They become +z and +x; the third axis
follows by the right hand, so that nothing is mirrored. glTF's are up y, front z. The place "fit"
moves the bounding box's centre to the origin and the farthest vertex to distance RADIUS; "keep"
only turns.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float

from pipeline.meshes.mesh import MeshError

RADIUS = 0.95  # of the ball that every object lies in, as in the toy world
AXES: dict[str, tuple[int, int, int]] = {
    "x": (1, 0, 0),
    "y": (0, 1, 0),
    "z": (0, 0, 1),
    "-x": (-1, 0, 0),
    "-y": (0, -1, 0),
    "-z": (0, 0, -1),
}


@dataclass(frozen=True)
class Placed:
    """World vertices, and the matrix that takes the file's points (x, y, z, 1) to them."""

    vertices: Float[np.ndarray, "v 3"]
    matrix: Float[np.ndarray, "4 4"]


def rotation(up: str, front: str) -> Float[np.ndarray, "3 3"]:
    """Takes the file's `up` to +z and its `front` to +x. Raises ValueError for parallel axes."""
    for name in (up, front):
        if name not in AXES:
            raise ValueError(f"unknown axis {name!r}; known: {', '.join(AXES)}")
    if up[-1] == front[-1]:
        raise ValueError(f"up {up!r} and front {front!r} are one axis; choose two")
    top, ahead = np.array(AXES[up]), np.array(AXES[front])
    return np.stack([ahead, np.cross(top, ahead), top]).astype(np.float64)


def _fit(path: Path, vertices: Float[np.ndarray, "v 3"], turn: Float[np.ndarray, "3 3"]) -> Placed:
    low, high = vertices.min(0), vertices.max(0)
    centre = low / 2 + high / 2
    longest = float((high / 2 - low / 2).max())
    if not 1e-30 < longest < 1e30:
        what = f"its size is {2 * longest:.3g} of its units"
        raise MeshError(path, what, "scale it to a sensible size before exporting it")
    scale = RADIUS / float(np.linalg.norm((vertices - centre) / longest, axis=1).max()) / longest
    matrix = np.eye(4)
    matrix[:3, :3] = turn * scale
    matrix[:3, 3] = -matrix[:3, :3] @ centre
    return Placed((vertices - centre) * scale @ turn.T, matrix)


def _keep(path: Path, vertices: Float[np.ndarray, "v 3"], turn: Float[np.ndarray, "3 3"]) -> Placed:
    with np.errstate(over="ignore"):
        farthest = float(np.linalg.norm(vertices, axis=1).max())
    if farthest > 1:
        what = f"it reaches {farthest:.3g} from the origin, beyond the unit ball"
        raise MeshError(path, what, "let it be placed: --place fit")
    matrix = np.eye(4)
    matrix[:3, :3] = turn
    return Placed(vertices @ turn.T, matrix)


PLACES: dict[str, Callable[..., Placed]] = {"fit": _fit, "keep": _keep}


def placed(
    path: Path, vertices: Float[np.ndarray, "v 3"], *, up: str, front: str, place: str
) -> Placed:
    """The vertices in the world. Raises MeshError where the scale is out of range."""
    if place not in PLACES:
        raise ValueError(f"unknown place {place!r}; known: {', '.join(PLACES)}")
    return PLACES[place](path, vertices, rotation(up, front))
