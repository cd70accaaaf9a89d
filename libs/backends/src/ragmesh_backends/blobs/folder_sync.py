"""Makes files of a local folder survive a power cut.

The local store of obstore writes a file beside its place and renames it, but syncs neither file nor directory
(traced: no fsync, no fdatasync). A file is safe once its bytes and every directory entry on the way to it are.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path


def sync_files(root: Path, keys: Iterable[str]) -> None:
    """Sync the files of these keys, then each directory between them and the root once, the innermost first.

    Directories are synced each time and not remembered: a sync of a clean one costs about 40 us, and deleting
    removes empty directories, so that what is remembered may be another directory by now.
    """
    directories: set[Path] = set()
    for key in keys:
        path = root / key
        _sync(path)
        for parent in path.parents:
            directories.add(parent)
            if parent == root:
                break
    for directory in sorted(directories, key=lambda path: len(path.parts), reverse=True):
        _sync(directory)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
