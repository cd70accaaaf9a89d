"""A file that appears when it is whole: written beside its place under a name of its own, and renamed.

Whoever is killed meanwhile leaves that file, as large as a backup; the next one in the folder removes it. A lock, which
ends with its process, tells it from a file that is being written.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO

SUFFIX = ".ragmesh-unfinished"
FRESH_SECONDS = 60.0
"""A file that was written to so lately is left alone: its process may be about to lock it."""


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[tuple[IO[bytes], Path]]:
    """A file beside `path`, for its owner only, that takes its name when all went well and is removed otherwise."""
    _remove_abandoned(path.parent)
    temporary = path.with_name(f".{secrets.token_hex(8)}{SUFFIX}")
    descriptor = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            with contextlib.suppress(OSError):  # a file system without locks: then nobody removes anything there
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            yield file, temporary
            temporary.replace(path)  # while it is locked
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _remove_abandoned(folder: Path) -> None:
    """Remove what killed processes left; what cannot be removed or locked stays."""
    for left in folder.glob(f".*{SUFFIX}"):
        with contextlib.suppress(OSError):
            descriptor = os.open(left, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if time.time() - os.fstat(descriptor).st_mtime > FRESH_SECONDS:
                    left.unlink()
            finally:
                os.close(descriptor)
