"""How often the Janus detectors are right on procedural objects with one front and with two.

    python -m benchmarks.janus [--out docs/results/janus.csv] [--page docs/results/janus.md]

Objects: every shape that has a front, in every colour, of diversity 0 and 1, seen by the four
evaluated cameras turned by up to 10 degrees.

    one front       the object itself: a detector must stay silent
    spoilt          the object with each of the toy world's faults: still one front
    two fronts      its back half replaced by its front half: a detector must speak
    front all round the front view in all four places, as a collapsed run shows it

The threshold of `back_front` is fixed on objects of one seed (`--calibrate`) and everything is
counted on objects of another. AUC: chance that a random object with two fronts has the larger
value. Intervals are Wilson's, over objects.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float

from metrics import encoders, janus
from metrics.clip_score import unit
from pipeline.artifacts import write_text
from pipeline.cameras import FOUR_VIEWS, orbit
from pipeline.toyworld.degrade import DEGRADE
from pipeline.toyworld.fakes import janus as doubled
from pipeline.toyworld.render import compose, over
from pipeline.toyworld.vocabulary import COLOURS, DIRECTIONAL, caption
from pipeline.toyworld.world import drawn, instances, seeded

MODEL = "local-dir:pipeline/toyworld/weights/toy_clip"
SIZE, ELEVATION, TURN = 96, 15.0, 10.0
ONE_FRONT = ("one front", "spoilt")
TWO_FRONTS = ("two fronts", "front all round")
MARKERS = ("<!-- janus -->", "<!-- /janus -->")


def rendered(shape: str, *, seed: int, diversity: float, two: bool) -> torch.Tensor:
    """(colours, 4, 4, s, s) premultiplied rgba: the four views of an object in each colour."""
    generator = seeded("janus", seed, shape, diversity)
    objects = instances(shape, seed=seed, diversity=diversity, count=len(COLOURS))
    objects = doubled(objects) if two else objects
    count = len(COLOURS)
    index = torch.arange(count).repeat_interleave(4) % len(objects)
    turn = TURN * (2.0 * torch.rand(count, 1, generator=generator) - 1.0)
    azimuth = (torch.tensor(list(FOUR_VIEWS.values()))[None] + turn).reshape(-1)
    layers, shade = drawn(objects, index, orbit(azimuth, ELEVATION, 3.0, 40.0), SIZE)
    colours = torch.tensor(list(COLOURS.values())).repeat_interleave(4, 0)
    return compose(layers, (colours + shade).clamp(0, 1)).unflatten(0, (count, 4))


def kinds(shape: str, *, seed: int, diversity: float) -> dict[str, torch.Tensor]:
    """Objects of every kind, (n, 4 views, 4, s, s)."""
    one = rendered(shape, seed=seed, diversity=diversity, two=False)
    generator = seeded("janus faults", seed, shape, diversity)
    flat = one.flatten(0, 1)
    faults = list(DEGRADE.values())
    # each colour another fault, the same for its four views
    spoilt = torch.cat(
        [faults[i % len(faults)](flat[4 * i : 4 * i + 4], generator) for i in range(len(one))]
    )
    return {
        "one front": one,
        "spoilt": spoilt.unflatten(0, (len(one), 4)),
        "two fronts": rendered(shape, seed=seed, diversity=diversity, two=True),
        "front all round": one[:, :1].expand(-1, 4, -1, -1, -1),
    }


def measured(
    encoder: encoders.Encoder,
    *,
    seed: int,
    shapes: Sequence[str] = DIRECTIONAL,
    diversities: Sequence[float] = (0.0, 1.0),
) -> list[dict[str, Any]]:
    """One row an object: kind, shape, both numbers, and a third that was tried."""
    rows = []
    for shape in shapes:
        texts = [caption(shape, colour, word) for colour in COLOURS for word in janus.WORDS]
        words = encoders.embed_texts(encoder, texts).reshape(len(COLOURS), len(janus.WORDS), -1)
        for diversity in diversities:
            for kind, rgba in kinds(shape, seed=seed, diversity=diversity).items():
                grey = over(rgba.flatten(0, 1), torch.full((rgba.shape[0] * 4, 3), 0.5))
                pictures = list(grey.clamp(0, 1).permute(0, 2, 3, 1).numpy())
                views = encoders.embed_images(encoder, pictures).reshape(len(rgba), 4, -1)
                rows += [
                    {"kind": kind, "shape": shape, **_numbers(four, worded)}
                    for four, worded in zip(views, words, strict=True)
                ]
    return rows


def _numbers(views: Float[np.ndarray, "4 d"], worded: Float[np.ndarray, "3 d"]) -> dict[str, float]:
    rows = unit(views)
    around = np.mean([rows[i] @ rows[(i + 1) % 4] for i in range(4)])
    similarity = janus.back_front(views)
    return {
        "front_count": janus.front_count(views, worded),
        "back_front": similarity,
        "back_front_less_neighbours": similarity - float(around),
    }


def threshold(rows: Sequence[dict[str, Any]]) -> float:
    """Of `back_front`, with the largest sensitivity + specificity on these rows."""
    two = _values(rows, TWO_FRONTS[:1], "back_front")
    one = _values(rows, ONE_FRONT[:1], "back_front")
    every = np.sort(np.concatenate([two, one]))
    middles = (every[1:] + every[:-1]) / 2.0
    gain = [(two >= m).mean() + (one < m).mean() for m in middles]
    return round(float(middles[int(np.argmax(gain))]), 3)


def auc(rows: Sequence[dict[str, Any]], number: str) -> float:
    """Chance that an object with two fronts has the larger number, ties half."""
    two = _values(rows, TWO_FRONTS[:1], number)[:, None]
    one = _values(rows, ONE_FRONT[:1], number)
    return float(((two > one) + 0.5 * (two == one)).mean())


def _values(rows: Sequence[dict[str, Any]], of: Sequence[str], number: str) -> np.ndarray:
    return np.array([row[number] for row in rows if row["kind"] in of])


def table(rows: Sequence[dict[str, Any]], similar: float) -> list[dict[str, Any]]:
    """One row a detector, kind and shape (or all): objects, how many were right, Wilson bounds."""
    from scipy.stats import binomtest

    detectors = {
        "front_count >= 2": lambda row: row["front_count"] >= 2,
        f"back_front >= {similar:.3f}": lambda row: row["back_front"] >= similar,
        "either": lambda row: row["front_count"] >= 2 or row["back_front"] >= similar,
        "both": lambda row: row["front_count"] >= 2 and row["back_front"] >= similar,
    }
    found = []
    for detector, speaks in detectors.items():
        for kind in (*ONE_FRONT, *TWO_FRONTS):
            for shape in ("all", *dict.fromkeys(row["shape"] for row in rows)):
                lot = [r for r in rows if r["kind"] == kind and shape in ("all", r["shape"])]
                right = sum(speaks(row) == (kind in TWO_FRONTS) for row in lot)
                bounds = binomtest(right, len(lot)).proportion_ci(method="wilson")
                found.append(
                    {"detector": detector, "kind": kind, "shape": shape, "objects": len(lot)}
                    | {"right": right / len(lot), "lower": bounds.low, "upper": bounds.high}
                )
    return found


def markdown(found: Sequence[dict[str, Any]], notes: str) -> str:
    """Sensitivity and specificity by detector, then sensitivity by shape."""
    names = list(dict.fromkeys(row["detector"] for row in found))

    def cell(detector: str, kind: str, shape: str) -> str:
        row = next(
            r for r in found if (r["detector"], r["kind"], r["shape"]) == (detector, kind, shape)
        )
        bounds = f" ({row['lower']:.2f}–{row['upper']:.2f})" if shape == "all" else ""
        return f"{row['right']:.2f}{bounds}"

    lines = ["| detector | specificity | on spoilt objects | sensitivity | front all round |"]
    lines.append("|---" * 5 + "|")
    for name in names:
        cells = [cell(name, kind, "all") for kind in (*ONE_FRONT, *TWO_FRONTS)]
        lines.append(f"| `{name}` | {' | '.join(cells)} |")
    lines += ["", f"| two fronts found, by shape | {' | '.join(DIRECTIONAL)} |"]
    lines.append("|---" * (1 + len(DIRECTIONAL)) + "|")
    for name in names:
        cells = [cell(name, "two fronts", shape) for shape in DIRECTIONAL]
        lines.append(f"| `{name}` | {' | '.join(cells)} |")
    return "\n".join([*lines, "", notes])


def main() -> None:
    """Calibrates, validates, prints, writes."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", default=MODEL)
    parser.add_argument("--calibrate", type=int, default=1, help="seed of the threshold's objects")
    parser.add_argument("--seed", type=int, default=2, help="seed of the objects that are counted")
    parser.add_argument("--out", type=Path, help="csv")
    parser.add_argument("--page", type=Path, help="a page with markers to write the table into")
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    encoder = encoders.load(chosen.model)
    similar = threshold(measured(encoder, seed=chosen.calibrate))
    rows = measured(encoder, seed=chosen.seed)
    areas = {name: auc(rows, name) for name in rows[0] if name not in ("kind", "shape")}
    notes = (
        f"Threshold {similar:.3f} fixed on objects of seed {chosen.calibrate}, counted on those of "
        f"seed {chosen.seed}. AUC: "
        + ", ".join(f"`{name}` {value:.3f}" for name, value in areas.items())
        + f". Encoder {encoder.model_sha256[:12]}."
    )
    found = table(rows, similar)
    text = markdown(found, notes)
    print(text)
    if chosen.out is not None:
        lines = [",".join(found[0])]
        lines += [",".join(_text(value) for value in row.values()) for row in found]
        write_text(chosen.out, "\n".join(lines) + "\n")
    if chosen.page is not None:
        before, rest = chosen.page.read_text(encoding="utf-8").split(MARKERS[0])
        after = rest.split(MARKERS[1])[1]
        write_text(chosen.page, f"{before}{MARKERS[0]}\n{text}\n{MARKERS[1]}{after}")


def _text(value: Any) -> str:
    return f"{value:.4f}" if isinstance(value, float) else str(value)


if __name__ == "__main__":
    main()
