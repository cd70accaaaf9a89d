"""Health: whether this process lives and takes calls, and how its dependencies are.

"" is liveness: the loop turns. The service's name is readiness: warmed and not draining. A dependency that is down
fails neither, because a shared store that is down must not take every replica out of the balancer; it is reported,
logged when it changes, and a metric.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import structlog
from grpc_health.v1 import health_pb2
from grpc_health.v1._async import HealthServicer

from ragmesh_servicekit.errors import MeshError
from ragmesh_servicekit.opening import refuses_login
from ragmesh_servicekit.resilience.breaker import AsyncBreaker
from ragmesh_servicekit.telemetry import metrics

log = structlog.get_logger()

Serving = health_pb2.HealthCheckResponse.ServingStatus


@dataclass(frozen=True, slots=True)
class Check:
    """A dependency. `probe` returns when it answers and raises when it does not; it is asked every `every_seconds`, at
    least every `down_seconds` once it did not answer, and given `timeout_seconds`. login: the settings with which this
    process signs in there."""

    name: str
    probe: Callable[[], Awaitable[object]]
    every_seconds: float = 5.0
    timeout_seconds: float = 2.0
    down_seconds: float = 1.0
    login: str = ""


@dataclass(slots=True)
class CheckResult:
    state: str = "unknown"  # ok | down | unknown
    detail: str = ""
    refused: bool = False


class EndingHealthServicer(HealthServicer):  # type: ignore[misc]  # ships no types
    """grpc.health.v1 whose watches can be ended: an open one holds `server.stop` for the whole of its grace."""

    def __init__(self) -> None:
        super().__init__()
        self._watches: set[asyncio.Task[None]] = set()
        self._ended = False

    async def Watch(self, request: health_pb2.HealthCheckRequest, context: Any) -> None:  # noqa: N802 - the contract's
        """Watch streams the status until `end_watches`, then ends well."""
        watch = asyncio.create_task(super().Watch(request, context), name="health-watch")
        self._watches.add(watch)
        if self._ended:
            watch.cancel()
        try:
            await asyncio.wait({watch})
        finally:
            self._watches.discard(watch)
            if not watch.done():
                watch.cancel()
                await asyncio.wait({watch})
        if not watch.cancelled():
            watch.result()

    def end_watches(self) -> None:
        """End those that are open, and those that are still to come."""
        self._ended = True
        for watch in self._watches:
            watch.cancel()


class Health:
    """The health of one process. `servicer` is grpc.health.v1; `report` is what /healthz shows."""

    def __init__(self, service: str, checks: tuple[Check, ...] = ()) -> None:
        self.service = service
        self.servicer = EndingHealthServicer()
        self._checks: list[Check] = []
        self._results: dict[str, CheckResult] = {}
        self._breakers: list[AsyncBreaker] = []
        self.ready = False
        self._draining = False
        for check in checks:
            self.add(check)

    def add(self, check: Check) -> None:
        """Watch one dependency more; before `watch` begins."""
        self._checks.append(check)
        self._results[check.name] = CheckResult()

    def show(self, breaker: AsyncBreaker) -> None:
        """Show one breaker more in the report."""
        self._breakers.append(breaker)

    async def set_ready(self, ready: bool) -> None:
        """Turn readiness on or off; without effect once draining has begun."""
        if self._draining:
            return
        self.ready = ready
        metrics.READY.set(ready)
        await self.servicer.set("", Serving.SERVING)
        await self.servicer.set(self.service, Serving.SERVING if ready else Serving.NOT_SERVING)

    async def drain(self) -> None:
        """Not ready any more, for good: later changes are ignored."""
        self._draining, self.ready = True, False
        metrics.READY.set(0)
        metrics.DRAINING.set(1)
        await self.servicer.enter_graceful_shutdown()

    async def check_once(self) -> None:
        """Ask every dependency once, at the same time."""
        await asyncio.gather(*(self._ask(check) for check in self._checks))

    async def watch(self) -> None:
        """Ask every dependency at its interval; runs until cancelled."""
        await asyncio.gather(*(self._repeat(check) for check in self._checks))

    def report(self) -> dict[str, object]:
        """JSON: ready, the state of each dependency, and of each breaker."""
        return {
            "service": self.service,
            "ready": self.ready,
            "checks": {
                name: {"state": result.state, "detail": result.detail} for name, result in self._results.items()
            },
            "breakers": [
                {"dependency": breaker.dependency, "endpoint": breaker.endpoint, "state": breaker.state}
                for breaker in self._breakers
            ],
        }

    def all_ok(self) -> bool:
        return all(result.state == "ok" for result in self._results.values())

    def refusals(self) -> dict[str, str]:
        """A sentence for each dependency that answered and refused this process's login when it was asked last."""
        logins = {check.name: check.login for check in self._checks}
        return {
            name: f"{result.detail}; see {logins[name]}" if logins[name] else result.detail
            for name, result in self._results.items()
            if result.refused
        }

    def is_ok(self, name: str) -> bool:
        return self._results[name].state == "ok"

    async def _repeat(self, check: Check) -> None:
        while True:
            await self._ask(check)
            down = self._results[check.name].state == "down"
            await asyncio.sleep(min(check.every_seconds, check.down_seconds) if down else check.every_seconds)

    async def _ask(self, check: Check) -> None:
        state, detail, refused = "ok", "", False
        try:
            async with asyncio.timeout(check.timeout_seconds):
                await check.probe()
        except TimeoutError:
            state, detail = "down", f"no answer within {check.timeout_seconds:g} s"
        except MeshError as error:
            state, detail, refused = "down", error.message, refuses_login(error)
        except Exception as error:
            state, detail = "down", type(error).__name__
        before = self._results[check.name].state
        self._results[check.name] = CheckResult(state, detail, refused)
        metrics.DEPENDENCY_UP.labels(check.name).set(state == "ok")
        if state == "down" and before != "down":
            log.warning("dependency.down", dependency=check.name, detail=detail)
        elif state == "ok" and before == "down":
            log.info("dependency.ok", dependency=check.name)
