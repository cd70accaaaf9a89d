"""The certificate that a process uses now, and who is told when it becomes another."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from datetime import UTC, datetime

import structlog

from ragmesh_servicekit.telemetry import metrics
from ragmesh_servicekit.tls.certificate import (
    Cause,
    Certificate,
    CertificateFiles,
    CertificateRejected,
    Part,
    Stamp,
    load,
)

log = structlog.get_logger()

LOOK_SECONDS = 1.0
"""How often the files are looked at: three `stat`. A Secret reaches the files of a Pod a minute late anyway."""


class Rotation:
    """A certificate whose files may change. What they hold is taken when all of them fit each other; until then, and
    when they never do, the last good one is used. So is it when the new one lacks a name by which this process is
    called: peers would refuse that one, until the one in use expires. `use` names it in logs and metrics: `mesh`,
    `public`."""

    def __init__(self, use: str, files: CertificateFiles, part: Part) -> None:
        """Raises CertificateRejected."""
        self._use, self._files, self._part = use, files, part
        self._told: list[Callable[[Certificate], None]] = []
        self._stamp: Stamp = files.stamp()
        self._rejected = ""
        self._cause: Cause | None = None
        self._expired = False
        self.current = load(files, part)
        self._report()

    def on_change(self, told: Callable[[Certificate], None]) -> None:
        """Call it, in the event loop, with each certificate that takes the place of the one before."""
        self._told.append(told)

    async def watch(self, every_seconds: float = LOOK_SECONDS) -> None:
        """Look at the files for ever."""
        while True:
            await asyncio.sleep(every_seconds)
            await self.look()

    async def look(self) -> None:
        """Take what the files hold when that is new."""
        stamp = await asyncio.to_thread(self._files.stamp)
        if stamp != self._stamp or self._rejected:
            try:
                found = await asyncio.to_thread(load, self._files, self._part)
                self._require_names(found)
            except CertificateRejected as error:  # looked at again: what is not valid yet needs no change to become so
                self._reject(error)
            else:
                self._stamp, self._rejected = stamp, ""
                self._report_cause(None)
                if found != self.current:
                    self._take(found)
        if not self._expired and self.current.not_after <= time.time():
            self._expired = True
            log.error("tls.expired", certificate=self._use, not_after=_date(self.current.not_after))

    def _require_names(self, found: Certificate) -> None:
        """Raises CertificateRejected. Nobody looks for a name in a client's certificate, and an expired one is worse
        than any other."""
        if self._part == "client" or self.current.not_after <= time.time():
            return
        lacking = found.lacks(self.current)
        if lacking:
            words = (
                f"the certificate in {self._files.certificate} has not the name {lacking[0]}, which the one in use "
                "has; give it that name, or restart the process to take it as it is"
            )
            raise CertificateRejected(words, Cause.OTHER_NAMES, self._files.certificate, found.not_after)

    def _take(self, found: Certificate) -> None:
        self.current, self._expired = found, False
        self._report()
        log.info("tls.reloaded", certificate=self._use, not_after=_date(found.not_after))
        for told in self._told:
            told(found)

    def _reject(self, error: CertificateRejected) -> None:
        if str(error) == self._rejected:
            return
        self._rejected = str(error)
        self._report_cause(error.cause)
        log.error(
            "tls.rejected",
            certificate=self._use,
            cause=error.cause.value,
            detail=str(error),
            not_after=_date(error.not_after),
            used_until=_date(self.current.not_after),
        )

    def _report(self) -> None:
        metrics.TLS_EXPIRY.labels(self._use).set(self.current.not_after)

    def _report_cause(self, cause: Cause | None) -> None:
        if self._cause is not None:
            metrics.TLS_FILES_REJECTED.labels(self._use, self._cause).set(0)
        if cause is not None:
            metrics.TLS_FILES_REJECTED.labels(self._use, cause).set(1)
        self._cause = cause


def _date(unix_time: float | None) -> str | None:
    return None if unix_time is None else datetime.fromtimestamp(unix_time, UTC).isoformat()
