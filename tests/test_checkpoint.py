"""Checkpoints: the tree comes back, the newest whole one wins, foreign ones count for nothing."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from pipeline import checkpoint
from pipeline.artifacts import ArtifactError, save_safetensors
from pipeline.locks import alone, held_workdir
from pipeline.run_state import Run


def _same(a: Any, b: Any) -> bool:
    if isinstance(a, torch.Tensor):
        return isinstance(b, torch.Tensor) and a.dtype == b.dtype and torch.equal(a, b)
    if isinstance(a, dict):
        return list(a) == list(b) and all(_same(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(_same, a, b))
    return a == b and type(a) is type(b)


def _trained(seed: int, *, steps: int) -> Run:
    """A linear map, its Adam and a generator, after some steps on its own random inputs."""
    generator = torch.Generator().manual_seed(seed)
    scene = nn.Linear(3, 2)
    nn.init.normal_(scene.weight, generator=generator)
    nn.init.zeros_(scene.bias)
    groups = [{"params": [scene.weight], "lr": 0.1, "name": "w"}, {"params": [scene.bias]}]
    run = Run(scene, torch.optim.Adam(groups, lr=0.01), generator)
    _go_on(run, steps)
    return run


def _go_on(run: Run, steps: int) -> None:
    for _ in range(steps):
        x = torch.randn(4, 3, generator=run.generator)
        run.optimizer.zero_grad()
        run.scene(x).square().sum().backward()
        run.optimizer.step()
        run.evaluations["text"] += 4
        run.scale["count"] = run.scale["count"] + 1
        run.seconds += 0.5


def test_flatten_and_unflatten_are_inverse():
    tree = {
        "a": torch.randn(2, 3),
        "nested": {0: {"step": torch.tensor(3.0)}, 1: [torch.ones(1), 2, None, "x"]},
        "empty": {},
        "dotted.name": {"more": torch.zeros(0)},
        "flag": True,
    }
    tensors, skeleton = checkpoint.flatten(tree)
    assert _same(checkpoint.unflatten(tensors, skeleton), tree)
    assert sorted(tensors) == ["a", "dotted.name.more", "nested.0.step", "nested.1.0"]


def test_a_run_comes_back_from_its_file_and_goes_on_in_the_same_bits(tmp_path):
    run = _trained(0, steps=3)
    checkpoint.save(tmp_path, 3, "key", run.state())
    _go_on(run, 4)

    step, state, remark = checkpoint.load_latest(tmp_path, "key")
    other = _trained(1, steps=1)
    other.restore(state)
    _go_on(other, 4)
    assert step == 3
    assert remark == "resumed from step0000003.safetensors"
    assert _same(run.state(), other.state())


def test_integer_keys_of_an_optimizer_survive_the_file(tmp_path):
    state = _trained(0, steps=2).state()
    checkpoint.save(tmp_path, 2, "key", state)
    _, back, _ = checkpoint.load_latest(tmp_path, "key")
    assert list(back["optimizer"]["state"]) == [0, 1]
    assert back["optimizer"]["param_groups"][0]["name"] == "w"


def test_tensors_that_share_memory_are_stored(tmp_path):
    shared = torch.arange(6.0)
    checkpoint.save(tmp_path, 1, "key", {"a": shared, "b": shared[:3], "c": shared.view(2, 3).t()})
    _, state, _ = checkpoint.load_latest(tmp_path, "key")
    assert torch.equal(state["b"], shared[:3])
    assert torch.equal(state["c"], shared.view(2, 3).t())


def _names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.glob("step*"))


def test_the_last_two_are_kept_in_order_of_steps(tmp_path):
    for step in (8, 90, 100, 1000):
        checkpoint.save(tmp_path, step, "key", {"x": torch.tensor(step)})
    assert _names(tmp_path) == ["step0000100.safetensors", "step0001000.safetensors"]
    step, state, _ = checkpoint.load_latest(tmp_path, "key")
    assert (step, int(state["x"])) == (1000, 1000)


@pytest.mark.parametrize("damage", ["truncated", "empty", "foreign", "incomplete"])
def test_a_corrupt_newest_falls_back_to_the_one_before(tmp_path, damage):
    for step in (1, 2):
        checkpoint.save(tmp_path, step, "key", {"x": torch.tensor(step)})
    newest = tmp_path / "step0000002.safetensors"
    whole = newest.read_bytes()
    if damage == "foreign":
        save_safetensors(newest, {"x": torch.zeros(1)})
    elif damage == "incomplete":
        metadata = {
            "key": "key",
            "step": "2",
            "state": '{"__items__": [["y", {"__tensor__": "y"}]]}',
        }
        save_safetensors(newest, {"x": torch.zeros(1)}, metadata)
    else:
        newest.write_bytes(whole[: len(whole) // 2] if damage == "truncated" else b"")
    step, state, remark = checkpoint.load_latest(tmp_path, "key")
    assert (step, int(state["x"])) == (1, 1)
    assert "skipped step0000002.safetensors, which is corrupt" in remark
    assert "resumed from step0000001.safetensors" in remark


def test_nothing_usable_means_a_start_from_zero(tmp_path):
    assert checkpoint.load_latest(tmp_path / "none", "key") == (0, None, "")
    (tmp_path / "step0000001.safetensors").write_bytes(b"x")
    step, state, remark = checkpoint.load_latest(tmp_path, "key")
    assert (step, state) == (0, None)
    assert "corrupt" in remark


def test_checkpoints_of_other_settings_restart_and_go(tmp_path):
    for step in (1, 2):
        checkpoint.save(tmp_path, step, "old", {"x": torch.tensor(step)})
    step, state, remark = checkpoint.load_latest(tmp_path, "new")
    assert (step, state) == (0, None)
    assert remark.startswith("restarted: step0000002.safetensors was made under other settings")
    assert _names(tmp_path) == []


def test_remove_takes_the_folder_away_and_is_content_without_one(tmp_path):
    checkpoint.save(tmp_path / "c", 1, "key", {"x": torch.zeros(1)})
    checkpoint.remove(tmp_path / "c")
    checkpoint.remove(tmp_path / "c")
    assert not (tmp_path / "c").exists()


def test_only_one_may_work_in_a_folder(tmp_path):
    folder = tmp_path / "run" / "checkpoint"
    refused = pytest.raises(ArtifactError, match="run: another process is working on this run")
    with alone(folder), refused, alone(folder):
        pass
    with alone(folder):
        pass  # the first one is gone


def test_a_lock_goes_when_nobody_lives_who_holds_the_folder(tmp_path, capsys):
    stale = tmp_path / "locks" / "0.output.lock"
    stale.parent.mkdir()
    stale.touch()
    first = held_workdir(tmp_path)
    assert not stale.exists()
    assert "Removed the lock of a workflow that was killed" in capsys.readouterr().err

    stale.touch()  # now it is the lock of a living process
    second = held_workdir(tmp_path)
    assert stale.exists()
    first.close()
    third = held_workdir(tmp_path)  # the second still lives
    assert stale.exists()
    second.close()
    third.close()
    held_workdir(tmp_path).close()
    assert not stale.exists()
