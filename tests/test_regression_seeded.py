"""Real regressions, each through the whole path from the loop to the tables, and what is said."""

import dataclasses
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import CAMERAS, RED_CAR

from methods import distill, weights
from metrics import embed, goldens, regression, score
from pipeline import config, optimize, render_views
from pipeline.artifacts import read_table, save_safetensors, write_json
from pipeline.cameras import FOUR_VIEWS, Cameras, orbit
from pipeline.toyworld import bank as toy
from pipeline.toyworld.truth import truth_images

COLUMNS = ("csd", "csd_neg")
MODEL = f"local-dir:{goldens.MODEL}"
STEPS = 30
NOISE = torch.randn
VIEWS = {"size": 32, "samples": 24, "elevation": 15, "distance": 3.0, "fovy": 40}


@pytest.fixture(scope="module")
def truth(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a red car looks like, and a house, whose silhouette is the floor."""
    folder = tmp_path_factory.mktemp("truth")
    for shape in ("car", "house"):
        images = truth_images(shape, 32, seed=1, diversity=0.0)
        save_safetensors(folder / f"{shape}.safetensors", images, {})
    world = toy.world_description({}, 32, CAMERAS, seed=1, diversity=0.0)
    world |= {"shapes": ["car", "house"], "directional": ["car", "house"]}
    write_json(folder / "world.json", world)
    return folder


@pytest.fixture
def tables(
    tmp_path: Path, tiny_bank: Path, tiny_job: Callable[..., config.Job], truth: Path
) -> Callable[[str], Path]:
    """Optimises both columns, renders, embeds and scores them; the folder of tables."""

    def make(name: str) -> Path:
        folders = []
        for column in COLUMNS:
            job = tiny_job(
                column,
                steps=STEPS,
                timesteps={"low": [0.02, 0.02, STEPS], "high": [0.98, 0.3, STEPS]},
                trace={"every": 2, "extra_every": 0, "probes": 0, "probe_noises": 2},
                views=VIEWS | {"turntable_frames": 2},
            )
            out = tmp_path / name / column
            optimize.optimize(job, out, bank=tiny_bank, device="cpu", init_from=None, threads=1)
            render_views.write_pictures(out, job.settings["views"])
            folders.append(str(out))
        options = ["--model", MODEL, "--candidates", "toy81", "--strict-views", "front", "side"]
        options += ["back", "--texts", str(tmp_path / name / "texts.npz"), "--runs", *folders]
        embed.main(options)
        folder = tmp_path / name / "tables"
        score.main([*options, "--truth", str(truth), "--out", str(folder)])
        return folder

    return make


def gate(folder: Path, baseline: Path, capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    capsys.readouterr()
    status = regression.main(["--tables", str(folder), "--baseline", str(baseline)])
    return status, capsys.readouterr().out


@contextmanager
def broken(monkeypatch: pytest.MonkeyPatch, where: Any, name: str, value: Any) -> Iterator[None]:
    with monkeypatch.context() as patch:
        (patch.setitem if isinstance(where, dict) else patch.setattr)(where, name, value)
        yield


def wrong_sign(**settings: Any) -> distill.Coefficients:
    """Eq. 10 with + before omega_2 eps(neg)."""
    right = distill.csd_neg(**settings)

    def row(step: int, t: torch.Tensor) -> dict[str, torch.Tensor]:
        found = right(step, t)
        return {**found, distill.NEG: -found[distill.NEG]}

    return row


def swapped(distance: float, fovy: float, *, elevation_deg: float) -> Cameras:
    """The four views with front and back taken for one another."""
    azimuths = {**FOUR_VIEWS, "front": 180.0, "back": 0.0}
    return orbit(list(azimuths.values()), elevation_deg, distance, fovy)


def rounded(*shape: Any, **options: Any) -> torch.Tensor:
    """Noise that is off by up to 1e-6 of itself, ten times what another machine's rounding does."""
    found = NOISE(*shape, **options)
    return found * (1.0 + 1e-6 * torch.sin(torch.arange(found.numel())).reshape(found.shape))


def test_unchanged_and_rounded_runs_pass_and_seeded_regressions_do_not(
    tables: Callable[[str], Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    baseline = tmp_path / "baseline"
    regression.main(["--tables", str(tables("first")), "--baseline", str(baseline), "--update"])
    status, text = gate(tables("again"), baseline, capsys)
    assert status == 0
    assert "FAIL" not in text
    assert "clip_score: worst +0.0000 of 4 numbers, band 2" in text

    with broken(monkeypatch, torch, "randn", rounded):
        folder = tables("rounded")
    status, text = gate(folder, baseline, capsys)
    assert status == 0, text
    known, now = (
        read_table(f / "traces", "traces")["norm"] for f in (tmp_path / "first" / "tables", folder)
    )
    assert not known.equals(now)

    sign = dataclasses.replace(distill.METHODS["csd_neg"], make=wrong_sign)
    with broken(monkeypatch, distill.METHODS, "csd_neg", sign):
        status, text = gate(tables("sign"), baseline, capsys)
    assert status == 1
    assert f"FAIL csd_neg trace, norm of direction: {RED_CAR}" in text
    assert "FAIL csd " not in text  # the other column is as it was

    with broken(monkeypatch, weights.WEIGHTS, "sds", weights.uniform):
        status, text = gate(tables("weight"), baseline, capsys)
    assert status == 1
    for column in COLUMNS:
        assert f"FAIL {column} trace, weighted_norm of direction: {RED_CAR}" in text

    with broken(monkeypatch, render_views, "four_views", swapped):
        status, text = gate(tables("swapped"), baseline, capsys)
    assert status == 1
    for column in COLUMNS:
        assert f"FAIL {column} clip_score: worst" in text
        assert f"worse: {RED_CAR} " in text
    assert "mean norms within 10 %" in text  # the optimisation is as it was
