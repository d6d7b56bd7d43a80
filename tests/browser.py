"""Pages in a real Chromium, opened from files: what they say, ask for and show.

The fixtures are for tests that ask for them by importing this module's names.
"""

import io
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
needs_browser = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on PATH or in $CHROMIUM")
ARGUMENTS = [
    "--no-sandbox", "--disable-background-networking", "--no-first-run",
    "--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader",
]  # fmt: skip
LOCAL = ("file:", "data:", "blob:")
LATE = "rAF timed out"  # the viewer's library, where a busy machine draws no frame in time
WIDE = {"viewport": {"width": 1400, "height": 900}, "reduced_motion": "reduce"}

Open = Callable[..., Any]


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """One Chromium for the pages of a test file: two at once are refused."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield found
        found.close()


@pytest.fixture
def visit(browser: Any) -> Iterator[Open]:
    """Opens a file's page; keywords are the browser context's. `page.asked` holds the addresses.

    At the end no console message, error, failed request or request to a network may have been seen.
    """
    seen: list[str] = []
    contexts = []

    def opened(file: Path, hash_: str = "", **options: Any) -> Any:
        context = browser.new_context(**(WIDE | options))
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(20_000)
        page.asked = []
        page.on("request", lambda r: page.asked.append(r.url))
        page.on("console", lambda m: LATE in m.text or seen.append(f"{m.type}: {m.text}"))
        page.on("pageerror", lambda e: seen.append(str(e)))
        page.on("requestfailed", lambda r: seen.append(f"failed: {r.url}"))
        page.on("request", lambda r: r.url.startswith(LOCAL) or seen.append(r.url))
        page.goto(file.as_uri() + hash_)
        page.said = seen
        return page

    yield opened
    for context in contexts:
        context.close()
    assert seen == []


def wait_until(page: Any, expression: str) -> None:
    """Returns when it holds; Playwright's own waiting needs eval, which a page's policy forbids."""
    for _ in range(600):
        if page.evaluate(expression):
            return
        page.wait_for_timeout(100)
    raise AssertionError(f"still not: {expression}")


def seen_in(locator: Any) -> np.ndarray:
    """What stands there on the screen, (h, w, 3) of 0 to 255."""
    picture = locator.screenshot(timeout=60_000)
    return np.asarray(Image.open(io.BytesIO(picture)).convert("RGB"))


def save(picture: np.ndarray, name: str) -> None:
    """Keeps a picture to look at, where $SCREENSHOTS names a folder."""
    if folder := os.environ.get("SCREENSHOTS"):
        Image.fromarray(picture).save(Path(folder) / f"{name}.png")


def faults(page: Any) -> list[str]:
    """What page_audit.js finds wrong with the page as it stands."""
    script = Path(__file__).with_name("page_audit.js").read_text(encoding="utf-8")
    return page.evaluate(script)
