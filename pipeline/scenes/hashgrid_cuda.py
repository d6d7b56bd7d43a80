"""Readings of a hash grid's table by tinycudann, for CUDA tensors; twin of `hashgrid_plain.py`.

tinycudann is not on PyPI: it is built by hand, and this module can be imported only where it is,
and where it finds a GPU. Written from its documentation and sources (commit 6ee3546) and not yet
run on a GPU: the tests marked requires_cuda compare it with the plain twin.

The table stays the scene's own parameter, in float32, and takes the place of tinycudann's for the
length of a call. Derivatives are autograd's: of the encoding it knows the second ones as well.
"""

import functools
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from pipeline.scenes import hashgrid_plain
from pipeline.scenes.hashgrid import HashGridSettings

try:
    import tinycudann
except (ImportError, OSError) as error:  # OSError: no GPU, or one that it was not built for
    raise ImportError(
        "hash grids on a CUDA device need tinycudann, built by the CUDA toolkit of your torch: "
        'pip install "setuptools<82" wheel ninja && pip install --no-build-isolation '
        '"git+https://github.com/NVlabs/tiny-cuda-nn/@6ee3546bda615f51abe684ce9edefeb414689135'
        f'#subdirectory=bindings/torch" ({error})'
    ) from error


def encoding_config(settings: HashGridSettings) -> dict[str, Any]:
    """The settings by the names that tinycudann gives them, its defaults for the rest spelt out."""
    return {
        "otype": "Grid",
        "type": "Hash",
        "n_levels": settings.levels,
        "n_features_per_level": settings.features,
        "log2_hashmap_size": settings.log2_entries,
        "base_resolution": settings.base_resolution,
        "per_level_scale": settings.growth,
        "interpolation": "Linear",
    }


@functools.cache
def _encoding(settings: HashGridSettings) -> Any:
    return tinycudann.Encoding(3, encoding_config(settings), dtype=torch.float32)


class _Transposed(torch.autograd.Function):
    """The transpose in memory of its own, and so are its derivatives of every order.

    tinycudann refuses gradients that are views, which those of a plain transpose are.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.t().clone(memory_format=torch.contiguous_format)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:  # type: ignore[override]
        return _Transposed.apply(grad)


def features(
    table: Float[Tensor, "n f"], points: Float[Tensor, "3 m"], settings: HashGridSettings
) -> Float[Tensor, "lf m"]:
    """The values at the points, level by level; twice differentiable in table and points.

    Raises ValueError when tinycudann lays another table out for these settings.
    """
    if not points.shape[1]:  # its gradient for no points is memory that nobody wrote
        return hashgrid_plain.features(table, points, settings)
    encoding = _encoding(settings)
    if encoding.params.numel() != table.numel():
        raise ValueError(
            f"tinycudann's table for {settings} has {encoding.params.numel()} numbers, the "
            f"scene's {table.numel()}: install the commit that environment.yml names"
        )
    inputs = _Transposed.apply(points)
    outputs = torch.func.functional_call(encoding, {"params": table.reshape(-1)}, (inputs,))
    return _Transposed.apply(outputs)


def summed(
    table: Float[Tensor, "n f"],
    points: Float[Tensor, "3 m"],
    settings: HashGridSettings,
    count: int | None,
) -> Float[Tensor, "c m"]:
    """The levels' first `count` features (None: all) added up."""
    found = features(table, points, settings)
    return found.unflatten(0, (settings.levels, settings.features))[:, :count].sum(0)


def gradient(
    table: Float[Tensor, "n f"],
    points: Float[Tensor, "3 m"],
    settings: HashGridSettings,
    pull: Float[Tensor, "lf m"],
) -> Float[Tensor, "3 m"]:
    """d (pull . features) / d points; differentiable in `table` and `pull`, not in the points."""
    learning = torch.is_grad_enabled()
    with torch.enable_grad():
        place = points.detach().requires_grad_()
        found = features(table if learning else table.detach(), place, settings)
        # With the table in the graph tinycudann's backward computes the table's gradient as well,
        # which nothing reads. Measure what that costs on a GPU before mending it.
        (slope,) = torch.autograd.grad(found, place, pull, create_graph=learning)
    return slope


def summed_gradient(
    table: Float[Tensor, "n f"],
    points: Float[Tensor, "3 m"],
    settings: HashGridSettings,
    feature: int,
) -> Float[Tensor, "3 m"]:
    """d summed(feature) / d points; differentiable in `table`, not in the points."""
    pull = torch.zeros(settings.levels, settings.features, points.shape[1], device=points.device)
    pull[:, feature] = 1.0
    return gradient(table, points, settings, pull.flatten(0, 1))
