"""texture.html in a real browser: given meshes bare in the first column, painted in the others."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import synthetic_results as synthetic
from browser import Open, faults, needs_browser, save, seen_in, wait_until

from reports import gallery

pytestmark = needs_browser
COLUMNS = ("csd", "vsd")
CAR = synthetic.prompt_id("a red car") + ".0"
CELLS = (
    f"[...document.querySelectorAll(`[id='{CAR}'] td`)]"
    ".filter(e => e.checkVisibility()).map(e => e.getBoundingClientRect().left)"
)


@pytest.fixture(scope="module")
def page_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("texture")
    made: dict[str, Any] = {"prompts": synthetic.PLAIN[:3], "columns": COLUMNS, "size": 16}
    options = synthetic.write_texture(root, failures=False, **made)
    given = ["--preset-name", "mini", "--columns", *COLUMNS, "--out", str(root / "texture.html")]
    gallery.main([*options, *given])
    return root / "texture.html"


@pytest.fixture
def page(visit: Open, page_file: Path) -> Any:
    return visit(page_file, "#" + CAR)


def test_the_bare_mesh_stands_first_and_stays(page: Any) -> None:
    lefts = page.evaluate(CELLS)
    assert len(lefts) == 3
    assert lefts == sorted(lefts)
    bare = page.locator(f"[id='{CAR}'] td").first
    assert bare.locator("figure img").count() == 4
    page.keyboard.press("1")  # hides csd
    assert len(page.evaluate(CELLS)) == 2
    assert bare.is_visible()
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    page.select_option("#sort", "seam")
    assert page.locator("#sort").input_value() == "seam"
    assert faults(page) == []


def test_the_bare_mesh_turns_beside_the_painted_ones(page: Any) -> None:
    page.keyboard.press("v")
    wait_until(page, "document.querySelectorAll('model-viewer').length == 3")
    wait_until(page, "[...document.querySelectorAll('model-viewer')].every(v => v.loaded)")
    page.wait_for_timeout(500)
    bare, painted = (seen_in(page.locator("model-viewer").nth(i)).astype(int) for i in (0, 1))
    save(bare.astype("uint8"), "texture_bare")
    save(painted.astype("uint8"), "texture_painted")
    colours = []
    for picture in (bare, painted):
        drawn = abs(picture - picture[3, 3]).max(-1) > 12
        assert 0.1 < drawn.mean() < 0.95
        colours.append(np.ptp(picture[drawn], axis=-1))
    assert (colours[0] < 16).mean() > 0.9
    assert (colours[1] > 40).mean() > 0.5


def test_it_fits_a_narrow_dark_window(visit: Open, page_file: Path) -> None:
    page = visit(page_file, viewport={"width": 360, "height": 740}, color_scheme="dark")
    assert page.evaluate("document.documentElement.scrollWidth") == 360
    assert faults(page) == []


def test_without_scripts_normals_and_seams_remain(visit: Open, page_file: Path) -> None:
    page = visit(page_file, java_script_enabled=False)
    assert page.locator(f"[id='{CAR}'] td").first.locator("img").first.is_visible()
    assert page.locator("table.numbers >> text=seam").first.is_visible()
    assert not page.locator("button.model").first.is_visible()
