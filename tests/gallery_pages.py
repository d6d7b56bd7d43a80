"""Pages of the gallery as tests write and read them."""

from collections.abc import Sequence
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pandas
import synthetic_results as synthetic

from pipeline import artifacts
from reports import gallery

COLUMNS = list(synthetic.COLUMNS)


def build(results: Path, out: Path, *options: str) -> str:
    where = ["--runs", str(results / "runs"), "--tables", str(results / "tables")]
    gallery.main(
        [*where, "--preset-name", "mini", "--columns", *COLUMNS, "--out", str(out), *options]
    )
    return out.read_text(encoding="utf-8")


def write(root: Path, options: list[str], columns: Sequence[str], name: str = "page.html") -> str:
    out = root / name
    given = ["--preset-name", "mini", "--columns", *columns, "--out", str(out)]
    gallery.main([*options, *given])
    return out.read_text(encoding="utf-8")


class Reader(HTMLParser):
    """Collects what a browser would see: elements with attributes, and text outside of scripts."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.text, self.scripts, self._inside = "", [], ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))
        if tag in ("script", "style"):
            self._inside = tag

    def handle_endtag(self, tag: str) -> None:
        if tag == self._inside:
            self._inside = ""

    def handle_data(self, data: str) -> None:
        if self._inside == "script":
            self.scripts.append(data)
        elif not self._inside:
            self.text += data


SMALL: dict[str, Any] = {"prompts": synthetic.PLAIN[:2], "failures": False, "size": 8}
PAIR = ("csd", "vsd")


def scores_of(root: Path, name: str) -> pandas.DataFrame:
    return artifacts.read_table(root / "tables" / name / "scores", "scores")
