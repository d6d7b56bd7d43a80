"""Meshes to rasterize, and the ways of filling the z-buffer that are installed here."""

import numpy as np
import pytest
import torch
import trimesh

from pipeline.raster import visibility


def _fills() -> list:
    compiled = visibility._compiled()
    absent = pytest.mark.skipif(compiled is None, reason="the extra numba is not installed")
    return [
        pytest.param(visibility.fill_torch, id="torch"),
        pytest.param(compiled, id="numba", marks=absent),
    ]


FILLS = _fills()


def blob(subdivisions: int, seed: int) -> trimesh.Trimesh:
    """A sphere with smooth bumps, a hundred times smaller than its triangles or larger."""
    random = np.random.default_rng(seed)
    mesh = trimesh.creation.icosphere(subdivisions)
    waves = random.normal(size=(4, 3)) * 3
    bumps = np.sin(mesh.vertices @ waves.T + random.uniform(0, 6, 4)).mean(1)
    mesh.vertices = mesh.vertices * (0.65 + 0.3 * bumps)[:, None]
    return mesh


def boxes(seed: int) -> trimesh.Trimesh:
    """Twenty turned boxes that run into one another."""
    random = np.random.default_rng(seed)
    parts = []
    for _ in range(20):
        part = trimesh.creation.box(random.uniform(0.1, 0.5, 3))
        part.apply_transform(trimesh.transformations.random_rotation_matrix(random.random(3)))
        part.apply_translation(random.uniform(-0.6, 0.6, 3))
        parts.append(part)
    return trimesh.util.concatenate(parts)


def tensors(mesh: trimesh.Trimesh) -> tuple[torch.Tensor, torch.Tensor]:
    vertices = torch.tensor(np.asarray(mesh.vertices), dtype=torch.float32)
    return vertices, torch.tensor(np.asarray(mesh.faces), dtype=torch.int32)
