"""How each metric is shown: heading, label, unit, decimals, and one sentence on what it says."""

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Metric:
    """How a metric is shown: value * scale with `decimals`, under `label`, explained by `help`."""

    group: str
    label: str
    help: str
    scale: float = 1.0
    decimals: int = 1
    unit: str = ""

    def text(self, value: float | None) -> str:
        """The value as a reader sees it; an en dash where there is none."""
        if value is None or not math.isfinite(value):
            return "–"
        return f"{value * self.scale:.{self.decimals}f}".replace("-", "−")


RETRIEVAL, STRICT, TRUTH = "Retrieval", "Strict retrieval", "Against the true object"
APPEARANCE, COST, OTHER = "Appearance", "Cost of a run", "Other"
GROUPS = (RETRIEVAL, STRICT, TRUTH, APPEARANCE, COST, OTHER)


def _hit(k: int) -> Metric:
    text = (
        f"Share of images whose own prompt is among the first {k} of the candidates by CLIP cosine."
    )
    return Metric(RETRIEVAL, f"R@{k}", text, scale=100, decimals=1, unit="%")


METRICS: dict[str, Metric] = {
    "clip_score": Metric(
        RETRIEVAL, "CLIP score", "250 × cosine between the image's and its prompt's embedding."
    ),
    "r_at_1": _hit(1),
    "r_at_5": _hit(5),
    "r_at_10": _hit(10),
    "strict_hit": Metric(
        STRICT,
        "hit",
        "Ranked among every candidate with each view word, and blobs: a hit needs object and view.",
        scale=100,
        unit="%",
    ),
    "truth_iou": Metric(
        TRUTH,
        "IoU",
        "Silhouette overlap with the true object, best over its instances and a small turn.",
        decimals=2,
    ),
    "truth_psnr": Metric(
        TRUTH, "PSNR", "Colour error against the true object, at its own best pose.", unit="dB"
    ),
    "front_back": Metric(
        TRUTH,
        "front ≠ back",
        "Share of objects whose front view resembles the true front more than the true back.",
        scale=100,
        decimals=0,
        unit="%",
    ),
    "front_count": Metric(
        APPEARANCE, "fronts", "Views taken for the front, of four; objects with a front only."
    ),
    "back_front": Metric(
        APPEARANCE, "back ~ front", "Cosine of front and back view; objects with a front only."
    ),
    "seam": Metric(
        APPEARANCE,
        "seam",
        "Mean colour jump across a texture's seams, over that elsewhere: 1 is unseen, less better.",
        decimals=2,
    ),
    "chroma": Metric(
        APPEARANCE, "chroma", "Mean CIELAB chroma of the finished runs: over-saturation raises it."
    ),
    "clipped": Metric(
        APPEARANCE, "clipped", "Share of clipped pixels: over-saturation raises it.", 100, 1, "%"
    ),
    "sharpness": Metric(
        APPEARANCE, "sharpness", "Laplacian energy: over-smoothing lowers it.", decimals=3
    ),
    "opacity": Metric(
        APPEARANCE, "opacity", "Mean opacity where there is anything: fog lowers it.", decimals=2
    ),
}
# What a scene that ignores the prompt reaches: the best wrong shape, and the ball a run starts
# from.
FLOORS = {"truth_iou": {"wrong shape": "iou_floor", "ball": "iou_ball"}}
HIDDEN = {"clip_cos", "rank", "strict_rank", "iou_floor", "iou_ball"}
COSTS = {
    "seconds": Metric(COST, "seconds", "Wall clock of one run, imports included.", 1, 0, "s"),
    "evaluations": Metric(
        COST,
        "evaluations",
        "Denoiser evaluations of one run: one image under one condition each, every kind counted.",
        decimals=0,
    ),
}
