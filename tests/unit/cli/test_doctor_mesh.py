"""The doctor's checks of home, processes and logs, how all checks run, and what the command prints."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from ragmesh_cli.commands import doctor as command
from ragmesh_cli.doctor import home_folder, processes, queue, stores
from ragmesh_cli.doctor.examination import examine
from ragmesh_cli.doctor.finding import Finding, Level, Situation, error, ok, warning
from ragmesh_cli.doctor.stores import child_environment
from ragmesh_cli.home import Home, HomeLock


def only(findings: list[Finding]) -> Finding:
    (finding,) = findings
    return finding


# -- home -------------------------------------------------------------------------------------------


@pytest.fixture
def place(tmp_path: Path) -> Home:
    home = Home(tmp_path / "home")
    home.prepare()
    home.write_admin_key("key")
    return home


def stopped(place: Home) -> Situation:
    return Situation(place, {}, None)


def test_a_home_that_is_not_there_yet_is_well(tmp_path: Path) -> None:
    nowhere = stopped(Home(tmp_path / "none"))
    assert only(home_folder.home(nowhere)).level is Level.OK
    assert home_folder.lock(nowhere) == []


def test_a_home_as_it_is_made_is_well(place: Home) -> None:
    assert only(home_folder.home(stopped(place))).what == f"{place.path}, version 1, readable by you only"
    assert only(home_folder.lock(stopped(place))).level is Level.OK


@pytest.mark.parametrize(("name", "mode", "cure"), [("", 0o755, "chmod 700"), ("admin.key", 0o644, "chmod 600")])
def test_a_home_that_others_can_read_is_wrong(place: Home, name: str, mode: int, cure: str) -> None:
    path = place.path / name
    path.chmod(mode)
    finding = only(home_folder.home(stopped(place)))
    assert (finding.level, finding.cure) == (Level.ERROR, f"{cure} {path}")
    assert f"mode {mode:04o}" in finding.what


def test_a_home_of_somebody_else_or_that_is_a_file_is_wrong(
    place: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    assert "is a file" in only(home_folder.home(stopped(Home(tmp_path / "file")))).what
    monkeypatch.setattr(os, "geteuid", lambda: 12345)
    assert "not to you (12345)" in only(home_folder.home(stopped(place))).what


@pytest.mark.parametrize(("text", "sentence"), [("9\n", "made by a newer ragmesh"), ("x", "holds no version")])
def test_a_home_of_a_newer_or_no_version_is_wrong(place: Home, text: str, sentence: str) -> None:
    place.version_file.write_text(text)
    finding = only(home_folder.home(stopped(place)))
    assert (finding.level, sentence in finding.what) == (Level.ERROR, True)


def test_a_lock_that_is_held_without_a_supervisor_names_its_holder(place: Home) -> None:
    lock = HomeLock(place)
    lock.acquire(print)
    with subprocess.Popen(["sleep", "60"], pass_fds=(lock.descriptor,)) as child:
        os.close(lock.descriptor)  # the supervisor is gone, its child has the lock
        try:
            finding = only(home_folder.lock(stopped(place)))
        finally:
            child.kill()
    assert finding.level is Level.ERROR
    assert f"sleep (pid {child.pid})" in finding.what


def test_a_state_file_that_was_left_is_a_warning(place: Home) -> None:
    place.write_state({"pid": 7})
    finding = only(home_folder.lock(stopped(place)))
    assert (finding.level, "(pid 7)" in finding.what) == (Level.WARNING, True)


def test_a_mesh_that_runs_holds_its_lock(place: Home) -> None:
    running = Situation(place, {}, {"pid": 7})
    assert only(home_folder.lock(running)).level is Level.ERROR
    lock = HomeLock(place)
    lock.acquire(print)
    assert only(home_folder.lock(running)).level is Level.OK
    os.close(lock.descriptor)


# -- processes --------------------------------------------------------------------------------------


class Admin(BaseHTTPRequestHandler):
    report: dict[str, Any]
    metrics: str

    def do_GET(self) -> None:
        body = (self.metrics if self.path == "/metrics" else json.dumps(self.report)).encode()
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        return


@pytest.fixture
def admin() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Admin) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


def entry(pid: int, admin: str = "", **more: object) -> dict[str, object]:
    return {"name": "retriever-1", "pid": pid, "admin": admin, "restarts": 0, "log": "/l", "address": "", **more}


def breaker(of: str, state: str) -> dict[str, str]:
    """As the health report of a process tells of it."""
    return {"dependency": of, "endpoint": f"unix:/{of}", "state": state}


def running(place: Home, *entries: dict[str, object], ready: bool = True) -> Situation:
    return Situation(place, {}, {"ready": ready, "processes": list(entries)})


def test_a_mesh_that_is_well_is_one_line(place: Home, admin: str) -> None:
    Admin.report = {"ready": True, "checks": {"records": {"state": "ok"}}, "breakers": [breaker("records", "closed")]}
    findings = processes.processes(running(place, entry(os.getpid(), admin), entry(os.getpid())))
    assert only(findings).what == "2 processes, each ready and with all it depends on"
    assert "not running" in only(processes.processes(stopped(place))).what


def test_what_a_process_reports_is_said(place: Home, admin: str) -> None:
    Admin.report = {
        "ready": False,
        "checks": {"vectors": {"state": "down", "detail": "no answer within 2 s"}, "records": {"state": "ok"}},
        "breakers": [breaker("vectors", "open"), breaker("records", "closed"), breaker("cache", "half-open")],
    }
    found = processes.processes(running(place, entry(os.getpid(), admin, restarts=2)))
    assert [(f.level, f.what) for f in found] == [
        (Level.WARNING, "retriever-1 ended and was restarted 2 times"),
        (Level.ERROR, "retriever-1 is not ready"),
        (Level.ERROR, "retriever-1 does not reach vectors: no answer within 2 s"),
        (Level.WARNING, "retriever-1: the breaker of vectors (unix:/vectors) is open"),
        (Level.WARNING, "retriever-1: the breaker of cache (unix:/cache) is half-open"),
    ]


def test_a_process_that_ended_is_suspended_or_does_not_answer_is_wrong(place: Home) -> None:
    with subprocess.Popen(["sleep", "60"]) as child:
        silent = only(processes.processes(running(place, entry(child.pid, "127.0.0.1:1"))))
        child.send_signal(signal.SIGSTOP)
        os.waitpid(child.pid, os.WUNTRACED)  # returns when it has stopped
        suspended = only(processes.processes(running(place, entry(child.pid))))
        child.kill()
    ended = only(processes.processes(running(place, entry(child.pid))))
    assert "does not answer on its admin port" in silent.what
    assert suspended.cure == f"kill -CONT {child.pid}"
    assert (ended.what, ended.cure) == ("retriever-1 is down", "its log says why: /l")


@pytest.mark.parametrize(
    ("waiting", "oldest", "level", "what"),
    [
        ("2.0", "4.5", Level.OK, "2 waiting, 1 in work"),
        ("2.0", "900.0", Level.WARNING, "2 waiting, 1 in work, the oldest waits for 15 minutes"),
    ],
)
def test_a_queue_that_stands_still_is_a_warning(
    place: Home, admin: str, waiting: str, oldest: str, level: Level, what: str
) -> None:
    Admin.metrics = (
        f"# TYPE ragmesh_queue_waiting_jobs gauge\nragmesh_queue_waiting_jobs {waiting}\n"
        f"ragmesh_queue_running_jobs 1.0\nragmesh_queue_oldest_waiting_seconds {oldest}\n"
    )
    finding = only(queue.queue(running(place, entry(1, admin, name="ingestor-1"))))
    assert (finding.level, finding.what) == (level, what)


def test_of_a_queue_that_does_not_answer_nothing_is_said(place: Home, admin: str) -> None:
    Admin.metrics = "ragmesh_queue_waiting_jobs NaN\nragmesh_queue_running_jobs NaN\n"
    assert queue.queue(running(place, entry(1, admin, name="ingestor-1"), entry(2, "127.0.0.1:1"))) == []
    assert queue.queue(stopped(place)) == []


def test_a_mesh_that_is_starting_is_a_warning(place: Home) -> None:
    assert only(processes.processes(running(place, entry(os.getpid()), ready=False))).level is Level.WARNING


def test_critical_events_of_the_last_day_are_named_and_nothing_else_of_them(place: Home) -> None:
    now = datetime.now(UTC)

    def event(name: str, level: str = "critical", hours: float = 1) -> str:
        at = (now - timedelta(hours=hours)).isoformat()
        return json.dumps({"event": name, "level": level, "timestamp": at, "exception": "Secret: text"})

    lines = [
        event("process.failed"),
        event("process.failed"),
        event("old", hours=30),
        event("fine", "info"),
        '"critical"',
    ]
    (place.logs / "ingestor-1.log").write_text("\n".join(lines))
    (place.logs / "milvus.log").write_text("critical\n")
    finding = only(processes.logs(stopped(place)))
    assert finding.level is Level.WARNING
    assert finding.what == "ingestor-1 logged critical events within a day: process.failed (2)"


# -- the examination and the command ----------------------------------------------------------------


def test_a_check_that_hangs_or_fails_is_a_finding_and_holds_nobody_up(place: Home) -> None:
    gate = threading.Event()

    def hangs(_: Situation) -> list[Finding]:
        gate.wait(30)
        return []

    def fails(_: Situation) -> list[Finding]:
        raise RuntimeError("oops")

    checks = {"hangs": hangs, "fails": fails, "good": lambda _: [ok("good", "fine")]}
    began = time.monotonic()
    found = examine(stopped(place), checks, whole_seconds=0.3)
    assert time.monotonic() - began < 2
    gate.set()
    assert [(f.check, f.level) for f in found] == [
        ("hangs", Level.ERROR), ("fails", Level.ERROR), ("good", Level.OK),
    ]  # fmt: skip
    assert "oops" in found[1].what


@pytest.mark.parametrize(
    ("findings", "code", "summary"),
    [
        ([ok("a", "fine")], 0, "all is well"),
        ([warning("a", "hm", "look"), ok("b", "fine")], 0, "nothing is wrong, 1 warning"),
        ([error("a", "bad [x]", "mend it"), warning("b", "hm", "look")], 1, "one thing is wrong, 1 warning"),
        ([error("a", "bad", "mend"), error("b", "bad", "mend")], 1, "2 things are wrong"),
    ],
)
def test_the_command_prints_a_line_for_each_finding_and_exits_by_the_worst(
    findings: list[Finding], code: int, summary: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command, "examine", lambda situation: findings)
    done = subprocess_like(tmp_path)
    assert (done.exit_code, done.stdout.splitlines()[-1]) == (code, summary)
    assert len(done.stdout.splitlines()) == len(findings) + 2
    for finding, line in zip(findings, done.stdout.splitlines(), strict=False):
        assert finding.what in line
        assert (f" -> {finding.cure}" in line) == bool(finding.cure)
    told = json.loads(subprocess_like(tmp_path, "--json").stdout)
    assert (told["well"], told["errors"]) == (code == 0, sum(f.level is Level.ERROR for f in findings))
    assert [f["what"] for f in told["findings"]] == [f.what for f in findings]


def subprocess_like(home: Path, *arguments: str) -> Any:
    return CliRunner().invoke(command.doctor, ["--home", str(home), *arguments])


def test_there_is_no_colour_where_there_is_no_terminal(tmp_path: Path) -> None:
    environ = {k: v for k, v in os.environ.items() if not k.startswith(("RAGMESH_", "FORCE_COLOR"))}
    done = subprocess.run(
        [sys.executable, "-m", "ragmesh_cli", "doctor", "--home", str(tmp_path / "none"), ],
        env={**environ, "RAGMESH_REST_PROT": "1"}, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 1
    assert "WRONG settings  RAGMESH_REST_PROT is set, and nothing reads it -> is it RAGMESH_REST_PORT?" in done.stdout
    assert "\x1b" not in done.stdout


# -- what the child is told -------------------------------------------------------------------------


def test_the_stores_that_are_looked_at_are_those_that_run_then_those_named_then_the_homes(place: Home) -> None:
    names = {"RAGMESH_VECTORS_URL": "http://named:1", "RAGMESH_RECORDS_URL": "bolt://named:2"}
    idle = child_environment(Situation(place, names, None))
    assert {name: idle[name] for name in names} == names
    assert idle["RAGMESH_BLOBS_URL"] == f"file:{place.path / 'blobs'}"
    assert "RAGMESH_STATE_URL" not in idle
    milvus = entry(1, name="milvus", address="unix:/own.sock")
    runs = child_environment(Situation(place, names, {"processes": [milvus]}))
    assert runs["RAGMESH_VECTORS_URL"] == "unix:/own.sock"


def test_a_child_that_fails_is_a_finding(place: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stores, "MODULE", "ragmesh_nothing")
    finding = only(stores.stores(Situation(place, dict(os.environ), None)))
    assert finding.level is Level.ERROR
    assert "No module named ragmesh_nothing" in finding.what
    monkeypatch.setattr(stores, "CHILD_SECONDS", 0.01)
    assert "took longer than" in only(stores.stores(Situation(place, dict(os.environ), None))).what
