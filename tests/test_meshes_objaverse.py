"""Objaverse by uid, from a server of this test's own that answers well, badly or slowly.

No other address is ever asked.
"""

import contextlib
import gzip
import json
import threading
import time
import urllib.request
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import hostile_meshes as hostile
import pytest

from pipeline.artifacts import ArtifactError, read_json, sha256
from pipeline.meshes.load import load_mesh
from pipeline.meshes.mesh import MeshError
from pipeline.meshes.objaverse import DownloadError, Source, fetch

objaverse = pytest.importorskip("objaverse")
UID, OTHER = "a" * 32, "b" * 32
GLB = hostile.ball_glb()
PATH = f"/glbs/000-007/{UID}.glb"
LISTING, METADATA = "/object-paths.json.gz", "/metadata/000-007.json.gz"
PATIENT = {"timeout": 5.0, "pause": 0.0}


def packed(value: Any) -> bytes:
    return gzip.compress(json.dumps(value).encode())


def annotation(licence: str) -> dict[str, Any]:
    page = f"https://sketchfab.com/{UID}"
    return {"license": licence, "name": "A ball", "user": {"displayName": "Ann"}, "viewerUrl": page}


class Server:
    """Files by path; `faults` says how a path is answered the next times."""

    def __init__(self) -> None:
        self.files = {
            LISTING: packed({uid: f"glbs/000-007/{uid}.glb" for uid in (UID, OTHER)}),
            METADATA: packed({UID: annotation("by"), OTHER: annotation("by-nc")}),
            PATH: GLB,
        }
        self.faults: dict[str, list[str]] = {}
        self.asked: list[str] = []
        self.base = ""

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        self.asked.append(handler.path)
        data = self.files.get(handler.path)
        fault = self.faults[handler.path].pop(0) if self.faults.get(handler.path) else ""
        code = 404 if data is None else int(fault) if fault.isdigit() else 200
        data = data or b""
        handler.send_response(code)
        if fault not in ("chunked", "unannounced"):
            handler.send_header("Content-Length", str(len(data)))
        handler.end_headers()
        half = len(data) // 2
        if fault in ("truncated", "unannounced"):
            handler.wfile.write(data[:half])
        elif fault == "stalled":
            handler.wfile.write(data[:half])
            time.sleep(1.2)
        elif fault == "slow":
            for start in range(0, len(data), 64):
                handler.wfile.write(data[start : start + 64])
                handler.wfile.flush()
                time.sleep(0.05)
        elif fault == "page":
            handler.wfile.write(b"<!doctype html>".ljust(len(data)))
        elif code == 200:
            handler.wfile.write(data)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    state = Server()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                state.answer(self)

        def log_message(self, *_: Any) -> None:
            pass

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("the package tried to fetch something itself")

    monkeypatch.setattr(urllib.request, "urlretrieve", refuse)
    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    http.daemon_threads = True
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    state.base = f"http://127.0.0.1:{http.server_address[1]}"
    yield state
    http.shutdown()
    thread.join()
    http.server_close()


@pytest.fixture
def source(server: Server, tmp_path: Path) -> Source:
    return Source(base=server.base, cache=tmp_path / "cache", **PATIENT)


def leftovers(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.name.startswith(".partial-")]


def test_an_object_comes_whole_with_its_licence_and_checksum(server, source):
    path, record = fetch(UID, source)
    assert path.read_bytes() == GLB
    assert record == {
        "uid": UID,
        "name": "A ball",
        "author": "Ann",
        "licence": "by",
        "page": f"https://sketchfab.com/{UID}",
        "address": server.base + PATH,
        "sha256": sha256(path),
    }
    assert load_mesh(path).record["faces"] == len(hostile.BALL.faces)
    assert objaverse._VERSIONED_PATH.endswith("hf-objaverse-v1")  # the package is as it was


def test_the_cache_serves_without_asking_again_and_offline(server, source):
    fetch(UID, source)
    asked = list(server.asked)
    assert asked == [LISTING, METADATA, PATH]
    fetch(UID, source)
    offline = Source(base="http://127.0.0.1:1", cache=source.cache, offline=True)
    assert fetch(UID, offline)[0].read_bytes() == GLB
    assert server.asked == asked


def test_offline_without_a_cache_says_what_to_do(tmp_path):
    with pytest.raises(ArtifactError, match="fetch it once with a network"):
        fetch(UID, Source(cache=tmp_path, offline=True))


def test_other_licences_are_refused_before_the_object_is_fetched(server, source):
    with pytest.raises(MeshError, match="its licence is 'by-nc', not one of by, by-sa, cc0"):
        fetch(OTHER, source)
    assert server.asked == [LISTING, METADATA]
    server.files[f"/glbs/000-007/{OTHER}.glb"] = GLB
    assert fetch(OTHER, source, licences=["by-nc"])[1]["licence"] == "by-nc"


def test_an_object_without_metadata_has_no_known_licence(server, source):
    server.files[METADATA] = packed({})
    with pytest.raises(MeshError, match="licence is 'unknown'"):
        fetch(UID, source)


def test_unknown_and_missing_objects_are_named(server, source):
    with pytest.raises(MeshError, match="no such object"):
        fetch("c" * 32, source)
    del server.files[PATH]
    with pytest.raises(MeshError, match=r"does not exist \(404\)") as caught:
        fetch(UID, source)
    assert caught.value.file == UID
    assert server.asked.count(PATH) == 1  # asking again would not help
    assert not leftovers(source.cache)


def test_a_missing_list_is_a_failure_of_the_network(server, source):
    del server.files[LISTING]
    with pytest.raises(DownloadError, match="answered 404"):
        fetch(UID, source)


@pytest.mark.parametrize("fault", ["truncated", "unannounced", "stalled", "page", "503", "429"])
@pytest.mark.parametrize("path", [LISTING, PATH])
def test_a_bad_answer_is_asked_again_and_never_kept(fault, path, server, source):
    server.faults[path] = [fault] * 3
    brief = Source(**(vars(source) | {"timeout": 0.5 if fault == "stalled" else 5.0}))
    with pytest.raises(DownloadError, match=server.base):
        fetch(UID, brief)
    assert server.asked.count(path) == 3
    assert not (source.cache / path[1:]).exists()
    assert not leftovers(source.cache)
    server.faults[path] = [fault]
    assert fetch(UID, brief)[0].read_bytes() == GLB


def test_a_slow_answer_is_waited_for_up_to_a_limit(server, source):
    server.faults[PATH] = ["slow", "slow"]
    impatient = Source(**(vars(source) | {"patience": 0.2, "attempts": 1}))
    with pytest.raises(DownloadError, match=r"not whole after 0\.2 s"):
        fetch(UID, impatient)
    assert not leftovers(source.cache)


def test_no_server_at_all_is_a_failure_of_the_network(tmp_path):
    nobody = Source(base="http://127.0.0.1:1", cache=tmp_path, attempts=2, pause=0.0)
    with pytest.raises(DownloadError, match="check the network"):
        fetch(UID, nobody)


def test_a_broken_cache_is_named(source):
    source.cache.mkdir()
    (source.cache / LISTING[1:]).write_bytes(packed({UID: "x"})[:-9])
    with pytest.raises(ArtifactError, match=r"object-paths.json.gz: broken .*delete it"):
        fetch(UID, source)


def test_checksums_are_held_against_the_preset_and_the_first_fetch(source):
    path, record = fetch(UID, source)
    assert fetch(UID, source, expected=record["sha256"])[0] == path
    with pytest.raises(ArtifactError, match="correct the preset"):
        fetch(UID, source, expected="0" * 64)
    path.write_bytes(GLB[:-4] + b"\1\1\1\1")
    with pytest.raises(ArtifactError, match=record["sha256"]):
        fetch(UID, source)


def test_the_program_writes_the_object_and_its_record(server, program, tmp_path):
    out = tmp_path / "ball.glb"
    where = ["--base", server.base, "--cache", tmp_path / "cache"]
    assert program("pipeline.meshes.objaverse", UID, "--out", out, *where) == 0
    assert out.read_bytes() == GLB
    assert read_json(tmp_path / "ball.json")["author"] == "Ann"
    assert read_json(tmp_path / "ball.json")["status"] == "ok"


def test_an_object_that_may_not_be_used_is_a_recorded_failure(server, program, tmp_path, capsys):
    """The workflow goes on; what reads the file finds the reason beside it."""
    out = tmp_path / "other.glb"
    where = ["--base", server.base, "--cache", tmp_path / "cache"]
    assert program("pipeline.meshes.objaverse", OTHER, "--out", out, *where) == 0
    assert out.read_bytes() == b""
    record = read_json(tmp_path / "other.json")
    assert (record["status"], record["uid"]) == ("failed", OTHER)
    assert "its licence is 'by-nc'" in record["what"]
    assert f"failed: {OTHER}: its licence is 'by-nc'" in capsys.readouterr().err
    empty = ["--offline", "--cache", tmp_path / "elsewhere"]  # not the object's fault
    assert program("pipeline.meshes.objaverse", UID, "--out", out, *empty) == 1
