"""Antialiasing: areas and their derivatives in closed form, what is blended and what is not."""

import math

import pytest
import torch
import trimesh
from raster_meshes import blob, tensors

from pipeline import cameras
from pipeline.raster import cpu, edges
from pipeline.raster.projection import clip_positions
from pipeline.raster.silhouettes import FOLLOWED

QUAD = torch.tensor([[0, 1, 2], [0, 2, 3]])


def _mask(pos: torch.Tensor, tri: torch.Tensor, size: tuple[int, int], **options) -> torch.Tensor:
    rast = cpu.rasterize(pos, tri, size)
    return cpu.antialias((rast[..., 3:] > 0).to(pos.dtype), rast, pos, tri, **options)


def _rectangle(left: float, right: float, bottom: float, top: float, w: float = 1.0, z: float = 0):
    corners = [[left, bottom], [right, bottom], [right, top], [left, top]]
    return torch.tensor([[x * w, y * w, z * w, w] for x, y in corners], dtype=torch.float64)


@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize("w", [1.0, 2.5])
def test_a_rectangle_covers_its_area_and_sweeps_its_sides_length(w, turned):
    """Its horizontal sides lie on borders of pixels; the vertical ones move over all of a pixel.

    The mean is area / 4, so moving the right side by dx must change it by height dx / 4; in clip
    space by 1 / w of that. Where w grows at the right, that side shrinks and the other two turn.
    """
    size = (12, 16)
    for step in range(9):
        right = 0.25 + step / 64
        pos = _rectangle(-0.25 - step / 99, right, -0.5, 0.5, w)
        if turned:
            pos = pos[:, [1, 0, 2, 3]]
        pos = pos[None].requires_grad_()
        mask = _mask(pos, QUAD, size[::-1] if turned else size)
        mask.mean().backward()
        assert float(mask.detach().mean()) == pytest.approx(
            (right + 0.25 + step / 99) / 4, abs=1e-9
        )
        slopes = pos.grad[0, 1:3].sum(0) if not turned else pos.grad[0, 1:3, [1, 0, 2, 3]].sum(0)
        x, y, z, towards = slopes.tolist()
        assert x == pytest.approx(1 / (4 * w), rel=1e-6)
        assert (y, z) == pytest.approx((0, 0), abs=1e-9)
        if step == 0:  # a whole number of columns
            assert towards == pytest.approx(-(right + 0.5 * 0.5) / (4 * w), rel=1e-6)


@pytest.mark.parametrize("degrees", [0, 10, 30, 45, 60, 80])
def test_a_turned_squares_coverage_grows_as_its_area_does(degrees):
    """Scaling a square of side s: area s^2, derivative 2 s; 128 pixels leave 2 per cent."""
    turn = math.radians(degrees)
    rotation = torch.tensor([[math.cos(turn), -math.sin(turn)], [math.sin(turn), math.cos(turn)]])
    side = torch.tensor(0.9, dtype=torch.float64, requires_grad=True)
    unit = _rectangle(-0.5, 0.5, -0.5, 0.5)
    flat = side * unit[:, :2] @ rotation.double().T + torch.tensor([0.013, 0.027])
    mask = _mask(torch.cat([flat, unit[:, 2:]], 1)[None], QUAD, (128, 128))
    mask.mean().backward()
    assert float(mask.detach().mean()) == pytest.approx(0.81 / 4, rel=2e-3)
    assert float(side.grad) == pytest.approx(2 * 0.9 / 4, rel=2e-2)


def test_blended_colours_are_the_exact_mixture():
    """A rectangle before another: columns that a vertical side cuts hold both colours by area."""
    back, front = _rectangle(-1, 1, -1, 1, z=0.5), _rectangle(-0.3, 0.45, -1, 1, z=-0.5)
    pos, tri = torch.cat([back, front])[None], torch.cat([QUAD, QUAD + 4])
    colors = torch.tensor([[0.0, 1.0], [1.0, 0.3]], dtype=torch.float64).repeat_interleave(4, 0)
    rast = cpu.rasterize(pos, tri, (8, 8))
    image = cpu.antialias(cpu.interpolate(colors[None], rast, tri), rast, pos, tri)
    columns = torch.arange(8) / 4 - 1
    area = ((columns + 0.25).clamp(max=0.45) - columns.clamp(min=-0.3)).clamp(min=0) * 4
    expected = torch.stack([area, 1 - 0.7 * area], -1).double().expand(1, 8, 8, 2)
    torch.testing.assert_close(image, expected, atol=1e-6, rtol=0)


def test_colours_and_positions_change_the_image_as_differences_say():
    """For a fixed choice of triangles: x, y, w of silhouette vertices, z without effect."""
    vertices, tri = tensors(blob(1, 0))
    views = cameras.orbit([0.0, 120.0], [20.0, -40.0], 2.5, 50.0)
    pos = clip_positions(vertices, views, 1.25).double()
    rast = cpu.rasterize(pos, tri, (8, 10))
    color = torch.rand(2, 8, 10, 2, generator=torch.Generator().manual_seed(0)).double()
    pos.requires_grad_()
    color.requires_grad_()
    image = cpu.antialias(color, rast, pos, tri)
    assert ((image - color).abs() > 1e-3).any(-1).sum() > 20
    assert torch.autograd.gradcheck(
        lambda c, p: cpu.antialias(c, rast, p, tri), (color, pos), fast_mode=True
    )


def test_no_gradient_reaches_the_rasterized_image():
    pos = _rectangle(-0.4, 0.4, -0.5, 0.5)[None]
    rast = cpu.rasterize(pos, QUAD, (8, 8)).requires_grad_()
    color = torch.rand(1, 8, 8, 1, generator=torch.Generator().manual_seed(0)).double()
    assert not cpu.antialias(color, rast, pos, QUAD).requires_grad


def _sheet(n: int) -> tuple[torch.Tensor, torch.Tensor]:
    """A welded flat sheet over more than the image."""
    line = torch.linspace(-1.3, 1.3, n)
    flat = torch.stack(torch.meshgrid(line, line, indexing="xy"), -1).view(-1, 2)
    pos = torch.cat([flat, torch.zeros(n * n, 1), torch.ones(n * n, 1)], 1)
    corner = (torch.arange(n - 1)[:, None] * n + torch.arange(n - 1)).reshape(-1)
    lower = torch.stack([corner, corner + 1, corner + n], 1)
    upper = torch.stack([corner + n + 1, corner + n, corner + 1], 1)
    return pos[None], torch.cat([lower, upper])


def test_inner_edges_are_left_alone_if_vertices_are_shared_and_blended_if_not():
    pos, tri = _sheet(9)
    color = torch.rand(1, 20, 20, 3, generator=torch.Generator().manual_seed(0))
    rast = cpu.rasterize(pos, tri, (20, 20))
    assert torch.equal(cpu.antialias(color, rast, pos, tri), color)
    apart, alone = pos[:, tri.view(-1)], torch.arange(tri.numel()).view(-1, 3)
    again = cpu.rasterize(apart, alone, (20, 20))
    assert torch.equal(again[..., 3], rast[..., 3])
    assert not torch.equal(cpu.antialias(color, again, apart, alone), color)


def test_a_kept_topology_changes_nothing():
    vertices, tri = tensors(blob(2, 3))
    pos = clip_positions(vertices, cameras.orbit(0.0, 0.0, 3.0, 40.0), 1.0)
    assert torch.equal(
        _mask(pos, tri, (32, 32)), _mask(pos, tri, (32, 32), topology=cpu.topology(tri))
    )


def test_silhouettes_of_a_cube_are_its_outline_wherever_the_camera_stands():
    """Seen from a corner six of twelve edges, each in two triangles; diagonals never."""
    box = torch.tensor([[x, y, z] for x in (-1.0, 1) for y in (-1.0, 1) for z in (-1.0, 1)])
    faces = [[0, 1, 3, 2], [4, 6, 7, 5], [0, 4, 5, 1], [2, 3, 7, 6], [0, 2, 6, 4], [1, 5, 7, 3]]
    tri = torch.tensor([[f[0], f[k], f[k + 1]] for f in faces for k in (1, 2)])
    shared = cpu.topology(tri)
    assert shared.edges == 18
    assert (shared.beyond >= 0).all()
    assert torch.equal(shared.beyond.view(-1)[shared.beyond.view(-1)], torch.arange(36))
    for angles, count in (((40.0, 30.0), 6), ((45.0, 0.0), 6), ((0.0, 0.0), 4), ((0.0, 20.0), 6)):
        distance = 8.0
        pos = clip_positions(box, cameras.orbit(*angles, distance, 40.0), 1.0)[0]
        assert int(edges.silhouettes(pos, tri, shared).sum()) == 2 * count
    inside = clip_positions(box, cameras.orbit(30.0, 10.0, 0.5, 60.0), 1.0)[0]
    assert not edges.silhouettes(inside, tri, shared).any()


def test_borders_and_edges_of_three_triangles():
    """Three leaves on one edge, seen along it: on both sides of it, or all on one."""
    leaves = torch.tensor(
        [[0.0, -1, 0, 1], [0, 1, 0, 1], [-1, 0, 0, 1], [1, 0, 0, 1], [2, 1, 0, 1]]
    )
    tri = torch.tensor([[0, 1, 2], [0, 1, 3], [1, 0, 4]])
    contour = edges.silhouettes(leaves, tri, cpu.topology(tri))
    assert contour.tolist() == [[True, True, False]] * 3
    right = edges.silhouettes(leaves, tri[1:], cpu.topology(tri[1:]))
    assert right.all()
    assert (cpu.topology(tri).beyond == -1).all()


def _disc(radius: torch.Tensor, subdivisions: int) -> tuple[torch.Tensor, torch.Tensor]:
    """A ball seen from far away: a disc of this radius in device coordinates."""
    vertices, tri = tensors(trimesh.creation.icosphere(subdivisions))
    scaled = vertices.double() * torch.stack([radius, radius, radius * 0.5])
    return torch.cat([scaled, torch.ones(len(scaled), 1).double()], 1)[None], tri


@pytest.mark.parametrize("subdivisions", [3, 5])
def test_a_fine_balls_outline_is_found_by_following_the_surface(subdivisions):
    """20,480 triangles at 64 pixels, two to a pixel: coverage pi r^2 / 4, its derivative pi r / 2.

    By the edges of the triangle at the pixel alone, as in nvdiffrast, next to nothing is found.
    With 1,280 the outline is a polygon of about 40 sides, 0.4 per cent smaller than the disc.
    """
    radius = torch.tensor(0.7123, dtype=torch.float64, requires_grad=True)
    found = {}
    for followed in (0, FOLLOWED):
        mask = _mask(*_disc(radius, subdivisions), (64, 64), followed=followed)
        (slope,) = torch.autograd.grad(mask.mean(), radius)
        found[followed] = slope.item() / (math.pi * radius.item() / 2)
        if followed:
            assert float(mask.detach().mean()) == pytest.approx(
                math.pi * radius.item() ** 2 / 4, rel=6e-3
            )
    assert found[FOLLOWED] == pytest.approx(1.0, abs=0.05)
    assert found[0] < (0.9 if subdivisions == 3 else 0.1)


def test_large_triangles_need_no_following():
    """A box 40 pixels wide: what differs lies at its corners."""
    vertices, tri = tensors(trimesh.creation.box((0.8, 0.6, 0.7)))
    pos = clip_positions(vertices, cameras.orbit(30.0, 20.0, 2.5, 50.0), 1.0)
    alone, far = (_mask(pos, tri, (128, 128), followed=count) for count in (0, FOLLOWED))
    assert ((alone - far).abs() > 1e-6).sum() <= 6


def test_antialiased_coverage_is_that_of_many_samples():
    """Four in five of the errors go; a mean over 8 x 8 samples a pixel is exact to 1/8."""
    vertices, tri = tensors(blob(4, 5))
    pos = clip_positions(vertices, cameras.orbit(30.0, 20.0, 2.5, 50.0), 1.0)
    fine = cpu.rasterize(pos, tri, (512, 512))[0, ..., 3] > 0
    exact = fine.double().view(64, 8, 64, 8).mean((1, 3))
    plain = (cpu.rasterize(pos, tri, (64, 64))[0, ..., 3] > 0).double()
    smooth = _mask(pos, tri, (64, 64))[0, ..., 0].double()
    assert (smooth - exact).abs().mean() < 0.2 * (plain - exact).abs().mean()


def test_edges_behind_the_camera_blend_nothing_and_break_nothing():
    """A camera inside and close to the wall of a blob; every gradient is finite."""
    vertices, tri = tensors(blob(3, 2))
    views = cameras.orbit([0.0, 90.0, 10.0], [0.0, 30.0, -70.0], [0.2, 0.4, 0.3], 70.0)
    pos = clip_positions(vertices, views, 1.0).requires_grad_()
    assert pos is not None
    assert (pos[..., 3] < 0).any(1).all()
    rast = cpu.rasterize(pos, tri, (48, 48))
    color = cpu.interpolate(vertices[None], rast, tri)
    image = cpu.antialias(color, rast, pos, tri)
    assert image.isfinite().all()
    (gradient,) = torch.autograd.grad(image.square().sum(), pos)
    assert gradient.isfinite().all()
    low, high = color.amin((1, 2)), color.amax((1, 2))
    assert (image >= low[:, None, None] - 0.5).all()
    assert (image <= high[:, None, None] + 0.5).all()
