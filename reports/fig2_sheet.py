"""Fig. 2b: what each guidance weight makes of a prompt, a row a prior, with its scores below."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from reports.contact_sheet import tile
from reports.metric_names import METRICS
from reports.paper import grid
from reports.paper.grid import Cell
from reports.records import Run

if TYPE_CHECKING:
    import pandas
    from matplotlib.figure import Figure

VIEWS = ("front", "left")
SIZE = 96  # pixels a side of a view
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


def below(row: Any) -> tuple[str, str]:
    """The numbers of one object, in two lines."""
    if row.failed:
        return ("failed", "")
    floor = METRICS["truth_iou"].text(row.iou_floor)
    iou = f"IoU {METRICS['truth_iou'].text(row.truth_iou)} ({floor})"
    return iou, f"CLIP {METRICS['clip_score'].text(row.clip_score)}, {row.r_at_1 * 4:.0f}/4"


def drawn(table: "pandas.DataFrame", runs: Mapping[tuple[str, str, str], Run]) -> "Figure":
    """The objects of one prompt: a row a prior, a column a weight; of several seeds, the first."""
    omegas, priors = (list(dict.fromkeys(table[name])) for name in ("omega", "prior"))
    first: dict[tuple[str, str], Any] = {}
    for row in table.itertuples(index=False):
        first.setdefault((str(row.prior), str(row.omega)), row)

    def cell(prior: str, omega: str) -> Cell:
        row = first[prior, omega]
        run = runs[prior, omega, str(row.prompt_id)]
        return Cell(tile(run, views=VIEWS, size=SIZE, background=BACKGROUND), below(row))

    prompt = str(table["prompt"].iloc[0])
    rows = [
        (prior if i else f"{prior}\n\n{prompt}", [cell(prior, omega) for omega in omegas])
        for i, prior in enumerate(priors)
    ]
    return grid.drawn(rows, [heading(omega) for omega in omegas], inches=0.8, label=0.9)
