"""The file that a backup is written to: what a killed one leaves is removed, what another writes is not."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from ragmesh_ingestor.backup.replacing import FRESH_SECONDS, SUFFIX, replacing

_KILLED = """
import os, sys
from pathlib import Path
from ragmesh_ingestor.backup.replacing import replacing
with replacing(Path(sys.argv[1])) as (file, temporary):
    file.write(b"half")
    file.flush()
    os.kill(os.getpid(), 9)
"""


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def aged(path: Path) -> None:
    long_ago = path.stat().st_mtime - 2 * FRESH_SECONDS
    os.utime(path, (long_ago, long_ago))


def test_a_file_takes_its_name_when_it_is_whole(tmp_path: Path) -> None:
    target = tmp_path / "b.backup"
    target.write_bytes(b"old")
    with replacing(target) as (file, temporary):
        file.write(b"new")
        assert stat.S_IMODE(temporary.stat().st_mode) == 0o600
        assert target.read_bytes() == b"old"
    assert (target.read_bytes(), names(tmp_path)) == (b"new", {"b.backup"})
    with pytest.raises(RuntimeError), replacing(target):
        raise RuntimeError
    assert (target.read_bytes(), names(tmp_path)) == (b"new", {"b.backup"})


def test_what_a_killed_process_left_is_removed_and_what_another_writes_is_not(tmp_path: Path) -> None:
    foreign = tmp_path / ".b.backup.swp"
    foreign.write_bytes(b"not ours")
    killed = subprocess.run([sys.executable, "-c", _KILLED, tmp_path / "b.backup"], timeout=30, check=False)
    assert killed.returncode == -9
    (left,) = tmp_path.glob(f".*{SUFFIX}")
    with replacing(tmp_path / "c.backup") as (_, mine):
        assert left.exists()  # too fresh: its process may be about to lock it
        for path in (left, mine, foreign):
            aged(path)
        with replacing(tmp_path / "d.backup"):
            assert (left.exists(), mine.exists()) == (False, True)
    assert names(tmp_path) == {".b.backup.swp", "c.backup", "d.backup"}
