"""The page's choice of stage, its boundary between columns, its models, in a browser."""

from pathlib import Path
from typing import Any

import pytest
import synthetic_results as synthetic
from browser import Open, needs_browser, save, seen_in, wait_until
from gallery_pages import write

pytestmark = needs_browser
CAR = synthetic.prompt_id("a red car") + ".0"


@pytest.fixture
def opened(visit: Open, page_file: Path) -> Open:
    """Opens the page at what its address names."""

    def open_page(hash_: str = "", **options: Any) -> Any:
        return visit(page_file, hash_, **options)

    return open_page


@pytest.fixture(scope="module")
def page_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("stages")
    write(root, synthetic.write_stages(root, size=16), synthetic.COLUMNS)
    return root / "page.html"


def test_the_stage_switch_shows_the_pictures_and_scores_of_that_stage(opened: Open) -> None:
    page = opened("#" + CAR)
    visible = (
        f"[...document.querySelectorAll(`[id='{CAR}'] .cell`)].filter(c => c.checkVisibility())"
    )
    assert page.evaluate(visible + ".map(c => c.dataset.at)") == ["0"] * 4
    page.keyboard.press("s")
    assert page.evaluate(visible + ".map(c => c.dataset.at)") == ["1"] * 4
    assert page.get_attribute("[data-set-stage='1']", "aria-pressed") == "true"
    turning = "[...document.querySelectorAll('.turning')].map(e => e.dataset.src)"
    # those that have scrolled out of sight stop a moment later
    wait_until(page, turning + ".length > 3")
    wait_until(page, turning + ".every(sheet => sheet.includes('/nerf/'))")
    page.click("[data-set-stage='0']")
    assert page.evaluate(visible + ".map(c => c.dataset.at)") == ["0"] * 4


def test_two_columns_under_one_boundary(opened: Open) -> None:
    page = opened("#" + CAR)
    page.keyboard.press("c")
    assert page.evaluate("document.activeElement.id") == "boundary"
    assert page.locator("#compare-title").inner_text() == "a red car"
    page.select_option("#right", label="vsd")
    page.select_option("#picture", "front")
    wait_until(page, "[...document.querySelectorAll('.pane img')].every(i => i.complete)")

    def at(value: int) -> Any:
        page.locator("#boundary").fill(str(value))
        picture = seen_in(page.locator(".wipe")).astype(int)
        third = picture.shape[0] // 3
        return picture[third : 2 * third]  # below the knob and above it all is picture

    right, left, middle = at(0), at(100), at(50)
    save(middle.astype("uint8"), "wipe")
    half = right.shape[1] // 2
    assert abs(right - left).max() > 60
    assert abs(middle[:, : half - 40] - left[:, : half - 40]).max() < 12
    assert abs(middle[:, half + 40 : -9] - right[:, half + 40 : -9]).max() < 12
    page.keyboard.press("j")
    assert page.locator("#compare-title").inner_text() != "a red car"
    page.keyboard.press("k")
    page.wait_for_timeout(300)
    address = page.url.partition("#")[2]
    page.keyboard.press("Escape")
    assert not page.locator("#compare").is_visible()
    assert page.evaluate("document.activeElement.closest('tbody').id") == CAR
    again = opened("#" + address)
    assert again.locator("#compare").is_visible()
    assert again.evaluate("[left.value, right.value, picture.value]") == ["0", "3", "front"]


def test_models_open_from_the_keyboard_and_close_with_escape(opened: Open) -> None:
    page = opened("#" + CAR)
    page.wait_for_timeout(300)
    assert not [a for a in page.asked if a.endswith(".js")]
    button = page.locator(f"[id='{CAR}'] button.model").nth(1)
    button.focus()
    page.keyboard.press("Enter")
    wait_until(page, "document.querySelector('model-viewer')?.loaded")
    viewer = page.locator("model-viewer")
    assert viewer.get_attribute("alt") == "“a red car” by csd as a 3D model"
    assert viewer.get_attribute("interpolation-decay") == "0"  # reduced motion
    wait_until(page, "document.querySelector('model-viewer').getCameraOrbit().theta < 0.01")
    picture = seen_in(viewer)
    save(picture, "gallery_model")
    ground = picture[3, 3].astype(int)
    drawn = abs(picture.astype(int) - ground).max(-1) > 40
    assert 0.1 < drawn.mean() < 0.9
    red = picture[drawn].mean(0)
    assert red[0] > 2 * red[2]  # a red thing
    page.keyboard.press("Escape")
    assert page.locator("model-viewer").count() == 0
    assert page.evaluate("document.activeElement.dataset.alt").endswith("by csd as a 3D model")
    page.keyboard.press("v")
    wait_until(page, "document.querySelectorAll('model-viewer').length === 4")
    page.keyboard.press("Escape")
    assert page.locator("model-viewer").count() == 3
