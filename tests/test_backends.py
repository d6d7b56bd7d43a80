"""Which backend serves a run, what run.json says of it, and a run that goes on under another."""

import importlib.util
import types
from pathlib import Path

import pytest

from pipeline import backends, optimize, trace
from pipeline.artifacts import read_json
from pipeline.raster import interface
from pipeline.scenes import hashgrid

FILLED_BY = "numba" if importlib.util.find_spec("numba") else "plain"


def test_a_cpu_has_the_plain_ones_and_numba():
    assert backends.serving("nerf", "cpu") == {"hash_grid": ["plain"]}
    surface = {"hash_grid": ["plain"], "rasterizer": [FILLED_BY]}
    assert backends.serving("mesh", "cpu") == backends.serving("texture", "cpu") == surface


def test_a_gpu_has_the_packages_where_they_are_and_no_numba_where_not(monkeypatch):
    for module, place in ((hashgrid, hashgrid.TINYCUDANN), (interface, interface.BACKENDS["cuda"])):
        found = types.ModuleType(place)
        monkeypatch.setattr(module, "backend", lambda device, found=found: found)
    both = {"hash_grid": ["tinycudann"], "rasterizer": ["nvdiffrast"]}
    assert backends.serving("mesh", "cuda") == both
    for module, place in ((hashgrid, hashgrid.PLAIN), (interface, interface.BACKENDS["cpu"])):
        found = types.ModuleType(place)
        monkeypatch.setattr(module, "backend", lambda device, found=found: found)
    neither = {"hash_grid": ["plain"], "rasterizer": ["plain"]}
    assert backends.serving("mesh", "cuda:0") == neither


@pytest.mark.parametrize(
    ("before", "now", "after"),
    [
        ({}, ["plain"], ["plain"]),
        ({"hash_grid": ["plain"]}, ["plain"], ["plain"]),
        ({"hash_grid": ["plain"]}, ["tinycudann"], ["plain", "tinycudann"]),
        ({"hash_grid": ["a", "b"]}, ["b"], ["a", "b"]),
        ({"hash_grid": ["a", "b"]}, ["a"], ["a", "b", "a"]),
    ],
)
def test_a_change_of_backend_is_kept_in_order(before, now, after):
    assert backends.followed(before, {"hash_grid": now}) == {"hash_grid": after}


def test_a_run_that_goes_on_under_another_backend_says_so(
    tiny_job, tiny_bank, tmp_path, monkeypatch, capsys
):
    job, out = tiny_job("csd"), tmp_path / "run"

    def run() -> None:
        optimize.optimize(job, out, bank=tiny_bank, device="cpu", init_from=None, threads=1)

    def interrupted(path: Path, rows: list[trace.Row]) -> None:
        if rows and rows[0]["step"] == 8:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(backends, "serving", lambda kind, device: {"hash_grid": ["tinycudann"]})
        patch.setattr(trace, "append", interrupted)
        with pytest.raises(KeyboardInterrupt):
            run()
    capsys.readouterr()
    run()
    said = capsys.readouterr().err
    assert "resumed from step0000008" in said
    assert "hash_grid by tinycudann, then by plain; their numbers differ by rounding" in said
    assert read_json(out / "run.json")["backends"] == {"hash_grid": ["tinycudann", "plain"]}
