"""Whole files or none; readers that refuse what they do not understand."""

import hashlib
import json
import os
import resource
import struct
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas
import pytest
import torch
from safetensors.torch import load as load_bytes

from pipeline import artifacts
from pipeline.artifacts import ArtifactError


@pytest.fixture
def small_disk() -> Iterator[None]:
    """Files may grow to 1,000 bytes: writing more fails as it does on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(tmp_path):
    path = artifacts.write_text(tmp_path / "a.txt", "old")

    def half(temporary: Path) -> None:
        temporary.write_text("ne")
        raise RuntimeError("interrupted")

    with pytest.raises(RuntimeError, match="interrupted"):
        artifacts.atomically(path, half)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_the_temporary_file_lies_beside_the_target_and_keeps_its_suffix(tmp_path):
    seen = []
    artifacts.atomically(tmp_path / "deep" / "a.webp", lambda t: seen.append(t) or t.touch())
    assert seen[0].parent == tmp_path / "deep"
    assert seen[0].suffix == ".webp"
    assert seen[0].name.startswith(".")


def test_files_are_readable_by_whom_the_umask_allows(tmp_path):
    old = os.umask(0o027)
    try:
        path = artifacts.write_text(tmp_path / "a.txt", "x")
    finally:
        os.umask(old)
    assert path.stat().st_mode & 0o777 == 0o640


@pytest.mark.usefixtures("small_disk")
def test_a_full_disk_is_an_os_error_that_names_the_file(tmp_path):
    tensors = {"a": torch.zeros(1000)}
    frame = pandas.DataFrame(
        {name: np.random.default_rng(0).random(500) for name in artifacts.TABLES["trace"]}
    )
    writers = {
        "a.json": lambda path: artifacts.write_json(path, list(range(1000))),
        "a.safetensors": lambda path: artifacts.save_safetensors(path, tensors),
        "a.csv": lambda path: artifacts.write_table(frame, path.with_suffix(""), "trace"),
    }
    for name, write in writers.items():
        with pytest.raises(OSError) as caught:
            write(tmp_path / name)
        assert name in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_json_is_strict_and_keeps_every_character(tmp_path):
    value = {"prompt": 'a "red" <script> 🚗/..', "list": [1, 2.5, None, True]}
    assert artifacts.read_json(artifacts.write_json(tmp_path / "a.json", value)) == value
    with pytest.raises(ValueError):
        artifacts.write_json(tmp_path / "b.json", {"x": float("nan")})
    assert not (tmp_path / "b.json").exists()


@pytest.mark.parametrize("content", [b"{", b"\xff\xfe", b""])
def test_malformed_json_names_the_file(tmp_path, content):
    path = tmp_path / "run.json"
    path.write_bytes(content)
    with pytest.raises(ArtifactError, match=r"run\.json: not JSON"):
        artifacts.read_json(path)


def test_png_of_each_kind_comes_back(tmp_path):
    rng = np.random.default_rng(0)
    for channels in (1, 3, 4):
        image = rng.random((5, 7, channels)).astype(np.float32)
        back = artifacts.read_png(artifacts.write_png(tmp_path / "a.png", image))
        assert back.shape == image.shape
        assert np.abs(back - image).max() <= 0.5 / 255 + 1e-6  # rounding to 8 bits
    depth = rng.integers(0, 2**16, (5, 7)).astype(np.uint16)
    back = artifacts.read_png(artifacts.write_png(tmp_path / "d.png", depth))
    assert np.array_equal((back[..., 0] * 65535 + 0.5).astype(np.uint16), depth)


def test_png_clips_what_leaves_the_range(tmp_path):
    image = np.array([[-1.0, 0.5, 2.0]])
    back = artifacts.read_png(artifacts.write_png(tmp_path / "a.png", image))
    assert back[0, :, 0].tolist() == pytest.approx([0.0, 128 / 255, 1.0])


def test_a_broken_png_is_an_artifact_error(tmp_path):
    path = artifacts.write_png(tmp_path / "a.png", np.zeros((9, 9, 3)))
    path.write_bytes(path.read_bytes()[:40])
    with pytest.raises(ArtifactError, match=r"a\.png"):
        artifacts.read_png(path)
    with pytest.raises(ArtifactError, match="no such image"):
        artifacts.read_png(tmp_path / "none.png")


def test_safetensors_round_trip_and_read_by_the_library(tmp_path):
    tensors = {
        "a": torch.randn(3, 4, generator=torch.Generator().manual_seed(0)).t(),
        "b": torch.arange(5),
        "c": torch.tensor(1.5, dtype=torch.float64),
        "empty": torch.zeros(0, 3),
    }
    metadata = {"note": 'quotes " and \\ and ü and\nnewline', "key": "k"}
    path = artifacts.save_safetensors(tmp_path / "a.safetensors", tensors, metadata)
    back, described = artifacts.load_safetensors(path)
    trusted = load_bytes(path.read_bytes())
    for name, tensor in tensors.items():
        assert torch.equal(back[name], tensor)
        assert torch.equal(trusted[name], tensor)
    assert described == {"schema_version": artifacts.SCHEMA_VERSION, **metadata}
    size = struct.unpack("<Q", path.read_bytes()[:8])[0]
    assert size % 8 == 0


def test_safetensors_bytes_depend_on_nothing_but_the_content():
    def digest(order: list[str]) -> str:
        data = artifacts.safetensors_bytes({"t": torch.ones(2)}, {name: "x" for name in order})
        return hashlib.sha256(data).hexdigest()

    names = [f"key{i}" for i in range(8)]  # 8! orders: the library alone would hardly repeat one
    assert len({digest(names), digest(names[::-1]), digest(names), digest(names[::-1])}) == 1


def test_broken_or_foreign_safetensors_are_artifact_errors(tmp_path):
    path = artifacts.save_safetensors(tmp_path / "a.safetensors", {"a": torch.zeros(100)})
    whole = path.read_bytes()
    for broken in (whole[:-1], whole[:50], b""):
        path.write_bytes(broken)
        with pytest.raises(ArtifactError, match=r"a\.safetensors: not safetensors"):
            artifacts.load_safetensors(path)
    with pytest.raises(ArtifactError, match="no such file"):
        artifacts.load_safetensors(tmp_path / "none.safetensors")
    artifacts.save_safetensors(path, {"a": torch.zeros(1)}, {"schema_version": "2.0"})
    with pytest.raises(ArtifactError, match=r"schema_version '2\.0'"):
        artifacts.load_safetensors(path)


def test_schema_minor_versions_are_read_and_major_ones_refused():
    artifacts.check_schema(f"{artifacts.SCHEMA_MAJOR}.99", "x")
    for version in (None, "", f"{artifacts.SCHEMA_MAJOR + 1}.0", "one"):
        with pytest.raises(ArtifactError, match="schema_version"):
            artifacts.check_schema(version, "x")


def _trace(rows: int) -> pandas.DataFrame:
    return pandas.DataFrame(
        {
            "step": range(rows),
            "t": pandas.array([None, *range(rows - 1)], dtype="Int64"),
            "term": "direction",
            "norm": [0.1 * i for i in range(rows)],
            "weighted_norm": None,
        }
    ).astype({"weighted_norm": "float64"})


def test_tables_come_back_with_nulls_and_as_csv(tmp_path):
    frame = _trace(3)
    artifacts.write_table(frame.assign(extra=1), tmp_path / "trace", "trace")
    back = artifacts.read_table(tmp_path / "trace", "trace")
    assert list(back.columns) == list(artifacts.TABLES["trace"])
    assert back["t"].isna().tolist() == [True, False, False]
    csv = pandas.read_csv(tmp_path / "trace.csv")
    assert csv["norm"].tolist() == frame["norm"].tolist()


def test_tables_of_other_columns_versions_or_bytes_are_refused(tmp_path):
    path = artifacts.write_table(_trace(2), tmp_path / "trace", "trace")
    with pytest.raises(ArtifactError, match="not a scores table, lacks preset"):
        artifacts.read_table(path, "scores")
    with pytest.raises(ArtifactError, match="unknown table schema 'nonsense'"):
        artifacts.read_table(path, "nonsense")
    _trace(2).to_parquet(path)  # without our schema_version
    with pytest.raises(ArtifactError, match="schema_version None"):
        artifacts.read_table(path, "trace")
    path.write_bytes(b"PAR1nothing")
    with pytest.raises(ArtifactError, match="not parquet"):
        artifacts.read_table(path, "trace")
    with pytest.raises(ArtifactError, match="no such table"):
        artifacts.read_table(tmp_path / "none", "trace")


def test_checksums(tmp_path):
    path = artifacts.write_bytes(tmp_path / "a", b"abc")
    expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"  # FIPS 180-2
    assert artifacts.sha256(path) == expected
    with pytest.raises(ArtifactError, match="no such file"):
        artifacts.sha256(tmp_path / "none")


def test_digest_ignores_key_order_only():
    a = {"x": 1, "y": {"p": [1, 2], "q": None}}
    assert artifacts.digest(a) == artifacts.digest(json.loads(json.dumps(a, sort_keys=True)))
    assert artifacts.digest(a) == artifacts.digest({"y": {"q": None, "p": [1, 2]}, "x": 1})
    assert artifacts.digest(a) != artifacts.digest({**a, "x": 2})
    assert artifacts.digest([1, 2]) != artifacts.digest([2, 1])
    with pytest.raises(ValueError):
        artifacts.digest(float("inf"))


def test_exit_status_reports_expected_errors_in_one_line_and_no_others(capsys):
    def fail(error: Exception) -> None:
        raise error

    assert artifacts.exit_status(lambda: None) == 0
    assert artifacts.exit_status(lambda: 3) == 3
    assert artifacts.exit_status(lambda: fail(ArtifactError("x: missing; run y"))) == 1
    assert capsys.readouterr().err == "error: x: missing; run y\n"
    assert artifacts.exit_status(lambda: fail(KeyError("k")), KeyError) == 1
    with pytest.raises(ZeroDivisionError):
        artifacts.exit_status(lambda: fail(ZeroDivisionError()))
