"""Embeddings as files: of the views in a run folder, and of the captions.

`embeddings.npz` in a run folder: `embedding` (n, d) fp32 unit rows, one a (view, background), with
`view`, `background` and `image_sha256` beside them. The captions' file: `embedding` (m, d) and
`text`. Both name the model, its weights' checksum and its preprocessing, so that scores are
computed from files alone and can refuse what belongs to other weights or to pictures rendered
again since.
"""

import io
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from metrics.runs import VIEWS, Run
from pipeline.artifacts import SCHEMA_VERSION, ArtifactError, check_schema, sha256, write_bytes

EMBEDDINGS = "embeddings.npz"
BACKGROUNDS: dict[str, float] = {"grey": 0.5, "white": 1.0, "black": 0.0}
IDENTITY = ("model_id", "model_sha256", "preprocessing")


def write_arrays(path: Path, arrays: Mapping[str, Any]) -> Path:
    """`path` holds named arrays as npz, byte for byte the same for the same arrays."""
    buffer = io.BytesIO()
    np.savez(buffer, schema_version=np.array(SCHEMA_VERSION), **arrays)
    return write_bytes(path, buffer.getvalue())


def read_arrays(path: Path, names: Sequence[str]) -> dict[str, np.ndarray]:
    """The arrays `names` of an npz file. Raises ArtifactError when it is missing, broken or old."""
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
    except FileNotFoundError as error:
        raise ArtifactError(f"{path}: no such file; run metrics.embed") from error
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise ArtifactError(
            f"{path}: not an npz file ({error}); delete it and embed again"
        ) from error
    check_schema(str(arrays.get("schema_version")), path)
    missing = [name for name in names if name not in arrays]
    if missing:
        raise ArtifactError(f"{path}: lacks {', '.join(missing)}; delete it and embed again")
    return arrays


@dataclass(frozen=True)
class Captions:
    """Candidates of both retrievals and the embedding of every text."""

    plain: list[str]
    strict: list[str]
    embedding: dict[str, Float[np.ndarray, " d"]]
    identity: dict[str, str]

    def rows(self, texts: Sequence[str]) -> Float[np.ndarray, "n d"]:
        """The embeddings of `texts`, in their order."""
        return np.stack([self.embedding[text] for text in texts])


def read_captions(path: Path, plain: list[str], strict: list[str], *, model: str) -> Captions:
    """The embedded captions in `path`. Raises ArtifactError when some are missing."""
    arrays = read_arrays(path, ("embedding", "text", *IDENTITY))
    identity = {name: str(arrays[name]) for name in IDENTITY}
    embedding = dict(zip(map(str, arrays["text"]), arrays["embedding"], strict=True))
    missing = [text for text in [*plain, *strict] if text not in embedding]
    if missing or identity["model_id"] != model:
        why = f"lacks {missing[:3]}" if missing else f"is by {identity['model_id']}, not {model}"
        raise ArtifactError(f"{path}: {why}; run metrics.embed with the same options")
    return Captions(plain=plain, strict=strict, embedding=embedding, identity=identity)


def read_embeddings(run: Run, captions: Captions) -> dict[str, Float[np.ndarray, "views d"]]:
    """The views' embeddings by background. Raises ArtifactError if model or pictures changed."""
    path = run.folder / EMBEDDINGS
    arrays = read_arrays(path, ("embedding", "view", "background", "image_sha256", *IDENTITY))
    if {name: str(arrays[name]) for name in IDENTITY} != captions.identity:
        raise ArtifactError(f"{path}: made by another model than the captions; embed again")
    rows = zip(arrays["view"], arrays["background"], arrays["image_sha256"], strict=True)
    place: dict[tuple[str, str], int] = {}
    for index, (view, background, checksum) in enumerate(rows):
        if sha256(run.view(str(view))) != checksum:
            raise ArtifactError(f"{path}: {run.view(str(view))} was rendered since; embed again")
        place[str(view), str(background)] = index
    backgrounds = dict.fromkeys(background for _, background in place)
    return {
        background: arrays["embedding"][[place[view, background] for view in VIEWS]]
        for background in backgrounds
    }
