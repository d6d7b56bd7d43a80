"""How much disk a preset's results take at least, from its settings alone: scenes, checkpoints.

Counted are the tables of numbers that a scene consists of, 4 bytes each, and three times as much
for each of the two checkpoints of a run in progress (Adam keeps two moments). Pictures, meshes and
VSD's particle come on top; `python -m benchmarks.cost` knows them where runs were measured.
"""

import math
from collections.abc import Mapping
from typing import Any

from pipeline.recipes import chains, prompts

NUMBER = 4  # bytes
CHECKPOINTS = 2 * 3  # scenes' worth of numbers in the checkpoints of one run
MIB = 2**20


def scene_mb(scene: Mapping[str, Any]) -> float:
    """The tables of a preset's `scene`: hash grid, tetrahedra, occupancy; in MB (2^20 bytes)."""
    numbers = 0
    if grid := scene.get("grid"):
        numbers += grid["features"] * sum(_level_entries(grid, i) for i in range(grid["levels"]))
    if scene["kind"] == "mesh":
        cells = scene["resolution"] // 2
        numbers += 4 * ((cells + 1) ** 3 + cells**3)  # a signed distance and a deformation a node
    if occupancy := scene.get("occupancy"):
        numbers += occupancy["resolution"] ** 3
    return numbers * NUMBER / MIB


def results_mb(preset: Mapping[str, Any]) -> float:
    """Every scene of the preset, and the checkpoints of one run of its largest, in MB."""
    sizes = {stage: scene_mb(spec["scene"]) for stage, spec in preset["stages"].items()}
    runs = len(preset["seeds"])
    total = sum(
        sizes[stage] * len(prompts(preset, task)) * runs
        for task, _, chain in chains(preset)
        for stage in chain
    )
    return total + CHECKPOINTS * max(sizes.values())


def _level_entries(grid: Mapping[str, Any], level: int) -> int:
    resolution = math.ceil(grid["base_resolution"] * grid["growth"] ** level - 1) + 1
    return min(math.ceil(resolution**3 / 8) * 8, 2 ** grid["log2_entries"])
