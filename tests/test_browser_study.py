"""Whole studies answered in a real browser, by keyboard and by mouse; their files analysed."""

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import pandas
import pytest
import study_people as people
import synthetic_results as synthetic
from browser import Open, needs_browser
from study_in_browser import answer_all, by_keyboard, by_mouse, saved, settled

from pipeline import artifacts
from reports.study import __main__ as program
from reports.study import answers

pytestmark = needs_browser
COLUMNS = ("one", "two", "three")
PROMPTS = (synthetic.NASTY[0], synthetic.NASTY[1], synthetic.NASTY[2])
KEPT = "Object.keys(localStorage).length"


@pytest.fixture(scope="module")
def studies(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("a folder #1 %41")
    people.write_runs(root, prompts=PROMPTS, columns=COLUMNS)
    given = ["--runs", str(root / "runs"), "--columns", *COLUMNS, "--size", "32", "--seed", "1"]
    given += ["--forms", "4", "--trials", "2", "--checks", "1", "--repeats", "1"]
    for name, options in {
        "pairs": ["--minimum-ms", "0"],
        "best": ["--minimum-ms", "0", "--reading", "best", "--single-file"],
        "slow": ["--minimum-ms", "60000"],
    }.items():
        program.main(["build", *given, *options, "--out", str(root / name)])
    return root


@pytest.fixture
def opened(visit: Open, studies: Path) -> Open:
    """Opens a study by its name."""

    def open_study(name: str = "pairs", hash_: str = "", **options: Any) -> Any:
        settings = {"viewport": {"width": 1280, "height": 800}}
        page = visit(studies / name / "participants" / "study.html", hash_, **settings | options)
        return page

    return open_study


def test_studies_by_keyboard_and_by_mouse_are_analysed(
    opened: Open, studies: Path, tmp_path: Path
) -> None:
    typed, table = by_keyboard(opened(), tmp_path, 2)
    clicked, _ = by_mouse(opened(hash_="#3"), tmp_path)
    study = answers.read_study(studies / "pairs" / "study.json")
    accepted, refused = answers.read_answers([typed, clicked], study)
    assert [s.form for s in accepted] == [2, 3]
    assert not refused
    assert {a["input"] for a in accepted[0].answers} == {"keyboard"}
    assert {a["input"] for a in accepted[1].answers} == {"pointer"}
    expected = [a["shown"] for a in accepted[1].answers]
    chosen = [a["choice"] for a in accepted[1].answers]
    assert chosen == [shown[i % 2] for i, shown in enumerate(expected)]
    pressed = [a["choice"] for a in accepted[0].answers][:6]
    shown = [a["shown"] for a in accepted[0].answers][:6]
    places = (0, 1, None, 1, 0, None)
    wanted = ["same" if k is None else s[k] for k, s in zip(places, shown, strict=True)]
    assert pressed == wanted

    rows = list(csv.DictReader(table.open(encoding="utf-8", newline="")))
    assert len(rows) == 12
    for row, answer in zip(rows, accepted[0].answers, strict=True):
        assert (row["trial"], row["choice"]) == (answer["trial"], answer["choice"])
        assert int(row["rt_ms"]) == answer["rt_ms"]
        assert [row["option_1"], row["option_2"]] == answer["shown"]
        assert row["prompt"] in PROMPTS  # quotes, commas and markup survive

    out = tmp_path / "out"
    own = ["--study", str(studies / "pairs/study.json"), "--key", str(studies / "pairs/key.json")]
    files = [str(typed), str(clicked)]
    program.main(["analyse", *files, *own, "--out", str(out), "--resamples", "50"])
    told = pandas.read_csv(out / "study_responses.csv")
    assert set(told["participant"]) == {s.participant for s in accepted}
    assert len(told) == 24
    assert (told["kind"] == "main").sum() == 8


def test_best_of_all_in_one_file(opened: Open, studies: Path, tmp_path: Path) -> None:
    """Pictures inside the page: nothing lies beside it, and it is complete."""
    assert [p.name for p in (studies / "best" / "participants").iterdir()] == ["study.html"]
    page = opened("best", "#2")
    page.click("#agree")
    page.click("#start")
    keys = ("1", "2", "3")
    asked = answer_all(
        page, lambda i: page.keyboard.press(keys[i % 3]), lambda: page.click("#continue")
    )
    assert asked == 6
    assert not page.is_visible("#same")
    path, _ = saved(page, page.click, tmp_path)
    study = answers.read_study(studies / "best" / "study.json")
    accepted, refused = answers.read_answers([path], study)
    assert not refused
    chosen = [a["shown"].index(a["choice"]) for a in accepted[0].answers]
    assert chosen == [0, 1, 2, 0, 1, 2]


def test_answers_survive_a_closed_page_and_can_be_revised(opened: Open, tmp_path: Path) -> None:
    page = opened(hash_="#1")
    page.click("#agree")
    page.click("#start")
    for _ in range(2):
        assert settled(page) == "trial"
        page.keyboard.press("1")
    assert settled(page) == "notice"
    page.reload()
    assert page.inner_text("#start") == "Continue"
    assert not page.is_visible("#agree")
    page.click("#start")
    assert settled(page) == "trial"
    assert page.inner_text("#count") == "2 of 6"
    page.keyboard.press("Backspace")  # to the second question of the first trial
    settled(page)
    assert page.inner_text("#count") == "1 of 6"
    assert page.get_attribute(".option >> nth=0", "aria-pressed") == "true"
    page.keyboard.press("2")
    answer_all(page, lambda i: page.keyboard.press("1"), lambda: page.keyboard.press("Enter"))
    path, _ = saved(page, page.click, tmp_path)
    given = artifacts.read_json(path)["answers"]
    assert given[1]["revised"] == 1
    assert given[1]["choice"] == given[1]["shown"][1]
    assert sum(a["revised"] for a in given) == 1
    page.reload()
    assert page.inner_text("#start") == "To my answers"


def test_withdrawing_leaves_nothing_behind(opened: Open) -> None:
    page = opened(hash_="#1")
    page.click("#agree")
    page.click("#start")
    settled(page)
    page.keyboard.press("1")
    settled(page)
    assert page.evaluate(KEPT) == 1
    page.click("#stop")
    page.keyboard.press("1")  # keys do not answer behind the question
    page.click("#stay")
    assert page.is_visible("#trial")
    assert page.inner_text(".step") == "Question 2 of 2"
    page.click("#stop")
    page.click("#withdraw")
    assert page.is_visible("#welcome")
    assert page.evaluate(KEPT) == 0
    assert page.inner_text("#start") == "Start"


def test_nobody_starts_without_a_form_and_consent(opened: Open) -> None:
    page = opened()
    for number in ("", "0", "5", "1.5"):
        page.fill("#form-number", number)
        page.click("#start")
        assert page.inner_text("#form-problem") == "Please give a number from 1 to 4."
    page.fill("#form-number", "4")
    page.click("#start")
    assert page.inner_text("#agree-problem") == "Please confirm this first."
    assert page.is_visible("#welcome")
    assert page.evaluate(KEPT) == 0


def test_an_answer_before_a_look_does_not_count(opened: Open) -> None:
    page = opened("slow", "#1")
    page.click("#agree")
    page.click("#start")
    page.wait_for_selector("#stage:not(.loading) .option")
    page.keyboard.press("1")
    page.locator(".option").first.click()
    assert page.inner_text("#status") == "Take a moment to look first."
    assert page.evaluate(KEPT) == 0
    page.keyboard.press("3")  # no third option: not even a remark
    page.keyboard.press("x")


def test_two_forms_on_one_browser_are_kept_apart(opened: Open) -> None:
    page = opened(hash_="#1")
    page.click("#agree")
    page.click("#start")
    settled(page)
    page.keyboard.press("1")
    settled(page)
    page.goto(page.url.partition("#")[0] + "#2")
    page.reload()
    assert page.inner_text("#start") == "Start"
    page.fill("#form-number", "1")
    assert page.inner_text("#start") == "Continue"
    held = json.loads(page.evaluate("Object.values(localStorage)[0]"))
    assert held["form"] == 1


def test_pictures_are_large_and_everything_fits(opened: Open) -> None:
    for width, height, share in ((1400, 900, 0.42), (1280, 720, 0.33), (390, 844, 0.44)):
        page = opened(hash_="#1", viewport={"width": width, "height": height})
        page.click("#agree")
        page.click("#start")
        assert settled(page) == "trial"
        box = page.locator(".option img").first.bounding_box()
        assert box["width"] >= share * width
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        assert page.evaluate("document.documentElement.scrollHeight <= innerHeight")
        assert page.get_attribute(".option img >> nth=1", "alt") == "Object 2 of 2, four views"
        assert page.evaluate("document.activeElement.id") == "question"


def test_a_missing_picture_is_said_and_not_answered(studies: Path, browser: Any, tmp_path: Path):
    shutil.copytree(studies / "pairs" / "participants", tmp_path / "p")
    for picture in (tmp_path / "p" / "pictures").iterdir():
        picture.unlink()
    context = browser.new_context()
    page = context.new_page()
    page.goto((tmp_path / "p" / "study.html").as_uri() + "#1")
    page.click("#agree")
    page.click("#start")
    page.wait_for_selector("#status.bad")
    assert page.inner_text("#status").startswith("A picture is missing.")
    page.keyboard.press("1")
    assert page.evaluate(KEPT) == 0
    context.close()


def test_without_scripts_it_says_what_it_needs(opened: Open) -> None:
    page = opened(java_script_enabled=False)
    assert page.is_visible("text=scripts are switched off")
    assert not page.is_visible("#start")


def test_text_contrast_is_at_least_aa(opened: Open) -> None:
    pairs = [("--ink", "--paper"), ("--muted", "--paper"), ("--bad", "--bad-wash")]
    pairs += [("--on-accent", "--accent"), ("--ink", "--raised"), ("--muted", "--raised")]
    for scheme in ("light", "dark"):
        page = opened(color_scheme=scheme)
        read = "n => getComputedStyle(document.documentElement).getPropertyValue(n)"
        for front, back in pairs:
            assert contrast(*(page.evaluate(read, n) for n in (front, back))) >= 4.5


def contrast(first: str, second: str) -> float:
    """WCAG 2 contrast ratio of two #rrggbb colours."""

    def luminance(colour: str) -> float:
        channels = [int(colour.strip()[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    high, low = sorted((luminance(first), luminance(second)), reverse=True)
    return (high + 0.05) / (low + 0.05)
