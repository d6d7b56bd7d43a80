"""The GLB of a finished scene: the right surface, in the colours that the scene itself shows."""

import math

import numpy as np
import pytest
import torch
import yaml
from other_renderer import loaded, other_render

from pipeline import cameras, config
from pipeline.artifacts import ArtifactError
from pipeline.meshes.mesh import Mesh, vertex_normals
from pipeline.meshes.seams import DEFINITION, seams
from pipeline.meshes.unwrap import save_atlas, unwrap
from pipeline.scenes.load import SCENES
from pipeline.scenes.mesh import Mesh as MeshScene
from pipeline.scenes.mesh import MeshSettings
from pipeline.scenes.texture import Texture, TextureSettings
from pipeline.surfaces import FINE, INSIDE, OUTSIDE, SAMPLES, SURFACES, seen_colours, surface
from pipeline.toyworld import meshes, world
from tests.mesh_shapes import NERF, nerf_of, sphere, toy

VIEWS = cameras.orbit([10.0, 130.0, 250.0], [15.0, 50.0, -20.0], 3.0, 40.0)
SIZE = 96
BLACK = torch.zeros(3, 3)


def _world(data: bytes) -> np.ndarray:
    """The file's vertices in the project's axes."""
    return loaded(data).vertices[:, [2, 0, 1]]


def _psnr(scene, data: bytes) -> float:
    """Of the file, as embree shows it, to the scene's own pictures, where both are opaque."""
    with torch.no_grad():
        own = scene.render(VIEWS, height=SIZE, width=SIZE, background=BLACK)
    theirs, hit = other_render(data, VIEWS, SIZE)
    both = hit & (own.alpha[:, 0].numpy() > 0.999)
    assert both.mean() > 0.75 * float(own.alpha.mean()) > 0.02
    error = (own.rgb.permute(0, 2, 3, 1).numpy()[both] - theirs[both]) ** 2
    value = -10 * math.log10(error.mean())
    print(f"{value:.1f} dB")
    return value


def test_every_kind_of_scene_has_a_surface():
    assert set(SURFACES) == set(SCENES)


# --- radiance fields -----------------------------------------------------------------------------


@pytest.mark.parametrize("solid", [sphere(0.5, (0.2, 0.1, -0.15)), toy()], ids=["sphere", "toy"])
def test_a_fields_surface_lies_where_its_density_rises(solid):
    """Off centre and with a front, so that a turned or mirrored file shows."""
    found = surface("nerf", nerf_of(solid))
    points = torch.tensor(_world(found.glb)).float()
    # The mean of a solid ball's densities is met a little inside; the toy's parts are thinner.
    assert solid(points).abs().max() < 0.07
    shape = loaded(found.glb)
    assert shape.is_watertight
    assert shape.volume > 0
    assert (len(shape.vertices), len(shape.faces)) == tuple(
        found.record[key] for key in ("vertices", "faces")
    )
    assert found.record["colours"] == "vertex"
    assert found.record["seam"] is None


def test_a_solid_field_looks_like_its_file():
    """Colours are linear in the position; a camera sees them a little below the surface."""
    nerf = nerf_of(sphere(0.5, (0.2, 0.1, -0.15)), samples=400)
    assert _psnr(nerf, surface("nerf", nerf).glb) >= 30


def test_seen_colours_are_composited_along_the_normals():
    """Against the sum written out, ray by ray; a soft field, where samples share the light."""
    nerf = nerf_of(sphere(0.4), steepness=12.0, level=2.0)
    ball = Mesh(*meshes.ellipsoid((1.0, 1.0, -1.0), 8))
    shape = Mesh(ball.vertices * 0.4, ball.faces)
    found = seen_colours(nerf, shape)
    step = (OUTSIDE + INSIDE) / SAMPLES
    for vertex in (0, 5, 17):
        through, light, total = 1.0, torch.zeros(3), 0.0
        for k in range(SAMPLES):
            depth = OUTSIDE - (k + 0.5) * step
            point = shape.vertices[vertex] + depth * vertex_normals(shape)[vertex]
            sigma = float(nerf.density(point[:, None]).detach())
            # nerf_of's field: colour logits of twice the position
            weight = through * (1 - math.exp(-sigma * step))
            light += weight * torch.sigmoid(2 * point)
            through *= math.exp(-sigma * step)
            total += weight
        torch.testing.assert_close(found[vertex], light / total, rtol=0, atol=2e-3)
    assert (found - torch.sigmoid(2 * shape.vertices)).abs().max() > 0.01  # not the point's own


def test_what_lies_out_of_the_ball_has_no_colour_to_add():
    """A normal that is bent outwards leaves the grid's cube, beyond which there is no field."""
    nerf = nerf_of(sphere(0.4), steepness=12.0, level=2.0)
    ball = Mesh(*meshes.ellipsoid((1.0, 1.0, -1.0), 8))
    inside_out = Mesh(ball.vertices * 0.999 * nerf.settings.radius, ball.faces.flip(1))
    outwards = (vertex_normals(inside_out) * inside_out.vertices).sum(1)
    assert (outwards < 0).all()
    found = seen_colours(nerf, inside_out)
    assert found.isfinite().all()
    assert (found >= 0).all()
    assert (found <= 1).all()


def test_an_empty_field_has_no_surface():
    assert surface("nerf", nerf_of(lambda points: torch.full(points.shape[:-1], 9.0))) is None


# --- meshes --------------------------------------------------------------------------------------


def _mesh(resolution: int = 24) -> MeshScene:
    field = {k: NERF[k] for k in ("head", "half_width", "background")}
    grid = {**NERF["grid"], "base_resolution": 16}
    settings = {
        **field,
        **{"grid": grid, "colour_scale": 4.0, "radius": 1.0, "resolution": resolution},
        **{"threshold": "auto", "floaters": 0.0},
        **{"normal_consistency": [0.0, 0.0, 1], "laplacian": [0.0, 0.0, 1]},
    }
    generator = torch.Generator().manual_seed(0)
    scene = MeshScene(MeshSettings.from_mapping(settings), generator)
    with torch.no_grad():
        scene.head.grid.table.normal_(0.0, 0.25, generator=generator)
    return scene


def test_a_coarse_mesh_shows_its_fields_colours_all_the_same():
    """Colours vary from node to node of the grid, about as fast as the mesh's edges are long."""
    scene = _mesh()
    found = surface("mesh", scene)
    assert len(scene.mesh().faces) < FINE <= found.record["faces"] < 4 * FINE
    assert _psnr(scene, found.glb) >= 30
    assert found.record["colours"] == "vertex"


def test_a_fine_mesh_keeps_its_vertices():
    scene = _mesh(96)
    points = scene.mesh().vertices
    found = surface("mesh", scene)
    assert found.record["vertices"] == len(points)
    np.testing.assert_array_equal(_world(found.glb), points.numpy())


def test_an_empty_mesh_has_no_surface():
    scene = _mesh()
    scene.shape.fill(torch.ones(scene.shape.grid.nodes))
    assert surface("mesh", scene) is None


# --- textures ------------------------------------------------------------------------------------


def texture_of(shape: str = "car") -> Texture:
    """The miniature's field, with as much colour on every level as a few hundred steps leave."""
    preset = yaml.safe_load((config.PRESETS / "mini.yaml").read_text(encoding="utf-8"))
    spec = {k: v for k, v in preset["stages"]["texture"]["scene"].items() if k != "kind"}
    generator = torch.Generator().manual_seed(0)
    scene = Texture(TextureSettings.from_mapping(spec), generator)
    scene.put_on(*meshes.mesh(world.instances(shape, seed=1, diversity=0.0).parts))
    with torch.no_grad():
        scene.head.grid.table.normal_(0.0, 0.25, generator=generator)
    return scene


def test_a_texture_looks_like_its_field_in_another_renderer():
    scene = texture_of()
    found = surface("texture", scene)
    assert _psnr(scene, found.glb) >= 30
    assert len(found.glb) < 1_500_000
    assert found.record["colours"] == "texture"
    assert found.record["faces"] == len(scene.faces)


def test_an_atlas_made_before_is_taken_and_gives_the_same(tmp_path):
    scene = texture_of("duck")
    mesh = Mesh(scene.vertices, scene.faces)
    atlas = unwrap(mesh, 128)
    save_atlas(tmp_path / "atlas.safetensors", atlas, mesh)
    found = surface("texture", scene, tmp_path)
    assert found == surface("texture", scene, tmp_path)
    assert found.record["texels"] == list(atlas.size)
    assert found.record["seam_definition"] == {"resolution": 128, **DEFINITION}
    image = torch.tensor(np.asarray(loaded(found.glb).visual.material.baseColorTexture) / 255.0)
    again = seams(mesh, atlas, image.float()).record()
    assert found.record["seam"] == pytest.approx(again, rel=0.05)
    with pytest.raises(ArtifactError, match="another mesh"):
        surface("texture", texture_of("house"), tmp_path)
