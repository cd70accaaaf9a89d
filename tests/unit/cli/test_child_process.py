"""What is told of a child that ended."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from ragmesh_cli.failure import Failure
from ragmesh_cli.mesh.child import Child


async def ended(log: Path, program: str) -> str:
    child = Child("gateway-1", (sys.executable, "-c", program), {"GREETING": "hello"}, log)
    await child.start()
    return child.why_it_ended(await child.wait())


async def test_what_the_operator_must_mend_is_told_in_the_childs_own_sentence(tmp_path: Path) -> None:
    log = tmp_path / "logs" / "child.log"
    program = "import sys; sys.stderr.write('RAGMESH_X: must be a number\\n'); sys.exit(2)"
    assert await ended(log, program) == "gateway-1: RAGMESH_X: must be a number"
    assert await ended(log, "import sys; sys.exit(2)") == f"gateway-1 exited with code 2 (log: {log})", (
        "not its old log"
    )


async def test_what_the_operator_must_mend_is_told_without_the_log_around_it(tmp_path: Path) -> None:
    lines = ['{"event": "neo4j.refused"}', "the records store refuses", '{"event": "late"}', "I1121 15:27:03.12 4 x] y"]
    program = f"import sys; print({chr(10).join(lines)!r}); sys.exit(2)"
    assert await ended(tmp_path / "child.log", program) == "gateway-1: the records store refuses"


async def test_a_fault_is_told_by_its_event_and_its_last_line_not_by_a_traceback(tmp_path: Path) -> None:
    log = tmp_path / "child.log"
    event = json.dumps({"event": "process.failed", "exception": "Traceback\n  File x\nValueError: no"})
    program = f"import sys; print({event!r}); sys.exit(1)"
    assert await ended(log, program) == f"gateway-1 exited with code 1: process.failed: ValueError: no (log: {log})"


async def test_a_killed_child_is_told_by_its_signal(tmp_path: Path) -> None:
    log = tmp_path / "child.log"
    program = "import os; print('busy', flush=True); os.kill(os.getpid(), 9)"
    assert await ended(log, program) == f"gateway-1 was killed by SIGKILL (log: {log})"


async def test_a_child_sees_its_settings_and_its_output_goes_to_its_log(tmp_path: Path) -> None:
    log = tmp_path / "child.log"
    await ended(log, "import os; print(os.environ['GREETING'])")
    assert log.read_text() == "hello\n"
    assert log.stat().st_mode & 0o777 == 0o600


async def test_a_program_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(Failure, match="redis-state cannot be started: /no/such/program"):
        await Child("redis-state", ("/no/such/program",), {}, tmp_path / "log").start()


async def test_a_child_that_ignores_sigterm_is_killed_after_the_grace(tmp_path: Path) -> None:
    log = tmp_path / "child.log"
    program = "import signal, time; signal.signal(15, signal.SIG_IGN); print('up', flush=True); time.sleep(60)"
    child = Child("stubborn", (sys.executable, "-c", program), {}, log)
    await child.start()
    while not log.read_text():
        assert child.exit_code is None
    assert await child.stop(0.1) is False
    assert child.exit_code == -9
    assert await child.stop(0.1) is True, "it is gone"
