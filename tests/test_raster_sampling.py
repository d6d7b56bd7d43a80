"""Interpolation, textures and projection; gradients by differences.

`gradcheck` in its fast mode compares a random projection of the whole Jacobian.
"""

import functools

import pytest
import torch
import torch.nn.functional as F
from raster_meshes import blob, tensors

from pipeline import cameras
from pipeline.cameras import CameraRanges
from pipeline.raster import cpu, visibility
from pipeline.raster.projection import FAR, NEAR, clip_positions

gradcheck = functools.partial(torch.autograd.gradcheck, fast_mode=True)


def _generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def soup(count: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Triangles of float64 around and partly behind the eye, in two views; unconnected."""
    unit = torch.rand(2, 3 * count, 4, generator=_generator(seed), dtype=torch.float64)
    pos = unit * torch.tensor([3.0, 3, 2, 2]) - torch.tensor([1.5, 1.5, 1, 0.3])
    return pos, torch.arange(3 * count).view(count, 3)


def test_u_and_v_change_with_the_vertices_as_differences_say():
    """x, y, w of whole and of cut triangles, z without effect; float64, coverage unchanged."""
    pos, tri = soup(12)
    rast = cpu.rasterize(pos, tri, (9, 11))
    assert (rast[..., 3] > 0).double().mean() > 0.3
    hidden = pos.reshape(-1, 3, 4)[..., 3].min(1).values < 0
    assert hidden.any()
    pos.requires_grad_()
    assert gradcheck(lambda p: cpu.rasterize(p, tri, (9, 11))[..., :2], (pos,))


def test_depth_and_triangle_have_no_gradient():
    pos, tri = soup(12)
    pos.requires_grad_()
    (gradient,) = torch.autograd.grad(cpu.rasterize(pos, tri, (9, 11))[..., 2:].sum(), pos)
    assert (gradient == 0).all()


def test_interpolated_values_change_with_attributes_and_places_as_differences_say():
    pos, tri = soup(12, 1)
    rast = cpu.rasterize(pos, tri, (7, 8))
    attr = torch.randn(2, pos.shape[1], 3, generator=_generator(), dtype=torch.float64)
    attr.requires_grad_()
    uv = rast[..., :2].clone().requires_grad_()

    def values(attr, uv):
        return cpu.interpolate(attr, torch.cat([uv, rast[..., 2:]], -1), tri)

    assert gradcheck(values, (attr, uv))
    shared = attr[:1].detach().requires_grad_()
    assert gradcheck(lambda a: values(a, uv.detach()), (shared,))


def test_positions_have_a_gradient_through_interpolated_values():
    pos, tri = soup(12, 2)
    attr = torch.randn(1, pos.shape[1], 2, generator=_generator(), dtype=torch.float64)
    pos.requires_grad_()
    assert gradcheck(
        lambda p: cpu.interpolate(attr, cpu.rasterize(p, tri, (7, 8)), tri).sin(), (pos,)
    )


def test_interpolated_values_are_those_of_a_slow_loop_and_one_is_the_mask():
    pos, tri = soup(5, 3)
    rast = cpu.rasterize(pos, tri, (6, 7))
    attr = torch.randn(2, pos.shape[1], 3, generator=_generator(), dtype=torch.float64)
    values = cpu.interpolate(attr, rast, tri)
    for view in range(2):
        for pixel, value in zip(rast[view].view(-1, 4), values[view].view(-1, 3), strict=True):
            u, v, _, number = pixel.tolist()
            expected = torch.zeros(3, dtype=torch.float64)
            if number:
                a, b, c = attr[view][tri[int(number) - 1]]
                expected = u * a + v * b + (1 - u - v) * c
            torch.testing.assert_close(value, expected)
    ones = cpu.interpolate(torch.ones(1, pos.shape[1], 1, dtype=torch.float64), rast, tri)
    mask = (rast[..., 3:] > 0).double()
    torch.testing.assert_close(ones, mask)
    assert (ones[mask == 0] == 0).all()


def test_interpolation_is_correct_in_perspective():
    """On a triangle in space an attribute linear in space is that of the point seen."""
    pos, tri = soup(6, 4)
    plane = torch.tensor([0.3, -1.0, 0.7, 0.2], dtype=torch.float64)
    rast = cpu.rasterize(pos, tri, (8, 8))
    x, y, z, w = cpu.interpolate(pos, rast, tri).unbind(-1)
    seen = rast[..., 3] > 0
    centres = visibility.centres(8, pos.device)
    torch.testing.assert_close((x / w)[seen], centres.expand(2, 8, 8)[seen])
    torch.testing.assert_close((y / w)[seen], centres[:, None].expand(2, 8, 8)[seen])
    torch.testing.assert_close((z / w)[seen], rast[..., 2][seen])
    linear = cpu.interpolate((pos @ plane)[..., None], rast, tri)[..., 0]
    torch.testing.assert_close(linear, torch.stack([x, y, z, w], -1) @ plane)


# grid_sample's name of the boundary; for "wrap" the texture is laid out three by three.
TEXTURES = {"clamp": "border", "zero": "zeros", "wrap": "zeros"}


@pytest.mark.parametrize("boundary", TEXTURES)
@pytest.mark.parametrize("textures", [1, 2])
def test_textures_are_those_of_grid_sample(boundary, textures):
    tex = torch.randn(textures, 5, 7, 3, generator=_generator(), dtype=torch.float64)
    uv = torch.rand(2, 6, 8, 2, generator=_generator(1), dtype=torch.float64) * 2.8 - 0.9
    source, place = tex.permute(0, 3, 1, 2).expand(2, -1, -1, -1), uv
    if boundary == "wrap":
        source, place = source.repeat(1, 1, 3, 3), (uv + 1) / 3
    expected = F.grid_sample(
        source, 2 * place - 1, padding_mode=TEXTURES[boundary], align_corners=False
    )
    actual = cpu.texture(tex, uv, boundary)
    torch.testing.assert_close(actual, expected.permute(0, 2, 3, 1))


@pytest.mark.parametrize("boundary", TEXTURES)
def test_textures_change_with_texels_and_coordinates_as_differences_say(boundary):
    tex = torch.randn(1, 4, 3, 2, generator=_generator(), dtype=torch.float64).requires_grad_()
    uv = torch.rand(2, 3, 4, 2, generator=_generator(1), dtype=torch.float64) * 2.4 - 0.7
    uv.requires_grad_()
    assert gradcheck(lambda t, c: cpu.texture(t, c, boundary), (tex, uv))


def test_texel_centres_lie_half_a_texel_in_and_row_zero_at_v_zero():
    tex = torch.arange(12.0).view(1, 3, 4, 1)
    uv = torch.tensor([[[[0.5 / 4, 0.5 / 3], [3.5 / 4, 0.5 / 3], [0.5 / 4, 2.5 / 3]]]])
    assert cpu.texture(tex, uv, "clamp").flatten().tolist() == pytest.approx([0, 3, 8])


def test_wrong_textures_and_attributes_are_named():
    tex, uv = torch.zeros(3, 2, 2, 1), torch.zeros(2, 4, 4, 2)
    with pytest.raises(ValueError, match="unknown boundary 'mirror'; known: wrap, clamp, zero"):
        cpu.texture(tex, uv, "mirror")
    with pytest.raises(ValueError, match="1 or 2 views"):
        cpu.texture(tex, uv, "wrap")
    with pytest.raises(ValueError, match="1 or 2 views"):
        cpu.interpolate(torch.zeros(3, 3, 1), torch.zeros(2, 4, 4, 4), torch.tensor([[0, 1, 2]]))


def test_the_ray_through_a_pixels_centre_hits_what_the_pixel_shows():
    """So row 0 is the top, columns run as in `cameras.rays`, and w is the depth along the axis."""
    ranges = CameraRanges((-180, 180), (-60, 80), (2.0, 3.0), (30, 60))
    views, size = cameras.sample(_generator(), 4, ranges), (37, 52)
    vertices, tri = tensors(blob(4, 6))
    pos = clip_positions(vertices, views, size[1] / size[0])
    rast = cpu.rasterize(pos, tri, size)
    points = cpu.interpolate(vertices[None], rast, tri)
    origins, directions = cameras.rays(views, *size)
    seen = rast[..., 3] > 0
    reach = ((points - origins) * directions).sum(-1, keepdim=True)
    hit = origins + reach * directions
    assert (hit - points)[seen].abs().max() < 1e-5
    depth = cpu.interpolate(pos[..., 3:], rast, tri)[..., 0]
    along = reach[..., 0] * -(directions @ views.c2w[:, None, :3, 2:3])[..., 0]
    torch.testing.assert_close(depth[seen], along[seen], atol=1e-5, rtol=0)


def test_the_planes_of_the_projection_stand_where_they_are_said_to():
    view = cameras.orbit(0.0, 0.0, 100.0, 40.0)
    at = torch.tensor([[100 - NEAR, 0, 0], [100 - FAR, 0, 0], [100 - 7.0, 0, 0]])
    pos = clip_positions(at, view, 1.0)[0]
    torch.testing.assert_close(pos[:, 3], torch.tensor([NEAR, FAR, 7.0]), atol=1e-5, rtol=0)
    torch.testing.assert_close(pos[:2, 2] / pos[:2, 3], torch.tensor([-1.0, 1]), atol=1e-3, rtol=0)
    bounds = clip_positions(at, view, 1.0, near=6.999, far=90.0)[0]
    assert bounds[2, 2] / bounds[2, 3] == pytest.approx(-1, abs=1e-3)


def test_world_positions_have_a_gradient_through_the_projection():
    vertices = torch.rand(5, 3, generator=_generator(), dtype=torch.float64).requires_grad_()
    view = cameras.orbit([20.0, 200.0], 10.0, 3.0, 40.0)
    view = cameras.Cameras(*(getattr(view, name).double() for name in view.__dataclass_fields__))
    assert gradcheck(lambda p: clip_positions(p, view, 1.5), (vertices,))
