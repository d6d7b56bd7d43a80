"""What the three kinds of scene share: the same field under the same names, the same groups."""

import pytest
import torch

from pipeline import cameras
from pipeline.scenes import colour_field
from pipeline.scenes.mesh import Mesh, MeshSettings
from pipeline.scenes.nerf import Nerf, NerfSettings
from pipeline.scenes.texture import Texture, TextureSettings
from tests.mesh_shapes import NERF

MLP = ["density_hidden", "density_out", "colour_hidden", "colour_out"]
FIELD = {name: NERF[name] for name in ("grid", "half_width", "colour_scale")}
MESH = {
    **{"radius": 1.0, "resolution": 8, "threshold": "auto", "floaters": 0.0},
    **{"normal_consistency": [0.0, 0.0, 1], "laplacian": [0.0, 0.0, 1]},
}
# Names in saved scenes and checkpoints; one that changes makes them unreadable.
OWN = {
    "nerf": {"occupancy.density", "occupancy.extent", "occupancy.mask"},
    "mesh": {"shape.sdf", "shape.deformation"},
    "texture": {"vertices", "faces"},
}


def _scene(kind: str, head: str, background: str, seed: int = 0):
    chosen = {"head": head, "background": background}
    generator = torch.Generator().manual_seed(seed)
    if kind == "nerf":
        return Nerf(NerfSettings.from_mapping({**NERF, **chosen}), generator)
    if kind == "mesh":
        return Mesh(MeshSettings.from_mapping({**FIELD, **MESH, **chosen}), generator)
    return Texture(TextureSettings.from_mapping({**FIELD, **chosen}), generator)


@pytest.mark.parametrize("kind", OWN)
@pytest.mark.parametrize("head", ["sum", "mlp"])
@pytest.mark.parametrize("background", ["given", "environment"])
def test_a_state_has_the_names_under_which_scenes_were_saved(kind, head, background):
    state = set(_scene(kind, head, background).state_dict())
    field = {"head.grid.table"} | ({f"head.{name}" for name in MLP} if head == "mlp" else set())
    around = {f"environment.{name}" for name in ("first", "second", "last")}
    shared = {name for name in state if name.startswith(("head.", "environment."))}
    assert shared == field | (around if background == "environment" else set())
    assert state - shared == OWN[kind]


@pytest.mark.parametrize("head", ["sum", "mlp"])
def test_one_seed_draws_the_same_field_in_every_kind_of_scene(head):
    scenes = [_scene(kind, head, "environment", seed=3) for kind in OWN]
    first = {n: v for n, v in scenes[0].state_dict().items() if n.startswith(("head", "env"))}
    for scene in scenes[1:]:
        state = scene.state_dict()
        assert all(torch.equal(state[name], value) for name, value in first.items())


def test_the_albedo_is_the_sigmoid_of_the_heads_colours_alone():
    raw = torch.tensor([[9.0], [0.0], [1.0], [-2.0]])
    expected = 1 / (1 + torch.exp(-4.0 * torch.tensor([[0.0], [1.0], [-2.0]])))
    torch.testing.assert_close(colour_field.albedo(raw, 4.0), expected)


def test_the_unit_cubes_corners_are_the_fields():
    corners = torch.tensor([[-1.5, 1.5], [0.0, 1.5], [0.75, -1.5]])
    expected = torch.tensor([[0.0, 1.0], [0.5, 1.0], [0.75, 0.0]])
    torch.testing.assert_close(colour_field.unit_cube(corners, 1.5), expected)


def test_an_environment_is_seen_along_each_pixels_ray():
    scene = _scene("texture", "sum", "environment", seed=1)
    views = cameras.four_views(3.0, 40.0)
    seen = colour_field.behind("texture", scene.environment, views, (5, 7), None)
    _, directions = cameras.rays(views, 5, 7)
    for b, y, x in [(0, 0, 0), (1, 4, 6), (3, 2, 1)]:
        expected = scene.environment(directions[b, y, x][:, None])[:, 0]
        torch.testing.assert_close(seen[b, :, y, x], expected)
    given = torch.rand(4, 3, generator=torch.Generator().manual_seed(0))
    flat = colour_field.behind("texture", scene.environment, views, (5, 7), given)
    assert torch.equal(flat, given[:, :, None, None].expand(4, 3, 5, 7))
    with pytest.raises(ValueError, match="nerf with background: given"):
        colour_field.behind("nerf", None, views, (5, 7), None)


def test_groups_hold_every_parameter_once():
    rates = {"sdf": 1.0, "deformation": 2.0, "grid": 3.0, "head": 4.0, "background": 5.0}
    scene = _scene("mesh", "mlp", "environment")
    groups = scene.parameter_groups(rates)
    assert {group["name"]: group["lr"] for group in groups} == rates
    held = [id(p) for group in groups for p in group["params"]]
    assert sorted(held) == sorted(id(p) for p in scene.parameters())
    with pytest.raises(ValueError, match=r"none for \['grid'\], no group \['girder'\]"):
        _scene("texture", "sum", "given").parameter_groups({"girder": 1.0})


def test_wrong_settings_are_named_with_their_scene():
    with pytest.raises(ValueError, match="texture head: 'sums' is not one of sum, mlp"):
        _scene("texture", "sums", "given")
    with pytest.raises(ValueError, match="mesh background: 'blue' is not one of given, env"):
        _scene("mesh", "sum", "blue")
    with pytest.raises(ValueError, match=r"nerf: missing keys \['head'\], unknown keys \['hat'\]"):
        NerfSettings.from_mapping({"hat": 1, **{k: v for k, v in NERF.items() if k != "head"}})
