"""Spherical harmonics are orthonormal; the environment map is a function of direction."""

import math

import torch

from pipeline.scenes.background import EnvironmentMap, spherical_harmonics


def _sphere(count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Gauss-Legendre in z times equal angles: exact for polynomials up to degree 2 count - 1."""
    import numpy as np

    z, weight = (torch.tensor(x) for x in np.polynomial.legendre.leggauss(count))
    angle = torch.arange(2 * count, dtype=torch.float64) * (math.pi / count)
    z, angle = torch.meshgrid(z, angle, indexing="ij")
    radius = (1 - z * z).sqrt()
    points = torch.stack([radius * angle.cos(), radius * angle.sin(), z]).flatten(1)
    return points, weight.repeat_interleave(2 * count) * (math.pi / count)


def test_the_harmonics_are_orthonormal():
    points, weight = _sphere(6)
    values = spherical_harmonics(points)
    torch.testing.assert_close((values * weight) @ values.T, torch.eye(9, dtype=torch.float64))


def test_the_map_is_a_colour_decided_by_direction_and_generator():
    points = _sphere(4)[0].float()
    first, second, third = (
        EnvironmentMap(torch.Generator().manual_seed(seed))(points) for seed in (0, 0, 1)
    )
    assert first.shape == (3, points.shape[1])
    assert (first > 0).all()
    assert (first < 1).all()
    assert torch.equal(first, second)
    assert not torch.equal(first, third)
    assert first.std(1).min() > 0
