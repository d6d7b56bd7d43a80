"""What is seen where: against rational arithmetic, ray casting, closed forms, and itself."""

from fractions import Fraction

import numpy as np
import pytest
import torch
import trimesh
from raster_meshes import FILLS, blob, boxes, tensors
from trimesh.ray.ray_pyembree import RayMeshIntersector

from pipeline import cameras
from pipeline.cameras import CameraRanges
from pipeline.raster import cpu, visibility
from pipeline.raster.projection import NEAR, clip_positions


def _exactly(pos: torch.Tensor, tri: torch.Tensor, size: tuple[int, int]) -> list:
    """Per pixel None or (z/w, triangle, u, v): sum_i b_i (x, y, w)_i ~ f solved in fractions."""

    def cross(a, b):
        return [a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]]

    def dot(a, b):
        return sum(one * other for one, other in zip(a, b, strict=True))

    vertices = [[Fraction(float(value)) for value in row] for row in pos]
    seen = []
    for row in range(size[0]):
        for column in range(size[1]):
            f = [Fraction(2 * column + 1, size[1]) - 1, Fraction(2 * row + 1, size[0]) - 1, 1]
            hits = []
            for number, corners in enumerate(tri.tolist()):
                p = [[vertices[k][c] for c in (0, 1, 3)] for k in corners]
                det = dot(p[0], cross(p[1], p[2]))
                if det == 0:
                    continue
                b = [dot(cross(p[k - 2], p[k - 1]), f) / det for k in range(3)]
                if min(b) < 0 or sum(b) == 0:
                    continue
                b = [value / sum(b) for value in b]
                w = dot(b, [one[2] for one in p])
                z = dot(b, [vertices[k][2] for k in corners])
                if w > 0 and abs(z) <= w:
                    hits.append((z / w, number, b[0], b[1]))
            seen.append(min(hits, default=None))
    return seen


def _assert_exact(pos: torch.Tensor, tri: torch.Tensor, size: tuple[int, int], fill) -> None:
    rast = cpu.rasterize_with(fill, pos[None], tri, size).view(-1, 4)
    for actual, expected in zip(rast, _exactly(pos, tri, size), strict=True):
        if expected is None:
            assert actual.tolist() == [0] * 4
        else:
            depth, number, u, v = expected
            assert actual[3] == number + 1
            assert actual[:3].tolist() == pytest.approx([u, v, depth], abs=1e-6)


@pytest.mark.parametrize("fill", FILLS)
@pytest.mark.parametrize("seed", range(4))
def test_random_triangles_around_and_behind_the_eye_are_seen_as_fractions_say(fill, seed):
    """w goes from -1 to 2, z leaves both planes: about half of the triangles are cut."""
    generator = torch.Generator().manual_seed(seed)
    unit = torch.rand(30, 4, generator=generator)
    pos = unit * torch.tensor([4.0, 4, 3, 3]) - torch.tensor([2.0, 2, 1.5, 1])
    _assert_exact(pos, torch.arange(30).view(10, 3), (6, 9), fill)


@pytest.mark.parametrize("fill", FILLS)
@pytest.mark.parametrize("seed", range(3))
def test_centres_on_edges_and_equal_depths_are_decided_as_fractions_say(fill, seed):
    """On a lattice of whole and half pixels; many triangles share edges, planes and corners."""
    generator = torch.Generator().manual_seed(seed)
    pos = torch.zeros(12, 4)
    pos[:, :2] = torch.randint(-9, 10, (12, 2), generator=generator) / 8
    pos[:, 2] = torch.randint(-1, 2, (12,), generator=generator) / 2
    pos[:, 3] = 1
    tri = torch.randint(0, 12, (14, 3), generator=generator)
    _assert_exact(pos, tri, (8, 8), fill)


@pytest.mark.parametrize("fill", FILLS)
def test_no_pixel_falls_between_triangles(fill):
    """A bent sheet over the whole image, its vertices on centres, between them and anywhere."""
    generator = torch.Generator().manual_seed(0)
    n = 18
    grid = torch.stack(torch.meshgrid(torch.arange(n), torch.arange(n), indexing="xy"), -1)
    flat = (2 * grid - 1.0) / 16 - 1
    inner = slice(2, -2)
    flat[inner, inner] += (torch.rand(n - 4, n - 4, 2, generator=generator) - 0.5) / 20
    w = 1 + torch.rand(n, n, 1, generator=generator)
    pos = torch.cat([flat * w, 0.3 * w, w], -1).view(1, -1, 4)
    corner = (torch.arange(n - 1)[:, None] * n + torch.arange(n - 1)).reshape(-1)
    tri = torch.cat(
        [
            torch.stack([corner, corner + 1, corner + n], 1),
            torch.stack([corner + n + 1, corner + n, corner + 1], 1),
        ]
    )
    rast = cpu.rasterize_with(fill, pos, tri, (16, 16))
    assert (rast[..., 3] > 0).all()
    assert (cpu.rasterize_with(fill, pos, tri, (67, 101))[..., 3] > 0).all()


def _cast(mesh: trimesh.Trimesh, views: cameras.Cameras, size: tuple[int, int]):
    """Embree: the number of the first triangle on every pixel's ray (-1: none), where it is hit."""
    origins, directions = (value.reshape(-1, 3).numpy() for value in cameras.rays(views, *size))
    number = RayMeshIntersector(mesh).intersects_first(origins, directions)
    corners = mesh.triangles[number]
    normal = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    distance = ((corners[:, 0] - origins) * normal).sum(1) / (directions * normal).sum(1)
    return number, origins + distance[:, None] * directions


SCENES = {
    "large blob": lambda: blob(2, 0),
    "fine blob": lambda: blob(5, 1),
    "boxes": lambda: boxes(2),
}


@pytest.mark.parametrize("fill", FILLS)
@pytest.mark.parametrize("scene", SCENES)
def test_coverage_triangles_and_places_are_those_of_embree(scene, fill):
    """But for centres that lie on an edge to within float32: fewer than one in a thousand."""
    mesh, size = SCENES[scene](), (60, 84)
    ranges = CameraRanges((-180, 180), (-80, 80), (2.0, 3.5), (30, 60))
    views = cameras.sample(torch.Generator().manual_seed(3), 3, ranges)
    vertices, tri = tensors(mesh)
    pos = clip_positions(vertices, views, size[1] / size[0])
    rast = cpu.rasterize_with(fill, pos, tri, size)
    number, place = _cast(mesh, views, size)
    ours = rast[..., 3].reshape(-1).numpy().astype(int) - 1
    assert ((ours >= 0) != (number >= 0)).mean() < 1e-3
    assert 0.1 < (ours >= 0).mean() < 0.9
    assert (ours != number).mean() < 1e-3
    same = (ours == number) & (ours >= 0)
    inside = cpu.interpolate(vertices[None], rast, tri).reshape(-1, 3).numpy()
    np.testing.assert_allclose(inside[same], place[same], atol=2e-5)


@pytest.mark.parametrize("fill", FILLS)
def test_a_camera_inside_a_room_sees_its_walls_as_embree_does(fill):
    """Most walls reach behind the camera, and one corner of the room is nearer than its centre."""
    room, size = trimesh.creation.box((1.0, 1.4, 1.2)), (40, 56)
    views = cameras.orbit([10.0, 130.0, 250.0], [5.0, -30.0, 60.0], 0.35, 80.0)
    vertices, tri = tensors(room)
    pos = clip_positions(vertices, views, size[1] / size[0])
    assert (pos[..., 3] < 0).any(1).all()
    rast = cpu.rasterize_with(fill, pos, tri, size)
    assert (rast[..., 3] > 0).all()
    number, place = _cast(room, views, size)
    assert (rast[..., 3].reshape(-1).numpy() - 1 == number).mean() > 0.995
    inside = cpu.interpolate(vertices[None], rast, tri).reshape(-1, 3).numpy()
    np.testing.assert_allclose(inside, place, atol=2e-5)


@pytest.mark.parametrize("fill", FILLS)
@pytest.mark.parametrize("extent", [10.0, 1e3, 1e5])
def test_a_ground_that_runs_under_the_camera_is_cut_at_the_near_plane(fill, extent):
    """One triangle at z = -0.02; a ray meets it at depth (z_eye + 0.02) / -d_z times d.forward."""
    corners = torch.tensor([[-2.0, -1, 0], [2, -1, 0], [0, 2, 0]]) * extent
    vertices = corners + torch.tensor([0.0, 0, -0.02])
    views, size = cameras.orbit(40.0, 2.0, 1.0, 70.0), (48, 64)
    pos = clip_positions(vertices, views, size[1] / size[0], far=8.0)
    rast = cpu.rasterize_with(fill, pos, torch.tensor([[0, 1, 2]]), size)
    origins, directions = (value.double() for value in cameras.rays(views, *size))
    reach = (origins[..., 2] + 0.02) / -directions[..., 2]
    depth = reach * -(directions @ views.c2w[0, :3, 2].double())
    seen = (directions[..., 2] < 0) & (depth >= NEAR) & (depth <= 8.0)
    assert 0.2 < seen.double().mean() < 0.6
    assert ((rast[..., 3] > 0) == seen).double().mean() > 0.998
    depths = cpu.interpolate(pos[..., 3:], rast, torch.tensor([[0, 1, 2]]))[..., 0]
    both = seen & (rast[..., 3] > 0)
    error = (depths.double()[both] - depth[both]).abs()
    assert error.max() < 3e-7 * extent + 1e-5, "a few last bits of a vertex in float32"


@pytest.mark.parametrize("fill", FILLS)
def test_triangles_without_area_or_with_broken_vertices_are_not_there(fill):
    good = [[-0.5, -0.5, 0, 1], [0.5, -0.5, 0, 1], [0, 0.6, 0, 1]]
    broken = [[float("nan"), 0, 0, 1], [0, float("inf"), 0, 1], [0.1, 0.2, 0, 0], [0, 0, 0, 0]]
    pos = torch.tensor([*good, *broken, [0.0, -0.5, 0, 1], [-0.5, 0.6, -0.9, 1]])
    tri = torch.tensor([[0, 1, 2]])
    none = [[0, 0, 2], [0, 1, 1], [2, 0, 2], [1, 1, 1], [0, 7, 1], [3, 1, 8], [0, 4, 8], [6, 6, 0]]
    pos = pos[None].requires_grad_()
    rast = cpu.rasterize_with(fill, pos, torch.cat([torch.tensor(none), tri]), (16, 16))
    alone = cpu.rasterize_with(fill, pos, tri, (16, 16))
    assert torch.equal(rast[..., :3], alone[..., :3])
    assert set(rast[..., 3].unique().tolist()) == {0.0, len(none) + 1.0}
    rast[..., :2].sum().backward()
    assert pos.grad is not None
    assert pos.grad.isfinite().all()
    assert pos.grad[0, :3].abs().sum() > 0
    assert (pos.grad[0, 3:] == 0).all()


@pytest.mark.parametrize("fill", FILLS)
def test_slivers_give_finite_numbers(fill):
    """Thin down to float32's last bit; what is drawn lies in the triangle."""
    generator = torch.Generator().manual_seed(5)
    start = torch.rand(300, 1, 2, generator=generator) * 2 - 1
    along = torch.rand(300, 1, 2, generator=generator)
    flat = start + along * torch.tensor([0.0, 0.5, 1.0])[:, None]
    flat += torch.randn(300, 3, 2, generator=generator) * torch.logspace(-9, -2, 300)[:, None, None]
    pos = torch.cat([flat, torch.zeros(300, 3, 1), torch.ones(300, 3, 1)], -1).view(1, -1, 4)
    pos.requires_grad_()
    rast = cpu.rasterize_with(fill, pos, torch.arange(900).view(-1, 3), (128, 128))
    assert len(rast[..., 3].unique()) > 30
    assert rast.isfinite().all()
    assert (rast[..., :2] >= 0).all()
    assert (rast[..., 0] + rast[..., 1] <= 1 + 1e-6).all()
    rast[..., :2].sum().backward()
    assert pos.grad is not None
    assert pos.grad.isfinite().all()


@pytest.mark.parametrize("fill", FILLS)
def test_what_lies_on_the_near_or_far_plane_is_seen(fill):
    corners = torch.tensor([[-1.0, -1], [3, -1], [-1, 3]])
    for z in (-1.0, 1.0, -1.001, 1.001):
        w = torch.tensor([[1.0], [2.0], [3.0]])
        pos = torch.cat([corners * w, z * w, w], 1)[None]
        rast = cpu.rasterize_with(fill, pos, torch.tensor([[0, 1, 2]]), (5, 7))
        assert ((rast[..., 3] == 1) == (abs(z) <= 1)).all()
        assert (rast[..., 2].abs() <= 1).all()


def test_the_work_is_done_in_pieces_without_a_difference(monkeypatch):
    vertices, tri = tensors(boxes(4))
    pos = clip_positions(vertices, cameras.orbit(20.0, 10.0, 2.0, 50.0), 1.0)[0]
    whole = visibility.visible_triangles(pos, tri.long(), (48, 48), visibility.fill_torch)
    monkeypatch.setattr(visibility, "CANDIDATES_AT_ONCE", 101)
    monkeypatch.setattr(visibility, "TRIANGLES_AT_ONCE", 37)
    pieces = visibility.visible_triangles(pos, tri.long(), (48, 48), visibility.fill_torch)
    assert torch.equal(whole, pieces)
    assert (whole >= 0).any()


def test_the_boxes_tried_are_no_larger_than_the_triangles_cut_at_the_near_plane():
    """A wall from before the camera to behind it: a box over the whole image would be correct."""
    wall = torch.tensor([[0.5, -0.5, 1.0, 2], [0.5, 0.5, 1.0, 2], [0.5, 0, -3.0, -2]])
    box = visibility.boxes(
        visibility.corners(visibility.columns(wall), torch.tensor([[0, 1, 2]])), 100, 100
    )
    # x/w is 1/4 at w = 2: column 62 is the first beyond; and 1 where z = -w, at w = 1/2. There
    # y/w is 5/8 on either side, rows 19 to 80; at w = 2 it is less.
    assert box[:, 0].tolist() == [62, 100, 19, 81]


def test_wrong_input_is_named():
    pos, tri = torch.zeros(1, 3, 4), torch.tensor([[0, 1, 2]])
    with pytest.raises(ValueError, match="vertices 0 to 3; pos has 3"):
        cpu.rasterize(pos, torch.tensor([[0, 1, 3]]), (4, 4))
    with pytest.raises(ValueError, match=r"pos must be .*\(3, 4\)"):
        cpu.rasterize(pos[0], tri, (4, 4))
    with pytest.raises(ValueError, match="tri must be integer"):
        cpu.rasterize(pos, tri.float(), (4, 4))


def test_nothing_is_drawn_of_no_mesh_and_no_view():
    none = torch.zeros(0, 3, dtype=torch.int32)
    assert torch.equal(cpu.rasterize(torch.zeros(2, 0, 4), none, (3, 5)), torch.zeros(2, 3, 5, 4))
    one = torch.tensor([[0, 1, 2]])
    assert cpu.rasterize(torch.zeros(0, 3, 4), one, (3, 5)).shape == (0, 3, 5, 4)
    rast = cpu.rasterize(torch.zeros(2, 0, 4), none, (3, 5))
    assert torch.equal(cpu.interpolate(torch.zeros(1, 0, 6), rast, none), torch.zeros(2, 3, 5, 6))
    color = torch.rand(2, 3, 5, 1, generator=torch.Generator().manual_seed(0))
    assert torch.equal(cpu.antialias(color, rast, torch.zeros(2, 0, 4), none), color)
