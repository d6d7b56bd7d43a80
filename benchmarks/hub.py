"""A hub of models on this machine that does not answer, or breaks off, until told to behave."""

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

NAME, COMMIT = "owner/model", "c" * 40
FILES = {"unet/config.json": b"{}", "unet/model.safetensors": bytes(range(256)) * 8192}
ASK = (
    "from pipeline.guidance.pretrained import resolve\n"
    "from pipeline.artifacts import ArtifactError\n"
    f"try: print(resolve({{'hub': ['{NAME}'], 'variant': None}}, ['unet']).path)\n"
    "except ArtifactError as error: raise SystemExit(f'error: {error}')\n"
)


@dataclass
class Hub:
    """`mode`: slow (accepts and says nothing), truncated (half of each big file), or well."""

    address: str
    mode: str = "well"
    asked: list[str] = field(default_factory=list)

    def download(self, cache: Path) -> tuple[int, str, dict[str, bytes]]:
        """(exit status, last line, whole files in the cache) of a program that wants the model."""
        names = {"HF_ENDPOINT": self.address, "HF_HOME": str(cache), "HF_HUB_DISABLE_XET": "1"}
        times = {"HF_HUB_DOWNLOAD_TIMEOUT": "1", "HF_HUB_ETAG_TIMEOUT": "1"}
        environment = {k: v for k, v in os.environ.items() if not k.startswith("HF_")}
        done = subprocess.run(
            [sys.executable, "-c", ASK],
            env=environment | names | times,
            capture_output=True,
            text=True,
            timeout=300,
        )
        lines = (done.stderr if done.returncode else done.stdout).strip().splitlines()
        return done.returncode, lines[-1] if lines else "", _files(cache)


def _files(cache: Path) -> dict[str, bytes]:
    """What a program that reads the cache would find, by its name in the model."""
    found = {}
    for path in cache.glob(f"hub/models--*/snapshots/{COMMIT}/**/*"):
        if path.is_file():
            found["/".join(path.parts[-2:])] = path.read_bytes()
    return found


@contextmanager
def hub() -> Iterator[Hub]:
    """A hub that serves one model, while the block lasts."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            state.asked.append(self.path)
            if state.mode == "slow":
                time.sleep(600)
                return
            parts = self.path.partition("?")[0].strip("/").split("/")
            if parts[0] != "api":
                self.answer(FILES["/".join(parts[4:])])
            elif parts[4:5] == ["tree"]:
                listed = [
                    {"type": "file", "oid": "0" * 40, "path": name, "size": len(data)}
                    for name, data in FILES.items()
                ]
                self.answer(json.dumps(listed).encode())
            else:
                siblings = [{"rfilename": name} for name in FILES]
                self.answer(json.dumps({"id": NAME, "sha": COMMIT, "siblings": siblings}).encode())

        do_HEAD = do_GET

        def answer(self, body: bytes) -> None:
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.send_header("ETag", f'"{len(body)}"')
            self.send_header("X-Repo-Commit", COMMIT)
            self.end_headers()
            if self.command == "GET":
                cut = state.mode == "truncated" and len(body) > 10_000
                self.wfile.write(body[: len(body) // 2] if cut else body)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    state = Hub(f"http://127.0.0.1:{server.server_port}")
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield state
    finally:
        server.shutdown()
        server.server_close()
