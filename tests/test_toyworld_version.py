"""The toy world draws what it drew when its version was given."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from pipeline.artifacts import read_png
from pipeline.toyworld import parts, sheet, world

GOLDENS = Path(__file__).resolve().parent.parent / "baselines" / "goldens"
SIZE = 24


def apart(folder: Path) -> tuple[float, float]:
    """(mean difference in 8-bit levels, share of differing pixels) from the stored sheet."""
    picture = folder / "sheet.png"
    sheet.main(["--out", str(picture), "--size", str(SIZE), "--diversity", "1"])
    known = read_png(GOLDENS / f"toyworld_{world.VERSION}.png")
    levels = 255.0 * np.abs(read_png(picture) - known)
    return float(levels.mean()), float((levels.max(axis=-1) > 2.0).mean())


def test_the_world_is_that_of_its_version(tmp_path):
    """Rounding moves an edge's pixel now and then; where more has changed, raise VERSION and write
    toyworld_<VERSION>.png anew: python -m pipeline.toyworld.sheet --size 24 --diversity 1 --out ...
    """
    mean, differing = apart(tmp_path)
    assert mean < 0.05
    assert differing < 0.002


@pytest.mark.parametrize("what", ["light", "size", "seed"])
def test_a_change_of_the_world_is_seen(tmp_path, monkeypatch, what):
    lit, seeded = world.light, world.seeded

    def darker(*given):
        found = lit(*given)
        return dataclasses.replace(found, weights=0.97 * found.weights)

    changes = {
        "light": (world, "light", darker),
        "size": (parts, "RADIUS", 0.98 * parts.RADIUS),
        "seed": (world, "seeded", lambda *words: seeded("another", *words)),
    }
    monkeypatch.setattr(*changes[what])
    assert apart(tmp_path)[1] > 0.02
