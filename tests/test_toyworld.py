"""The toy world: solids, renderer, objects, cameras."""

import math

import pytest
import torch

from pipeline.cameras import CameraRanges, orbit, rays
from pipeline.toyworld.degrade import DEGRADE
from pipeline.toyworld.objects import build
from pipeline.toyworld.parts import RADIUS, part, surface, turn
from pipeline.toyworld.primitives import SOLIDS
from pipeline.toyworld.render import compose, light, over, render
from pipeline.toyworld.vocabulary import (
    COLOURS,
    DEGRADATIONS,
    DIRECTIONAL,
    SHAPES,
    VIEWS,
    caption,
)
from pipeline.toyworld.world import (
    chosen_cameras,
    covering_cameras,
    drawn,
    instances,
    seeded,
)
from prompts.load import load_set
from prompts.views import VIEW_WORDS

RANGES = CameraRanges((-180, 180), (-10, 45), (2.8, 3.2), (40, 40))


def inside(kind, shape, p):
    """Membership by the definition in the docstring of primitives.py."""
    x, y, z = p
    if kind == "box":
        wide = [1 + (k - 1) * (z + 1) / 2 for k in shape[:2]]
        return (x.abs() <= wide[0]) & (y.abs() <= wide[1]) & (z.abs() <= 1)
    if kind == "frustum":
        radius = 1 + (shape[0] - 1) * (z + 1) / 2
        return (x * x + y * y <= radius**2) & (z.abs() <= 1)
    return (x * x + y * y + z * z <= 1) & (z >= shape[2])


@pytest.mark.parametrize(
    ("kind", "shape"),
    [
        ("box", (1.0, 1.0, -1.0)),
        ("box", (0.4, 0.0, -1.0)),
        ("frustum", (1.0, 1.0, -1.0)),
        ("frustum", (0.0, 0.0, -1.0)),
        ("frustum", (0.5, 0.5, -1.0)),
        ("ellipsoid", (1.0, 1.0, -1.0)),
        ("ellipsoid", (1.0, 1.0, -0.2)),
    ],
)
def test_entry_is_where_a_march_along_the_ray_first_is_inside(kind, shape):
    generator = seeded("march", kind)
    direction = torch.randn(400, 3, generator=generator)
    start = -3 * direction / direction.norm(dim=1, keepdim=True)
    start = start + 0.8 * torch.randn(400, 3, generator=generator)
    outside = start.norm(dim=1) > 1.8  # beyond the cube's corners, sqrt(3)
    start, direction = start[outside], direction[outside]
    t = SOLIDS[kind][0](tuple(start.T), tuple(direction.T), shape)

    steps = torch.linspace(0, 8, 16001)
    unit = direction / direction.norm(dim=1, keepdim=True)
    points = start.T[:, :, None] + unit.T[:, :, None] * steps
    is_inside = inside(kind, shape, points)
    first = torch.where(is_inside.any(1), steps[is_inside.int().argmax(1)], torch.inf)
    reached = t * direction.norm(dim=1)
    both = torch.isfinite(first) & torch.isfinite(reached)
    assert both.sum() > 50
    torch.testing.assert_close(reached[both], first[both], atol=1e-3, rtol=0)
    # a chord shorter than the step of the march may be missed by it, never the other way round
    assert not (torch.isfinite(first) & ~torch.isfinite(reached)).any()
    assert (torch.isfinite(reached) & ~torch.isfinite(first)).sum() <= 2


@pytest.mark.parametrize("kind", list(SOLIDS))
def test_normals_point_out_of_the_solid(kind):
    shape = (0.5, 0.5, -0.3)
    generator = seeded("normal", kind)
    direction = torch.randn(300, 3, generator=generator)
    direction = direction / direction.norm(dim=1, keepdim=True)
    start = -3 * direction + 0.3 * torch.randn(300, 3, generator=generator)
    t = SOLIDS[kind][0](tuple(start.T), tuple(direction.T), shape)
    hit = torch.isfinite(t)
    point = start[hit] + t[hit, None] * direction[hit]
    normal = torch.stack(SOLIDS[kind][1](tuple(point.T), shape), -1)
    normal = normal / normal.norm(dim=1, keepdim=True)
    assert not inside(kind, shape, (point + 0.01 * normal).T).any()
    assert inside(kind, shape, (point - 0.01 * normal).T).float().mean() > 0.95  # but for edges
    assert ((normal * direction[hit]).sum(-1) < 1e-3).all()


def slow_render(parts, lights, cameras, size):
    """Every part against every ray, nearest wins: no rectangles, no lists."""
    origins, directions = rays(cameras, size, size)
    o, d = origins.reshape(-1, 3), directions.reshape(-1, 3)
    nearest = torch.full((len(o),), torch.inf)
    colour = torch.zeros(len(o), 5)  # base, tint, alpha
    for p in parts:
        to_local = p.rotation.T / p.half[0][:, None]
        lo, ld = (o - p.centre[0]) @ to_local.T, d @ to_local.T
        enter, normal = SOLIDS[p.kind]
        t = enter(tuple(lo.T), tuple(ld.T), p.shape)
        at = torch.nan_to_num(lo + t[:, None] * ld)
        n = torch.stack(normal(tuple(at.T), p.shape), -1) @ to_local
        n = n / n.norm(dim=1, keepdim=True)
        w, key = lights.weights[0], lights.direction[0]
        shade = w[0] + w[1] * (1 + n[:, 2]) / 2 + w[2] * (1 + n @ key) / 2
        rgb = torch.zeros(3) if p.colour is None else torch.tensor(p.colour)
        tint = p.factor if p.colour is None else 0.0
        own = torch.cat([shade[:, None] * rgb, shade[:, None] * tint, torch.ones(len(o), 1)], -1)
        nearer = (t < nearest) & bool(p.present[0])
        colour[nearer], nearest = own[nearer], torch.where(nearer, t, nearest)
    return colour.reshape(size, size, 5).permute(2, 0, 1)


@pytest.mark.parametrize("shape", ["car", "house", "mushroom", "rocket"])
def test_renderer_equals_the_slow_loop(shape):
    objects = instances(shape, seed=3, diversity=1.0, count=1)
    cameras = orbit([70.0], [35.0], 2.9, 40.0)
    fast = render(objects.parts, objects.lights, cameras, 40, supersample=1)
    slow = slow_render(objects.parts, objects.lights, cameras, 40)
    got = torch.cat([fast.base, fast.tint, fast.alpha], 1)[0]
    # rays through an edge may fall to either side in single precision
    assert ((got - slow).abs().amax(0) > 1e-3).float().mean() < 0.005


@pytest.mark.parametrize("shape", SHAPES)
def test_objects_lie_inside_the_ball_and_fill_it(shape):
    parts = build(shape, 12, 1.0, seeded(shape))
    farthest = torch.nan_to_num(surface(parts).norm(dim=-1), nan=0.0).amax(1)
    assert (farthest <= RADIUS).all()
    assert (farthest > 0.97 * RADIUS).all()


def test_the_ball_fits_the_frame_of_the_nearest_camera():
    assert math.asin(RADIUS / RANGES.distance[0]) < math.radians(RANGES.fovy[0] / 2)


@pytest.mark.parametrize("shape", SHAPES)
def test_objects_fill_the_frame(shape):
    objects = instances(shape, seed=0, diversity=1.0, count=8)
    cameras = orbit(torch.arange(8) * 45.0, [-10.0, 45.0] * 4, 3.0, 40.0)
    alpha = drawn(objects, torch.arange(8), cameras, 32)[0].alpha
    assert alpha.mean((1, 2, 3)).min() > 0.1
    tall = (alpha > 0).any(-1).sum(-1).amax(1)
    wide = (alpha > 0).any(-2).sum(-1).amax(1)
    assert torch.maximum(tall, wide).min() >= 0.6 * 32


@pytest.mark.parametrize("shape", SHAPES)
def test_pictures_are_linear_in_the_main_colour(shape):
    objects = instances(shape, seed=1, diversity=1.0, count=2)
    cameras = orbit([20.0, 200.0], 15.0, 3.0, 40.0)
    colour = (0.2, 0.7, 0.4)
    painted = [
        type(p)(**{**vars(p), "colour": tuple(p.factor * c for c in colour)})
        if p.colour is None
        else p
        for p in objects.parts
    ]
    direct = render(painted, objects.lights, cameras, 24)
    layers = render(objects.parts, objects.lights, cameras, 24)
    assert direct.tint.abs().max() == 0
    filled = compose(layers, torch.tensor(colour).expand(2, 3))
    torch.testing.assert_close(filled[:, :3], direct.base, atol=1e-6, rtol=0)
    assert (layers.base.amax(1, keepdim=True) + layers.tint <= layers.alpha + 1e-5).all()


@pytest.mark.parametrize("shape", SHAPES)
def test_the_main_colour_covers_more_than_half(shape):
    objects = instances(shape, seed=0, diversity=0.0)
    cameras = orbit(torch.arange(8) * 45.0, 15.0, 3.0, 40.0)
    layers, _ = drawn(objects, torch.zeros(8, dtype=torch.long), cameras, 48)
    assert (layers.tint > 0).sum() > 0.5 * (layers.alpha > 0).sum()


@pytest.mark.parametrize("shape", DIRECTIONAL)
def test_front_differs_from_back_beyond_its_shading(shape):
    """Chromaticity, which the light does not change, differs where front parts are."""
    objects = instances(shape, seed=0, diversity=0.0)
    layers, _ = drawn(
        objects, torch.zeros(2, dtype=torch.long), orbit([0.0, 180.0], 15.0, 3.0, 40.0), 32
    )
    front, back = layers.tint[0], layers.tint[1].flip(-1)
    changed = ((front > 0.02) != (back > 0.02)).sum()
    assert changed > 0.02 * (layers.alpha[0] > 0).sum()


def test_camera_at_90_sees_the_left_side():
    """A ball at +y is in the middle seen from the left, on the right seen from the front."""
    ball = [part("ellipsoid", (0.0, 0.6, 0.0), (0.2, 0.2, 0.2))]
    shade = light(1, 0.0, seeded())
    columns = []
    for azimuth in (0.0, 90.0):
        alpha = render(ball, shade, orbit([azimuth], 0.0, 3.0, 40.0), 32).alpha[0, 0]
        columns.append(float((alpha.sum(0) * torch.arange(32)).sum() / alpha.sum()))
    assert columns[0] > 22
    assert abs(columns[1] - 15.5) < 0.01


def test_diversity_zero_is_one_object_whatever_the_seed():
    first, second = (instances("robot", seed=s, diversity=0.0) for s in (0, 1))
    assert len(first) == 1
    for a, b in zip(first.parts, second.parts, strict=True):
        torch.testing.assert_close(a.centre, b.centre, atol=0, rtol=0)
    assert (first.shade == 0).all()
    varied = instances("robot", seed=0, diversity=1.0)
    assert len(varied) == 16
    assert varied.parts[0].half.std(0).max() > 0.01
    other = instances("robot", seed=1, diversity=1.0)
    assert not torch.equal(varied.parts[0].half, other.parts[0].half)


def test_unknown_shapes_and_diversities_are_refused():
    with pytest.raises(ValueError, match=r"unknown shape 'lamp'; known: car"):
        build("lamp", 1, 0.0, seeded())
    with pytest.raises(ValueError, match=r"\[0, 1\], not 1.5"):
        build("car", 1, 1.5, seeded())


def test_covering_cameras_are_uniform_and_leave_no_large_gap():
    cameras = covering_cameras(3600, RANGES, seeded("cover"))
    for values, (low, high) in (
        (cameras.azimuth_deg, RANGES.azimuth),
        (cameras.elevation_deg, RANGES.elevation),
        (cameras.distance, RANGES.distance),
    ):
        counts = torch.histc(values[:900], 30, low, high)  # also a prefix is even
        assert counts.sum() == 900
        assert (counts - 30).abs().max() <= 4
    unit = torch.stack([cameras.azimuth_deg / 360, cameras.elevation_deg / 55], -1)
    nearest = torch.cdist(unit, unit).fill_diagonal_(1.0).amin(1)
    # independent draws leave half the points closer than 0.5 / sqrt(n) to another
    assert nearest.median() > 0.5 / 60


def test_words_agree_with_the_prompt_sets():
    captions = {caption(s, c) for s in SHAPES for c in COLOURS}
    assert captions == {p.text for p in load_set("toy81").prompts}
    assert {caption(None, c) for c in COLOURS} == {p.text for p in load_set("toy_blobs").prompts}
    assert caption("house", "orange", "front") == "an orange house, front view"
    assert VIEWS == VIEW_WORDS
    assert ", ".join(DEGRADATIONS) == "oversaturated color, ugly, tiling, low quality, noisy"
    assert tuple(DEGRADE) == DEGRADATIONS


@pytest.mark.parametrize("size", [32, 33])
def test_each_fault_is_visible_and_unlike_the_others(size):
    objects = instances("car", seed=0, diversity=0.0)
    layers, _ = drawn(
        objects,
        torch.zeros(6, dtype=torch.long),
        orbit(torch.arange(6) * 60.0, 15.0, 3.0, 40.0),
        size,
    )
    clean = compose(layers, torch.tensor(COLOURS["white"]).expand(6, 3))
    grey = torch.full((6, 3), 0.5)
    lots = [over(clean, grey)]
    lots += [over(fault(clean, seeded(name)), grey) for name, fault in DEGRADE.items()]
    for a in range(len(lots)):
        assert lots[a].shape == (6, 3, size, size)
        for b in range(a):
            # root mean square over the picture: a change of 0.3 on a tenth of it is 0.1
            assert (lots[a] - lots[b]).square().mean((1, 2, 3)).sqrt().min() > 0.05


def test_chosen_cameras_are_the_ones_at_those_places():
    cameras = orbit([0.0, 10.0, 20.0], 0.0, 3.0, 40.0)
    assert chosen_cameras(cameras, torch.tensor([2, 0])).azimuth_deg.tolist() == [20.0, 0.0]


def test_turns_are_rotations_about_the_named_axes():
    torch.testing.assert_close(
        turn(yaw=90) @ torch.tensor([1.0, 0, 0]), torch.tensor([0, 1.0, 0]), atol=1e-6, rtol=0
    )
    torch.testing.assert_close(
        turn(pitch=90) @ torch.tensor([0, 0, 1.0]), torch.tensor([1.0, 0, 0]), atol=1e-6, rtol=0
    )
    torch.testing.assert_close(
        turn(roll=90) @ torch.tensor([0, 1.0, 0]), torch.tensor([0, 0, 1.0]), atol=1e-6, rtol=0
    )
    mixed = turn(30, 40, 50)
    torch.testing.assert_close(mixed @ mixed.T, torch.eye(3), atol=1e-6, rtol=0)
