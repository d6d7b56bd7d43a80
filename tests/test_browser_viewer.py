"""The model viewer in a real browser, opened from a file: the object's colours, and no network."""

import base64
import hashlib
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import trimesh
from browser import Open, needs_browser, save, seen_in, wait_until

from pipeline.artifacts import ArtifactError
from pipeline.meshes.bake import bake
from pipeline.meshes.export_glb import bare_glb, coloured_glb, textured_glb
from pipeline.meshes.mesh import Mesh
from pipeline.meshes.unwrap import unwrap
from reports import viewer

# Display rgb of a box's sides: bright, dark and middling, so that any curve applied twice shows.
FRONT, LEFT, OTHER = (0.85, 0.25, 0.15), (0.10, 0.55, 0.30), (0.40, 0.40, 0.70)


def sides(position: torch.Tensor) -> torch.Tensor:
    """The colour of the unit box's side that a point lies on."""
    rgb = torch.tensor(OTHER).expand(len(position), 3).clone()
    rgb[position[:, 0] > 0.499] = torch.tensor(FRONT)
    rgb[position[:, 1] > 0.499] = torch.tensor(LEFT)
    return rgb


def models() -> dict[str, bytes]:
    """The box three times: coloured by vertices, by a texture, and not at all."""
    box = trimesh.creation.box((1, 1, 1))
    mesh = Mesh(torch.tensor(box.vertices, dtype=torch.float32), torch.tensor(box.faces))
    corners = mesh.vertices[mesh.faces]
    apart = Mesh(corners.reshape(-1, 3), torch.arange(36).reshape(-1, 3))
    colours = sides(corners.mean(1)).repeat_interleave(3, 0)
    atlas = unwrap(mesh, 64)
    return {
        "coloured": coloured_glb(apart, colours),
        "textured": textured_glb(mesh, atlas, bake(sides, mesh, atlas)),
        "bare": bare_glb(apart),
    }


@pytest.fixture(scope="module")
def page_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("a folder #1")
    library = viewer.write_library(root / "assets").relative_to(root).as_posix()
    buttons = []
    for name, glb in models().items():
        where = f"assets/{name} #1.glb.js"
        key = viewer.write_sidecar(root / where, glb)
        buttons.append(viewer.button(where, library, key=key, alt=f'a "{name}" box'))
    buttons.append(viewer.button("assets/gone.js", library, key="0" * 16, alt="gone"))
    script = viewer.script()
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = viewer.CSP.format(digest=digest)
    page = root / "page.html"
    page.write_text(
        f'<!doctype html><html lang="en"><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
        f"<style>{viewer.style()} div {{ width: 160px; height: 160px; position: relative }}</style>"
        f"<body>{''.join(f'<div>{b}</div>' for b in buttons)}<script>{script}</script>"
    )
    return page


@pytest.fixture
def page(visit: Open, page_file: Path) -> Any:
    return visit(page_file, viewport={"width": 400, "height": 1000})


def show(page: Any, number: int, orbit: str = "0deg 90deg auto") -> np.ndarray:
    """Opens the button of that number and returns what its viewer shows from there, (h, w, 3)."""
    page.locator("button.model").nth(number).click()
    wait_until(page, "document.querySelector('model-viewer')?.loaded")
    return turned(page, orbit)


def turned(page: Any, orbit: str) -> np.ndarray:
    page.evaluate(
        """async orbit => {
            const v = document.querySelector("model-viewer");
            v.cameraOrbit = orbit;
            v.jumpCameraToGoal();
            await v.updateComplete;
            for (let k = 0; k < 4; k++) await new Promise(requestAnimationFrame);
        }""",
        orbit,
    )
    return seen_in(page.locator("model-viewer").first)


def middle(picture: np.ndarray) -> np.ndarray:
    """The mean colour of a patch in the middle, in [0, 1]."""
    h, w, _ = picture.shape
    return picture[h // 2 - 5 : h // 2 + 5, w // 2 - 5 : w // 2 + 5].mean((0, 1)) / 255


@needs_browser
def test_the_viewer_shows_a_coloured_object_and_loads_nothing_before(page: Any) -> None:
    page.wait_for_timeout(300)
    assert [a.rpartition("/")[2] for a in page.asked] == ["page.html"]
    assert page.locator("model-viewer").count() == 0
    front = show(page, 0)
    files = [a.rpartition("/")[2] for a in page.asked if a.startswith("file:")]
    assert sorted(files) == ["coloured%20%231.glb.js", viewer.LIBRARY, "page.html"]
    assert page.locator("model-viewer").get_attribute("alt") == 'a "coloured" box'
    np.testing.assert_allclose(middle(front), FRONT, atol=0.012)  # three levels of 255
    assert (front[2, 2] == 255).all()  # the page's white shows beside the box
    assert 0.1 < (front < 250).any(2).mean() < 0.9
    np.testing.assert_allclose(middle(turned(page, "90deg 90deg auto")), LEFT, atol=0.012)
    np.testing.assert_allclose(middle(turned(page, "0deg 1deg auto")), OTHER, atol=0.012)
    page.locator(".model-close").click()
    assert page.locator("model-viewer").count() == 0
    assert page.evaluate("document.activeElement.dataset.alt") == 'a "coloured" box'
    save(front, "viewer_coloured")


@needs_browser
def test_the_viewer_shows_a_texture_as_it_is_and_lights_a_bare_shape(page: Any) -> None:
    textured = show(page, 1, "20deg 75deg auto")
    np.testing.assert_allclose(middle(textured), FRONT, atol=0.012)
    page.locator(".model-close").click()
    bare = show(page, 2, "30deg 60deg auto")
    inside = bare[(bare < 250).any(2)]
    assert inside.std(0).max() > 5  # its sides differ
    assert (np.ptp(inside.astype(int), axis=1) < 12).mean() > 0.95  # grey
    save(textured, "viewer_textured")
    save(bare, "viewer_bare")


@needs_browser
def test_a_closed_model_leaves_nothing_and_opens_again(page: Any) -> None:
    page.evaluate(
        "() => { window.held = 0; const { createObjectURL, revokeObjectURL } = URL;"
        "URL.createObjectURL = (b) => { held += 1; return createObjectURL.call(URL, b); };"
        "URL.revokeObjectURL = (a) => { held -= 1; revokeObjectURL.call(URL, a); } }"
    )
    show(page, 0)
    assert page.evaluate("held") >= 1
    page.keyboard.press("Escape")
    assert page.locator("model-viewer").count() == 0
    wait_until(page, "held === 0")
    assert page.locator("script[src*='glb']").count() == 0
    front = show(page, 0)
    np.testing.assert_allclose(middle(front), FRONT, atol=0.012)


@needs_browser
def test_open_models_turn_together(page: Any) -> None:
    show(page, 0)
    page.locator("button.model").nth(0).click()  # the first is open: this is the textured one
    wait_until(
        page, "[...document.querySelectorAll('model-viewer')].filter(v => v.loaded).length == 2"
    )
    page.locator(".model-close").first.focus()
    page.keyboard.press("Tab")
    for _ in range(4):
        page.keyboard.press("ArrowRight")
    wait_until(page, "document.querySelector('model-viewer').getCameraOrbit().theta != 0")
    page.wait_for_timeout(500)
    angles = "[...document.querySelectorAll('model-viewer')].map(v => v.getCameraOrbit().theta)"
    first, second = page.evaluate(angles)
    assert first == pytest.approx(second, abs=1e-3)
    assert abs(first) > 0.05


@needs_browser
def test_a_missing_file_is_said(page: Any) -> None:
    page.locator("button.model").nth(3).click()
    wait_until(page, "document.querySelectorAll('.model')[3].textContent.includes('missing')")
    assert page.locator("model-viewer").count() == 0
    assert page.locator("button.model").count() == 4
    page.said.clear()  # the browser names the file on its console


def test_sidecars_hold_the_model_and_refuse_other_files(tmp_path):
    glb = models()["coloured"]
    key = viewer.write_sidecar(tmp_path / "a.glb.js", glb)
    text = (tmp_path / "a.glb.js").read_text()
    assert text.startswith(f'registerModel("{key}","')
    assert base64.b64decode(text.split('"')[3]) == glb
    assert key == hashlib.sha256(glb).hexdigest()[:16]
    with pytest.raises(ArtifactError, match="not a GLB"):
        viewer.write_sidecar(tmp_path / "b.glb.js", b"hello")


def test_a_changed_library_is_not_handed_on(tmp_path, monkeypatch):
    viewer.write_library(tmp_path / "out")
    assert len(list((tmp_path / "out").iterdir())) == 3
    shutil.copytree(viewer.VENDOR, tmp_path / "vendor")
    (tmp_path / "vendor" / viewer.LIBRARY).write_text("fetch('https://example.org')")
    monkeypatch.setattr(viewer, "VENDOR", tmp_path / "vendor")
    with pytest.raises(ArtifactError, match="sha256"):
        viewer.write_library(tmp_path / "again")


def test_buttons_escape_what_they_are_given():
    text = viewer.button("a/<b>.js", "l q#.js", key="k", alt='"><script>')
    assert "<script>" not in text
    assert 'data-model="a/%3Cb%3E.js"' in text
    assert 'data-library="l%20q%23.js"' in text
