"""The listing says what its folder holds, and a folder that changed since is refused."""

import hashlib

import pytest

from pipeline import checksums, record
from pipeline.artifacts import ArtifactError, read_json


@pytest.fixture
def folder(tmp_path):
    for name in ("world.json", "car.safetensors"):
        (tmp_path / name).write_bytes(name.encode())
    (tmp_path / ".partial-x").write_bytes(b"half written")
    return tmp_path


def _list(folder):
    files = [str(folder / name) for name in ("world.json", "car.safetensors")]
    checksums.main(["--files", *files, "--out", str(folder / checksums.LISTING)])
    return folder / checksums.LISTING


def test_the_listing_holds_the_sha256_of_each_file_and_the_same_bytes_each_time(folder):
    first = _list(folder).read_bytes()
    assert _list(folder).read_bytes() == first
    expected = {
        name: hashlib.sha256(name.encode()).hexdigest()
        for name in ("car.safetensors", "world.json")
    }
    assert read_json(folder / checksums.LISTING)["files"] == expected
    assert checksums.of_folder(folder) == expected
    assert record.checksums(folder, None) == {f"bank/{n}": v for n, v in expected.items()}


@pytest.mark.parametrize("change", ["other", "missing", "more"])
def test_a_folder_that_changed_since_it_was_listed_is_refused(folder, change):
    _list(folder)
    car = folder / "car.safetensors"
    name = car.name
    if change == "other":
        car.write_bytes(b"other")
    elif change == "missing":
        car.unlink()
    else:
        name = "cow.safetensors"
        (folder / name).write_bytes(b"more")
    with pytest.raises(ArtifactError, match=f"checksums.json: not what lies .*{name}.* delete it"):
        checksums.of_folder(folder)


def test_without_a_listing_the_files_are_taken_as_they_are(folder):
    assert set(checksums.of_folder(folder)) == {"car.safetensors", "world.json"}


def test_a_missing_file_is_named(folder, program, capsys):
    out = folder / checksums.LISTING
    assert program("pipeline.checksums", "--files", folder / "none", "--out", out) == 1
    assert "none: no such file" in capsys.readouterr().err
    assert not out.exists()
