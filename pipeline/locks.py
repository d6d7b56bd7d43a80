"""Locks that the kernel lets go of when their holder dies, however it dies.

Snakemake's own locks are files that a killed process leaves behind. `held_workdir` removes them
when nobody lives who could have made them, so that the same command goes on after a kill -9 of
everything.
"""

import fcntl
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from pipeline.artifacts import ArtifactError


def held_workdir(folder: Path) -> TextIO:
    """A mark, as long as it stays open, that this process works with Snakemake's state in `folder`.

    Any number of processes may hold it: whether they meet in the same files is for Snakemake's
    locks to say. The first to come finds those of killed processes only, and removes them.
    """
    folder.mkdir(parents=True, exist_ok=True)
    mark = (folder / "alive").open("w")
    try:
        fcntl.flock(mark, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        pass
    except OSError:  # a file system without such locks: stale ones need snakemake --unlock
        return mark
    else:
        stale = sorted((folder / "locks").glob("*.lock"))
        for path in stale:
            path.unlink(missing_ok=True)
        if stale:
            print("Removed the lock of a workflow that was killed.", file=sys.stderr)
    fcntl.flock(mark, fcntl.LOCK_SH)
    return mark


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """No other process is in this block for `folder`. Raises ArtifactError when one is.

    A workflow killed without its jobs leaves them running: a second process beside one would mix
    its checkpoints and its trace with the first one's.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as mark:
        try:
            fcntl.flock(mark, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ArtifactError(
                f"{folder.parent}: another process is working on this run; wait for it or end it"
            ) from error
        except OSError:  # a file system without such locks
            pass
        yield
