"""The process behind `ragmesh backup`: what it says becomes progress, a result or one sentence. And the stores it is
given."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from ragmesh_cli.backups import worker
from ragmesh_cli.backups.stores import reachable
from ragmesh_cli.failure import Failure
from ragmesh_cli.home import Home
from ragmesh_cli.main import main

NEEDED = {
    "RAGMESH_RECORDS_URL": "bolt://h:7687",
    "RAGMESH_VECTORS_URL_FILE": "/etc/ragmesh/secrets/vectors",
    "RAGMESH_BLOBS_URL": "s3://bucket",
}


RESULT = {"created_at": "now", "product": "1", "keys": 0, "bytes": 1}

Child = Callable[[str], object]


@pytest.fixture
def child(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Child:
    """A module in place of the real one: what it is given runs as the process."""
    monkeypatch.setattr(worker, "MODULE", "stub_backup")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    return (tmp_path / "stub_backup.py").write_text


async def work(*arguments: str) -> tuple[dict[str, object], list[tuple[str, int, int]]]:
    told: list[tuple[str, int, int]] = []
    result = await worker.work(os.environ, arguments, lambda *stage: told.append(stage))
    return result, told


async def test_progress_and_result_are_passed_on(child: Child) -> None:
    child(
        """import sys
print('{"stage": "checking", "done": 1, "total": 2}')
print('{"result": {"argument": "%s"}}' % sys.argv[1])"""
    )
    assert await work("verify") == ({"argument": "verify"}, [("checking", 1, 2)])


@pytest.mark.parametrize(
    ("code", "sentence", "exit_code"),
    [
        ("""print('{"failure": "the disk is full"}'); raise SystemExit(1)""", "^the disk is full$", 1),
        ("""print('{"failure": "RAGMESH_X: must be set"}'); raise SystemExit(2)""", "^RAGMESH_X: must be set$", 2),
        ("raise RuntimeError('lost')", "exited with code 1: RuntimeError: lost", 1),
        ("import os; os.kill(os.getpid(), 9)", "was killed by SIGKILL", 1),
    ],
)
async def test_a_process_that_fails_is_one_sentence(child: Child, code: str, sentence: str, exit_code: int) -> None:
    child(code)
    with pytest.raises(Failure, match=sentence) as failed:
        await work("backup")
    assert failed.value.code == exit_code


async def test_a_caller_that_is_cancelled_waits_until_the_process_has_cleaned_up(child: Child, tmp_path: Path) -> None:
    child(
        f"""import signal, sys, time
signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
try:
    print('{{"stage": "backing up", "done": 0, "total": 1}}', flush=True)
    time.sleep(60)
finally:
    open({str(tmp_path / "cleaned")!r}, "w").close()"""
    )
    begun = asyncio.Event()
    task = asyncio.create_task(worker.work(os.environ, ["backup"], lambda *_: begun.set()))
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert (tmp_path / "cleaned").exists()


@pytest.mark.parametrize(
    ("task", "exit_code", "sentence"),
    [
        ("restore", 0, "^the restore was complete when the signal came$"),
        ("backup", 3, "^the backup was complete when the signal came$"),
        ("restore", 143, "^ended by SIGTERM; the mesh is as it was, unless all was about to be shown just then"),
        ("backup", 143, "^ended by SIGTERM; nothing is left of it$"),
    ],
)
async def test_what_sigterm_has_left_is_said_as_it_is(child: Child, task: str, exit_code: int, sentence: str) -> None:
    child(
        f"""import signal, sys, time
signal.signal(signal.SIGTERM, lambda *_: sys.exit({exit_code}))
print('{{"stage": "restoring", "done": 0, "total": 1}}', flush=True)
time.sleep(60)"""
    )
    begun = asyncio.Event()
    working = asyncio.create_task(worker.work(os.environ, [task], lambda *_: begun.set()))
    await begun.wait()
    os.kill(os.getpid(), signal.SIGTERM)
    with pytest.raises(Failure, match=sentence) as failed:
        await working
    assert failed.value.code == 143


def test_documents_that_are_not_in_a_backup_are_said_and_told_by_the_exit_code(
    child: Child, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, value in NEEDED.items():
        monkeypatch.setenv(name, value)
    one = {"collection_id": "docs", "tenant": "acme", "documents": 2, "states": {}, "chunks": 2, "settled": False}
    for left_out, code, sentence in (
        ([], 0, "docs of acme: some documents changed all the time and are in it as they were copied last"),
        (["a"], 3, "docs of acme: 1 document changed all the time and is NOT in it: `a`"),
        (list("abcd"), 3, "docs of acme: 4 documents changed all the time and are NOT in it: `a`, `b`, `c`, ..."),
    ):
        child(
            f"import json; print(json.dumps({{'result': {dict(RESULT, collections=[{**one, 'left_out': left_out}])}}}))"
        )
        for arguments in (["b.tar"], ["--verify", "b.tar"], ["--json", "b.tar"]):
            monkeypatch.setattr(sys, "argv", ["ragmesh", "backup", *arguments])
            with pytest.raises(SystemExit) as ended:
                main()
            said = capsys.readouterr()
            assert ended.value.code == code, said
            assert arguments[0] == "--json" or sentence in said.err


async def test_no_home_is_looked_at_where_the_environment_names_every_store(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in NEEDED.items():
        monkeypatch.setenv(name, value)
    for made in (False, True):
        async with reachable(Home(tmp_path / "none"), made=made) as environ:
            assert NEEDED.items() <= environ.items()
    assert not (tmp_path / "none").exists()


async def test_a_home_that_is_not_there_or_empty_cannot_be_backed_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("RAGMESH_RECORDS_URL", "RAGMESH_VECTORS_URL", "RAGMESH_BLOBS_URL"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(Failure, match="there is no mesh in"):
        async with reachable(Home(tmp_path / "none"), made=False):
            pass
    with pytest.raises(Failure, match="there is nothing to back up in"):
        async with reachable(Home(tmp_path), made=False):
            pass
    assert not (tmp_path / "none").exists()
