"""Interactive models in pages opened from files: no server, no network, nothing until asked.

A browser refuses to fetch a GLB beside a page opened from file://. So each GLB becomes a sidecar, a
script that registers it as base64, and the page's own script (static/viewer.js) loads the sidecar
and the viewer's library (static/vendor/model-viewer) when a model's button is pressed. The same
pages work from a web server.

GLBs must be uncompressed: for compressed ones the library would ask other hosts for decoders. `CSP`
forbids any request to a network even then.
"""

import base64
import hashlib
import html
import urllib.parse
from pathlib import Path

from pipeline.artifacts import ArtifactError, sha256, write_bytes, write_text

STATIC = Path(__file__).resolve().parent / "static"
VENDOR = STATIC / "vendor" / "model-viewer"
LIBRARY = "model-viewer-umd.min.js"
LICENCES = ("LICENSE", "THIRD_PARTY_LICENSES.txt")

# What a page with models needs besides a page without; {digest} is the sha256 of its inline script.
# 'strict-dynamic' lets that script load the sidecars and the library, and nobody else's.
CSP = (
    "default-src 'none'; img-src 'self' file: data: blob:; style-src 'unsafe-inline'; "
    "script-src 'sha256-{digest}' 'strict-dynamic' 'wasm-unsafe-eval'; connect-src data: blob:; "
    "base-uri 'none'; form-action 'none'"
)


def script() -> str:
    """The page's inline script; its end is the end of a statement, so that others may follow."""
    return (STATIC / "viewer.js").read_text(encoding="utf-8")


def style() -> str:
    """The page's inline style."""
    return (STATIC / "viewer.css").read_text(encoding="utf-8")


def key_of(glb: bytes) -> str:
    """The name under which a sidecar registers its model: a part of the GLB's sha256."""
    return hashlib.sha256(glb).hexdigest()[:16]


def write_sidecar(path: Path | str, glb: bytes) -> str:
    """The model's key; `path` (by convention NAME.glb.js) registers `glb` under it.

    Raises ArtifactError for what is no GLB.
    """
    if glb[:4] != b"glTF":
        raise ArtifactError(f"{path}: its model is not a GLB; run the rule that exports it again")
    key = key_of(glb)
    write_text(path, f'registerModel("{key}","{base64.b64encode(glb).decode()}");\n')
    return key


def write_library(folder: Path | str) -> Path:
    """The viewer's library and its licences in `folder`; the library's path.

    Raises ArtifactError where the vendored files are not the ones whose checksums are beside them.
    """
    folder = Path(folder)
    lines = (VENDOR / "SHA256SUMS").read_text(encoding="utf-8").splitlines()
    sums = {name: value for value, name in (line.split() for line in lines)}
    for name in (LIBRARY, *LICENCES):
        if sha256(VENDOR / name) != sums[name]:
            raise ArtifactError(f"{VENDOR / name}: its sha256 is not {sums[name]}; restore it")
        target = name if name == LIBRARY else f"model-viewer-{name}"
        write_bytes(folder / target, (VENDOR / name).read_bytes())
    return folder / LIBRARY


def button(sidecar: str, library: str, *, key: str, alt: str) -> str:
    """A button, as HTML, that the model takes the place of when it is pressed.

    `sidecar` and `library` are paths relative to the page; `alt` says what the model is.
    """
    names = {"data-model": _address(sidecar), "data-library": _address(library)}
    names |= {"data-key": key, "data-alt": alt, "aria-label": f"Turn {alt}"}
    attributes = " ".join(f'{name}="{html.escape(value)}"' for name, value in names.items())
    return f'<button type="button" class="model" {attributes}>3D</button>'


def _address(path: str) -> str:
    """A relative path as an address: names may hold spaces or #."""
    return urllib.parse.quote(path)
