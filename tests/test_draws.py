"""What a step draws, from whose generator, and when not."""

import pytest
import torch

from pipeline.draws import draw_background, draw_cameras, draw_shading

SPEC = {
    "azimuth": [-180, 180],
    "elevation": [-10, 45],
    "distance": [2.8, 3.2],
    "fovy": [40, 40],
    "pattern": "opposite",
    "sphere_probability": 0.0,
    "front_back_until": 10,
}


def _generator() -> torch.Generator:
    return torch.Generator().manual_seed(3)


def test_first_only_fronts_and_backs_then_the_presets_pattern():
    early = draw_cameras(9, SPEC, 200, _generator()).azimuth_deg
    from_axis = torch.minimum(early.abs(), 180 - early.abs())
    assert from_axis.max() <= 30
    assert (early.abs() < 90).any()
    assert (early.abs() > 90).any()
    late = draw_cameras(10, SPEC, 2, _generator()).azimuth_deg
    assert abs(float((late[0] - late[1]).abs()) - 180) < 1e-3  # opposite


def test_cameras_stay_in_their_ranges_and_follow_the_generator_only():
    cameras = draw_cameras(99, SPEC | {"pattern": "independent"}, 500, _generator())
    for name, values in (
        ("azimuth", cameras.azimuth_deg),
        ("elevation", cameras.elevation_deg),
        ("distance", cameras.distance),
    ):
        low, high = SPEC[name]
        assert values.min() >= low
        assert values.max() <= high
        assert values.max() - values.min() > 0.9 * (high - low)
    again = draw_cameras(99, SPEC | {"pattern": "independent"}, 500, _generator())
    assert torch.equal(again.c2w, cameras.c2w)


def test_backgrounds_are_greys_between_low_and_high():
    grey = draw_background({"low": 0.3, "high": 0.7, "probability": 1.0}, 400, _generator())
    assert grey.shape == (400, 3)
    assert torch.equal(grey, grey[:, :1].expand(-1, 3))
    assert grey.min() >= 0.3
    assert grey.max() <= 0.7
    assert grey.max() - grey.min() > 0.35
    fixed = draw_background({"low": 0.5, "high": 0.5, "probability": 1.0}, 2, _generator())
    assert torch.equal(fixed, torch.full((2, 3), 0.5))


def test_the_scenes_own_background_shows_when_no_grey_is_drawn():
    generator = _generator()
    spec = {"low": 0.3, "high": 0.7, "probability": 0.25}
    share = sum(draw_background(spec, 1, generator) is not None for _ in range(2000)) / 2000
    assert abs(share - 0.25) < 4 * (0.25 * 0.75 / 2000) ** 0.5  # four standard deviations
    assert draw_background(spec | {"probability": 0.0}, 1, generator) is None


@pytest.mark.parametrize(
    ("start", "step", "draws"), [(None, 0, False), (5, 4, False), (5, 5, True), (0, 0, True)]
)
def test_shading_takes_from_the_generator_within_its_phase_only(start, step, draws):
    generator = _generator()
    before = generator.get_state()
    spec = {"normal_from": start, "normal_probability": 1.0}
    assert draw_shading(step, spec, generator) == ("normal" if draws else "albedo")
    assert torch.equal(generator.get_state(), before) != draws


def test_normals_come_as_often_as_their_probability():
    generator = _generator()
    spec = {"normal_from": 0, "normal_probability": 0.25}
    share = sum(draw_shading(1, spec, generator) == "normal" for _ in range(2000)) / 2000
    assert abs(share - 0.25) < 4 * (0.25 * 0.75 / 2000) ** 0.5  # four standard deviations
