"""TLS between the services: who is let in, what is refused, and the plain port for health. The server is a real
process."""

from __future__ import annotations

import asyncio
import signal
import socket
from pathlib import Path
from typing import Any, cast

import grpc.aio
import pytest
import structlog
from grpc_health.v1 import health_pb2, health_pb2_grpc

from ragmesh_servicekit.errors import Unavailable
from support.certificates import OPENSSL, P256, Authority, Secret
from support.mesh_child import child
from support.mesh_server import SERVICE
from support.tls_mesh import accepted, caller, free_port, refused, secret_of

pytestmark = pytest.mark.skipif(OPENSSL is None, reason="the openssl program is not installed")
Serving = health_pb2.HealthCheckResponse
EOF = cast(Any, grpc.aio).EOF  # its stubs do not have it


async def test_only_a_certificate_of_the_meshs_ca_is_let_in(tmp_path: Path) -> None:
    ours, foreign = Authority(tmp_path, "ours"), Authority(tmp_path, "foreign")
    server, client = secret_of(tmp_path, "test", ours), secret_of(tmp_path, "gateway", ours)
    chain, key = foreign.leaf("gateway")
    expired_chain, expired_key = ours.leaf("gateway", seconds=-5)
    async with child(**server.variables()) as process:
        await process.serving()
        async with caller(process, client) as (channel, _):
            await accepted(channel)
        outsiders = {
            "no certificate": grpc.ssl_channel_credentials(ours.certificate),
            "a foreign one": grpc.ssl_channel_credentials(ours.certificate, key, chain),
            "an expired one": grpc.ssl_channel_credentials(ours.certificate, expired_key, expired_chain),
        }
        address, name = f"127.0.0.1:{process.port}", [("grpc.ssl_target_name_override", "test")]
        channels = {what: grpc.aio.secure_channel(address, with_, name) for what, with_ in outsiders.items()}
        channels["no TLS"] = grpc.aio.insecure_channel(address)
        for what, outsider in channels.items():
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await health_pb2_grpc.HealthStub(outsider).Check(health_pb2.HealthCheckRequest(), timeout=5)
            assert caught.value.code() is grpc.StatusCode.UNAVAILABLE, what
            await outsider.close(None)


@pytest.mark.parametrize(
    "key_kind", [("rsa:2048",), ("rsa:3072",), P256, ("ec", "-pkeyopt", "ec_paramgen_curve:P-384")]
)
async def test_grpc_makes_handshakes_with_every_kind_of_key_that_is_taken(
    tmp_path: Path, key_kind: tuple[str, ...]
) -> None:
    ours = Authority(tmp_path, "ours")
    server, client = Secret(tmp_path / "server"), Secret(tmp_path / "client")
    server.put(ours.leaf("test", key_kind=key_kind), ours)
    client.put(ours.leaf("gateway", key_kind=key_kind), ours)
    async with child(**server.variables()) as process:
        await process.serving()
        async with caller(process, client) as (channel, _):
            await accepted(channel)


@pytest.mark.parametrize(
    ("name", "first", "second"),
    [
        ("test", "ipv4:127.0.0.1:1", "dns:///localhost:{port}"),
        ("localhost", "dns:///localhost:1", "ipv4:127.0.0.1:{port}"),
    ],
)
async def test_the_second_way_leads_to_the_certificate_of_the_first(
    tmp_path: Path, name: str, first: str, second: str
) -> None:
    """Nobody is at the first target; its host is the name, or without one the service."""
    ours = Authority(tmp_path, "ours")
    server, client = secret_of(tmp_path, name, ours), secret_of(tmp_path, "gateway", ours)
    async with child(**server.variables()) as process:
        await process.serving()
        async with caller(process, client, first, second) as (channel, _):
            await accepted(channel)


@pytest.mark.parametrize("wrong", ["foreign", "misnamed"])
async def test_a_servers_foreign_or_misnamed_certificate_is_refused_by_name_and_said_once(
    tmp_path: Path, wrong: str
) -> None:
    ours, foreign = Authority(tmp_path, "ours"), Authority(tmp_path, "foreign")
    server = Secret(tmp_path / "server")
    if wrong == "foreign":
        server.put(foreign.leaf("test"), foreign)
    else:
        server.put(ours.leaf("retriever"), ours)
    async with child(**server.variables()) as process:
        await process.serving()
        with structlog.testing.capture_logs() as logs:
            async with caller(process, secret_of(tmp_path, "gateway", ours)) as (channel, _):
                for _ in range(2):
                    with pytest.raises(Unavailable, match=r"^the test's certificate is not accepted$"):
                        await channel.unary_unary(f"/{SERVICE}/Unary")(b"", timeout=5)
        (said,) = [line for line in logs if line["event"] == "tls.peer_refused"]
        assert said["peer"] == "test"


@pytest.mark.parametrize(("name", "let_in"), [("localhost", True), ("test", False)])
async def test_of_a_target_with_a_host_the_host_must_be_in_the_certificate(
    tmp_path: Path, name: str, let_in: bool
) -> None:
    ours = Authority(tmp_path, "ours")
    async with child(**secret_of(tmp_path, name, ours).variables()) as process:
        await process.serving()
        async with caller(process, secret_of(tmp_path, "gateway", ours), "dns:///localhost:{port}") as (channel, _):
            if let_in:
                await accepted(channel)
            else:
                await refused(channel)  # in which words, the last address that was tried decides: ::1 or 127.0.0.1


async def test_a_peer_that_refuses_our_certificate_is_suspected_in_the_log(tmp_path: Path) -> None:
    ours, foreign = Authority(tmp_path, "ours"), Authority(tmp_path, "foreign")
    outsider = Secret(tmp_path / "outsider")
    outsider.put(foreign.leaf("gateway"), foreign, ours)  # trusts the server, which does not trust it
    async with child(**secret_of(tmp_path, "test", ours).variables()) as process:
        await process.serving()
        with structlog.testing.capture_logs() as logs:
            async with caller(process, outsider) as (channel, _):
                for _ in range(2):
                    with pytest.raises(Unavailable, match=r"^the test does not answer; try again$"):
                        await channel.unary_unary(f"/{SERVICE}/Unary")(b"", timeout=5)
        (said,) = [line for line in logs if line["event"].startswith("tls.")]
        assert said["event"] == "tls.peer_closes"
        assert "does not accept this process's certificate" in said["detail"]
        process.process.send_signal(signal.SIGTERM)
        assert await process.end() == 0
    assert "Handshake failed" in process.err  # grpc's own words, which name the reason


async def test_the_plain_health_port_answers_health_and_nothing_else(tmp_path: Path) -> None:
    server = secret_of(tmp_path, "test", Authority(tmp_path, "ours"))
    port = free_port()
    async with child(**server.variables(), RAGMESH_HEALTH_PORT=str(port)) as process:
        await process.serving()
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            stub = health_pb2_grpc.HealthStub(channel)
            for service in ("", "test"):
                asked = health_pb2.HealthCheckRequest(service=service)
                assert (await stub.Check(asked, timeout=5)).status == Serving.SERVING
                assert (await stub.Watch(asked, timeout=5).read()).status == Serving.SERVING
            for method in (f"/{SERVICE}/Unary", "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"):
                with pytest.raises(grpc.aio.AioRpcError) as caught:
                    await channel.unary_unary(method, None, None)(b"", timeout=5)
                assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


async def test_draining_is_told_on_both_ports_while_the_call_in_flight_ends(tmp_path: Path) -> None:
    ours = Authority(tmp_path, "ours")
    server, client = secret_of(tmp_path, "test", ours), secret_of(tmp_path, "gateway", ours)
    port = free_port()
    variables = {"RAGMESH_HEALTH_PORT": str(port), "RAGMESH_DRAIN_SECONDS": "0.5"}
    async with child(**server.variables(), **variables) as process:
        await process.serving()
        chain, key = ours.leaf("gateway")
        inner = grpc.aio.secure_channel(
            f"127.0.0.1:{process.port}",
            grpc.ssl_channel_credentials(ours.certificate, key, chain),
            [("grpc.ssl_target_name_override", "test")],
        )
        outer = grpc.aio.insecure_channel(f"127.0.0.1:{port}")
        asked = health_pb2.HealthCheckRequest(service="test")
        watches = [health_pb2_grpc.HealthStub(each).Watch(asked) for each in (inner, outer)]
        for watch in watches:
            assert (await watch.read()).status == Serving.SERVING
        async with caller(process, client) as (channel, _):
            call = asyncio.create_task(channel.unary_unary(f"/{SERVICE}/Unary")(b"1.5"))
            await process.hear("called")
            process.process.send_signal(signal.SIGTERM)
            for watch in watches:
                assert (await watch.read()).status == Serving.NOT_SERVING
                assert await watch.read() is EOF
            kubelet = health_pb2_grpc.HealthStub(outer)
            assert (await kubelet.Check(asked, timeout=5)).status == Serving.NOT_SERVING
            assert await call == b"done"
        for each in (inner, outer):
            await each.close(None)
        assert await process.end() == 0


async def test_what_is_missing_or_wrong_at_the_start_is_named_and_exits_2(tmp_path: Path) -> None:
    ours = Authority(tmp_path, "ours")
    good = secret_of(tmp_path, "test", ours).variables()
    without_key = {name: value for name, value in good.items() if name != "RAGMESH_TLS_KEY_FILE"}
    expired = secret_of(tmp_path, "old", ours, seconds=-5)
    said = {
        "RAGMESH_TLS_KEY_FILE: must be set, since RAGMESH_TLS_CERT_FILE and RAGMESH_TLS_CA_FILE are\n": without_key,
        f"RAGMESH_TLS_CERT_FILE: the certificate in {expired.folder}/tls.crt has expired, or its CA has\n": (
            expired.variables()
        ),
        "RAGMESH_TLS_KEY_FILE: /nowhere/tls.key cannot be read: No such file or directory\n": {
            **good,
            "RAGMESH_TLS_KEY_FILE": "/nowhere/tls.key",
        },
        f"RAGMESH_HEALTH_PORT: port {(taken := free_port())} on 127.0.0.1": {"RAGMESH_HEALTH_PORT": str(taken)},
    }
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", taken))
        holder.listen()
        for words, variables in said.items():
            async with child(**variables) as process:
                assert await process.end() == 2
            assert process.err.startswith(words)
