"""The z-buffer of `visibility.py` as a compiled loop: the same arithmetic, hence the same answer.

Needs numba (the extra `numba`). Not fast-math: a fused multiply-add would round otherwise.
"""

import numpy as np
from jaxtyping import Int
from numba import njit
from torch import Tensor

from pipeline.raster.visibility import DEPTH_SLACK, DEPTH_STEPS, ID_BITS, Prepared, centres


@njit(cache=True, nogil=True, fastmath=False)
def _fill(
    keys: np.ndarray,
    edge: np.ndarray,
    depth: np.ndarray,
    box: np.ndarray,
    triangle: np.ndarray,
    xs: np.ndarray,
    ys: np.ndarray,
    slack: float,
    depth_steps: float,
    id_bits: int,
) -> None:
    width = len(xs)
    for k in range(len(triangle)):
        a0, b0, c0 = edge[0, 0, k], edge[1, 0, k], edge[2, 0, k]
        a1, b1, c1 = edge[0, 1, k], edge[1, 1, k], edge[2, 1, k]
        a2, b2, c2 = edge[0, 2, k], edge[1, 2, k], edge[2, 2, k]
        for row in range(box[2, k], box[3, k]):
            y = ys[row]
            for column in range(box[0, k], box[1, k]):
                x = xs[column]
                if a0 * x + b0 * y + c0 < 0.0:
                    continue
                if a1 * x + b1 * y + c1 < 0.0 or a2 * x + b2 * y + c2 < 0.0:
                    continue
                z = depth[0, k] * x + depth[1, k] * y + depth[2, k]
                if not abs(z) <= 1.0 + slack:
                    continue
                steps = np.int64((min(max(z, -1.0), 1.0) + 1.0) * depth_steps + 0.5)
                key = (steps << id_bits) + triangle[k]
                pixel = row * width + column
                if key < keys[pixel]:
                    keys[pixel] = key


def fill_numba(keys: Int[Tensor, " hw"], prepared: Prepared, height: int, width: int) -> None:
    """Lowers `keys` to the least (depth, triangle) of every pixel."""
    tables = (prepared.edge, prepared.depth, prepared.box, prepared.triangle)
    axes = (centres(width, keys.device), centres(height, keys.device))
    arrays = [table.contiguous().numpy() for table in (keys, *tables, *axes)]
    # Arguments, because the compiled loop is kept on disk and would keep constants with it.
    _fill(*arrays, DEPTH_SLACK, DEPTH_STEPS, ID_BITS)  # type: ignore[call-arg,arg-type]
