"""A contact sheet holds one tile per run, its views side by side; blind, it tells nothing but a
number.

    python -m reports.contact_sheet --runs results/mini/runs --task geometry --out sheet.png
    python -m reports.contact_sheet --runs ROOT --out sheet.png --blind --seed 7 --key key.json

Labelled: prompts as rows, columns as columns. Blind: the same tiles shuffled and numbered, so that
a reader who knows neither prompt nor method can name what each shows; the key says which was which.
"""

import argparse
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8

from pipeline.artifacts import SCHEMA_VERSION, sha256, write_json, write_png
from reports.records import VIEWS, ReportError, Run, choose_stage, find_runs, reported

Image = UInt8[np.ndarray, "h w 3"]
PAPER, INK, MUTED = (255, 255, 255), (27, 31, 36), (104, 110, 120)
GAP = 12  # pixels between tiles


def composited(path: Path, *, size: int, background: float) -> UInt8[np.ndarray, "size size 3"]:
    """The RGBA or RGB image in `path` over a grey of `background` in [0, 1], resized to `size`.

    Compositing and resizing are done premultiplied, so that no colour of transparent pixels leaks
    in.
    """
    from PIL import Image as Pillow

    with Pillow.open(path) as file:
        pixels = np.asarray(file.convert("RGBA"), dtype=np.float32) / 255
    alpha = pixels[..., 3:]
    flat = pixels[..., :3] * alpha + background * (1 - alpha)
    image = Pillow.fromarray((flat * 255 + 0.5).astype(np.uint8))
    if image.size != (size, size):
        image = image.resize((size, size), Pillow.Resampling.BICUBIC)
    return np.asarray(image)


def placeholder(size: int, background: float) -> UInt8[np.ndarray, "size size 3"]:
    """A flat grey with a diagonal: the picture of a run that has none."""
    image = np.full((size, size, 3), int(background * 255 + 0.5), dtype=np.uint8)
    rows = np.arange(size)
    image[rows, rows] = image[rows, size - 1 - rows] = int((background * 0.8) * 255)
    return image


def tile(run: Run, *, views: Sequence[str], size: int, background: float) -> Image:
    """The run's views side by side, (size, len(views) * size, 3); placeholders for missing ones."""
    paths = [run.picture(view) for view in views]
    images = [
        composited(path, size=size, background=background)
        if path
        else placeholder(size, background)
        for path in paths
    ]
    return np.concatenate(images, axis=1)


def blind(
    runs: Sequence[Run],
    *,
    seed: int,
    views: Sequence[str],
    size: int,
    background: float,
    across: int,
) -> tuple[Image, list[dict[str, Any]]]:
    """(sheet, key): the runs' tiles in an order drawn from `seed`, numbered from 1."""
    order = np.random.default_rng(seed).permutation(len(runs))
    shuffled = [runs[i] for i in order]
    tiles = [tile(run, views=views, size=size, background=background) for run in shuffled]
    width, label = size * len(views) + GAP, 24
    rows = -(-len(tiles) // across)
    sheet = Sheet(across * width + GAP, rows * (size + label + GAP) + GAP)
    for i, picture in enumerate(tiles):
        y, x = GAP + (i // across) * (size + label + GAP), GAP + (i % across) * width
        sheet.text(x, y, str(i + 1), size=15)
        sheet.paste(x, y + label, picture)
    return sheet.array(), [_key_entry(i + 1, run, views) for i, run in enumerate(shuffled)]


def _key_entry(number: int, run: Run, views: Sequence[str]) -> dict[str, Any]:
    names = ("column", "stage", "prompt_id", "prompt", "seed", "status")
    pictures = {view: path for view in views if (path := run.picture(view))}
    hashes = {view: sha256(path) for view, path in pictures.items()}
    return {"tile": number, **{name: run.record[name] for name in names}, "images": hashes}


def labelled(
    runs: Sequence[Run],
    *,
    columns: Sequence[str],
    views: Sequence[str],
    size: int,
    background: float,
) -> Image:
    """Prompts (and seeds) as rows in the order met, `columns` as columns, named at the edge."""
    by_key = {run.key: run for run in runs}
    prompts = {(run.key[1], run.key[2]): run.record["prompt"] for run in runs}
    many_seeds = len({seed for _, seed in prompts}) > 1
    left, top, width = 150, 34, size * len(views) + GAP
    sheet = Sheet(left + len(columns) * width + GAP, top + len(prompts) * (size + GAP) + GAP)
    for j, column in enumerate(columns):
        sheet.text(left + j * width, 10, column, size=15)
    for i, ((prompt_id, seed), prompt) in enumerate(prompts.items()):
        y = top + i * (size + GAP)
        lines = textwrap.wrap(prompt, 18)[: max(1, size // 18 - many_seeds)]
        for k, line in enumerate([*lines, *([f"seed {seed}"] if many_seeds else [])]):
            sheet.text(GAP, y + 2 + 17 * k, line, size=13, colour=INK if k < len(lines) else MUTED)
        for j, column in enumerate(columns):
            run = by_key.get((column, prompt_id, seed))
            if run is None:
                sheet.text(left + j * width, y + 2, "not run", size=13, colour=MUTED)
                continue
            sheet.paste(
                left + j * width, y, tile(run, views=views, size=size, background=background)
            )
            if run.failed:
                told = "not scored" if run.refused else "failed"
                sheet.text(left + j * width + 4, y + 2, told, size=13)
    return sheet.array()


class Sheet:
    """A white canvas in pixels; it holds the half-drawn image and its text's fonts."""

    def __init__(self, width: int, height: int) -> None:
        from PIL import Image as Pillow
        from PIL import ImageDraw

        self._image = Pillow.new("RGB", (width, height), PAPER)
        self._draw = ImageDraw.Draw(self._image)

    def paste(self, x: int, y: int, picture: Image) -> None:
        """`picture` stands with its upper left corner at (x, y)."""
        from PIL import Image as Pillow

        self._image.paste(Pillow.fromarray(picture), (x, y))

    def text(self, x: int, y: int, text: str, *, size: int, colour: tuple[int, ...] = INK) -> None:
        """`text` stands in one line with its upper left corner at (x, y)."""
        import matplotlib
        from PIL import ImageFont

        path = Path(matplotlib.get_data_path(), "fonts/ttf/DejaVuSans.ttf")
        self._draw.text((x, y), text, fill=colour, font=ImageFont.truetype(str(path), size))

    def array(self) -> Image:
        """The canvas as it stands."""
        return np.asarray(self._image)


def select(
    roots: Sequence[Path],
    *,
    task: str,
    columns: Sequence[str] | None,
    prompt_ids: Sequence[str] | None,
    stage: str | None,
) -> list[Run]:
    """The runs of one stage below `roots` that are of `columns` and `prompt_ids`. Raises
    ReportError.
    """
    runs = [run for root in roots for run in find_runs(root, task=task, columns=columns)]
    runs = [run for run in runs if prompt_ids is None or run.record["prompt_id"] in prompt_ids]
    if not runs:
        raise ReportError(f"no run of the prompts {', '.join(prompt_ids or ())}")
    return choose_stage(runs, stage)


def add_selection(parser: argparse.ArgumentParser) -> None:
    """Give `parser` the options that say which runs a sheet shows, and how."""
    parser.add_argument("--runs", type=Path, nargs="+", required=True, help="lists or folders")
    parser.add_argument("--task", default="geometry")
    parser.add_argument("--columns", nargs="+", help="which columns, in this order")
    parser.add_argument("--prompt-ids", nargs="+")
    parser.add_argument("--stage")
    parser.add_argument("--views", nargs="+", choices=VIEWS, default=list(VIEWS))
    parser.add_argument("--size", type=int, default=96, help="pixels a side of one view")
    parser.add_argument("--background", type=float, default=0.75, help="grey in [0, 1]")


def main(arguments: Sequence[str] | None = None) -> None:
    """Write the sheet, and the key of a blind one."""
    parser = argparse.ArgumentParser(prog="reports.contact_sheet", description=__doc__)
    add_selection(parser)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--blind", action="store_true", help="shuffle, number, name nothing")
    parser.add_argument("--seed", type=int, default=0, help="of the blind order")
    parser.add_argument("--across", type=int, default=2, help="blind tiles a row")
    parser.add_argument("--key", type=Path, help="where a blind sheet's key goes")
    args = parser.parse_args(arguments)
    if args.blind and args.key is None:
        parser.error("--blind needs --key FILE, or nobody can ever tell the tiles apart")
    runs = select(
        args.runs,
        task=args.task,
        columns=args.columns,
        prompt_ids=args.prompt_ids,
        stage=args.stage,
    )
    look: dict[str, Any] = {"views": args.views, "size": args.size, "background": args.background}
    if not args.blind:
        columns = args.columns or list(dict.fromkeys(run.key[0] for run in runs))
        write_png(args.out, labelled(runs, columns=columns, **look))
        return
    sheet, tiles = blind(runs, seed=args.seed, across=args.across, **look)
    write_png(args.out, sheet)
    key = {"schema_version": SCHEMA_VERSION, "seed": args.seed, "sheet_sha256": sha256(args.out)}
    write_json(args.key, {**key, "views": args.views, "tiles": tiles})


if __name__ == "__main__":
    reported(main)
