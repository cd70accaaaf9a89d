"""The life of a process, seen from outside: a real one, its signals, its exit code and what it says."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from pathlib import Path
from typing import Any, cast

import grpc.aio
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from ragmesh_servicekit import identity
from ragmesh_servicekit.errors import Unavailable
from ragmesh_servicekit.identity import Identity
from support.mesh_child import child
from support.mesh_server import SERVICE
from support.otlp_receiver import otlp_receiver

OWN_NAME = Path("/proc/self/comm").read_text().strip()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_lets_the_call_in_flight_finish_and_exits_0(number: signal.Signals) -> None:
    async with child() as process:
        await process.serving()
        channel = process.channel()
        with identity.acting_as(Identity("acme", "anna")):
            call = asyncio.create_task(channel.unary_unary(f"/{SERVICE}/Unary")(b"0.3"))
        await process.hear("called")
        process.process.send_signal(number)
        assert await call == b"done"
        await channel.close()
        assert await process.end() == 0
    assert process.said[-5:] == ["called", "call ended", "gave back", "closed", "left"]
    assert [line["event"] for line in process.logged()] == ["serving", "stopping", "draining", "call", "drained"]


async def test_a_second_signal_exits_at_once_with_its_number() -> None:
    async with child() as process:
        await process.serving()
        channel = process.channel()
        with identity.acting_as(Identity("acme", "anna")):
            call = asyncio.create_task(channel.unary_unary(f"/{SERVICE}/Unary")(b"30"))
        await process.hear("called")
        process.process.send_signal(signal.SIGTERM)
        assert process.process.stderr is not None
        async with asyncio.timeout(5):
            while b"draining" not in await process.process.stderr.readline():
                pass
        process.process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(1):
            assert await process.process.wait() == 128 + signal.SIGTERM
        with pytest.raises(Unavailable):
            await call
        await channel.close()


async def test_a_call_that_outlives_the_grace_is_ended_and_its_clean_up_awaited() -> None:
    async with child(RAGMESH_GRACE_SECONDS="0.1") as process:
        await process.serving()
        channel = process.channel()
        with identity.acting_as(Identity("acme", "anna")):
            call = asyncio.create_task(channel.unary_unary(f"/{SERVICE}/Unary")(b"30"))
        await process.hear("called")
        process.process.send_signal(signal.SIGTERM)
        with pytest.raises(Unavailable):
            await call
        await channel.close()
        assert await process.end() == 0
    assert process.said[-4:] == ["call ended", "gave back", "closed", "left"]


async def test_an_open_health_watch_hears_of_draining_and_does_not_hold_the_stop() -> None:
    async with child(RAGMESH_GRACE_SECONDS="30") as process:
        await process.serving()
        async with grpc.aio.insecure_channel(f"127.0.0.1:{process.port}") as channel:
            watch = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest(service="test"))
            assert (await watch.read()).status == health_pb2.HealthCheckResponse.SERVING
            process.process.send_signal(signal.SIGTERM)
            assert (await watch.read()).status == health_pb2.HealthCheckResponse.NOT_SERVING
            assert await watch.read() is cast(Any, grpc.aio).EOF  # its stubs do not have it
            async with asyncio.timeout(3):
                assert await process.end() == 0


async def test_a_signal_while_starting_closes_what_is_open_and_exits_0() -> None:
    async with child("starting") as process:
        await process.hear("starting")
        process.process.send_signal(signal.SIGTERM)
        assert await process.end() == 0
    assert process.said == ["opened", "starting", "closed", "left"]


async def test_a_task_that_dies_stops_the_process_with_its_first_error(tmp_path: Path) -> None:
    async with child("dying", GATE=str(tmp_path / "gate")) as process:
        await process.serving()
        (tmp_path / "gate").touch()
        assert await process.end() == 1
    died = [line for line in process.logged() if line["level"] in {"error", "critical"}]
    assert [(line["event"], line["task"]) for line in died] == [("task.died", "worker")]
    assert "OSError: the disk is gone" in str(died[0]["exception"])
    assert "RuntimeError: the worker cannot go on" in str(died[0]["exception"])
    assert "closed" in process.said


async def test_a_fault_of_the_start_is_one_line_of_the_log_and_exits_1() -> None:
    async with child("failing") as process:
        assert await process.end() == 1
    (line,) = process.logged()
    assert line["event"] == "process.failed"
    assert "a fault of the start" in str(line["exception"])
    assert process.said == ["opened", "closed"]


async def test_wrong_settings_are_a_line_each_and_exit_2() -> None:
    wrong = {
        "RAGMESH_GRPC_PORT": "70000",
        "RAGMESH_DRAIN_SECONDS": "soon",
        "RAGMESH_LOG_LEVEL": "LOUD",
        "RAGMESH_IDENTITY_KEYS": "k1:short",
    }
    async with child(**wrong) as process:
        assert await process.end() == 2
    assert sorted(process.err.splitlines()) == [
        "RAGMESH_DRAIN_SECONDS: must be a number (it is 'soon')",
        "RAGMESH_GRPC_PORT: must be from 0 to 65535 (it is '70000')",
        "RAGMESH_IDENTITY_KEYS: each key must be `id:secret` with at least 32 bytes in URL-safe base64",
        "RAGMESH_LOG_LEVEL: must be one of DEBUG, INFO, WARNING, ERROR (it is 'LOUD')",
    ]


@pytest.mark.parametrize("variable", ["RAGMESH_GRPC_PORT", "RAGMESH_ADMIN_PORT"])
async def test_a_port_that_is_taken_names_the_variable_and_the_holder(variable: str) -> None:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        port = holder.getsockname()[1]
        async with child(**{variable: str(port)}) as process:
            assert await process.end() == 2
    assert process.err == f"{variable}: port {port} on 127.0.0.1 is taken by {OWN_NAME} (pid {os.getpid()})\n"


async def test_the_last_spans_are_sent_before_the_process_leaves() -> None:
    async with otlp_receiver() as receiver, child(RAGMESH_OTLP_ENDPOINT=receiver.endpoint) as process:
        await process.serving()
        channel = process.channel()
        with identity.acting_as(Identity("acme", "anna")):
            await channel.unary_unary(f"/{SERVICE}/Unary")(b"0")
        await channel.close()
        process.process.send_signal(signal.SIGTERM)
        assert await process.end() == 0
        assert [(span.service, span.kind) for span in receiver.spans] == [("ragmesh-test", "SERVER")]
    (call,) = [line for line in process.logged() if line["event"] == "call"]
    assert call["trace_id"] == receiver.spans[0].trace_id


async def test_a_receiver_of_traces_that_hangs_does_not_hold_the_exit() -> None:
    with socket.socket() as silent:  # accepts, and never answers
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        async with child(RAGMESH_OTLP_ENDPOINT=f"127.0.0.1:{silent.getsockname()[1]}") as process:
            await process.serving()
            channel = process.channel()
            with identity.acting_as(Identity("acme", "anna")):
                await channel.unary_unary(f"/{SERVICE}/Unary")(b"0")
            await channel.close()
            process.process.send_signal(signal.SIGTERM)
            async with asyncio.timeout(3):
                assert await process.end() == 0
