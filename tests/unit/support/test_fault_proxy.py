"""The harms that the reliability cases rely on do what their names say."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator

import pytest

from support.proxy import FaultProxy, Harm


class Echo:
    """A store that answers each line with itself and remembers it."""

    def __init__(self) -> None:
        self.heard: list[bytes] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while line := await reader.readline():
            self.heard.append(line)
            writer.write(line)
            await writer.drain()
        writer.close()


@pytest.fixture
async def echo() -> AsyncIterator[tuple[Echo, FaultProxy]]:
    store = Echo()
    server = await asyncio.start_server(store.serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with FaultProxy("127.0.0.1:0", f"127.0.0.1:{port}") as proxy:
        yield store, proxy
    server.close()


async def _connect(proxy: FaultProxy) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    host, _, port = proxy.address.rpartition(":")
    return await asyncio.open_connection(host, int(port))


async def _say(proxy: FaultProxy, line: bytes, seconds: float = 2.0) -> bytes:
    reader, writer = await _connect(proxy)
    try:
        async with asyncio.timeout(seconds):
            writer.write(line)
            return await reader.readline()
    finally:
        writer.close()


async def test_what_is_not_harmed_passes(echo: tuple[Echo, FaultProxy]) -> None:
    assert await _say(echo[1], b"hello\n") == b"hello\n"


async def test_down_refuses_until_healed(echo: tuple[Echo, FaultProxy]) -> None:
    _, proxy = echo
    await proxy.harm(Harm("down"))
    with pytest.raises(ConnectionRefusedError):
        await _say(proxy, b"hello\n")
    await proxy.heal()
    assert await _say(proxy, b"again\n") == b"again\n"


async def test_reset_peer_resets_connections_there_are_and_new_ones(echo: tuple[Echo, FaultProxy]) -> None:
    _, proxy = echo
    reader, writer = await _connect(proxy)
    writer.write(b"one\n")
    assert await reader.readline() == b"one\n"
    await proxy.harm(Harm("reset_peer"))
    with pytest.raises(ConnectionResetError):
        await reader.readline()
    with pytest.raises(ConnectionResetError):
        await _say(proxy, b"two\n")
    writer.close()


async def test_timeout_takes_requests_and_never_answers(echo: tuple[Echo, FaultProxy]) -> None:
    store, proxy = echo
    await proxy.harm(Harm("timeout"))
    with pytest.raises(TimeoutError):
        await _say(proxy, b"hello\n", seconds=0.2)
    assert store.heard == []


async def test_latency_delays_replies(echo: tuple[Echo, FaultProxy]) -> None:
    _, proxy = echo
    await proxy.harm(Harm("latency", latency_ms=200))
    began = time.monotonic()
    assert await _say(proxy, b"hello\n") == b"hello\n"
    assert time.monotonic() - began >= 0.2


async def test_latency_does_not_make_replies_wait_for_one_another(echo: tuple[Echo, FaultProxy]) -> None:
    _, proxy = echo
    await proxy.harm(Harm("latency", latency_ms=200))
    reader, writer = await _connect(proxy)
    began = time.monotonic()
    for number in range(5):
        writer.write(b"%d\n" % number)
        await asyncio.sleep(0.02)
    assert [await reader.readline() for _ in range(5)] == [b"%d\n" % number for number in range(5)]
    assert time.monotonic() - began < 0.6
    writer.close()


async def test_a_lost_reply_follows_an_executed_request(echo: tuple[Echo, FaultProxy]) -> None:
    store, proxy = echo
    await proxy.harm(Harm("lose_reply"))
    assert await _say(proxy, b"commit\n") == b""
    assert store.heard == [b"commit\n"]


async def test_rubbish_replaces_replies(echo: tuple[Echo, FaultProxy]) -> None:
    _, proxy = echo
    await proxy.harm(Harm("rubbish"))
    reader, writer = await _connect(proxy)
    writer.write(b"hello\n")
    assert await reader.read(6) != b"hello\n"
    writer.close()


async def test_limit_data_cuts_a_reply(echo: tuple[Echo, FaultProxy]) -> None:
    _, proxy = echo
    await proxy.harm(Harm("limit_data", limit_bytes=3))
    assert await _say(proxy, b"hello\n") == b"hel"


async def test_slow_close_passes_an_end_on_late(echo: tuple[Echo, FaultProxy]) -> None:
    _, proxy = echo
    await proxy.harm(Harm("slow_close", delay_ms=200))
    reader, writer = await _connect(proxy)
    writer.write_eof()
    began = time.monotonic()
    assert await reader.read() == b""
    assert time.monotonic() - began >= 0.2
    writer.close()
