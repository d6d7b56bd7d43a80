"""The radiance field: fits, normals, skipping, sameness and extremes."""

import copy

import pytest
import torch
import torch.nn.functional as F

from pipeline import cameras
from pipeline.cameras import CameraRanges, Cameras
from pipeline.scenes.interface import Rendering
from pipeline.scenes.nerf import Nerf, NerfSettings

RANGES = CameraRanges((-180, 180), (-10, 45), (2.8, 3.2), (40, 40))
OCCUPANCY = {"resolution": 32, "threshold": 0.01, "decay": 0.9, "interval": 16}
SETTINGS = {
    "head": "sum",
    "grid": {
        "levels": 3, "features": 4, "log2_entries": 15, "base_resolution": 8, "growth": 2.0
    },
    "radius": 1.0,
    "half_width": 1.2,
    "samples": 40,
    "density_scale": 10.0,
    "colour_scale": 4.0,
    "blob": {"scale": 10.0, "radius": 0.5, "floor": -1.0, "offset": -1.0},
    "occupancy": OCCUPANCY,
    "background": "given",
    "orientation": 0.0,
    "sparsity": 0.0,
    "opaque": 0.0,
}  # fmt: skip
MLP = {"head": "mlp", "density_scale": 1.0, "colour_scale": 1.0}


def _generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _nerf(seed: int = 0, **changes) -> Nerf:
    return Nerf(NerfSettings.from_mapping({**SETTINGS, **changes}), _generator(seed))


def _rough(nerf: Nerf, spread: float = 0.1) -> Nerf:
    """A random scene: something to see in every part of the picture."""
    with torch.no_grad():
        nerf.head.grid.table.normal_(0, spread, generator=_generator(5))
    nerf.occupancy.update(nerf.density)
    return nerf


def _view(nerf: Nerf, azimuth: float = 20.0, size: int = 24, **options) -> Rendering:
    options = {"background": torch.full((1, 3), 0.3), **options}
    return nerf.render(cameras.orbit(azimuth, 15.0, 3.0, 40.0), height=size, width=size, **options)


def _sphere(views: Cameras, size: int, centre: list[float], radius: float) -> torch.Tensor:
    """Silhouettes (b,1,h,w) of a sphere by the distance of each ray from its centre."""
    origins, directions = cameras.rays(views, size, size)
    to_centre = torch.tensor(centre) - origins
    along = (to_centre * directions).sum(-1, keepdim=True)
    return ((to_centre - along * directions).norm(dim=-1) < radius).float()[:, None]


def _fitted(nerf: Nerf, centre: list[float], radius: float, *, steps: int, rate: float) -> Nerf:
    """The scene after a supervised fit to a red sphere over random backgrounds."""
    generator = _generator(1)
    red = torch.tensor([0.9, 0.2, 0.1]).view(1, 3, 1, 1)
    rates = {"grid": rate, "head": rate}
    optimizer = torch.optim.Adam(nerf.parameter_groups(rates), betas=(0.9, 0.99), eps=1e-15)
    for step in range(steps):
        views = cameras.sample(generator, 2, RANGES, azimuths="opposite")
        background = torch.rand(2, 3, generator=generator)
        rendering = nerf.render(
            views, height=32, width=32, generator=generator, background=background
        )
        mask = _sphere(views, 32, centre, radius)
        target = mask * red + (1 - mask) * background[:, :, None, None]
        optimizer.zero_grad()
        F.mse_loss(rendering.rgb, target).backward()
        optimizer.step()
        nerf.after_step(step, generator)
    return nerf


def _silhouette_iou(nerf: Nerf, centre: list[float], radius: float) -> float:
    views = cameras.four_views(3.0, 40.0)
    with torch.no_grad():
        rendering = nerf.render(views, height=48, width=48, background=torch.ones(4, 3))
    seen, true = rendering.alpha > 0.5, _sphere(views, 48, centre, radius) > 0
    return float((seen & true).sum() / (seen | true).sum())


@pytest.mark.parametrize(("changes", "steps", "rate"), [({}, 40, 0.03), (MLP, 60, 0.02)])
def test_a_supervised_fit_finds_a_sphere(changes, steps, rate):
    """Off centre, so that a wrong camera convention cannot be fitted away."""
    centre = [0.3, 0.1, 0.15]
    nerf = _fitted(_nerf(**changes), centre, 0.4, steps=steps, rate=rate)
    assert _silhouette_iou(nerf, centre, 0.4) > 0.9
    with torch.no_grad():
        seen = _view(nerf, background=torch.zeros(1, 3))
    middle = (seen.alpha > 0.95).expand_as(seen.rgb)
    colour = seen.rgb[middle].view(3, -1).mean(1)
    torch.testing.assert_close(colour, torch.tensor([0.9, 0.2, 0.1]), atol=0.1, rtol=0)


def test_the_object_grows_into_space_that_was_skipped():
    """A small sphere far from the first blob: without the margin of occupied cells it never
    appears (measured: IoU 0 at threshold 0.1), with it the fit is as fast as without skipping."""
    centre = [0.5, 0.5, 0.45]
    nerf = _nerf()
    corner = torch.tensor(centre)[:, None] * 1.1
    assert not nerf.occupancy.occupied(corner).any()
    assert _silhouette_iou(_fitted(nerf, centre, 0.15, steps=60, rate=0.03), centre, 0.15) > 0.8


def test_skipping_changes_the_picture_by_no_more_than_the_skipped_thickness():
    """A diameter of density below the threshold: 2 * 0.01 of opacity at most, and the same
    scene with every cell occupied."""
    nerf = _rough(_nerf())
    everything = _rough(_nerf(occupancy={**OCCUPANCY, "threshold": -1.0}))
    assert nerf.occupancy.mask.float().mean() < 0.8 * everything.occupancy.mask.float().mean()
    with torch.no_grad():
        difference = _view(nerf).rgb - _view(everything).rgb
    assert difference.abs().max() < 0.02


def test_rendering_without_gradients_is_the_same_picture():
    """Chunks and the omission of invisible samples stay below a quarter of an 8-bit step."""
    nerf = _rough(_nerf(), 0.4)
    trained = _view(nerf, size=64)
    with torch.no_grad():
        shown = _view(nerf, size=64, normals=True)
    for name in ("rgb", "alpha"):
        difference = getattr(trained, name) - getattr(shown, name)
        assert difference.abs().max() < 1 / 1024, name
    solid = trained.alpha > 0.5
    assert (trained.depth - shown.depth)[solid].abs().max() < 1e-2
    assert trained.normal is None
    assert shown.normal is not None


def test_composition_alpha_and_shapes():
    nerf = _rough(_nerf())
    colours = torch.tensor([[0.0, 0.0, 0.0], [1.0, 1.0, 1.0]])
    views = cameras.orbit([0.0, 0.0], 15.0, 3.0, 40.0)
    rendering = nerf.render(views, height=20, width=30, background=colours)
    assert rendering.rgb.shape == (2, 3, 20, 30)
    assert rendering.alpha.shape == rendering.depth.shape == (2, 1, 20, 30)
    black, white = rendering.rgb
    torch.testing.assert_close(white - black, (1 - rendering.alpha[0]).expand(3, -1, -1))
    assert (rendering.rgb >= 0).all()
    assert (rendering.rgb <= 1 + 1e-5).all()
    corner = rendering.alpha[:, 0, 0, 0]
    assert (corner == 0).all(), "the picture's corner sees past the ball"
    assert (rendering.rgb[:, :, 0, 0] == colours).all()


def test_density_at_plus_y_is_on_the_right_of_the_front_view_and_nearest_from_azimuth_90():
    nerf = _nerf(blob={"scale": 0.0, "radius": 1.0, "floor": -1.0, "offset": -5.0})
    level = nerf.head.grid.levels[-1]
    z, y, x = torch.meshgrid(*[torch.arange(32)] * 3, indexing="ij")
    nodes = ((torch.stack([x, y, z]) - 0.5) / level.scale * 2 - 1) * 1.2
    bump = ((nodes - torch.tensor([0.0, 0.6, 0.0]).view(3, 1, 1, 1)).norm(dim=0) < 0.25).flatten()
    with torch.no_grad():
        nerf.head.grid.table[level.offset :, 0] = torch.where(bump, 3.0, 0.0)
    nerf.occupancy.update(nerf.density)
    with torch.no_grad():
        front, left, back = (_view(nerf, azimuth, 32) for azimuth in (0.0, 90.0, 180.0))
    columns = [view.alpha[0, 0].sum(0) for view in (front, left, back)]
    places = [float((c * torch.arange(32)).sum() / c.sum()) for c in columns]
    assert places[0] > 18
    assert places[1] == pytest.approx(15.5, abs=0.5)
    assert places[2] < 13
    assert float(left.depth[left.alpha > 0.9].mean()) == pytest.approx(3 - 0.6 - 0.25, abs=0.15)


@pytest.mark.parametrize("changes", [{}, MLP])
def test_normals_point_against_the_density_gradient(changes):
    """Central differences in float64; the step is far below a cell, points that straddle a cell
    face (where the gradient jumps) are too rare to matter at this seed."""
    nerf = _rough(_nerf(**changes), 0.3).double()
    points = (torch.rand(3, 60, generator=_generator(2)) - 0.5).double()
    step = 1e-6
    slopes = [
        (nerf.density(points + step * axis[:, None]) - nerf.density(points - step * axis[:, None]))
        for axis in torch.eye(3, dtype=torch.float64)
    ]
    expected = -F.normalize(torch.stack(slopes), dim=0)
    torch.testing.assert_close(nerf.normals(points), expected, atol=1e-4, rtol=0)


@pytest.mark.parametrize("changes", [{}, MLP])
def test_normals_have_a_working_derivative(changes):
    """The second derivative of the density: gradcheck of normals in the table, in float64."""
    grid = {"levels": 2, "features": 4, "log2_entries": 6, "base_resolution": 3, "growth": 1.5}
    nerf = _rough(_nerf(**changes, grid=grid), 0.5).double()
    points = (torch.rand(3, 5, generator=_generator(3)) - 0.5).double()
    name = "head.grid.table"

    class Normals(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.nerf = nerf

        def forward(self) -> torch.Tensor:
            return self.nerf.normals(points)

    def normals(table: torch.Tensor) -> torch.Tensor:
        return torch.func.functional_call(Normals(), {f"nerf.{name}": table}, ())

    table = nerf.head.grid.table.detach().clone().requires_grad_()
    assert torch.autograd.gradcheck(normals, (table,), fast_mode=True)
    assert torch.autograd.gradgradcheck(normals, (table,), fast_mode=True)


def test_a_ball_has_radial_normals_which_normal_shading_shows():
    nerf = _nerf(blob={"scale": 60.0, "radius": 0.6, "floor": -5.0, "offset": 0.0})
    with torch.no_grad():
        seen = _view(nerf, 90.0, shading="normal")
    assert seen.normal is not None
    centre = seen.normal[0, :, 11:13, 11:13].mean((1, 2))
    towards_camera = cameras.orbit(90.0, 15.0, 1.0, 40.0).c2w[0, :3, 3]
    torch.testing.assert_close(centre, towards_camera, atol=0.1, rtol=0)
    torch.testing.assert_close(
        seen.rgb[0, :, 11:13, 11:13].mean((1, 2)), centre * 0.5 + 0.5, atol=0.05, rtol=0
    )
    lengths = seen.normal.norm(dim=1)
    assert torch.where(seen.alpha[:, 0] > 1e-3, (lengths - 1).abs(), 0).max() < 1e-3
    assert (lengths[seen.alpha[:, 0] == 0] == 0).all()


def test_regularisers_reach_the_parameters():
    schedules = {"orientation": [1.0, 1.0, 10], "sparsity": 0.5, "opaque": [0, 1, 10]}
    nerf = _rough(_nerf(**schedules), 0.4)
    rendering = _view(nerf)
    assert set(nerf.regularization(rendering, 0)) == {"orientation", "sparsity"}
    terms = nerf.regularization(rendering, 5)
    assert set(terms) == {"orientation", "sparsity", "opaque"}
    for name, term in terms.items():
        (gradient,) = torch.autograd.grad(term, nerf.head.grid.table, retain_graph=True)
        assert gradient.isfinite().all(), name
        assert gradient.abs().max() > 0, name


def test_orientation_counts_only_surfaces_seen_from_behind():
    """A ball's normals face the camera on the near side; a hollow one shows its inside."""
    ball = _nerf(orientation=1.0, blob={"scale": 60, "radius": 0.6, "floor": -5, "offset": 0})
    hollow = _nerf(orientation=1.0, blob={"scale": -60, "radius": 0.6, "floor": -5, "offset": 0})
    seen = [n.regularization(_view(n), 0)["orientation"].item() for n in (ball, hollow)]
    assert seen[0] < 0.02 < seen[1]


@pytest.mark.parametrize("changes", [{}, MLP, {"orientation": 1.0, "opaque": 1.0, "sparsity": 1}])
@pytest.mark.parametrize("spread", [1e3, 1e8, 0.0])
def test_gradients_are_finite_at_extreme_densities(changes, spread):
    nerf = _rough(_nerf(**changes), spread)
    rendering = _view(nerf)
    loss = rendering.rgb.square().sum() + sum(nerf.regularization(rendering, 0).values())
    loss.backward()
    assert rendering.rgb.isfinite().all()
    for name, parameter in nerf.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name


def test_an_empty_scene_shows_its_background():
    nerf = _nerf()
    with torch.no_grad():
        nerf.head.grid.table.fill_(-1e3)
    nerf.occupancy.density.zero_()
    nerf.occupancy.update(nerf.density)
    assert not nerf.occupancy.mask.any()
    rendering = _view(nerf)
    assert (rendering.alpha == 0).all()
    assert (rendering.depth == 0).all()
    assert torch.equal(rendering.rgb, rendering.background)
    rendering.rgb.sum().backward()
    assert nerf.head.grid.table.grad is not None
    with torch.no_grad():
        assert torch.equal(_view(nerf).rgb, rendering.rgb)


def test_not_a_number_is_seen_in_the_picture_and_not_hidden():
    nerf = _rough(_nerf())
    with torch.no_grad():
        nerf.head.grid.table.fill_(float("nan"))
    assert _view(nerf).rgb.isnan().any()


def test_the_generator_jitters_and_none_is_deterministic():
    nerf = _rough(_nerf(), 0.4)
    jittered = [_view(nerf, generator=_generator(seed)).rgb for seed in (1, 1, 2)]
    assert torch.equal(jittered[0], jittered[1])
    assert not torch.equal(jittered[0], jittered[2])
    assert torch.equal(_view(nerf).rgb, _view(nerf).rgb)


def test_training_from_a_saved_state_gives_the_same_bits():
    def advance(nerf: Nerf, generator: torch.Generator) -> Nerf:
        optimizer = torch.optim.SGD(nerf.parameters(), lr=10.0)
        for step in range(20):
            views = cameras.sample(generator, 2, RANGES)
            seen = nerf.render(
                views, height=16, width=16, generator=generator, background=torch.zeros(2, 3)
            )
            optimizer.zero_grad()
            (seen.rgb - 0.5).square().mean().backward()
            optimizer.step()
            nerf.after_step(step, generator)
        return nerf

    first = advance(_nerf(), _generator(3))
    saved = copy.deepcopy(first.state_dict())
    second = _nerf(seed=9)
    second.load_state_dict(saved)
    first, second = advance(first, _generator(4)), advance(second, _generator(4))
    assert not torch.equal(saved["occupancy.density"], first.occupancy.density)
    for name, value in first.state_dict().items():
        assert torch.equal(value, second.state_dict()[name]), name


def test_the_learned_environment_is_used_unless_a_background_is_given():
    nerf = _rough(_nerf(background="environment"))
    seen = _view(nerf, background=None)
    assert seen.background.std() > 0
    (gradient,) = torch.autograd.grad(seen.rgb.sum(), nerf.environment.last)
    assert gradient.abs().max() > 0
    assert (_view(nerf).background == 0.3).all()
    assert {g["name"] for g in nerf.parameter_groups({"grid": 1, "background": 1})} == {
        "grid", "background"
    }  # fmt: skip


def test_every_parameter_is_in_one_group():
    nerf = _nerf(background="environment", **MLP)
    groups = nerf.parameter_groups({"grid": 0.1, "head": 0.2, "background": 0.3})
    assert [group["lr"] for group in groups] == [0.1, 0.2, 0.3]
    grouped = [id(p) for group in groups for p in group["params"]]
    assert sorted(grouped) == sorted(id(p) for p in nerf.parameters())


def test_bad_requests_are_refused_by_name():
    nerf = _nerf()
    with pytest.raises(ValueError, match="shiny"):
        _view(nerf, shading="shiny")
    with pytest.raises(ValueError, match="background"):
        _view(nerf, background=None)
    with pytest.raises(ValueError, match="grid"):
        nerf.parameter_groups({"head": 0.1})
    with pytest.raises(ValueError, match="gird"):
        nerf.parameter_groups({"grid": 0.1, "gird": 0.1})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"head": "big"}, "big"),
        ({"background": "blue"}, "blue"),
        ({"samplez": 3}, "samplez"),
        ({"blob": {"scale": 1.0}}, "nerf.blob"),
        ({"radius": 2.0}, "radius"),
        ({"sparsity": [1, 2]}, "schedule"),
        ({"grid": {**SETTINGS["grid"], "features": 2}}, "features: 4"),
        ({"occupancy": {**OCCUPANCY, "interval": 0}}, "occupancy"),
    ],
)
def test_bad_settings_are_refused_by_name(changes, message):
    with pytest.raises(ValueError, match=message):
        _nerf(**changes)
