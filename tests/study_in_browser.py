"""A participant of a study in a browser: answers by keyboard or by mouse, and saves."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

SCREENS = {"stage": "trial", "continue": "notice", "done-title": "done"}


def settled(page: Any) -> str:
    """What stands on the screen once it takes answers."""
    found = page.wait_for_selector(
        "#stage[aria-busy=false]:visible, #continue:visible, #done-title:visible"
    )
    return SCREENS[found.get_attribute("id")]


def answer_all(page: Any, answer: Callable[[int], None], go_on: Callable[[], None]) -> int:
    """Answers until the end; the number of questions."""
    count = 0
    while (where := settled(page)) != "done":
        if where == "notice":
            go_on()
            continue
        answer(count)  # from here on the page is busy until the next question stands
        count += 1
    return count


def saved(page: Any, press: Callable[[str], None], folder: Path) -> tuple[Path, Path]:
    """The two files that the last screen offers."""
    paths = []
    for button in ("#save-json", "#save-csv"):
        with page.expect_download() as download:
            press(button)
        path = folder / download.value.suggested_filename
        download.value.save_as(path)
        paths.append(path)
    return paths[0], paths[1]


def tab_to(page: Any, selector: str) -> None:
    for _ in range(20):
        page.keyboard.press("Tab")
        if page.evaluate("s => document.activeElement.matches(s)", selector):
            return
    raise AssertionError(f"{selector} cannot be reached by Tab")


def by_keyboard(page: Any, folder: Path, form: int) -> tuple[Path, Path]:
    """A whole study without a mouse."""
    tab_to(page, "#form-number")
    page.keyboard.type(str(form))
    tab_to(page, "#agree")
    page.keyboard.press("Space")
    tab_to(page, "#start")
    page.keyboard.press("Enter")
    keys = ("1", "ArrowRight", "0", "2", "ArrowLeft", "ArrowDown")
    asked = answer_all(
        page,
        lambda i: page.keyboard.press(keys[i % len(keys)]),
        lambda: page.keyboard.press("Enter"),
    )
    assert asked == 12  # two of training, two, a check and a repeat; two questions each

    def press(button: str) -> None:
        tab_to(page, button)
        page.keyboard.press("Enter")

    return saved(page, press, folder)


def by_mouse(page: Any, folder: Path) -> tuple[Path, Path]:
    """A whole study without a key; the form's number stands in the address."""
    page.click("#agree")
    page.click("#start")
    answer_all(
        page, lambda i: page.locator(".option").nth(i % 2).click(), lambda: page.click("#continue")
    )
    return saved(page, page.click, folder)
