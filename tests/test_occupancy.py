"""The occupancy grid: where it looks, what it keeps, what it forgets."""

import pytest
import torch

from pipeline.scenes.occupancy import Occupancy, OccupancySettings


def _generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _grid(**changes) -> Occupancy:
    settings = {"resolution": 16, "threshold": 0.5, "decay": 0.5, "interval": 1}
    return Occupancy(OccupancySettings(**{**settings, **changes}), 1.0)


def _ball(centre: list[float], radius: float, value: float = 1.0):
    at = torch.tensor(centre)[:, None]
    return lambda p: torch.where((p - at).norm(dim=0) < radius, value, 0.0)


def test_a_fresh_grid_counts_everything_as_occupied():
    points = torch.rand(3, 100, generator=_generator()) * 2 - 1
    assert _grid().occupied(points).all()


def test_dense_points_are_occupied_and_far_ones_are_not():
    grid, density = _grid(), _ball([0.3, -0.2, 0.1], 0.4)
    grid.update(density)
    points = torch.rand(3, 5000, generator=_generator()) * 2 - 1
    occupied = grid.occupied(points)
    assert occupied[density(points) > 0].all()
    far = (points - torch.tensor([0.3, -0.2, 0.1])[:, None]).norm(dim=0) > 0.4 + 2 * 3**0.5 / 8
    assert not occupied[far].any(), "only the ball, its cells and one cell of margin"
    reach = points.norm(dim=0)[occupied].max()
    assert reach <= grid.extent <= 1.0


def test_the_margin_is_one_cell_in_every_direction():
    grid = _grid()
    centre = torch.tensor([[2.5], [-1.5], [0.5]]) / 8  # the centre of a cell of width 1/8
    grid.update(lambda p: ((p - centre).abs().amax(0) < 1 / 16).float())
    assert int(grid.mask.sum()) == 27
    assert grid.occupied(centre + torch.tensor([[0.12], [-0.12], [0.12]])).all()
    assert not grid.occupied(centre + torch.tensor([[0.2], [0.0], [0.0]])).any()


def test_the_memory_decays():
    grid = _grid()
    grid.update(_ball([0.0, 0.0, 0.0], 0.4, value=3.0))
    seen = []
    for _ in range(4):
        grid.update(lambda p: torch.zeros_like(p[0]))
        seen.append(bool(grid.mask.any()))
    assert seen == [True, True, False, False]  # 3 -> 1.5, 0.75, 0.375 < 0.5
    assert grid.extent == 0.0


def test_random_points_lie_in_their_cells_and_find_small_things_in_time():
    grid = _grid(decay=1.0)
    looked_at: list[torch.Tensor] = []

    def density(points: torch.Tensor) -> torch.Tensor:
        looked_at.append(points)
        return _ball([0.33, 0.33, 0.33], 0.04)(points)

    grid.update(density)
    grid.update(density, _generator(1))
    cells = [((points + 1) * 8).floor() for points in looked_at]
    assert torch.equal(cells[0], cells[1])
    assert not torch.equal(looked_at[0], looked_at[1])
    generator = _generator(2)
    for _ in range(60):
        grid.update(density, generator)
    assert grid.occupied(torch.full((3, 1), 0.33)).all()


def test_a_negative_threshold_keeps_the_whole_ball():
    grid = _grid(threshold=-1.0)
    grid.update(lambda p: torch.zeros_like(p[0]))
    directions = torch.nn.functional.normalize(torch.randn(3, 1000, generator=_generator()), dim=0)
    assert grid.occupied(directions * 0.999).all()
    assert grid.extent == 1.0


def test_all_state_is_in_the_state_dict():
    grid, other = _grid(), _grid()
    grid.update(_ball([0.2, 0.0, 0.0], 0.3), _generator())
    other.load_state_dict(grid.state_dict())
    for name, value in grid.state_dict().items():
        assert torch.equal(value, other.state_dict()[name])
    density = _ball([0.0, 0.4, 0.0], 0.3)
    grid.update(density, _generator(1))
    other.update(density, _generator(1))
    assert torch.equal(grid.mask, other.mask)


@pytest.mark.parametrize("change", [{"resolution": 1}, {"interval": 0}, {"decay": 1.5}])
def test_impossible_settings_are_refused(change):
    with pytest.raises(ValueError, match="occupancy"):
        _grid(**change)
