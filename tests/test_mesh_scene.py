"""The mesh as a scene: pictures against closed forms, what its gradients do, sameness."""

import math

import pytest
import torch

from pipeline import cameras
from pipeline.scenes import mesh_clean
from pipeline.scenes.failure import SceneFailure
from pipeline.scenes.interface import Rendering
from pipeline.scenes.mesh import Mesh, MeshSettings
from tests.mesh_shapes import NERF, sphere

SETTINGS = {
    **{name: NERF[name] for name in ("head", "half_width", "colour_scale", "background")},
    "grid": NERF["grid"] | {"base_resolution": 8},
    "radius": 1.0,
    "resolution": 24,
    "threshold": "auto",
    "floaters": 0.05,
    "normal_consistency": [0.0, 0.0, 1],
    "laplacian": [0.0, 0.0, 1],
}
RATES = {"sdf": 0.05, "deformation": 0.05, "grid": 0.01}


def _generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _mesh(seed: int = 0, **changes) -> Mesh:
    return Mesh(MeshSettings.from_mapping({**SETTINGS, **changes}), _generator(seed))


def _ball(radius: float, centre: tuple[float, float, float] = (0.0, 0.0, 0.0), **changes) -> Mesh:
    mesh = _mesh(**changes)
    mesh.shape.fill(sphere(radius, centre)(mesh.shape.nodes) / mesh.shape.grid.spacing)
    return mesh


def _views(mesh: Mesh, size: int = 48, **options) -> Rendering:
    options = {"background": torch.full((4, 3), 0.3), **options}
    return mesh.render(cameras.four_views(3.0, 40.0), height=size, width=size, **options)


CENTRE = (0.2, 0.1, 0.15)


def _rays(size: int = 48) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """(closest distance to the centre, distance to the first hit, normal there) of all rays."""
    origins, directions = cameras.rays(cameras.four_views(3.0, 40.0), size, size)
    to_centre = torch.tensor(CENTRE) - origins
    along = (to_centre * directions).sum(-1)
    closest = (to_centre - along[..., None] * directions).norm(dim=-1)
    hit = along - (0.5**2 - closest.square()).clamp_min(0).sqrt()
    normal = (origins + hit[..., None] * directions - torch.tensor(CENTRE)) / 0.5
    return closest, hit, normal.permute(0, 3, 1, 2)


def test_pictures_of_a_ball_are_those_of_the_closed_form():
    """Off centre. The facets of a grid of 24 lie up to (spacing)^2 / (4 * 0.5) = 0.004 inside."""
    seen = _views(_ball(0.5, CENTRE), normals=True)
    closest, distance, normal = _rays()
    inside, outside = closest < 0.46, closest > 0.54
    assert (seen.alpha[:, 0][inside] == 1).all()
    assert (seen.alpha[:, 0][outside] == 0).all()
    assert ((seen.alpha >= 0) & (seen.alpha <= 1)).all()
    torch.testing.assert_close(seen.depth[:, 0][inside], distance[inside], atol=0.02, rtol=0)
    assert (seen.depth[:, 0][outside] == 0).all()
    assert seen.normal is not None
    cosine = (seen.normal * normal).sum(1)[inside]
    assert float(cosine.detach().min()) > 0.97
    assert (seen.normal.movedim(1, -1)[outside] == 0).all()
    torch.testing.assert_close(
        seen.rgb.movedim(1, -1)[outside], torch.full((int(outside.sum()), 3), 0.3)
    )
    # the soft rim covers what the disc does
    assert float(seen.alpha.detach().mean()) == pytest.approx(
        float((_fine(closest) < 0.5).float().mean()), rel=0.02
    )


def _fine(closest: torch.Tensor) -> torch.Tensor:
    """The closest distances between the pixel centres, linearly."""
    return torch.nn.functional.interpolate(closest[:, None], scale_factor=8, mode="bilinear")


def test_colours_are_the_fields_at_the_surface():
    mesh = _ball(0.5, CENTRE)
    with torch.no_grad():
        mesh.head.grid.table.normal_(0, 0.3, generator=_generator(5))
        seen = _views(mesh)
        closest, _, _ = _rays()
        inside = (closest < 0.46).nonzero(as_tuple=True)
        origins, directions = cameras.rays(cameras.four_views(3.0, 40.0), 48, 48)
        points = origins[inside] + directions[inside] * seen.depth[:, 0][inside][:, None]
        expected = mesh.colour(points.t().contiguous()).t()
    torch.testing.assert_close(seen.rgb.movedim(1, -1)[inside], expected, atol=2e-3, rtol=0)


def test_normal_shading_shows_the_normals():
    mesh = _ball(0.5)
    shown = _views(mesh, shading="normal", normals=True)
    assert shown.normal is not None
    solid = (shown.alpha == 1).expand_as(shown.rgb)
    torch.testing.assert_close(
        shown.rgb[solid], (0.5 * shown.normal + 0.5)[solid], atol=0.02, rtol=0
    )
    with pytest.raises(ValueError, match="unknown shading"):
        _views(mesh, shading="phong")


def test_normals_only_where_asked_for():
    assert _views(_ball(0.5)).normal is None


def test_thin_parts_stay_pictures():
    """Random signs: parts thinner than a pixel, where antialiasing may add up to more than one."""
    mesh = _mesh(resolution=32)
    mesh.shape.fill(torch.randn(mesh.shape.grid.nodes, generator=_generator(1)) + 1.2)
    seen = _views(mesh, size=24, normals=True)
    for picture in (seen.rgb, seen.alpha):
        assert float(picture.detach().min()) >= -1e-6
        assert float(picture.detach().max()) <= 1 + 1e-6
    (seen.rgb.sum() + seen.alpha.sum()).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in mesh.parameters())


def test_a_silhouette_loss_makes_a_small_ball_grow_to_the_right_size():
    mesh = _ball(0.35)
    closest, _, _ = _rays()  # the target is off centre as well
    target = (closest < 0.5).float()[:, None]
    rates = {**RATES, "sdf": 0.2}
    optimizer = torch.optim.Adam(mesh.parameter_groups(rates), betas=(0.9, 0.99))

    def volume() -> float:
        return mesh_clean.volume(*mesh.shape.surface())

    def overlap() -> float:
        seen = _views(mesh).alpha > 0.5
        return float((seen & (target > 0)).sum() / (seen | (target > 0)).sum())

    sizes = [volume()]
    for _ in range(40):
        optimizer.zero_grad()
        (_views(mesh).alpha - target).square().mean().backward()
        optimizer.step()
        sizes.append(volume())
    assert sizes[0] < sizes[1] < sizes[5] < sizes[20]
    assert overlap() > 0.93


def test_the_first_gradient_of_a_silhouette_loss_points_outwards():
    mesh = _ball(0.35)
    target = (_rays()[0] < 10).float()[:, None]  # everything
    (_views(mesh).alpha - target).square().mean().backward()
    slope = mesh.shape.sdf.grad
    touched = slope != 0
    assert touched.sum() > 50
    assert (slope[touched] > 0).float().mean() > 0.95  # lower values: more of it inside


def test_an_optimised_mesh_is_closed_and_its_export_has_the_fields_colours():
    mesh = _ball(0.4)
    with torch.no_grad():
        mesh.shape.deformation.normal_(0, 1, generator=_generator(2))
        mesh.head.grid.table.normal_(0, 0.3, generator=_generator(3))
    found = mesh.mesh()
    assert mesh_clean.is_watertight(found.faces)
    assert mesh_clean.genus(found.faces) == 0
    expected = mesh.colour(found.vertices.t()).t()
    torch.testing.assert_close(found.colours, expected)


def test_the_export_leaves_out_floaters_and_hollows():
    mesh = _mesh()
    nodes = mesh.shape.nodes
    hollow = torch.maximum(sphere(0.6)(nodes), -sphere(0.3)(nodes))
    speck = sphere(0.12, (0.75, 0.75, 0.75))(nodes)
    mesh.shape.fill(torch.minimum(hollow, speck) / mesh.shape.grid.spacing)
    found = mesh.mesh()
    true = 4 / 3 * math.pi * 0.6**3
    assert mesh_clean.volume(found.vertices, found.faces) == pytest.approx(true, rel=0.03)
    assert mesh_clean.euler_characteristic(found.faces) == 2
    everything = mesh.shape.surface()[1]
    assert mesh_clean.euler_characteristic(everything) == 6


def test_regularisers_follow_their_schedules():
    mesh = _ball(0.5, normal_consistency=[2, 0.0, 4.0, 6], laplacian=[0.0, 0.0, 1])
    seen = _views(mesh, size=16)
    assert set(seen.terms) == {"normal_consistency"}
    mean = seen.terms["normal_consistency"].mean()
    assert mesh.regularization(seen, 2) == {}
    torch.testing.assert_close(mesh.regularization(seen, 4)["normal_consistency"], 2 * mean)
    torch.testing.assert_close(mesh.regularization(seen, 9)["normal_consistency"], 4 * mean)
    with torch.no_grad():
        assert _views(mesh, size=16).terms == {}


def test_smoothing_takes_the_bumps_off_a_ball():
    mesh = _ball(0.5, normal_consistency=1.0)
    with torch.no_grad():
        mesh.shape.sdf.add_(0.15 * torch.randn(mesh.shape.sdf.shape, generator=_generator(1)))
    optimizer = torch.optim.Adam(mesh.parameter_groups(RATES))
    values = []
    for step in range(12):
        loss = mesh.regularization(_views(mesh, size=8), step)["normal_consistency"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        values.append(float(loss.detach()))
    smooth = _views(_ball(0.5, normal_consistency=1.0), size=8).terms["normal_consistency"].mean()
    assert values[-1] < smooth < 0.7 * values[0]  # smoother even than the exact distances' ball


def test_parameter_groups_are_named_and_complete():
    groups = _mesh().parameter_groups(RATES)
    assert [group["name"] for group in groups] == ["sdf", "deformation", "grid"]
    changes = {"head": "mlp", "background": "environment", "grid": SETTINGS["grid"]}
    mesh = _mesh(**changes)
    rates = {**RATES, "head": 0.1, "background": 0.2}
    found = {id(p) for group in mesh.parameter_groups(rates) for p in group["params"]}
    assert found == {id(p) for p in mesh.parameters()}
    with pytest.raises(ValueError, match=r"none for \['sdf'\], no group \['tint'\]"):
        _mesh().parameter_groups({"deformation": 1.0, "grid": 1.0, "tint": 1.0})


def test_the_environment_is_behind_the_mesh():
    mesh = _ball(0.3, background="environment")
    seen = _views(mesh, background=None)
    outside = (seen.alpha == 0).expand_as(seen.rgb)
    assert torch.equal(seen.rgb[outside], seen.background[outside])
    assert float(seen.background.detach().std()) > 0
    with pytest.raises(ValueError, match="without a background"):
        _views(_ball(0.3), background=None)


def test_the_same_seed_gives_the_same_bits():
    def optimised() -> dict[str, torch.Tensor]:
        mesh = _ball(0.4, normal_consistency=0.1, head="mlp")
        optimizer = torch.optim.Adam(mesh.parameter_groups({**RATES, "head": 0.01}))
        for step in range(3):
            seen = _views(mesh, size=24, shading=("albedo", "normal")[step % 2])
            loss = seen.rgb.square().mean() + sum(mesh.regularization(seen, step).values())
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        return mesh.state_dict()

    first, second = optimised(), optimised()
    assert all(torch.equal(value, second[name]) for name, value in first.items())
    other = _mesh(seed=7, head="mlp")
    other.load_state_dict(first)
    third = _mesh(seed=8, head="mlp")
    third.load_state_dict(second)
    assert torch.equal(_views(other).rgb, _views(third).rgb)


def test_a_mesh_that_vanishes_is_a_failure():
    mesh = _ball(0.3)
    with torch.no_grad():
        mesh.shape.sdf.fill_(1.0)
    with pytest.raises(SceneFailure, match="the mesh is empty"):
        _views(mesh)
    with pytest.raises(SceneFailure, match="the mesh is empty"):
        mesh.mesh()


BAD = [
    ({"threshold": "mean"}, "neither a density nor 'auto'"),
    ({"threshold": 0.0}, "must be positive"),
    ({"radius": 1.5}, "radius <= half_width"),
    ({"floaters": 2.0}, "from 0 to 1"),
    ({"head": "cnn"}, "mesh head"),
    ({"laplacian": [1.0]}, "schedule"),
    ({"samples": 3}, "unknown keys"),
]


@pytest.mark.parametrize(("changes", "message"), BAD)
def test_impossible_settings_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        _mesh(**changes)
