"""Cameras against hand-made pin-hole projections, the stated axes and the stated distributions."""

import math

import numpy as np
import pytest
import torch
from scipy import stats

from pipeline import cameras
from pipeline.cameras import CameraRanges

RANGES = CameraRanges((-180, 180), (-10, 45), (2.8, 3.2), (40, 40))


def _generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize(
    ("azimuth", "elevation", "position"),
    [
        (0, 0, (1, 0, 0)),
        (90, 0, (0, 1, 0)),
        (180, 0, (-1, 0, 0)),
        (270, 0, (0, -1, 0)),
        (-90, 0, (0, -1, 0)),
        (0, 90, (0, 0, 1)),
        (45, 0, (math.sqrt(0.5), math.sqrt(0.5), 0)),
        (0, 30, (math.sqrt(0.75), 0, 0.5)),
    ],
)
def test_the_camera_stands_where_the_conventions_say(azimuth, elevation, position):
    camera = cameras.orbit(azimuth, elevation, 3.0, 40.0)
    torch.testing.assert_close(camera.c2w[0, :3, 3], 3 * torch.tensor(position, dtype=torch.float))


def test_c2w_is_a_right_handed_rigid_motion_that_looks_at_the_origin():
    camera = cameras.sample(_generator(), 64, RANGES)
    rotation, position = camera.c2w[:, :3, :3], camera.c2w[:, :3, 3]
    torch.testing.assert_close(rotation @ rotation.mT, torch.eye(3).expand(64, 3, 3))
    torch.testing.assert_close(torch.linalg.det(rotation), torch.ones(64))
    looks_along = -rotation[:, :, 2]
    torch.testing.assert_close(looks_along * camera.distance[:, None], -position)
    assert (rotation[:, 2, 1] > 0).all(), "the image's up must not point down in the world"
    assert torch.equal(camera.c2w[:, 3], torch.tensor([0.0, 0, 0, 1]).expand(64, 4))


def test_the_front_is_on_the_left_of_the_image_seen_from_the_objects_left_side():
    """From azimuth 90 (on +y, looking along -y) the world's +x lies towards the image's left."""
    camera = cameras.orbit(90.0, 0.0, 3.0, 40.0)
    front_in_camera = torch.linalg.inv(camera.c2w[0]) @ torch.tensor([1.0, 0, 0, 1])
    assert front_in_camera[0] < 0


def test_a_point_on_a_ray_projects_back_to_the_pixel_centre():
    """Pin-hole by hand: u = W/2 + f x/(-z), v = H/2 - f y/(-z), f = H / (2 tan(fovy/2))."""
    height, width = 5, 8
    camera = cameras.sample(_generator(1), 3, CameraRanges((0, 360), (-80, 80), (2, 4), (30, 70)))
    origins, directions = cameras.rays(camera, height, width)
    torch.testing.assert_close(directions.norm(dim=-1), torch.ones(3, height, width))
    points = (origins + 1.7 * directions).double()
    for b in range(3):
        w2c = np.linalg.inv(camera.c2w[b].double().numpy())
        focal = height / (2 * math.tan(float(camera.fovy[b]) / 2))
        for v in range(height):
            for u in range(width):
                x, y, z, _ = w2c @ np.append(points[b, v, u].numpy(), 1.0)
                assert u + 0.5 == pytest.approx(width / 2 + focal * x / -z, abs=1e-4)
                assert v + 0.5 == pytest.approx(height / 2 - focal * y / -z, abs=1e-4)


def test_row_zero_is_the_top_of_the_image():
    _, directions = cameras.rays(cameras.orbit(0.0, 0.0, 3.0, 40.0), 4, 4)
    assert directions[0, 0, 0, 2] > 0 > directions[0, -1, 0, 2]


def test_four_views_and_turntable():
    views = cameras.four_views(3.0, 40.0)
    assert len(views) == 4
    assert views.azimuth_deg.tolist() == [0, 90, 180, 270]
    assert views.elevation_deg.tolist() == [15] * 4
    frames = cameras.turntable(36, 3.0, 40.0)
    assert frames.azimuth_deg[:2].tolist() == [0, 10]
    assert frames.azimuth_deg[-1] == 350
    torch.testing.assert_close(frames[9].c2w, views[1].c2w)
    assert len(frames[-1]) == 1
    assert len(frames[3:7]) == 4


@pytest.mark.parametrize("azimuths", ["independent", "stratified", "opposite"])
def test_every_marginal_is_uniform_on_its_range(azimuths):
    """Kolmogorov-Smirnov on independent batches; the seed is fixed, so this cannot flicker."""
    generator = _generator(2)
    batches = [cameras.sample(generator, 2, RANGES, azimuths=azimuths) for _ in range(4000)]
    for name in ("azimuth", "elevation", "distance"):
        low, high = getattr(RANGES, name)
        field = name if name == "distance" else f"{name}_deg"
        # One view of each pair, chosen by turns: the two of a pair are dependent by design.
        values = np.array([float(getattr(b, field)[i % 2]) for i, b in enumerate(batches)])
        assert stats.kstest(values, stats.uniform(low, high - low).cdf).pvalue > 0.001
    assert torch.allclose(batches[0].fovy, torch.tensor(math.radians(40.0)))


def test_opposite_views_are_opposite_and_strata_are_kept():
    pair = cameras.sample(_generator(3), 2, RANGES, azimuths="opposite").azimuth_deg
    assert float((pair[0] - pair[1]).abs()) == pytest.approx(180, abs=1e-3)
    strata = cameras.sample(_generator(3), 4, RANGES, azimuths="stratified").azimuth_deg
    assert ((strata + 180) / 90).floor().tolist() == [0, 1, 2, 3]


def test_front_back_cameras_stay_near_front_and_back():
    azimuth = cameras.sample(_generator(4), 400, RANGES, azimuths="front_back").azimuth_deg
    front, back = azimuth.abs() <= 30, azimuth.abs() >= 150
    assert (front | back).all()
    assert 150 < int(front.sum()) < 250


def test_elevations_by_area_are_uniform_in_the_sine():
    ranges = CameraRanges((-180, 180), (-90, 90), (3, 3), (40, 40))
    camera = cameras.sample(_generator(5), 3000, ranges, sphere_probability=1.0)
    sines = torch.sin(torch.deg2rad(camera.elevation_deg)).numpy()
    assert stats.kstest(sines, stats.uniform(-1, 2).cdf).pvalue > 0.01


def test_the_generator_decides_the_cameras():
    first, second = (cameras.sample(_generator(6), 4, RANGES).c2w for _ in range(2))
    assert torch.equal(first, second)
    assert not torch.equal(first, cameras.sample(_generator(7), 4, RANGES).c2w)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"elevation": (45, -10)}, "elevation"),
        ({"elevation": (-10, 100)}, "elevation"),
        ({"distance": (0, 1)}, "distance"),
        ({"fovy": (40, 180)}, "fovy"),
        ({"azimuth": (0, math.nan)}, "azimuth"),
        ({"azimuth": (1,)}, "azimuth"),
    ],
)
def test_impossible_ranges_are_refused_by_name(change, message):
    values = {"azimuth": (0, 1), "elevation": (0, 1), "distance": (1, 2), "fovy": (40, 50)}
    with pytest.raises(ValueError, match=message):
        CameraRanges.from_mapping({**values, **change})


def test_unknown_keys_and_samplers_are_refused():
    with pytest.raises(ValueError, match="distanse"):
        CameraRanges.from_mapping({"azimuth": (0, 1), "distanse": (1, 2)})
    with pytest.raises(ValueError, match="oposite"):
        cameras.sample(_generator(), 2, RANGES, azimuths="oposite")
