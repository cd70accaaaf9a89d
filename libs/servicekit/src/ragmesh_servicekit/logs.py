"""Logs: one JSON object a line on stderr, with trace and request ids, from our code and from libraries alike."""

from __future__ import annotations

import logging
import sys
from typing import Any

import structlog

from ragmesh_servicekit import identity
from ragmesh_servicekit.telemetry.tracing import current_ids

_QUIET = ("uvicorn.access", "uvicorn.error", "httpx", "httpcore", "httpx2", "pymilvus", "grpc._cython.cygrpc")
"""Libraries that log every call, their own start and stop, or the same failure that we report ourselves."""


def configure_logs(service: str, instance: str, level: str) -> None:
    """Set up structlog and the standard library's logging alike."""

    def add_ids(_: Any, __: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
        event["service"] = service
        if instance:
            event["instance"] = instance
        trace_id, span_id = current_ids()
        if trace_id:
            event["trace_id"], event["span_id"] = trace_id, span_id
        caller = identity.current.get()
        if caller is not None and caller.request_id:
            event.setdefault("request_id", caller.request_id)
        return event

    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        add_ids,
        structlog.processors.format_exc_info,
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.make_filtering_bound_logger(getattr(logging, level)),
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*shared, structlog.stdlib.ExtraAdder()],
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.JSONRenderer(ensure_ascii=False),
            ],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    logging.captureWarnings(True)  # they are lines of the log too
    for name in _QUIET:
        logging.getLogger(name).setLevel(max(logging.ERROR, getattr(logging, level)))
