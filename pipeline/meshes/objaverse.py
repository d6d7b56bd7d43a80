"""Bring an Objaverse object into the cache and out of it, with its licence and checksum.

    python -m pipeline.meshes.objaverse UID --out chair.glb [--sha256 HEX] [--offline]

The `objaverse` package knows where an object lies and reads its metadata; it is asked only after
this module has put the three files that it needs (the list of objects, a part of the metadata, the
object) into its cache. Its own downloads have no time limit, and a broken one stays in the cache;
here a file is whole or absent. Writes the GLB and, beside it with the suffix .json, the record. An
object that does not exist, or whose licence is not accepted, is a result: the record says failed
and why, the GLB is empty, the exit status is 0. What the network does wrong is an error.

Licences are Sketchfab's names in Objaverse's metadata; by default BY, BY-SA and CC0 are taken, so
that textured results may be published with the author named.
"""

import argparse
import gzip
import struct
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import Any

from pipeline.artifacts import (
    ArtifactError,
    atomically,
    exit_status,
    read_json,
    sha256,
    write_bytes,
    write_json,
)
from pipeline.meshes.load import MAX_BYTES
from pipeline.meshes.mesh import MeshError

BASE = "https://huggingface.co/datasets/allenai/objaverse/resolve/main"
LICENCES = ("by", "by-sa", "cc0")
CACHE = Path.home() / ".objaverse" / "hf-objaverse-v1"  # the package's own
LIST = "object-paths.json.gz"
LARGEST_TEXT = 2**30  # bytes of the list or of a part of the metadata, unpacked
BLOCK = 2**20


class DownloadError(RuntimeError):
    """A file that could not be fetched whole; the same call may succeed later."""


@dataclass(frozen=True)
class Source:
    """Where objects come from, and how long to wait: seconds for an answer, and for a file."""

    base: str = BASE
    cache: Path = CACHE
    offline: bool = False
    timeout: float = 30.0
    patience: float = 900.0
    attempts: int = 3
    pause: float = 2.0  # seconds before the second attempt, doubled before each further one


def fetch(
    uid: str,
    source: Source,
    *,
    licences: Sequence[str] = LICENCES,
    expected: str | None = None,
) -> tuple[Path, dict[str, Any]]:
    """(the object's GLB in the cache, its record); what is in the cache is not asked for again.

    The record says uid, name, author, licence, address, sha256. Raises MeshError for an object that
    does not exist or whose licence is not among `licences`, DownloadError when the network fails,
    ArtifactError for a cached file that is missing offline, broken, or not the one with the
    checksum `expected` (or, without it, the one first fetched).
    """
    listing = _ensure(source, LIST, _check_gzip)
    with _package(source) as package:
        paths = _read(listing, package._load_object_paths)
        if uid not in paths:
            raise MeshError(uid, "Objaverse has no such object", "check the uid")
        shard = paths[uid].split("/")[1]
        metadata = _ensure(source, f"metadata/{shard}.json.gz", _check_gzip)
        found = _read(metadata, lambda: package.load_annotations([uid]))
        record = _description(uid, found.get(uid, {}))
        if record["licence"] not in licences:
            what = f"its licence is {record['licence']!r}, not one of {', '.join(licences)}"
            raise MeshError(uid, what, "choose another object, or accept the licence by name")
        _ensure(source, paths[uid], _check_glb)
        path = Path(package.load_objects([uid])[uid])
    record |= {"address": f"{source.base}/{paths[uid]}", "sha256": sha256(path)}
    _check_sum(path, record, expected)
    return path, record


def _check_sum(path: Path, record: dict[str, Any], expected: str | None) -> None:
    """The object's checksum is the expected one and the one first fetched, which is kept beside."""
    kept = path.with_suffix(".json")
    first = read_json(kept)["sha256"] if kept.exists() else record["sha256"]
    for known in (expected, first):
        if known is not None and known != record["sha256"]:
            raise ArtifactError(
                f"{path}: sha256 is {record['sha256']}, not {known}; "
                f"delete it and {kept.name} to fetch it again, or correct the preset's checksum"
            )
    if not kept.exists():
        write_json(kept, record)


def _description(uid: str, annotation: dict[str, Any]) -> dict[str, Any]:
    user = annotation.get("user") or {}
    return {
        "uid": uid,
        "name": annotation.get("name", ""),
        "author": user.get("displayName") or user.get("username", ""),
        "licence": annotation.get("license", "unknown"),
        "page": annotation.get("viewerUrl", ""),
    }


@contextmanager
def _package(source: Source) -> Iterator[Any]:
    """The package with its cache where the source's is. Raises ImportError with the remedy."""
    try:
        import objaverse
    except ImportError as error:
        raise ImportError("Objaverse needs its package: pip install objaverse==0.1.7") from error
    before = objaverse._VERSIONED_PATH
    objaverse._VERSIONED_PATH = str(source.cache)
    try:
        yield objaverse
    finally:
        objaverse._VERSIONED_PATH = before


def _read(path: Path, read: Callable[[], Any]) -> Any:
    try:
        return read()
    except (OSError, EOFError, ValueError) as error:
        raise ArtifactError(f"{path}: broken ({error}); delete it and run again") from error


def _ensure(source: Source, name: str, check: Callable[[Path], str | None]) -> Path:
    """The cached file, fetched first if it is absent."""
    path = source.cache / name
    if path.exists():
        return path
    if source.offline:
        raise ArtifactError(f"{path}: not in the cache; fetch it once with a network")
    for attempt in range(source.attempts):
        try:
            return _download(source, f"{source.base}/{name}", path, check)
        except DownloadError:
            if attempt + 1 == source.attempts:
                raise
            time.sleep(source.pause * 2**attempt)
    raise ValueError(f"attempts must be at least 1, not {source.attempts}")


def _download(
    source: Source, address: str, path: Path, check: Callable[[Path], str | None]
) -> Path:
    """`path` holds the whole answer of `address`, checked, or is absent."""
    try:
        answer = urllib.request.urlopen(address, timeout=source.timeout)
    except urllib.error.HTTPError as error:
        if error.code in (404, 410) and path.suffix == ".glb":
            what = f"{address} does not exist ({error.code})"
            raise MeshError(path.stem, what, "choose another object") from error
        raise DownloadError(f"{address}: the server answered {error.code}; try later") from error
    except (OSError, HTTPException) as error:
        raise DownloadError(f"{address}: {error}; check the network and try again") from error
    with answer:
        return atomically(path, lambda temporary: _save(source, answer, temporary, check))


def _save(
    source: Source, answer: Any, temporary: Path, check: Callable[[Path], str | None]
) -> None:
    address, promised = answer.geturl(), answer.headers.get("Content-Length")
    got = 0
    with temporary.open("wb") as stream:
        for block in _blocks(source, answer):
            got += stream.write(block)
            if got > MAX_BYTES:
                raise MeshError(address, f"more than {MAX_BYTES:,} bytes", "choose another object")
    if promised is not None and got != int(promised):
        raise DownloadError(f"{address}: {got:,} bytes came of {promised}; try again")
    problem = check(temporary)
    if problem:
        raise DownloadError(f"{address}: {problem}; try again")


def _blocks(source: Source, answer: Any) -> Iterator[bytes]:
    """The answer's bytes as they come; what the network does wrong is a DownloadError."""
    end = time.monotonic() + source.patience
    try:
        while block := answer.read1(BLOCK):
            yield block
            if time.monotonic() > end:
                raise DownloadError(f"{answer.geturl()}: not whole after {source.patience:g} s")
    except (OSError, HTTPException) as error:
        what = f"{answer.geturl()}: {error or type(error).__name__}"
        raise DownloadError(f"{what}; check the network and try again") from error


def _check_gzip(path: Path) -> str | None:
    """What is wrong with a gzip file, unpacked to its end; None where nothing is."""
    size = 0
    try:
        with gzip.open(path) as stream:
            while block := stream.read(BLOCK):
                size += len(block)
                if size > LARGEST_TEXT:
                    return f"unpacks to more than {LARGEST_TEXT:,} bytes"
    except (OSError, EOFError) as error:
        return f"not a whole gzip file ({error})"
    return None


def _check_glb(path: Path) -> str | None:
    """What is wrong with a GLB's outermost lengths; None where nothing is."""
    size = path.stat().st_size
    with path.open("rb") as stream:
        head = stream.read(12)
    if len(head) < 12 or head[:4] != b"glTF":
        return "not a GLB file"
    declared = struct.unpack("<I", head[8:])[0]
    return None if declared == size else f"a GLB of {declared:,} bytes with {size:,}"


def main(arguments: Sequence[str] | None = None) -> None:
    """Writes the object and its record as the module's docstring says."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("uid")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--sha256")
    parser.add_argument("--licences", nargs="+", default=list(LICENCES))
    parser.add_argument("--cache", type=Path, default=CACHE)
    parser.add_argument("--base", default=BASE, help="address of a mirror")
    parser.add_argument("--offline", action="store_true")
    options = parser.parse_args(arguments)
    source = Source(base=options.base, cache=options.cache, offline=options.offline)
    try:
        path, found = fetch(options.uid, source, licences=options.licences, expected=options.sha256)
        data, record = path.read_bytes(), {"status": "ok", **found}
    except MeshError as error:
        data, record = b"", {"status": "failed", "uid": options.uid}
        record |= {"what": error.what, "remedy": error.remedy}
        print(f"failed: {error}", file=sys.stderr)
    write_bytes(options.out, data)
    write_json(options.out.with_suffix(".json"), record)


if __name__ == "__main__":
    sys.exit(exit_status(main, DownloadError, ImportError))
