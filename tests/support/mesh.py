"""A whole mesh of real processes for end-to-end tests: `ragmesh up` on a home of its own and free ports."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psutil

START_SECONDS = 90.0
RAGMESH = (sys.executable, "-m", "ragmesh_cli")


@dataclass
class Mesh:
    """home: short, because Unix sockets live below it. models: the built embedding graph, shared between meshes."""

    home: Path
    models: Path
    environment: Mapping[str, str] = field(default_factory=dict)
    arguments: tuple[str, ...] = ()
    process: subprocess.Popen[bytes] | None = None

    @classmethod
    def at(cls, models: Path, environment: Mapping[str, str] | None = None, arguments: tuple[str, ...] = ()) -> Mesh:
        return cls(Path(tempfile.mkdtemp(prefix="rm-")), models, environment or {}, arguments)

    def environ(self) -> dict[str, str]:
        clean = {k: v for k, v in os.environ.items() if not k.startswith("RAGMESH_")}
        return {**clean, "RAGMESH_HOME": str(self.home), **self.environment}

    def prepare(self) -> None:
        """Make the home and put the built embedding graph into it."""
        self.home.mkdir(exist_ok=True, mode=0o700)
        if not (self.home / "models").exists():
            (self.home / "models").symlink_to(self.models)

    def start(self) -> None:
        """Start and wait until it serves."""
        self.prepare()
        with (self.home / "up.log").open("ab") as log:
            self.process = subprocess.Popen(
                [*RAGMESH, "up", "--free-ports", *self.arguments],
                env=self.environ(),
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        deadline = time.monotonic() + START_SECONDS
        while not (self.state().get("ready") and self.state().get("pid") == self.process.pid):
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise AssertionError(f"the mesh did not start:\n{(self.home / 'up.log').read_text()}")
            time.sleep(0.05)

    def state(self) -> dict[str, Any]:
        try:
            value: dict[str, Any] = json.loads((self.home / "mesh.json").read_text())
        except (OSError, ValueError):
            return {}
        return value

    def pid_of(self, name: str) -> int:
        """As the supervisor last wrote it; the process may be gone."""
        (entry,) = [p for p in self.state()["processes"] if p["name"] == name]
        return int(entry["pid"])

    def process_named(self, name: str) -> psutil.Process:
        return psutil.Process(self.pid_of(name))

    @property
    def key(self) -> str:
        return (self.home / "admin.key").read_text().strip()

    def rest(self, key: str | None = None) -> httpx.Client:
        """A REST client with the admin key, or another."""
        headers = {"authorization": f"Bearer {key or self.key}"}
        return httpx.Client(base_url=str(self.state()["rest"]), headers=headers, timeout=30, trust_env=False)

    def run(self, *arguments: str, timeout: float = 120) -> subprocess.CompletedProcess[str]:
        """The command line against this mesh."""
        return subprocess.run(
            [*RAGMESH, *arguments], env=self.environ(), capture_output=True, text=True, timeout=timeout
        )

    @contextmanager
    def command(self, *arguments: str) -> Iterator[subprocess.Popen[str]]:
        """The command line against this mesh while it runs, in a process group of its own; killed at the end."""
        with subprocess.Popen(
            [*RAGMESH, *arguments],
            env=self.environ(),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        ) as process:
            try:
                yield process
            finally:
                process.kill()

    def processes(self) -> list[psutil.Process]:
        """Every process that lives for this home."""
        found = []
        for process in psutil.process_iter():
            try:
                told = [*process.cmdline(), *process.environ().values()]
                if process.status() != psutil.STATUS_ZOMBIE and any(str(self.home) in text for text in told):
                    found.append(process)
            except psutil.Error:  # it has ended, or is not ours
                continue
        return found

    def terminate(self, timeout: float = 60) -> int:
        """SIGTERM, and the exit code."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout)

    def kill_everything(self) -> None:
        """kill -9 of the supervisor and of every process it started, all at once."""
        assert self.process is not None
        everyone = [psutil.Process(self.process.pid), *psutil.Process(self.process.pid).children(recursive=True)]
        for each in everyone:
            try:
                each.send_signal(signal.SIGKILL)
            except psutil.NoSuchProcess:
                continue
        self.process.wait(30)
        psutil.wait_procs(everyone, timeout=10)

    def close(self) -> None:
        """Stop whatever is left and remove the home."""
        if self.process is not None and self.process.poll() is None:
            try:
                self.terminate()
            except subprocess.TimeoutExpired:
                self.kill_everything()
        self.run("down")  # one that was detached
        for process in self.processes():
            process.kill()
        shutil.rmtree(self.home, ignore_errors=True)

    # -- common steps --------------------------------------------------------------------------------

    def create(self, collection: str, key: str | None = None) -> None:
        with self.rest(key) as rest:
            rest.post("/v1/collections", json={"collection_id": collection}).raise_for_status()

    def ingest(self, collection: str, documents: Mapping[str, str], key: str | None = None) -> None:
        """Send texts and wait until they can be searched."""
        with self.rest(key) as rest:
            body = {"documents": [_document(i, t) for i, t in documents.items()]}
            reply = rest.post(f"/v1/collections/{collection}/documents:batchCreate", json=body)
            assert reply.status_code == 202, reply.text
            self.wait_ready(rest, [job["job_id"] for job in reply.json()["jobs"]])

    @staticmethod
    def wait_ready(rest: httpx.Client, job_ids: list[str], seconds: float = 60) -> None:
        deadline = time.monotonic() + seconds
        for job_id in job_ids:
            while (job := rest.get(f"/v1/jobs/{job_id}").json())["state"] != "READY":
                assert job["state"] in {"ACCEPTED", "RUNNING"}, job
                assert time.monotonic() < deadline, job
                time.sleep(0.05)

    def search(self, collection: str, query: str, key: str | None = None, **options: Any) -> list[dict[str, Any]]:
        with self.rest(key) as rest:
            reply = rest.post(f"/v1/collections/{collection}:search", json={"query": query, **options})
            assert reply.status_code == 200, reply.text
            hits: list[dict[str, Any]] = reply.json()["hits"]
            return hits


def _document(document_id: str, text: str) -> dict[str, str]:
    kind = "text/markdown" if document_id.endswith(".md") else "text/plain"
    return {"document_id": document_id, "text": text, "media_type": kind}
