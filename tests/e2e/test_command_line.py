"""The `ragmesh` command as a stranger uses it: real processes, and one line for everything that goes wrong."""

from __future__ import annotations

import asyncio
import json
import os
import pty
import signal
import sqlite3
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from ragmesh_backends.model.collection import IndexRef
from ragmesh_backends.model.document import DocumentVersion
from ragmesh_backends.vectors import MilvusVectors
from support.mesh import RAGMESH, Mesh

QUESTION = "When was the Fastnet lighthouse lit?"


def until(condition: Callable[[], object], seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.05)


def the_one_line(done: subprocess.CompletedProcess[str]) -> str:
    """What a failing command says: exactly one line on stderr, nothing on stdout."""
    assert done.returncode != 0
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert line.startswith("ragmesh")
    return line


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["ask", ""], "question: must not be empty"),
        (["ask", "x" * 5000], "question: must have at most 4,000 characters, not 5,000"),
        (["search", "a\x07b"], "query: has a control character (U+0007)"),
        (["ask", "hi", "-c", "nowhere"], "there is no collection `nowhere`; `ragmesh ingest PATH -c NAME` makes one"),
        (["search", "hi", "-c", "bad name"], "collection_id: must match"),
        (["search", "hi", "-k", "0"], "Invalid value for '-k'"),
        (["ask", "hi", "--key", "wrong"], "look at RAGMESH_KEY"),
        (["ask", "hi", "--address", "127.0.0.1:1"], "no mesh answers at 127.0.0.1:1"),
        (["ask", "hi", "--home", "/no/home"], "no mesh is running on /no/home; start one"),
        (["ask", os.fsdecode(b"caf\xe9")], "an argument is not valid UTF-8"),
        (["ingest", "/no/file"], "/no/file: no such file or folder"),
        (["eval", "/"], "not in BEIR form; corpus.jsonl is missing"),
        (["keys", "revoke", "nokey"], "there is no such key"),
        (["keys", "create", "x", "--scope", "all"], "'all' is not a scope"),
        (["nothing"], "No such command 'nothing'"),
        (["up", "--free-ports"], "a mesh is already running"),
        (["up", "--replicas", "reader=2", "--home", "/proc/home"], "RAGMESH_HOME: /proc/home cannot be the home"),
    ],
)
def test_whatever_is_refused_is_one_line_with_cause_and_cure(mesh: Mesh, arguments: list[str], sentence: str) -> None:
    assert sentence in the_one_line(mesh.run(*arguments))


def test_files_that_cannot_be_documents_are_named_and_do_not_stop_the_others(mesh: Mesh, tmp_path: Path) -> None:
    contents = {
        "big.txt": b"a" * (10 * 1024 * 1024 + 1),
        "binary.txt": bytes(range(256)) * 20,
        "empty.txt": b"",
        "fine.md": b"# Fine\n\nThis one is fine.",
        "latin.txt": b"caf\xe9",
        "picture.png": b"\x89PNG",
    }
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    done = mesh.run("ingest", str(tmp_path), "-c", "mixed", "--json")
    report = json.loads(done.stdout)
    assert done.returncode == 1
    assert (report["sent"], report["ready"]) == (1, 1)
    assert report["failures"].keys() == {"big.txt", "binary.txt", "empty.txt", "latin.txt"}
    assert "10 MiB" in report["failures"]["big.txt"]
    assert "UTF-8" in report["failures"]["latin.txt"]

    told = mesh.run("ingest", str(tmp_path), "-c", "mixed")
    assert told.returncode == 1
    assert told.stdout == "mixed: 0 ready, 1 unchanged, 4 failed\n"
    assert "binary.txt: content: declared as plain text but the content is binary" in told.stderr
    assert "cannot be ingested" in the_one_line(mesh.run("ingest", str(tmp_path / "picture.png")))
    (tmp_path / "none").mkdir()
    assert "no file of a known type" in the_one_line(mesh.run("ingest", str(tmp_path / "none")))


def test_an_ingestion_that_was_interrupted_goes_on_where_it_stopped(mesh: Mesh, tmp_path: Path) -> None:
    for n in range(150):
        (tmp_path / f"{n:03}.md").write_text(f"# Note {n}\n\nThe archive keeps item {n} in drawer {n % 7}.")
    with mesh.rest() as rest:

        def counted() -> int:
            reply = rest.get("/v1/collections/resumed").json()
            return int(reply.get("documents_ready", 0)) + int(reply.get("documents_pending", 0))

        def pending() -> int:
            return int(rest.get("/v1/collections/resumed").json().get("documents_pending", 0))

        with mesh.command("ingest", str(tmp_path), "-c", "resumed") as first:
            until(lambda: counted() > 10)
            os.killpg(first.pid, signal.SIGINT)
            out, err = first.communicate(timeout=10)
            assert (first.returncode, out) == (130, "")
            assert "Traceback" not in err
        until(lambda: pending() == 0)  # what becomes READY meanwhile might be counted twice
        there = counted()
        report = json.loads(mesh.run("ingest", str(tmp_path), "-c", "resumed", "--json").stdout)
        assert report["sent"] == 150 - there < 150
        assert report["sent"] + report["joined"] + report["unchanged"] == 150
        assert not report["failures"]
        documents = rest.get("/v1/collections/resumed/documents", params={"page_size": 200}).json()["documents"]
    assert [d["latest_version"] for d in documents] == [1] * 150, "nothing was sent twice"


def test_what_the_vector_store_lost_is_there_again_once_it_is_sent_again(mesh: Mesh, tmp_path: Path) -> None:
    (tmp_path / "buoy.md").write_text("# Buoys\n\nA cardinal buoy shows where the deep water is.")
    (tmp_path / "reef.md").write_text("# Reefs\n\nThe reef dries at low water.")

    def ingest(*options: str) -> dict[str, object]:
        done = mesh.run("ingest", str(tmp_path), "-c", "lost", "--json", *options)
        assert done.returncode == 0, done.stderr
        told = json.loads(done.stdout)
        return {name: told[name] for name in ("sent", "unchanged", "ready")}

    assert ingest() == {"sent": 2, "unchanged": 0, "ready": 2}
    with sqlite3.connect(f"file:{mesh.home}/records.db?mode=ro", uri=True) as record:
        [[name, tenant]] = record.execute("SELECT index_name, tenant FROM collections WHERE collection_id = 'lost'")

    async def lose() -> None:
        vectors = MilvusVectors(next(p["address"] for p in mesh.state()["processes"] if p["name"] == "milvus"))
        await vectors.delete_versions(IndexRef(tenant, name), [DocumentVersion(f"{i}.md", 1) for i in ("buoy", "reef")])
        await vectors.close()

    asyncio.run(lose())
    assert mesh.search("lost", "cardinal buoy") == []
    doctor = mesh.run("doctor").stdout
    assert "chunks are missing in the vector store: lost of" in doctor
    assert "`ragmesh ingest --again`" in " ".join(doctor.split())
    assert ingest() == {"sent": 0, "unchanged": 2, "ready": 0}
    assert ingest("--again") == {"sent": 2, "unchanged": 0, "ready": 2}
    assert mesh.search("lost", "cardinal buoy")[0]["document_id"] == "buoy.md"


def test_a_key_comes_from_the_environment_and_a_revoked_one_is_refused(mesh: Mesh) -> None:
    made = json.loads(mesh.run("keys", "create", "reader", "--scope", "query", "--json").stdout)
    reader = Mesh(mesh.home, mesh.models, {"RAGMESH_KEY": made["secret"]})
    assert "1854" in reader.run("ask", QUESTION, "-c", "facts").stdout
    assert "scope" in the_one_line(reader.run("keys", "list"))
    assert f"{made['key_id']}  active" in mesh.run("keys", "list").stdout
    assert mesh.run("keys", "revoke", made["key_id"]).returncode == 0
    until(lambda: reader.run("ask", QUESTION, "-c", "facts").returncode == 1)


def test_a_search_explains_itself(mesh: Mesh) -> None:
    told = mesh.run("search", QUESTION, "-c", "facts", "-k", "2", "--explain").stdout
    assert " 1. " in told
    assert "dense " in told
    assert "lighthouse.md" in told
    assert "took " in told
    hits = json.loads(mesh.run("search", QUESTION, "-c", "facts", "-k", "2", "--json").stdout)["hits"]
    assert hits[0]["document_id"] == "lighthouse.md"


def test_status_tells_every_process_for_people_and_for_programs(mesh: Mesh) -> None:
    report = json.loads(mesh.run("status", "--json").stdout)
    assert report.keys() == {"ready", "rest", "grpc", "key_file", "processes", "breakers"}
    assert report["ready"] is True
    assert Path(report["key_file"]).read_text().strip() == mesh.key
    names = {"gateway-1", "retriever-1", "generator-1", "ingestor-1", "milvus", "redis-state", "redis-cache"}
    assert {process["name"] for process in report["processes"]} == names
    for process in report["processes"]:
        assert process.keys() == {"name", "pid", "state", "rss_mb"}
        assert psutil.pid_exists(process["pid"])
        assert process["state"] in {"ready", "running"}
        assert process["rss_mb"] > 1
    guarded = {(breaker["process"], breaker["dependency"]) for breaker in report["breakers"]}
    assert {("retriever-1", "vectors"), ("retriever-1", "state"), ("ingestor-1", "state")} <= guarded
    assert {breaker["state"] for breaker in report["breakers"]} == {"closed"}
    told = mesh.run("status").stdout
    assert told.startswith("ready  REST http://127.0.0.1:")
    assert all(name in told for name in names)


def test_a_wrong_setting_is_told_in_one_line_that_names_the_variable(fresh_mesh: Mesh) -> None:
    fresh_mesh.prepare()
    wrong = Mesh(fresh_mesh.home, fresh_mesh.models, {"RAGMESH_GRACE_SECONDS": "abc"})
    line = the_one_line(wrong.run("up", "--free-ports", "--detach"))
    assert line.endswith("RAGMESH_GRACE_SECONDS: must be a number (it is 'abc')")
    assert not wrong.processes()


def test_a_detached_mesh_outlives_the_command_names_a_crash_and_a_kill_9_leaves_nothing(fresh_mesh: Mesh) -> None:
    fresh_mesh.prepare()
    started = fresh_mesh.run("up", "--detach", "--free-ports", "--replicas", "generator=2")
    assert started.returncode == 0, started.stderr
    assert started.stdout.splitlines()[0] == "ragmesh is ready"
    assert "already running" in the_one_line(fresh_mesh.run("up", "--detach", "--free-ports"))

    fresh_mesh.process_named("generator-2").kill()
    log = fresh_mesh.home / "logs" / "supervisor.log"
    until(lambda: "generator-2 is back" in log.read_text())
    assert "generator-2 was killed by SIGKILL" in log.read_text()
    assert "restarted 1 time" in fresh_mesh.run("status").stdout

    psutil.Process(fresh_mesh.state()["pid"]).kill()
    until(lambda: fresh_mesh.run("status").returncode == 1)
    again = fresh_mesh.run("up", "--detach", "--free-ports")
    assert again.returncode == 0, again.stderr
    assert json.loads(fresh_mesh.run("status", "--json").stdout)["ready"] is True
    assert fresh_mesh.run("down").stdout == "stopped\n"
    assert not fresh_mesh.processes()
    nothing = fresh_mesh.run("down")
    assert (nothing.returncode, nothing.stdout) == (0, f"no mesh is running on {fresh_mesh.home}\n")
    assert "no mesh is running" in the_one_line(fresh_mesh.run("status"))


def test_without_a_terminal_up_ingests_answers_drains_and_exits_0(fresh_mesh: Mesh, tmp_path: Path) -> None:
    fresh_mesh.prepare()
    (tmp_path / "lighthouse.md").write_text("# Fastnet Lighthouse\n\nThe Fastnet lighthouse was first lit in 1854.")
    arguments = ("up", "--free-ports", "--ingest", str(tmp_path), "--ask")
    done = fresh_mesh.run(*arguments, QUESTION)
    lines = done.stdout.splitlines()
    assert done.returncode == 0, done.stderr
    assert "ragmesh is ready" in lines
    assert any("http://127.0.0.1:" in line for line in lines)
    assert fresh_mesh.key in done.stdout
    assert any("1854" in line and "[1]" in line for line in lines)
    assert not fresh_mesh.processes()

    (tmp_path / "empty.txt").write_bytes(b"")
    failed = fresh_mesh.run(*arguments, QUESTION)
    assert failed.returncode == 1
    assert failed.stderr.splitlines()[-1].endswith(
        "1 document was refused; the first, empty.txt: content: holds no text"
    )
    assert not fresh_mesh.processes()


def test_on_a_terminal_up_stays_after_the_answer_until_it_is_interrupted(fresh_mesh: Mesh) -> None:
    fresh_mesh.prepare()
    ours, theirs = pty.openpty()
    shown: list[bytes] = []

    def read() -> None:
        while True:
            try:
                shown.append(os.read(ours, 4096))
            except OSError:  # nobody has the other side open any more
                return

    reader = threading.Thread(target=read)
    command = [*RAGMESH, "up", "--free-ports", "--ask", QUESTION]
    with subprocess.Popen(
        command, env=fresh_mesh.environ(), stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True
    ) as process:
        os.close(theirs)
        reader.start()
        until(lambda: b"Ctrl-C stops it." in b"".join(shown), 60)
        assert fresh_mesh.run("status").returncode == 0
        os.killpg(process.pid, signal.SIGINT)
        assert process.wait(60) == 0
    reader.join(10)
    os.close(ours)
    screen = b"".join(shown).decode()
    assert "waiting for " in screen, "progress is shown while it starts"
    assert "ragmesh is ready" in screen
    assert "stopped" in screen
    assert not fresh_mesh.processes()


@pytest.mark.parametrize(("interrupts", "code"), [(1, 0), (2, 130)])
def test_interrupted_while_it_starts_it_leaves_no_process(fresh_mesh: Mesh, interrupts: int, code: int) -> None:
    fresh_mesh.prepare()
    with fresh_mesh.command("up", "--free-ports") as process:
        until(lambda: any(p.get("pid") and p["name"] == "gateway-1" for p in fresh_mesh.state().get("processes", [])))
        assert process.stderr is not None
        os.killpg(process.pid, signal.SIGINT)
        assert "stopping" in process.stderr.readline()
        if interrupts == 2:
            os.killpg(process.pid, signal.SIGINT)
        _, err = process.communicate(timeout=30)
        assert process.returncode == code
    assert "Traceback" not in err
    until(lambda: not fresh_mesh.processes(), 10)
