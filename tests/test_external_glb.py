"""GLBs of other systems as our cameras see them: which side is which, and in which colours."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import trimesh
import yaml
from PIL import Image

from metrics.runs import VIEWS
from pipeline import external
from pipeline.artifacts import read_json, read_png
from pipeline.cameras import four_views
from pipeline.external_glb import glb_renderer, read_glb
from pipeline.meshes.colours import display_from_linear
from pipeline.meshes.export_glb import coloured_glb
from pipeline.meshes.mesh import Mesh, MeshError

SIZE = 48
SEEN = {"size": SIZE, "samples": 8, "elevation": 0, "distance": 3.0, "fovy": 40}
SEEN |= {"turntable_frames": 4}
SIDES = {"front": (0, 1), "left": (1, 1), "back": (0, -1), "right": (1, -1)}  # axis and sign
COLOURS = {"front": (0.9, 0.1, 0.1), "left": (0.1, 0.8, 0.1), "back": (0.1, 0.1, 0.9)}
COLOURS |= {"right": (0.8, 0.8, 0.1)}


def box() -> bytes:
    """A box without lid, each side in a colour of its own, as our exporter writes it."""
    vertices, faces, colours = [], [], []
    for view, (axis, sign) in SIDES.items():
        start = len(vertices)
        for a, b in ((-1, -1), (1, -1), (1, 1), (-1, 1)):
            corner = [0.0, 0.0, 0.5 * b]
            corner[axis] = 0.5 * sign
            corner[1 - axis] = 0.5 * a * (sign if axis == 0 else -sign)  # seen from outside
            vertices.append(corner)
            colours.append(COLOURS[view])
        faces += [[start, start + 1, start + 2], [start, start + 2, start + 3]]
    mesh = Mesh(torch.tensor(vertices), torch.tensor(faces))
    return coloured_glb(mesh, torch.tensor(colours))


def card(factor: list[float]) -> bytes:
    """A square that faces glTF's front, its texture's quarters red, green; blue, white."""
    texture = np.zeros((32, 32, 3), dtype=np.uint8)
    texture[:16, :16, 0] = texture[:16, 16:, 1] = texture[16:, :16, 2] = 255
    texture[16:, 16:] = 255
    corners = np.array([[-0.5, -0.5, 0], [0.5, -0.5, 0], [0.5, 0.5, 0], [-0.5, 0.5, 0]])
    material = trimesh.visual.material.PBRMaterial(
        baseColorTexture=Image.fromarray(texture), baseColorFactor=factor
    )
    uv = corners[:, :2] + 0.5
    visual = trimesh.visual.TextureVisuals(uv=uv, material=material)
    mesh = trimesh.Trimesh(corners, [[0, 1, 2], [0, 2, 3]], visual=visual, process=False)
    return mesh.export(file_type="glb")


def seen(path: Path, data: bytes, **axes: str) -> dict[str, np.ndarray]:
    path.write_bytes(data)
    surface = read_glb(path, **({"up": "y", "front": "z", "place": "keep"} | axes))
    pictures = glb_renderer(surface, SIZE)(four_views(3.0, 40.0, elevation_deg=0.0))
    return {view: picture.rgba for view, picture in zip(VIEWS, pictures, strict=True)}


def test_every_side_is_where_it_belongs(tmp_path: Path) -> None:
    views = seen(tmp_path / "box.glb", box())
    for view, colour in COLOURS.items():
        middle = views[view][SIZE // 2, SIZE // 2]
        assert middle == pytest.approx([*colour, 1.0], abs=1e-3), view
        assert views[view][0, 0, 3] == 0.0
    turned = seen(tmp_path / "box.glb", box(), front="x")  # the file's +x becomes the front
    assert turned["front"][SIZE // 2, SIZE // 2, 1] == pytest.approx(0.8, abs=0.02)


def test_textures_stand_upright_and_are_multiplied_in_linear_light(tmp_path: Path) -> None:
    front = seen(tmp_path / "card.glb", card([1.0, 1.0, 1.0, 1.0]))["front"]
    low, high = SIZE // 2 - 5, SIZE // 2 + 5
    found = [front[y, x, :3].round(2).tolist() for y in (low, high) for x in (low, high)]
    assert found == [[1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 1, 1]]
    half = seen(tmp_path / "card.glb", card([0.5, 0.5, 0.5, 1.0]))["front"]
    expected = float(display_from_linear(torch.tensor([0.5] * 3))[0])
    assert half[low, low, 0] == pytest.approx(expected, abs=0.01)
    nothing = seen(tmp_path / "card.glb", card([1.0, 1.0, 1.0, 1.0]))["left"]
    assert nothing[..., 3].max() < 0.6  # on edge


def test_files_without_a_surface_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "points.glb"
    path.write_bytes(trimesh.PointCloud(np.eye(3)).export(file_type="glb"))
    with pytest.raises(MeshError, match="no triangles"):
        read_glb(path, up="y", front="z", place="fit")
    path.write_bytes(box()[:200])
    with pytest.raises(MeshError, match="declares"):
        read_glb(path, up="y", front="z", place="fit")
    path.write_bytes(b"v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 3\n")
    with pytest.raises(MeshError, match="it is OBJ"):
        read_glb(path, up="y", front="z", place="fit")


def test_a_column_of_glbs_has_views_normals_turntable_and_the_mesh(tmp_path: Path) -> None:
    folder = tmp_path / "files"
    folder.mkdir()
    (folder / "a_red_car.glb").write_bytes(box())
    (folder / "a_green_house.glb").write_bytes(b"glTF but no more than that")
    spec = {"task": "geometry", "source": "a test", "licence": "CC0-1.0", "form": "glb"}
    spec |= {"folder": "files", "file": "{slug}.glb"}
    spec["mesh"] = {"up": "y", "front": "z", "place": "fit"}
    (tmp_path / "theirs.yaml").write_text(yaml.safe_dump(spec))
    told = ["--spec", str(tmp_path / "theirs.yaml"), "--column", "theirs", "--preset", "mini"]
    told += ["--task", "geometry", "--prompts", "toy6", "--settings", json.dumps(SEEN)]
    external.main([*told, "--out", str(tmp_path / "out")])
    car = next((tmp_path / "out").glob("a-red-car-*")) / "seed0" / "external"
    assert read_json(car / "run.json")["status"] == "ok"
    assert (car / "mesh.glb").read_bytes() == box()
    left = read_png(car / "views" / "left.png")[SIZE // 2, SIZE // 2]
    assert left == pytest.approx([*COLOURS["left"], 1.0], abs=0.02)
    normal = read_png(car / "views" / "left_normal.png")[SIZE // 2, SIZE // 2]
    assert normal[1] > 0.85  # along the world's y; smooth, as at every welded corner
    listing = read_json(car / "views" / "views.json")
    assert (listing["frames"], listing["fovy"], listing["elevation"]) == (4, 40, 0)
    with Image.open(car / "turntable.webp") as sheet:
        assert sheet.size == (2 * SIZE, 2 * SIZE)
    house = next((tmp_path / "out").glob("a-green-house-*")) / "seed0" / "external"
    assert read_json(house / "run.json")["reason"].startswith("a_green_house.glb: ")
