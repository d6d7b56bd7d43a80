"""Files are either absent or whole: every write goes to a temporary name and is renamed.

Formats that cross a program boundary live here: JSON, PNG, safetensors, tables (parquet + CSV),
each with the checks a reader needs. This module imports nothing of ours, so that metrics and
reports may use it.
"""

import csv
import hashlib
import io
import json
import math
import os
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import pandas
    import torch

SCHEMA_MAJOR = 1
SCHEMA_VERSION = f"{SCHEMA_MAJOR}.0"

_COLUMNS: dict[str, str] = {
    "scores": "preset column stage prompt_id seed view metric protocol_id value status",
    "summary": (
        "preset stage column metric protocol_id population n_prompts n_runs n_failed mean lower "
        "upper level"
    ),
    "pairs": (
        "preset stage metric protocol_id column_a column_b difference lower upper p p_holm "
        "smallest_p n_prompts verdict"
    ),
    "protocols": (
        "preset stage column protocol quantity unit prefix background candidates n_candidates "
        "ties population protocol_id value lower upper level interval n_prompts n_runs n_failed "
        "n_queries background_spread status"
    ),
    "comparisons": (
        "preset stage protocol quantity unit prefix background candidates ties protocol_id "
        "column_a column_b difference lower upper p p_holm smallest_p a_only b_only p_mcnemar "
        "minimum_detectable n_prompts verdict"
    ),
    "published": (
        "source system quantity published reading evidence column stage protocol_id value lower "
        "upper verdict"
    ),
    "diversity": "preset column stage prompt_id protocol_id n_seeds distance found possible",
    "trace": "step t term norm weighted_norm",
    "traces": "preset column stage prompt_id seed step t term norm weighted_norm",
}
TABLES: dict[str, tuple[str, ...]] = {n: tuple(c.split()) for n, c in _COLUMNS.items()}


class ArtifactError(RuntimeError):
    """A file that is missing, broken, or of another schema; the message names it and the remedy."""


def atomically(path: Path | str, write: Callable[[Path], object]) -> Path:
    """`path` holds what `write` put into the temporary file it was given, or is unchanged.

    The temporary file lies in the same folder, so that the rename is atomic; it keeps `path`'s
    suffix, by which some libraries choose the format. Raises whatever `write` raises, leaving
    nothing behind; an OSError (a full disk) names `path`.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=".partial-", suffix=path.suffix)
    os.close(handle)
    temporary = Path(name)
    try:
        with naming(path):
            write(temporary)
            with temporary.open("rb") as stream:
                os.fsync(stream.fileno())
            umask = os.umask(0)
            os.umask(umask)
            temporary.chmod(0o666 & ~umask)
            temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    return path


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """An OSError from inside names `path`: a full disk alone does not say for which file."""
    try:
        yield
    except OSError as error:
        raise OSError(error.errno, error.strerror or str(error), str(path)) from error


def write_bytes(path: Path | str, data: bytes) -> Path:
    """`path` holds `data`."""
    return atomically(path, lambda temporary: temporary.write_bytes(data))


def write_text(path: Path | str, text: str) -> Path:
    """`path` holds `text` in UTF-8."""
    return write_bytes(path, text.encode("utf-8"))


def write_json(path: Path | str, value: Any) -> Path:
    """`path` holds `value` as strict JSON (no NaN), keys in the order given."""
    return write_text(path, json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False) + "\n")


def read_json(path: Path | str) -> Any:
    """The value in the JSON file `path`. Raises ArtifactError when it is missing or malformed."""
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ArtifactError(f"{path}: no such file; run the rule that writes it") from error
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ArtifactError(f"{path}: not JSON ({error}); delete it and run again") from error


def write_png(path: Path | str, image: np.ndarray) -> Path:
    """`path` holds `image` as PNG: (h, w, 1|3|4) or (h, w).

    Floats in [0, 1] and uint8 become 8 bits a channel; uint16, (h, w) only, stays 16 bits.
    """
    from PIL import Image

    if image.dtype.kind == "f":
        image = (np.clip(image, 0.0, 1.0) * 255.0 + 0.5).astype(np.uint8)
    if image.ndim == 3 and image.shape[2] == 1:
        image = image[..., 0]
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, format="PNG")
    return write_bytes(path, buffer.getvalue())


def read_png(path: Path | str) -> np.ndarray:
    """The image in `path` as float32 in [0, 1], (h, w, channels). Raises ArtifactError."""
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(path) as image:
            array = np.asarray(image)
    except FileNotFoundError as error:
        raise ArtifactError(f"{path}: no such image; run the rule that renders it") from error
    except (UnidentifiedImageError, OSError, SyntaxError) as error:
        raise ArtifactError(
            f"{path}: not a readable image ({error}); delete it and rerun"
        ) from error
    scale = 65535.0 if array.dtype == np.uint16 or array.dtype.kind == "i" else 255.0
    array = (array / scale).astype(np.float32)
    return array[..., None] if array.ndim == 2 else array


def save_safetensors(
    path: Path | str,
    tensors: Mapping[str, "torch.Tensor"],
    metadata: Mapping[str, str] | None = None,
) -> Path:
    """`path` holds `tensors` (contiguous, on the CPU), string `metadata` and a schema_version."""
    return write_bytes(path, safetensors_bytes(tensors, metadata))


def safetensors_bytes(
    tensors: Mapping[str, "torch.Tensor"], metadata: Mapping[str, str] | None = None
) -> bytes:
    """The file that `save_safetensors` writes: equal bytes for equal tensors and metadata.

    The library writes the metadata's keys in random order; here they are sorted.
    """
    from safetensors.torch import save

    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    described = {"schema_version": SCHEMA_VERSION, **(metadata or {})}
    data = save(plain, metadata=described)
    end = 8 + int.from_bytes(data[:8], "little")
    header = json.loads(data[8:end]) | {"__metadata__": dict(sorted(described.items()))}
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode("utf-8")
    size = math.ceil(len(text) / 8) * 8  # the format aligns the tensors, with spaces
    return size.to_bytes(8, "little") + text.ljust(size) + data[end:]


def load_safetensors(path: Path | str) -> tuple[dict[str, "torch.Tensor"], dict[str, str]]:
    """(tensors, metadata) of `path`. Raises ArtifactError as `load_arrays`."""
    return _safetensors(path, "pt")


def load_arrays(path: Path | str) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """As `load_safetensors`, without torch, whose import takes a second.

    Raises ArtifactError when it is missing, corrupt or of another schema.
    """
    return _safetensors(path, "numpy")


def _safetensors(path: Path | str, framework: str) -> tuple[dict[str, Any], dict[str, str]]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(str(path), framework=framework) as file:
            metadata = dict(file.metadata() or {})
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except FileNotFoundError as error:
        raise ArtifactError(f"{path}: no such file; run the rule that writes it") from error
    except (SafetensorError, OSError) as error:
        raise ArtifactError(
            f"{path}: not safetensors ({error}); delete it and run again"
        ) from error
    check_schema(metadata.get("schema_version"), path)
    return tensors, metadata


def check_schema(version: str | None, path: Path | str) -> None:
    """Raises ArtifactError unless `version` has the major number that this code reads."""
    if version is None or version.split(".")[0] != str(SCHEMA_MAJOR):
        raise ArtifactError(
            f"{path}: schema_version {version!r}, but this code reads {SCHEMA_MAJOR}.x; "
            "rerun the rule that writes it, or use the release that wrote it"
        )


def write_table(frame: "pandas.DataFrame", stem: Path | str, name: str) -> Path:
    """`stem`.parquet (with schema_version) and `stem`.csv hold `frame`, columns TABLES[name]."""
    import pyarrow.parquet

    frame = frame[list(_table_columns(name))]
    table = pyarrow.Table.from_pandas(frame, preserve_index=False)
    described = {**(table.schema.metadata or {}), b"schema_version": SCHEMA_VERSION.encode()}
    table = table.replace_schema_metadata(described)
    stem = Path(stem)
    text = frame.to_csv(index=False, quoting=csv.QUOTE_MINIMAL, lineterminator="\n")
    write_text(stem.with_name(stem.name + ".csv"), text)
    return atomically(
        stem.with_name(stem.name + ".parquet"),
        lambda temporary: pyarrow.parquet.write_table(table, temporary),
    )


def read_table(path: Path | str, name: str) -> "pandas.DataFrame":
    """The table of schema `name` in a parquet file.

    Raises ArtifactError for other columns or versions.
    """
    import pyarrow.parquet

    path = Path(path)
    if path.suffix != ".parquet":
        path = path.with_name(path.name + ".parquet")
    try:
        table = pyarrow.parquet.read_table(path)
    except FileNotFoundError as error:
        raise ArtifactError(f"{path}: no such table; run the rule that writes it") from error
    except (pyarrow.ArrowInvalid, OSError) as error:
        raise ArtifactError(f"{path}: not parquet ({error}); delete it and run again") from error
    metadata = table.schema.metadata or {}
    check_schema(metadata.get(b"schema_version", b"").decode() or None, path)
    missing = [column for column in _table_columns(name) if column not in table.column_names]
    if missing:
        raise ArtifactError(f"{path}: not a {name} table, lacks {', '.join(missing)}")
    return table.to_pandas()


def _table_columns(name: str) -> tuple[str, ...]:
    if name not in TABLES:
        raise ArtifactError(f"unknown table schema {name!r}; known: {', '.join(TABLES)}")
    return TABLES[name]


def sha256(path: Path | str) -> str:
    """The hex sha256 of a file's bytes. Raises ArtifactError when it is missing."""
    try:
        with Path(path).open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except FileNotFoundError as error:
        raise ArtifactError(f"{path}: no such file; run the rule that writes it") from error


def digest(value: Any) -> str:
    """The hex sha256 of `value`'s canonical JSON: equal for equal data, whatever the key order."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode("utf-8")).hexdigest()


def exit_status(main: Callable[[], int | None], *expected: type[Exception]) -> int:
    """A program's exit status: `main`'s, or 1 after one line `error: ...` on stderr.

    ArtifactError, OSError and the `expected` speak for themselves; anything else is a bug and keeps
    its traceback.
    """
    known: tuple[type[Exception], ...] = (ArtifactError, OSError, *expected)
    try:
        return main() or 0
    except known as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
