"""A painted mesh's file in a real browser: the pictures that the field itself shows, all around."""

import base64
import io
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from test_surfaces import texture_of

from pipeline import cameras
from pipeline.surfaces import surface

CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
LIBRARY = Path(__file__).parent.parent / "reports/static/vendor/model-viewer"
ARGUMENTS = [
    "--no-sandbox", "--disable-background-networking", "--no-first-run",
    "--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader",
]  # fmt: skip
SIZE = 160
VIEWS = cameras.four_views(3.0, 40.0, elevation_deg=15.0)
SIDES = [0, 90, 180, 270]


def _page(folder: Path, glb: bytes) -> Path:
    """Four viewers side by side, each with the camera of one view."""
    library = (LIBRARY / "model-viewer-umd.min.js").as_uri()
    data = base64.b64encode(glb).decode()
    free = 'min-camera-orbit="auto auto 0m" max-camera-orbit="Infinity auto 10m"'
    free += ' min-field-of-view="5deg" max-field-of-view="90deg" camera-target="0m 0m 0m"'
    viewers = [
        f'<model-viewer src="data:model/gltf-binary;base64,{data}" shadow-intensity="0" '
        f'interaction-prompt="none" field-of-view="40deg" camera-orbit="{side}deg 75deg 3m" {free} '
        f'style="position:absolute;top:0;left:{i * SIZE}px;width:{SIZE}px;height:{SIZE}px;'
        'background:#fff"><div slot="progress-bar"></div></model-viewer>'
        for i, side in enumerate(SIDES)
    ]
    page = folder / "page.html"
    page.write_text(f'<!doctype html><script src="{library}"></script>{"".join(viewers)}')
    return page


def _screenshot(page: Path) -> np.ndarray:
    """(4, size, size, 3) once all four have drawn the same picture twice."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        opened = browser.new_page(viewport={"width": len(SIDES) * SIZE, "height": SIZE})
        asked: list[str] = []
        opened.on("request", lambda request: asked.append(request.url))
        opened.goto(page.as_uri())
        # or it draws fewer pixels when the machine is slow
        opened.evaluate("customElements.get('model-viewer').minimumRenderScale = 1")
        loaded = "[...document.querySelectorAll('model-viewer')].every(v => v.loaded)"
        opened.wait_for_function(loaded, timeout=60_000)
        before: Any = None
        for _ in range(60):
            opened.wait_for_timeout(500)
            now = opened.screenshot()
            if now == before:
                break
            before = now
        browser.close()
    assert not [a for a in asked if not a.startswith(("file:", "data:", "blob:"))]
    picture = np.asarray(Image.open(io.BytesIO(before)).convert("RGB")) / 255.0
    if folder := os.environ.get("SCREENSHOTS"):
        Image.open(io.BytesIO(before)).save(Path(folder) / "texture.png")
    return picture.reshape(SIZE, len(SIDES), SIZE, 3).transpose(1, 0, 2, 3)


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on PATH or in $CHROMIUM")
def test_the_browser_shows_the_fields_own_pictures_from_all_sides(tmp_path):
    """Silhouettes included, over white: turned, mirrored or twice-curved files are far below."""
    scene = texture_of("car")
    with torch.no_grad():
        own = scene.render(VIEWS, height=SIZE, width=SIZE, background=torch.ones(4, 3))
    shown = _screenshot(_page(tmp_path, surface("texture", scene).glb))
    error = (own.rgb.permute(0, 2, 3, 1).numpy() - shown) ** 2
    value = -10 * np.log10(error.mean((1, 2, 3)))
    print([f"{v:.1f} dB" for v in value])
    assert (value >= 30).all()
