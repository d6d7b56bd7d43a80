"""Textures on given meshes: pictures against closed forms, what their gradients reach, sameness."""

import math

import pytest
import torch
from torch import Tensor

from pipeline import cameras
from pipeline.artifacts import ArtifactError, save_safetensors
from pipeline.raster.interface import backend
from pipeline.raster.projection import clip_positions
from pipeline.scenes.creases import MOST_FACES, corner_normals
from pipeline.scenes.load import load_scene
from pipeline.scenes.texture import Texture, TextureSettings
from pipeline.toyworld.meshes import box, ellipsoid

SETTINGS = {
    "head": "sum",
    "grid": {
        **{"levels": 3, "features": 4, "log2_entries": 14, "base_resolution": 6},
        "growth": 2.0,
    },
    "half_width": 1.2,
    "colour_scale": 4.0,
    "background": "given",
}
GREY = torch.full((4, 3), 0.3)
VIEWS = cameras.four_views(3.0, 40.0)


def _scaled(solid: tuple[Tensor, Tensor], size: float) -> tuple[Tensor, Tensor]:
    return solid[0] * size, solid[1]


BALL = _scaled(ellipsoid((1.0, 1.0, -1.0), 64), 0.6)
BOX = _scaled(box((1.0, 1.0, 1.0), 0), 0.5)


def _texture(mesh: tuple[Tensor, Tensor], seed: int = 0, **changes) -> Texture:
    generator = torch.Generator().manual_seed(seed)
    scene = Texture(TextureSettings.from_mapping({**SETTINGS, **changes}), generator)
    scene.put_on(*mesh)
    return scene


def test_a_constant_field_shows_its_colour_times_coverage_over_the_background():
    scene = _texture(BALL)
    logits = torch.tensor([0.5, 0.0, -0.3, 0.2])  # density, which nobody sees, then colour
    with torch.no_grad():  # every level interpolates with weights that add up to 1
        scene.head.grid.table.copy_(logits / 3)
    found = scene.render(VIEWS, height=48, width=48, background=GREY)
    colour = torch.sigmoid(4.0 * logits[1:])[:, None, None]
    expected = colour * found.alpha + 0.3 * (1 - found.alpha)
    assert 0.1 < found.alpha.mean() < 0.4
    torch.testing.assert_close(found.rgb, expected, rtol=0, atol=2e-6)
    assert found.normal is None


def test_a_silhouette_is_the_rasterizers_and_a_balls_is_a_disc():
    scene = _texture(BALL)
    size = 96
    alpha = scene.render(VIEWS, height=size, width=size, background=GREY).alpha
    raster = backend("cpu")
    pos = clip_positions(BALL[0], VIEWS, 1.0)
    rast = raster.rasterize(pos, BALL[1], (size, size))
    covered = raster.antialias((rast[..., 3:] > 0).float(), rast, pos, BALL[1])
    torch.testing.assert_close(alpha[:, 0], covered[..., 0].clamp(0, 1))
    angle = math.asin(0.6 / 3.0)  # of the cone that touches the ball
    radius = math.tan(angle) / math.tan(math.radians(20.0)) * size / 2
    areas = alpha.sum((1, 2, 3))
    torch.testing.assert_close(areas, torch.full((4,), math.pi * radius**2), rtol=0.01, atol=0)


def test_distances_and_normals_of_a_ball_are_the_closed_form():
    scene = _texture(BALL)
    found = scene.render(VIEWS, height=48, width=48, background=GREY, normals=True)
    origins, directions = cameras.rays(VIEWS, 48, 48)
    along = -(origins * directions).sum(-1)
    closest = (origins + along[..., None] * directions).norm(dim=-1)
    inside = closest < 0.9 * 0.6
    hit = along - (0.6**2 - closest.square()).clamp_min(0).sqrt()
    assert (found.depth[:, 0] - hit)[inside].abs().max() < 0.01
    radial = (origins + hit[..., None] * directions) / 0.6
    cosine = (found.normal.permute(0, 2, 3, 1) * radial).sum(-1)
    assert cosine[inside].min() > math.cos(math.radians(4.0))
    assert (found.alpha[:, 0][inside] == 1).all()


def test_the_gradient_of_a_picture_is_its_finite_difference():
    scene = _texture(BOX)
    target = torch.rand(4, 3, 24, 24, generator=torch.Generator().manual_seed(1))

    def loss() -> Tensor:
        rgb = scene.render(VIEWS, height=24, width=24, background=GREY).rgb
        return ((rgb - target) ** 2).sum()

    loss().backward()
    table = scene.head.grid.table
    gradient = table.grad.clone()
    direction = torch.randn(table.shape, generator=torch.Generator().manual_seed(2))
    assert gradient[:, 1:].abs().max() > 0
    assert not gradient[:, 0].any()  # of density, which a surface has not
    step = 1e-2 * direction
    with torch.no_grad():
        table += step
        up = loss()
        table -= 2 * step
        down = loss()
    torch.testing.assert_close((up - down) / 2, (gradient * step).sum(), rtol=0.02, atol=0)


def test_edges_of_a_box_are_sharp_and_facets_of_a_ball_are_not_seen():
    normals = corner_normals(*BOX)
    a, b, c = BOX[0][BOX[1]].unbind(1)
    flat = torch.nn.functional.normalize(torch.linalg.cross(b - a, c - a), dim=-1)
    torch.testing.assert_close(normals, flat[:, None].expand(-1, 3, -1))
    coarse = ellipsoid((1.0, 1.0, -1.0), 16)
    radial = coarse[0][coarse[1]]
    # a face turns by 22.5 degrees from its neighbour: its own normal is up to 16 off the radius
    assert (corner_normals(*coarse) * radial).sum(-1).min() > math.cos(math.radians(9.0))
    everything = corner_normals(*BOX, sharp=180.0)  # the mean by area, of one or two halves a side
    assert ((everything * BOX[0][BOX[1]]).sum(-1) > 0.5).all()


def test_normals_at_a_vertex_of_very_many_faces_are_the_faces_own():
    count = MOST_FACES + 1
    angle = torch.arange(count) * (2 * math.pi / count)
    rim = torch.stack([angle.cos(), angle.sin(), torch.zeros(count)], 1)
    here = torch.arange(count)
    faces = torch.stack([here, (here + 1) % count, torch.full_like(here, count)], 1)
    cone = torch.cat([rim, torch.tensor([[0.0, 0.0, 1.0]])])
    found = corner_normals(cone, faces)
    a, b, c = cone[faces].unbind(1)
    flat = torch.nn.functional.normalize(torch.linalg.cross(b - a, c - a), dim=-1)
    torch.testing.assert_close(found[:, 2], flat, rtol=0, atol=1e-5)
    assert (found.norm(dim=-1) - 1).abs().max() < 1e-5


def test_a_state_brings_its_mesh_and_shows_the_same_bits():
    scene, empty = _texture(BALL, seed=1), _texture(BOX, seed=2)
    empty.load_state_dict(scene.state_dict())
    pictures = [
        s.render(VIEWS, height=32, width=32, background=GREY, normals=True) for s in (scene, empty)
    ]
    assert torch.equal(pictures[0].rgb, pictures[1].rgb)
    assert torch.equal(pictures[0].normal, pictures[1].normal)
    assert {"vertices", "faces"} <= set(scene.state_dict())
    assert "normals" not in scene.state_dict()


def test_a_scene_is_loaded_from_a_meshs_folder_then_from_a_run_folder(tmp_path):
    settings = {"scene": {"kind": "texture", **SETTINGS}, "regularizers": {}}
    generator = torch.Generator()
    mesh = {"vertices": BALL[0], "faces": BALL[1]}
    save_safetensors(tmp_path / "mesh" / "mesh.safetensors", mesh, {"status": "ok"})
    scene = load_scene(settings, generator.manual_seed(0), mesh=tmp_path / "mesh")
    save_safetensors(tmp_path / "run" / "scene.safetensors", scene.state_dict(), {})
    again = load_scene(settings, generator.manual_seed(7), tmp_path / "run")
    one, other = (s.render(VIEWS, height=32, width=32, background=GREY).rgb for s in (scene, again))
    assert torch.equal(one, other)
    with pytest.raises(ArtifactError, match="--mesh"):
        load_scene(settings, generator)
    far = {"vertices": BALL[0] * 9, "faces": BALL[1]}
    save_safetensors(tmp_path / "far" / "mesh.safetensors", far, {"status": "ok"})
    with pytest.raises(ArtifactError, match="half_width"):
        load_scene(settings, generator, mesh=tmp_path / "far")


def test_settings_and_calls_that_do_not_fit_are_refused():
    for change in ({"head": "none"}, {"background": "blue"}, {"half_width": 0.0}):
        with pytest.raises(ValueError, match="texture"):
            TextureSettings.from_mapping({**SETTINGS, **change})
    with pytest.raises(ValueError, match=r"unknown keys \['radius'\]"):
        TextureSettings.from_mapping({**SETTINGS, "radius": 1.0})
    scene = _texture(BOX)
    with pytest.raises(ValueError, match="without a background"):
        scene.render(VIEWS, height=8, width=8)
    with pytest.raises(ValueError, match="learning rates: none for"):
        scene.parameter_groups({})
    empty = Texture(TextureSettings.from_mapping(SETTINGS), torch.Generator())
    with pytest.raises(ValueError, match="no mesh"):
        empty.render(VIEWS, height=8, width=8, background=GREY)


@pytest.mark.parametrize("head", ["sum", "mlp"])
def test_groups_hold_every_colour_and_no_geometry(head):
    scene = _texture(BOX, head=head, background="environment")
    rates = {"grid": 0.1, "head": 0.01, "background": 0.001}
    groups = {group["name"]: group for group in scene.parameter_groups(rates)}
    assert set(groups) == ({"grid", "background"} | ({"head"} if head == "mlp" else set()))
    held = {id(p) for group in groups.values() for p in group["params"]}
    assert held == {id(p) for p in scene.parameters()}
    rgb = scene.render(VIEWS, height=16, width=16).rgb
    rgb.square().sum().backward()
    for group in groups.values():
        assert any(p.grad is not None and p.grad.abs().sum() > 0 for p in group["params"])
