"""One small file that stands for a folder of large ones.

    python -m pipeline.checksums --files BANK/world.json BANK/car.safetensors ... \\
        --out BANK/checksums.json

Runs that read the whole folder name only this file as their input: the workflow then compares one
file a run instead of a dozen, by content. It lies in the folder that it describes.
"""

import argparse
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from pipeline.artifacts import (
    SCHEMA_VERSION,
    ArtifactError,
    exit_status,
    read_json,
    sha256,
    write_json,
)

LISTING = "checksums.json"


def of_files(files: Iterable[Path]) -> dict[str, str]:
    """The sha256 of each file by its name, sorted. Raises ArtifactError for one that is missing."""
    return {path.name: sha256(path) for path in sorted(files, key=lambda path: path.name)}


def of_folder(folder: Path) -> dict[str, str]:
    """The sha256 of each file in `folder`, as it now is, by its name.

    Raises ArtifactError when that is not what the folder's listing says, if it has one.
    """
    files = [path for path in folder.glob("[!.]*") if path.name != LISTING]  # a dot: half written
    found, listing = of_files(files), folder / LISTING
    if not listing.exists():
        return found
    listed = read_json(listing)["files"]
    names = sorted(found.keys() | listed.keys())
    if changed := [name for name in names if found.get(name) != listed.get(name)]:
        raise ArtifactError(
            f"{listing}: not what lies beside it ({', '.join(changed)}); delete it and run the "
            "workflow again"
        )
    return found


def main(arguments: Sequence[str] | None = None) -> None:
    """Writes the listing of the files, which lie in one folder."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--files", type=Path, nargs="+", required=True)
    parser.add_argument("--out", type=Path, required=True, help=f"FOLDER/{LISTING}")
    given = parser.parse_args(arguments)
    write_json(given.out, {"schema_version": SCHEMA_VERSION, "files": of_files(given.files)})


if __name__ == "__main__":
    sys.exit(exit_status(main))
