"""A proxy that harms what passes through it: between a service and a store, over TCP or Unix sockets.

Harms have the names and attributes that Toxiproxy gives them (latency, down, timeout, reset_peer, slow_close,
limit_data), so that the real one can take its place, and two of our own: `rubbish` (replies are replaced by noise) and
`lose_reply` (the request is carried out, its reply is lost with the connection). Replies are harmed, requests pass.
A harm holds for the connections there are and for new ones, from `harm` until `heal`.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
import struct
import time
from dataclasses import dataclass
from types import TracebackType
from typing import Self

CHUNK_BYTES = 64 * 1024
HELD_REPLIES = 1024
KINDS = ("latency", "down", "timeout", "reset_peer", "slow_close", "limit_data", "rubbish", "lose_reply")


@dataclass(frozen=True, slots=True)
class Harm:
    """One harm. latency_ms: each reply comes that much later. delay_ms: a close is passed on that much later.
    limit_bytes: of replies on one connection, which is closed behind them. toxicity: the share of replies that are hit
    (rubbish, lose_reply)."""

    kind: str
    latency_ms: float = 0.0
    delay_ms: float = 0.0
    limit_bytes: int = 0
    toxicity: float = 1.0

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"{self.kind} is no harm; there are {', '.join(KINDS)}")


class FaultProxy:
    """`async with FaultProxy(listen, upstream)`; addresses are `unix:/path` or `host:port`, a port of 0 is any."""

    def __init__(self, listen: str, upstream: str, seed: int = 1) -> None:
        self._listen, self._upstream = listen, upstream
        self._chance = random.Random(seed)
        self._server: asyncio.Server | None = None
        self._harm: Harm | None = None
        self._links: set[_Link] = set()
        self.accepted = 0

    @property
    def address(self) -> str:
        """Where it listens."""
        return self._listen

    async def __aenter__(self) -> Self:
        await self._open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close()
        tasks = [link.task for link in self._links if link.task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def harm(self, harm: Harm) -> None:
        """From now on. `down` closes the listener and every connection, `reset_peer` resets those there are."""
        self._harm = harm
        if harm.kind == "down":
            self._close()
        if harm.kind in {"down", "reset_peer"}:
            for link in list(self._links):
                link.reset()

    async def heal(self) -> None:
        """Everything passes again. What was swallowed stays lost, so its connections end."""
        harmed, self._harm = self._harm, None
        if harmed is not None and harmed.kind in {"timeout", "rubbish"}:
            for link in list(self._links):
                link.reset()
        if self._server is None:
            await self._open()

    def current(self) -> Harm | None:
        return self._harm

    def hits(self, harm: Harm) -> bool:
        """Whether this reply is one of those that are harmed."""
        return self._chance.random() < harm.toxicity

    def noise(self, size: int) -> bytes:
        return self._chance.randbytes(size)

    async def _open(self) -> None:
        if self._listen.startswith("unix:"):
            self._server = await asyncio.start_unix_server(self._accept, self._listen.removeprefix("unix:"))
            return
        host, _, port = self._listen.rpartition(":")
        self._server = await asyncio.start_server(self._accept, host, int(port))
        self._listen = f"{host}:{self._server.sockets[0].getsockname()[1]}"

    def _close(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted += 1
        link = _Link(self, writer)
        link.task = asyncio.current_task()
        self._links.add(link)
        try:
            await link.run(reader, self._upstream)
        except (OSError, EOFError, asyncio.CancelledError):
            pass  # one side left, or the proxy closes: both end the link
        finally:
            self._links.discard(link)
            link.reset() if self._is_reset() else writer.close()

    def _is_reset(self) -> bool:
        return self._harm is not None and self._harm.kind == "reset_peer"


class _Link:
    """One client's connection and the one to the store behind it."""

    def __init__(self, proxy: FaultProxy, client: asyncio.StreamWriter) -> None:
        self._proxy, self._client = proxy, client
        self._sent_bytes = 0
        self._held: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(HELD_REPLIES)
        self.task: asyncio.Task[None] | None = None

    def reset(self) -> None:
        """RST over TCP; a Unix socket just closes."""
        raw: socket.socket | None = self._client.get_extra_info("socket")
        if raw is not None and raw.family != socket.AF_UNIX:
            with contextlib.suppress(OSError):
                raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._client.transport.abort()

    async def run(self, reader: asyncio.StreamReader, upstream: str) -> None:
        harm = self._proxy.current()
        if harm is not None and harm.kind == "reset_peer":
            self.reset()
            return
        store_reader, store = await _connect(upstream)
        pumps = {
            asyncio.create_task(self._requests(reader, store), name="proxy-requests"),
            asyncio.create_task(self._write_replies(), name="proxy-replies"),
        }
        reading = asyncio.create_task(self._read_replies(store_reader), name="proxy-reading")
        try:
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        finally:
            tasks = (*pumps, reading)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            store.close()
        harm = self._proxy.current()
        if harm is not None and harm.kind == "slow_close":
            await asyncio.sleep(harm.delay_ms / 1000)

    async def _requests(self, reader: asyncio.StreamReader, store: asyncio.StreamWriter) -> None:
        while data := await reader.read(CHUNK_BYTES):
            harm = self._proxy.current()
            if harm is not None and harm.kind == "timeout":
                continue  # taken, and never answered
            store.write(data)
            await store.drain()

    async def _read_replies(self, reader: asyncio.StreamReader) -> None:
        """Read on while earlier replies are held back: what is late is each reply, not all that follow it."""
        while data := await reader.read(CHUNK_BYTES):
            harm = self._proxy.current()
            late = harm.latency_ms / 1000 if harm is not None and harm.kind == "latency" else 0.0
            await self._held.put((time.monotonic() + late, data))
        await self._held.put((time.monotonic(), b""))

    async def _write_replies(self) -> None:
        while True:
            due, data = await self._held.get()
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            harm = self._proxy.current()
            if not data:
                return
            if harm is not None:
                match harm.kind:
                    case "timeout":
                        continue
                    case "rubbish" if self._proxy.hits(harm):
                        data = self._proxy.noise(len(data))
                    case "lose_reply" if self._proxy.hits(harm):
                        return
                    case "limit_data":
                        data = data[: max(0, harm.limit_bytes - self._sent_bytes)]
            self._sent_bytes += len(data)
            self._client.write(data)
            await self._client.drain()
            if harm is not None and harm.kind == "limit_data" and self._sent_bytes >= harm.limit_bytes:
                return


async def _connect(address: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    if address.startswith("unix:"):
        return await asyncio.open_unix_connection(address.removeprefix("unix:"))
    host, _, port = address.rpartition(":")
    return await asyncio.open_connection(host, int(port))
