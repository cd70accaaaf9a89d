"""Health: readiness, dependencies, and the admin port that shows them."""

from __future__ import annotations

import asyncio

import structlog
from grpc_health.v1 import health_pb2
from starlette.testclient import TestClient

from ragmesh_servicekit.admin import admin_app
from ragmesh_servicekit.errors import Unavailable
from ragmesh_servicekit.health import Check, Health


class Store:
    """A dependency that is up, down or silent."""

    def __init__(self) -> None:
        self.error: Exception | None = None
        self.silent = False

    async def ping(self) -> None:
        if self.silent:
            await asyncio.Event().wait()
        if self.error is not None:
            raise self.error


async def test_a_dependency_that_is_down_is_told_and_does_not_take_readiness() -> None:
    store = Store()
    health = Health("retriever", (Check("vectors", store.ping, timeout_seconds=0.01),))
    await health.set_ready(True)
    with structlog.testing.capture_logs() as logs:
        for error, silent in [(None, False), (Unavailable("no route"), False), (None, True), (None, False)]:
            store.error, store.silent = error, silent
            await health.check_once()
            await health.check_once()
    assert [line["event"] for line in logs] == ["dependency.down", "dependency.ok"]
    assert health.ready
    assert health.report()["checks"] == {"vectors": {"state": "ok", "detail": ""}}


async def test_an_unexpected_error_of_a_probe_is_named_by_its_type_alone() -> None:
    store = Store()
    store.error = ValueError("a secret")
    health = Health("retriever", (Check("vectors", store.ping),))
    await health.check_once()
    assert health.report()["checks"] == {"vectors": {"state": "down", "detail": "ValueError"}}


async def test_draining_is_for_good() -> None:
    health = Health("retriever")
    await health.set_ready(True)
    await health.drain()
    await health.set_ready(True)
    assert not health.ready
    reply = await health.servicer.Check(health_pb2.HealthCheckRequest(service="retriever"), None)
    assert reply.status == health_pb2.HealthCheckResponse.NOT_SERVING


def test_the_admin_port_tells_life_readiness_and_metrics() -> None:
    health = Health("retriever")
    with TestClient(admin_app(health)) as client:
        assert client.get("/livez").status_code == 200
        assert client.get("/readyz").status_code == 503
        health.ready = True
        assert client.get("/readyz").status_code == 200
        assert client.get("/healthz").json() == {"service": "retriever", "ready": True, "checks": {}, "breakers": []}
        assert "ragmesh_server_calls_total" in client.get("/metrics").text
