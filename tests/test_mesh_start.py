"""A mesh that starts as what a radiance field shows."""

import copy
import math
from pathlib import Path

import pytest
import torch

from pipeline import cameras
from pipeline.artifacts import ArtifactError, save_safetensors, write_json
from pipeline.scenes import mesh_clean, mesh_start
from pipeline.scenes.dmtet import marching_tetrahedra
from pipeline.scenes.failure import SceneFailure
from pipeline.scenes.load import load_scene
from pipeline.scenes.mesh import Mesh, MeshSettings
from pipeline.scenes.tetgrid import TetGrid
from tests.mesh_shapes import NERF, nerf_of, sphere, toy, union

SETTINGS = {
    **{name: NERF[name] for name in ("head", "grid", "half_width", "colour_scale", "background")},
    "radius": 1.0,
    "resolution": 48,
    "threshold": "auto",
    "floaters": 0.05,
    "normal_consistency": [0.0, 0.0, 1],
    "laplacian": [0.0, 0.0, 1],
}
VIEWS = cameras.orbit([20.0, 200.0], [15.0, 40.0], 3.0, 40.0)


def _generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _started(nerf, **changes) -> Mesh:
    settings = MeshSettings.from_mapping({**SETTINGS, **changes})
    return mesh_start.mesh_from_nerf(nerf, settings, _generator())


@pytest.mark.parametrize("solid", [sphere(0.5, (0.2, 0.1, -0.15)), toy()], ids=["sphere", "toy"])
def test_the_mesh_of_a_radiance_field_looks_like_it(solid):
    """Off centre and with a front. Silhouettes and, away from them, the rest.

    A ray ends in the field where the optical thickness 5 d + 500 d^2 reaches 1: at d = 0.04.
    """
    nerf = nerf_of(solid)
    mesh = _started(nerf, threshold=5.0)
    black = torch.zeros(2, 3)
    with torch.no_grad():
        before = nerf.render(VIEWS, height=64, width=64, background=black, normals=True)
        after = mesh.render(VIEWS, height=64, width=64, background=black, normals=True)
    seen, now = before.alpha > 0.5, after.alpha > 0.5
    assert (seen & now).sum() / (seen | now).sum() >= 0.97
    both = ((before.alpha > 0.99) & (after.alpha > 0.99))[:, 0]
    colours = (before.rgb - after.rgb).abs().mean(1)[both]
    assert float(colours.mean()) < 0.02
    depths = (before.depth - after.depth).abs()[:, 0][both]
    assert float(depths.median()) < 0.05
    assert before.normal is not None
    assert after.normal is not None
    cosine = (before.normal * after.normal).sum(1)[both]
    assert float(cosine.median()) > 0.97
    assert mesh_clean.genus(mesh.shape.surface()[1]) == 0


def test_the_surface_is_where_the_density_is_the_threshold():
    """Softplus of a distance: where it reaches tau has a closed form."""
    nerf = nerf_of(sphere(0.5), steepness=100.0, level=5.0)
    for tau in (0.5, 5.0, 20.0):
        points, faces = _started(nerf, threshold=tau).shape.surface()
        logit = tau + math.log(-math.expm1(-tau))
        expected = 0.5 + (5.0 - logit) / 100.0
        radius = points.detach().norm(dim=1)
        torch.testing.assert_close(radius, torch.full_like(radius, expected), atol=5e-3, rtol=0)
        assert mesh_clean.is_watertight(faces)


def test_values_are_distances_in_spacings():
    """Of a steep density as of a gentle one, whatever the resolution."""
    for resolution, steepness in ((24, 30.0), (48, 30.0), (48, 300.0)):
        grid = TetGrid(resolution, 1.0)
        distance = sphere(0.6)(grid.vertices())
        density = torch.nn.functional.softplus(-steepness * distance)
        values = mesh_start.sdf_from_density(grid, density, math.log(2), 0.0)
        near = distance.abs() < grid.spacing
        ratio = (values / (distance / grid.spacing))[near & (distance.abs() > 1e-3)]
        assert 0.75 < float(ratio.median()) < 1.35


def test_logit_inverts_softplus():
    logits = torch.linspace(-40, 60, 101, dtype=torch.float64)
    density = torch.nn.functional.softplus(logits)
    torch.testing.assert_close(mesh_start.logit(density), logits)
    assert mesh_start.logit(torch.zeros(1)).isfinite().all()


def test_the_automatic_threshold_is_the_mean_of_what_is_there():
    density = torch.tensor([0.0, 1e-6, 2.0, 4.0, 9.0])
    assert mesh_start.automatic_threshold(density) == pytest.approx(5.0)
    grid = TetGrid(24, 1.0)
    density = torch.where(sphere(0.6)(grid.vertices()) < 0, 30.0, 0.0)
    density[7] = 10.0
    tau = mesh_start.automatic_threshold(density)
    automatic = mesh_start.sdf_from_density(grid, density, "auto", 0.0)
    assert torch.equal(automatic, mesh_start.sdf_from_density(grid, density, tau, 0.0))


def _parts(values: torch.Tensor, grid: TetGrid) -> int:
    _, faces = marching_tetrahedra(grid.vertices(), values, grid.crossing(values < 0))
    return mesh_clean.euler_characteristic(faces) // 2


def test_floaters_and_hollows_are_no_part_of_the_start():
    """A hollow ball with a speck beside it and another in its hollow: three walls and more."""
    grid = TetGrid(32, 1.0)
    points = grid.vertices()
    hollow = torch.maximum(sphere(0.6)(points), -sphere(0.35)(points))
    specks = union(sphere(0.12, (0.75, 0.75, 0.0)), sphere(0.12))(points)
    density = torch.nn.functional.softplus(-60 * torch.minimum(hollow, specks))
    share = 0.12**3 / (0.6**3 - 0.35**3)
    kept = mesh_start.sdf_from_density(grid, density, math.log(2), 0.2 * share)
    assert _parts(kept, grid) == 2  # the ball, filled, and the speck beside it
    kept = mesh_start.sdf_from_density(grid, density, math.log(2), 5 * share)
    assert _parts(kept, grid) == 1
    alone = mesh_start.sdf_from_density(
        grid, torch.nn.functional.softplus(-60 * sphere(0.6)(points)), math.log(2), 0.0
    )
    assert torch.equal(kept < 0, alone < 0)


def test_a_field_that_reaches_the_border_still_has_a_closed_surface():
    nerf = nerf_of(sphere(1.2))
    _, faces = _started(nerf, threshold=1.0).shape.surface()
    assert mesh_clean.is_watertight(faces)


def test_fields_without_a_surface_are_failures():
    empty = nerf_of(lambda points: torch.ones_like(points[..., 0]))
    with pytest.raises(SceneFailure, match="the radiance field is empty"):
        _started(empty)
    with pytest.raises(SceneFailure, match=r"no density of the radiance field exceeds 25"):
        _started(nerf_of(sphere(0.4), steepness=20.0), threshold=25.0)
    broken = nerf_of(sphere(0.4))
    with torch.no_grad():
        broken.head.grid.table[:, 0] = float("nan")
    with pytest.raises(SceneFailure, match="density is not finite"):
        _started(broken)


def _run(folder: Path, scene, kind: str, spec: dict) -> dict:
    """A finished run's folder; returns its settings."""
    terms = {
        "nerf": ("orientation", "sparsity", "opaque"),
        "mesh": ("normal_consistency", "laplacian"),
    }
    settings = {
        "scene": {"kind": kind, **{k: v for k, v in spec.items() if k not in terms[kind]}},
        "regularizers": {name: spec[name] for name in terms[kind]},
    }
    save_safetensors(folder / "scene.safetensors", scene.state_dict(), {"placeholder": "false"})
    write_json(folder / "run.json", {"settings": settings, "status": "ok"})
    return settings


def test_a_mesh_stage_starts_from_a_finished_radiance_field(tmp_path):
    nerf = nerf_of(sphere(0.5))
    _run(tmp_path / "nerf", nerf, "nerf", NERF)
    mesh = _started(nerf)
    settings = _run(tmp_path / "mesh", mesh, "mesh", SETTINGS)
    started = load_scene(settings, _generator(), tmp_path / "nerf")
    again = load_scene(settings, _generator(3), tmp_path / "mesh", samples=7)
    for found in (started, again):
        expected = mesh.state_dict()
        assert all(torch.equal(v, expected[name]) for name, v in found.state_dict().items())
    other = copy.deepcopy(settings)
    other["scene"]["grid"]["levels"] = 2
    with pytest.raises(ArtifactError, match=r"mesh grid: .* radiance field before it has"):
        load_scene(other, _generator(), tmp_path / "nerf")
    with pytest.raises(ArtifactError, match="not a scene of these settings"):
        load_scene(other, _generator(), tmp_path / "mesh")


def test_a_fresh_mesh_is_a_ball():
    settings = {"scene": {"kind": "mesh", **SETTINGS}, "regularizers": {}}
    mesh = load_scene(settings, _generator())
    points, _ = mesh.shape.surface()
    torch.testing.assert_close(
        points.norm(dim=1), torch.full((len(points),), 0.5), atol=2e-3, rtol=0
    )
