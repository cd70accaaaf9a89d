"""That the images run as the chart runs them: on a read-only root, without capabilities, as an ordinary user."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import time
from collections.abc import Callable

import pytest

from support.images import SERVICES, WHOLE, docker, missing, running

pytestmark = pytest.mark.skipif(bool(missing()), reason=missing())

KEYS = "k1:" + base64.urlsafe_b64encode(b"k" * 32).decode().rstrip("=")
HEALTH = """
import sys, grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
with grpc.insecure_channel(f"127.0.0.1:{sys.argv[1]}") as channel:
    print(health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=2).status)
"""
SERVING = "1"
READY = "import json; print(json.load(open('/data/mesh.json'))['ready'])"


def until(true: Callable[[], bool], seconds: float, container: str) -> None:
    """Poll; AssertionError with the container's log when it takes longer."""
    give_up_at = time.monotonic() + seconds
    while not true():
        if time.monotonic() > give_up_at:
            raise AssertionError(docker("logs", container))
        time.sleep(0.2)


def healthy(container: str, port: int) -> bool:
    try:
        return docker("exec", container, "python", "-c", HEALTH, str(port)).strip() == SERVING
    except AssertionError:
        return False


def test_the_generator_serves_and_stops_with_code_0() -> None:
    with running(SERVICES[2], {"RAGMESH_IDENTITY_KEYS": KEYS}) as container:
        until(lambda: healthy(container, 9092), 20, container)
        docker("stop", container)
        assert json.loads(docker("inspect", container))[0]["State"]["ExitCode"] == 0


def test_the_gateway_serves() -> None:
    settings = {"RAGMESH_IDENTITY_KEYS": KEYS, "RAGMESH_RECORDS_URL": "sqlite:/tmp/records.db"}
    with running(SERVICES[0], settings) as container:
        until(lambda: healthy(container, 9090), 20, container)


@pytest.mark.parametrize("image", SERVICES, ids=lambda image: image.name)
def test_without_settings_it_says_what_is_missing(image: object) -> None:
    command = [os.environ["RAGMESH_TEST_IMAGES"], "run", "--rm", "--read-only", getattr(image, "reference", "")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode != 0
    assert "RAGMESH_IDENTITY_KEYS: must be set" in done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr


def test_the_whole_product_answers_from_one_container_and_keeps_its_data() -> None:
    document = "print(open('/tmp/a.md', 'w').write('The boiler is serviced by Anna Berg every second March.'))"
    with running(WHOLE, {}, "--volume", "/data", command=("up",)) as container:

        def serves() -> bool:
            try:
                return docker("exec", container, "python", "-c", READY).strip() == "True"
            except AssertionError:
                return False

        until(serves, 90, container)
        docker("exec", container, "python", "-c", document)
        docker("exec", container, "python", "-m", "ragmesh_cli", "ingest", "/tmp/a.md")
        question = ("exec", container, "python", "-m", "ragmesh_cli", "ask", "Who services the boiler?")
        assert "Anna Berg" in docker(*question)
        docker("restart", "--time", "40", container)
        until(serves, 90, container)
        assert "Anna Berg" in docker(*question)
