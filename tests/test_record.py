"""What a run says of its sources and of the memory it took."""

import subprocess
from pathlib import Path

import pytest
import torch

from pipeline import record


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkout with one commit, taken for this source tree."""
    (tmp_path / "pipeline").mkdir()
    (tmp_path / "pipeline" / "known.py").write_text("one = 1\n")
    (tmp_path / ".gitignore").write_text("results/\n*.pyc\n")
    me = ["-c", "user.name=n", "-c", "user.email=e@example.org"]
    for command in (["init", "-q"], ["add", "."], [*me, "commit", "-q", "-m", "m"]):
        subprocess.run(["git", "-C", str(tmp_path), *command], check=True)
    monkeypatch.setattr(record, "ROOT", tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("path", "dirty"),
    [
        ("pipeline/known.py", True),
        ("pipeline/new.py", True),
        ("pipeline/scenes/deep/new.py", True),
        ("presets/mine.yaml", True),
        ("pipeline/notes.txt", False),
        ("results/pipeline/new.py", False),
        ("scratch.py", False),
    ],
)
def test_what_no_commit_holds_makes_a_tree_dirty(tree: Path, path: str, dirty: bool) -> None:
    assert record.source_state()["dirty"] is False
    (tree / path).parent.mkdir(parents=True, exist_ok=True)
    (tree / path).write_text("two = 2\n")
    assert record.source_state()["dirty"] is dirty


def test_outside_a_checkout_nothing_is_claimed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(record, "ROOT", tmp_path)
    assert record.source_state() == {"commit": None, "dirty": None}


def test_memory_of_a_device_is_its_own_number(monkeypatch: pytest.MonkeyPatch) -> None:
    assert record.peak_device_memory_mb("cpu") is None
    peaks = {"cuda": 3 * 2**19, "cuda:1": 2**30}
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", peaks.__getitem__)
    assert record.peak_device_memory_mb("cuda") == 1.5
    assert record.peak_device_memory_mb("cuda:1") == 1024.0
