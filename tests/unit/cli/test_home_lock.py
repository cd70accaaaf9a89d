"""One mesh for each home: the lock between real processes, and what a dead mesh leaves behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import psutil
import pytest

from ragmesh_cli.failure import Failure
from ragmesh_cli.home import Home, HomeLock

HOLDER = """
import os, subprocess, sys
import psutil
from pathlib import Path
from ragmesh_cli.home import Home, HomeLock
home = Home(Path(sys.argv[1]))
home.prepare()
lock = HomeLock(home)
lock.acquire(print)
home.write_state({"pid": os.getpid(), "started": psutil.Process().create_time(), "ready": True, "rest": "http://r"})
child = subprocess.Popen([sys.executable, "-c", "import sys; sys.stdin.read()"], pass_fds=[lock.descriptor],
                         stdin=subprocess.PIPE if sys.argv[2:] else subprocess.DEVNULL)
print(child.pid, flush=True)
sys.stdin.read()
"""


@pytest.fixture
def holder(tmp_path: Path) -> Callable[..., AbstractContextManager[tuple[subprocess.Popen[str], int]]]:
    @contextmanager
    def hold(*arguments: str) -> Iterator[tuple[subprocess.Popen[str], int]]:
        command = [sys.executable, "-c", HOLDER, str(tmp_path / "home"), *arguments]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            try:
                yield process, int(process.stdout.readline())
            finally:
                process.kill()

    return hold


def test_a_second_process_is_refused_in_one_line_that_names_the_first(
    tmp_path: Path, holder: Callable[..., AbstractContextManager[tuple[subprocess.Popen[str], int]]]
) -> None:
    home = Home(tmp_path / "home")
    with holder() as (process, _):
        assert home.running() is not None
        with pytest.raises(Failure) as refusal:
            HomeLock(home).acquire(print)
    assert f"pid {process.pid}" in str(refusal.value)
    assert "http://r" in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_the_home_of_a_killed_mesh_is_free_once_its_last_child_is_gone(
    tmp_path: Path, holder: Callable[..., AbstractContextManager[tuple[subprocess.Popen[str], int]]]
) -> None:
    home = Home(tmp_path / "home")
    said: list[str] = []
    with holder("child-stays") as (process, _):
        process.send_signal(signal.SIGKILL)
        process.wait(10)  # the child's stdin closes with it, and the child ends
        assert home.running() is None
        lock = HomeLock(home)
        lock.acquire(said.append)
    os.close(lock.descriptor)


def test_a_pid_that_was_given_to_another_process_is_not_taken_for_the_mesh(tmp_path: Path) -> None:
    home = Home(tmp_path)
    created = psutil.Process().create_time()
    home.write_state({"pid": os.getpid(), "started": created - 100, "ready": True})
    assert home.running() is None
    home.write_state({"pid": os.getpid(), "started": created, "ready": True})
    assert home.running() is not None


def test_a_supervisor_that_nobody_has_reaped_is_not_running(tmp_path: Path) -> None:
    home = Home(tmp_path)
    with subprocess.Popen([sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=subprocess.PIPE) as process:
        home.write_state({"pid": process.pid, "started": psutil.Process(process.pid).create_time(), "ready": True})
        assert home.running() is not None
        process.kill()
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        assert home.running() is None


@pytest.mark.parametrize("text", ["", "{", "[]", '{"pid": "x"}', '{"pid": -1, "started": 1}'])
def test_a_state_file_that_makes_no_sense_is_no_mesh(tmp_path: Path, text: str) -> None:
    home = Home(tmp_path)
    home.state_file.write_text(text)
    assert home.running() is None


def test_a_folder_with_other_things_in_it_is_refused_and_keeps_its_mode(tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    folder.mkdir(mode=0o755)
    (folder / "letter.txt").write_text("dear")
    with pytest.raises(Failure, match="not ragmesh's"):
        Home(folder).prepare()
    assert folder.stat().st_mode & 0o777 == 0o755


def test_an_empty_folder_becomes_a_private_home(tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    folder.mkdir(mode=0o755)
    Home(folder).prepare()
    assert folder.stat().st_mode & 0o777 == 0o700
