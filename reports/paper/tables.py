"""A table as Markdown, HTML and picture: cells are text, a number above its interval.

A cell may hold several lines. Columns of numbers are centred; those in `words` run from the left
and wrap.
"""

import html
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.artifacts import write_text
from reports.gradient_norms import INK, RULE
from reports.paper.files import styled, write_figure
from reports.paper.pictures import MUTED

if TYPE_CHECKING:
    import pandas
    from matplotlib.figure import Figure

CHARACTER, LINE = 0.068, 0.165  # inches of a character and of a line at 8 points
CSS = """
body { font: 15px/1.45 system-ui, sans-serif; margin: 2rem auto; max-width: 70rem; padding: 0 1rem;
  color: #1b1f24; background: #fff; color-scheme: light dark; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; margin: 1rem 0; }
caption { text-align: left; font-weight: 600; padding: .4rem 0; }
th, td { padding: .35rem .7rem; text-align: center; border-bottom: 1px solid #d8dbe0; }
.words { text-align: left; max-width: 26rem; } td small { color: #59616b; display: block; }
p { max-width: 60rem; } .wide { overflow-x: auto; }
@media (prefers-color-scheme: dark) { body { color: #e6e8eb; background: #15181c; }
  th, td { border-color: #3a4048; } td small { color: #a5adb8; } }
"""


@dataclass(frozen=True)
class Table:
    """A title, heads (one a column), rows of cells, and the columns that hold words."""

    title: str
    heads: Sequence[str]
    rows: Sequence[Sequence[str]]
    words: frozenset[int] = field(default_factory=frozenset)
    wrap: int = 44  # characters of a line of words


def markdown(tables: Sequence[Table], notes: Sequence[str]) -> str:
    """The tables, then the notes as paragraphs."""
    parts = []
    for table in tables:
        rows = [table.heads, *table.rows]
        lines = [f"| {' | '.join(_one_line(cell) for cell in row)} |" for row in rows]
        lines.insert(1, "|" + "---|" * len(table.heads))
        parts.append("\n".join([f"**{table.title}**", "", *lines]))
    return "\n\n".join([*parts, *notes]) + "\n"


def _one_line(cell: str) -> str:
    first, *rest = cell.split("\n")
    text = f"{first} ({' '.join(rest)})" if rest else first
    return text.replace("|", "\\|")


def page(title: str, tables: Sequence[Table], notes: Sequence[str]) -> str:
    """The tables as a page that needs no other file; a cell's further lines are small."""
    body = "".join(_html_table(table) for table in tables)
    told = "".join(f"<p>{html.escape(note)}</p>" for note in notes)
    head = f'<meta charset="utf-8"><title>{html.escape(title)}</title><style>{CSS}</style>'
    head += '<meta name="viewport" content="width=device-width">'
    return (
        f'<!doctype html><html lang="en"><head>{head}</head><body><main>'
        f"<h1>{html.escape(title)}</h1>{body}{told}</main></body></html>\n"
    )


def _html_table(table: Table) -> str:
    def cell(tag: str, i: int, text: str) -> str:
        first, *rest = text.split("\n")
        small = f"<small>{html.escape(' '.join(rest))}</small>" if rest else ""
        kind = ' class="words"' if i in table.words else ""
        kind += ' scope="col"' if tag == "th" else ""
        return f"<{tag}{kind}>{html.escape(first)}{small}</{tag}>"

    rows = [("th", table.heads), *(("td", row) for row in table.rows)]
    lines = [f"<tr>{''.join(cell(tag, i, t) for i, t in enumerate(row))}</tr>" for tag, row in rows]
    caption = f"<caption>{html.escape(table.title)}</caption>"
    return f'<div class="wide"><table>{caption}{"".join(lines)}</table></div>'


def drawn(tables: Sequence[Table]) -> "Figure":
    """The tables as a picture, one below the other. Call inside `styled`."""
    from matplotlib.figure import Figure

    grids = [_lines(table) for table in tables]
    widths = [_widths(grid) for grid in grids]
    heights = [[(max(len(cell) for cell in row) + 0.7) * LINE for row in grid] for grid in grids]
    width = max([sum(own) for own in widths] + [len(t.title) * CHARACTER * 1.25 for t in tables])
    width += 0.3
    height = sum(sum(own) + 0.55 for own in heights)
    figure = Figure(figsize=(width, height))
    y = height
    for table, grid, own, tall in zip(tables, grids, widths, heights, strict=True):
        bold: Any = {"fontweight": "bold", "fontsize": 9.5, "va": "top"}
        figure.text(0.15 / width, (y - 0.12) / height, table.title, **bold)
        y -= 0.4
        for i, (row, up) in enumerate(zip(grid, tall, strict=True)):
            _draw_row(figure, table, row, own, y - up / 2, head=i == 0)
            y -= up
            line: Any = {"color": INK if i in (0, len(grid) - 1) else RULE, "linewidth": 0.6}
            _rule(figure, (0.15 / width, (0.15 + sum(own)) / width), y / height, line)
        y -= 0.15
    return figure


def _rule(figure: "Figure", ends: tuple[float, float], y: float, line: Any) -> None:
    from matplotlib.lines import Line2D

    figure.add_artist(Line2D(ends, (y, y), transform=figure.transFigure, **line))


def _lines(table: Table) -> list[list[list[str]]]:
    """Rows of cells of lines, words wrapped."""

    def split(i: int, text: str) -> list[str]:
        lines = text.split("\n")
        if i in table.words:
            lines = [part for line in lines for part in textwrap.wrap(line, table.wrap) or [""]]
        return lines

    rows = [table.heads, *table.rows]
    return [[split(i, text) for i, text in enumerate(row)] for row in rows]


def _widths(grid: Sequence[Sequence[Sequence[str]]]) -> list[float]:
    columns = zip(*grid, strict=True)
    longest = [max(len(line) for cell in column for line in cell) for column in columns]
    return [max(count, 3) * CHARACTER + 0.25 for count in longest]


def _draw_row(
    figure: "Figure",
    table: Table,
    row: Sequence[Sequence[str]],
    widths: Sequence[float],
    middle: float,
    *,
    head: bool,
) -> None:
    width, height = figure.get_size_inches()
    x = 0.15
    for i, (lines, wide) in enumerate(zip(row, widths, strict=True)):
        left = i in table.words
        place = x + 0.05 if left else x + wide / 2
        for k, line in enumerate(lines):
            y = middle + ((len(lines) - 1) / 2 - k) * LINE
            small = k > 0 and not left
            look: Any = {
                "ha": "left" if left else "center",
                "va": "center",
                "fontsize": 7 if small else 8,
                "color": MUTED if small else INK,
                "fontweight": "bold" if head else "normal",
            }
            figure.text(place / width, y / height, line, **look)
        x += wide


def write(
    folder: Path,
    name: str,
    title: str,
    tables: Sequence[Table],
    *,
    numbers: "pandas.DataFrame",
    notes: Sequence[str],
) -> None:
    """NAME.{md,html,png,svg,csv,txt}: `numbers` at full precision in the CSV, notes in the rest."""
    write_text(folder / f"{name}.md", f"# {title}\n\n{markdown(tables, notes)}")
    write_text(folder / f"{name}.html", page(title, tables, notes))
    with styled():
        caption = "\n".join([title, *notes])
        write_figure(drawn(tables), folder, name, table=numbers, caption=caption)
