"""Fig. 2b: what each guidance weight makes of a prompt, a row a prior, with its scores below."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from reports.contact_sheet import GAP, MUTED, Image, Sheet, tile
from reports.metric_names import METRICS
from reports.records import Run

if TYPE_CHECKING:
    import pandas

VIEWS = ("front", "left")
SIZE, LINE = 96, 17
BACKGROUND = 0.75
CAPTION = (
    "Figure 2b in the toy world: the finished objects, front and left view, by prior (rows) and "
    "guidance weight (columns). Below each: IoU of its silhouettes with the true object, in "
    "brackets the best wrong shape's; CLIP score by the toy encoder, mean of four views; and of "
    "how many of the four views the prompt is the first among the candidates."
)


def heading(omega: str) -> str:
    """What stands above a column."""
    return "CSD" if omega == "csd" else f"SDS, ω = {omega}"


def below(row: Any) -> str:
    """The numbers of one object, in a line."""
    if row.failed:
        return "failed"
    floor = METRICS["truth_iou"].text(row.iou_floor)
    iou = f"IoU {METRICS['truth_iou'].text(row.truth_iou)} ({floor})"
    return f"{iou}  CLIP {METRICS['clip_score'].text(row.clip_score)}  {row.r_at_1 * 4:.0f}/4"


def sheet(table: "pandas.DataFrame", runs: Mapping[tuple[str, str, str], Run]) -> Image:
    """A block a prompt, each with a row a prior; of several seeds, the first."""
    omegas, priors, prompts = (
        list(dict.fromkeys(table[name])) for name in ("omega", "prior", "prompt_id")
    )
    rows: dict[tuple[Any, Any, Any], Any] = {}
    for row in table.itertuples(index=False):
        rows.setdefault((row.prior, row.omega, row.prompt_id), row)
    left, top, width = 92, 34, SIZE * len(VIEWS) + GAP
    block = 26 + len(priors) * (SIZE + LINE + GAP)
    drawn = Sheet(left + len(omegas) * width + GAP, top + len(prompts) * block)
    for j, omega in enumerate(omegas):
        drawn.text(left + j * width, 10, heading(omega), size=14)
    for i, prompt in enumerate(prompts):
        y = top + i * block
        drawn.text(GAP, y, str(rows[priors[0], omegas[0], prompt].prompt), size=14)
        for k, prior in enumerate(priors):
            y = top + i * block + 26 + k * (SIZE + LINE + GAP)
            drawn.text(GAP, y + 2, prior, size=13, colour=MUTED)
            for j, omega in enumerate(omegas):
                key = (prior, omega, prompt)
                picture = tile(runs[key], views=VIEWS, size=SIZE, background=BACKGROUND)
                drawn.paste(left + j * width, y, picture)
                drawn.text(left + j * width, y + SIZE + 2, below(rows[key]), size=12)
    return drawn.array()
