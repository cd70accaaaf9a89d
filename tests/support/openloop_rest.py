"""The REST user behind the load, which does what docs/reliability.md recommends to a client of two gateways."""

from __future__ import annotations

import asyncio
import itertools
import json
import time
from types import TracebackType
from typing import Any, Self

import grpc
import httpx

from support.openloop_operation import DEADLINE_SECONDS, REPEATABLE, Ask, Operation

REST_ATTEMPTS = 4
REST_BACKOFF_SECONDS = (0.05, 0.1, 0.2)
CONNECT_SECONDS = 2.0
READ_SECONDS = {Ask.SEARCH: 6.0, Ask.JOB: 6.0}
"""How long REST waits for a byte before a repeatable call goes to the other gateway: longer than a store is waited for,
which is 5 s. An answer may take its time."""
SERVICES = {"", "retriever", "generator", "ingestor"}
_CODES = {code.value[0]: code.name for code in grpc.StatusCode}


class RestUser:
    """Keep-alive connections to all gateways, in turn; the list may change while it is used. A gateway that cannot be
    connected to is left for the next one, as nothing was sent. Repeatable calls are also sent again when the connection
    breaks, nothing comes for READ_SECONDS, or the answer is 503; but not when the model failed, which would be asked
    and paid again, nor when a store is down, for which the mesh has asked all that could know. fallback: a second way
    to the gateways, which what is sent again takes."""

    def __init__(self, addresses: list[str], key: str, collection: str, fallback: str = "") -> None:
        self._bases = addresses
        self._fallback = fallback
        self._turn = itertools.count()
        self._path = f"/v1/collections/{collection}"
        self._http = httpx.AsyncClient(
            headers={"authorization": f"Bearer {key}"},
            trust_env=False,
            timeout=httpx.Timeout(30, connect=CONNECT_SECONDS),
            limits=httpx.Limits(max_connections=None, max_keepalive_connections=64, keepalive_expiry=60),
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._http.aclose()

    async def warm(self, job: str) -> None:
        """Connect before the clock runs."""
        for base in self._bases:
            await asyncio.gather(*(self._http.get(f"{base}/v1/jobs/{job}") for _ in range(8)))

    async def do(self, operation: Operation) -> None:
        """Perform it and note how it ended; never raises for what a server or network does."""
        operation.start = time.monotonic()
        seconds = DEADLINE_SECONDS[operation.ask]
        first = next(self._turn)
        try:
            async with asyncio.timeout(seconds):
                for attempt in range(REST_ATTEMPTS):
                    operation.attempts = attempt + 1
                    other = self._fallback if attempt else ""
                    operation.gateway = other or self._bases[(first + attempt) % len(self._bases)]
                    if await self._attempt(operation, attempt == REST_ATTEMPTS - 1):
                        break
                    await asyncio.sleep(REST_BACKOFF_SECONDS[attempt])
        except TimeoutError:
            operation.code, operation.typed = "DEADLINE_EXCEEDED", False
            operation.detail = "the client's own deadline"
        operation.end = time.monotonic()

    async def _attempt(self, operation: Operation, last: bool) -> bool:
        """True when this is the outcome."""
        repeatable = operation.ask in REPEATABLE
        operation.code = operation.reason = operation.detail = ""
        operation.typed = operation.store = False
        try:
            await self._call(operation)
        except (httpx.ConnectError, httpx.ConnectTimeout) as error:  # nothing was sent
            operation.code, operation.detail = "UNAVAILABLE", repr(error)
            return last
        except httpx.TransportError as error:
            operation.code, operation.detail = "UNAVAILABLE", repr(error)
            return last or not repeatable
        again = operation.code == "UNAVAILABLE" and not operation.reason.startswith("MODEL_") and not operation.store
        return last or not repeatable or not again

    async def _call(self, operation: Operation) -> None:
        base = operation.gateway + self._path
        match operation.ask:
            case Ask.SEARCH:
                reply = await self._http.post(
                    base + ":search", json={"query": operation.question}, timeout=self._timeout(operation)
                )
                self._answer(operation, reply, "hits")
            case Ask.ASK:
                reply = await self._http.post(base + ":ask", json={"question": operation.question})
                self._answer(operation, reply, "sources")
            case Ask.STREAM:
                await self._stream(operation, base + ":askStream")
            case Ask.DOCUMENT:
                body = {"document_id": operation.tag, "text": operation.document_text}
                reply = await self._http.post(base + "/documents", json=body)
                self._answer(operation, reply, "")
                operation.accepted_job = reply.json()["job_id"] if operation.code == "OK" else ""
            case _:
                url = f"{operation.gateway}/v1/jobs/{operation.job}"
                self._answer(operation, await self._http.get(url, timeout=self._timeout(operation)), "")

    @staticmethod
    def _timeout(operation: Operation) -> httpx.Timeout:
        return httpx.Timeout(READ_SECONDS[operation.ask], connect=CONNECT_SECONDS)

    @staticmethod
    def _answer(operation: Operation, reply: httpx.Response, listed: str) -> None:
        if reply.is_success:
            operation.code = "OK"
            body = reply.json()
            operation.degraded = [str(part) for part in body.get("degraded", ())]
            passages = [item.get("hit", item) for item in body.get(listed, ())]
            operation.found = any(passage["document_id"] == operation.subject for passage in passages)
            return
        operation.typed = reply.headers.get("content-type", "").startswith("application/problem+json")
        problem = reply.json() if operation.typed else {}
        operation.code = problem.get("code", f"HTTP_{reply.status_code}")
        operation.reason, operation.detail = problem.get("reason", ""), problem.get("detail", reply.text[:200])
        operation.store = problem.get("metadata", {}).get("dependency", "") not in SERVICES

    async def _stream(self, operation: Operation, url: str) -> None:
        """The events until the body ends. A body that ends without `done` or `error` was cut; `judge` sees that."""
        async with self._http.stream("POST", url, json={"question": operation.question}) as reply:
            if not reply.is_success:
                await reply.aread()
                self._answer(operation, reply, "")
                return
            async for line in reply.aiter_lines():
                if line.startswith("event: "):
                    operation.first = operation.first or time.monotonic()
                    operation.events += 1
                    operation.last = line.removeprefix("event: ")
                elif line.startswith("data: "):
                    self._event(operation, json.loads(line.removeprefix("data: ")))
        operation.code = operation.code or "OK"

    @staticmethod
    def _event(operation: Operation, data: dict[str, Any]) -> None:
        body = data.get(operation.last, data)
        match operation.last:
            case "sources":
                operation.found = any(s["hit"]["document_id"] == operation.subject for s in body.get("sources", ()))
            case "degraded":
                operation.degraded += [str(part) for part in body.get("parts", ())]
            case "error":
                operation.code, operation.typed = _code_name(body.get("code")), True
                operation.reason, operation.detail = str(body.get("reason", "")), str(body.get("message", ""))


def _code_name(code: object) -> str:
    """Inside a stream's `error` the code is a number, in a problem its name."""
    return _CODES.get(code, "UNKNOWN") if isinstance(code, int) else str(code)
