"""MeshError to google.rpc.Status and back. The only place where the two meet."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any, cast

import grpc
import grpc.aio
import structlog
from google.rpc import code_pb2, error_details_pb2, status_pb2

from ragmesh_servicekit import errors
from ragmesh_servicekit.errors import TIMED_OUT, Code, FieldViolation, Internal, MeshError, Reason
from ragmesh_servicekit.tls.refusals import refusal

log = structlog.get_logger()

DOMAIN = "ragmesh"
DETAILS_KEY = "grpc-status-details-bin"
PUSHBACK_KEY = "grpc-retry-pushback-ms"

# All metadata behind a call must stay below 8 KiB, or gRPC may replace the status with its own complaint. Base64 makes
# 4 bytes of 3, and percent-encoding makes 3 of one in the message, which travels once by itself and once in the status.
MAX_MESSAGE_BYTES = 600
MAX_DETAILS_BYTES = 3000

_PAID_FOR = {Reason.MODEL_UNAVAILABLE, Reason.MODEL_REFUSED}
"""A model was asked, and asking it again costs again: no channel's retry may do that behind the caller's back."""

_CLASSES: dict[Code, type[MeshError]] = {
    cls.code: cls for cls in MeshError.__subclasses__() if cls.__module__ == errors.__name__
}


def grpc_code(code: Code) -> grpc.StatusCode:
    """The gRPC status code of the same name."""
    return grpc.StatusCode[code.name]


def to_mesh_error(error: BaseException) -> MeshError:
    """What a caller may know of anything raised: a MeshError as it is, a group's first, a call's as decoded; everything
    else is Internal and is logged here, once, with its traceback and the request id of the task in hand."""
    if isinstance(error, MeshError):
        return error
    if isinstance(error, BaseExceptionGroup):
        return to_mesh_error(error.exceptions[0])
    if isinstance(error, grpc.aio.AioRpcError):
        return error_of_call(error)
    log.error("internal_error", exc_info=error)
    return Internal("something went wrong here; the request id finds it in the logs")


def encode(error: MeshError) -> status_pb2.Status:
    """The rich status: ErrorInfo always, BadRequest and RetryInfo where there is something to say."""
    status = status_pb2.Status(code=code_pb2.Code.Value(error.code.name), message=_cut(error.message))
    details: list[Any] = [error_details_pb2.ErrorInfo(reason=error.reason, domain=DOMAIN, metadata=error.metadata)]
    if error.violations:
        bad = error_details_pb2.BadRequest()
        for violation in error.violations:
            bad.field_violations.add(field=_cut(violation.field, 200), description=_cut(violation.description, 300))
            if status.ByteSize() + bad.ByteSize() > MAX_DETAILS_BYTES:
                del bad.field_violations[-1]
                break
        details.append(bad)
    if error.retry_after_seconds is not None and error.retry_after_seconds >= 0:
        retry = error_details_pb2.RetryInfo()
        retry.retry_delay.FromMilliseconds(int(error.retry_after_seconds * 1000))
        details.append(retry)
    for detail in details:
        status.details.add().Pack(detail)
    return status


def _cut(text: str, max_bytes: int = MAX_MESSAGE_BYTES) -> str:
    return text.encode("utf-8", "replace")[:max_bytes].decode("utf-8", "ignore")


def trailing_metadata(error: MeshError) -> tuple[tuple[str, str | bytes], ...]:
    """What travels behind a failed call: the rich status, and the push-back that the channel's retries honour."""
    metadata: list[tuple[str, str | bytes]] = [(DETAILS_KEY, encode(error).SerializeToString())]
    after = error.retry_after_seconds
    if error.reason in _PAID_FOR or error.metadata.get("cause") == TIMED_OUT:
        after = -1  # another replica would wait as long again for the same store, and the caller with it
    elif error.reason is Reason.DEPENDENCY_UNAVAILABLE and error.relayed:
        after = -1  # one layer repeats: four attempts of a client, each three of ours, bury a mesh without Milvus
    elif error.reason is Reason.DEPENDENCY_UNAVAILABLE and after is not None and after > 0:
        after = None  # so long this replica leaves its dependency alone; another may be asked at once
    if after is not None:
        metadata.append((PUSHBACK_KEY, "-1" if after < 0 else str(int(after * 1000))))
    return tuple(metadata)


async def abort(context: grpc.aio.ServicerContext[Any, Any], error: MeshError) -> None:
    """End the call with the error, behind what the handler has set as trailing metadata; raises grpc's AbortError."""
    behind = (*(context.trailing_metadata() or ()), *trailing_metadata(error))
    await context.abort(grpc_code(error.code), _cut(error.message), behind)


def error_of_call(call: grpc.aio.AioRpcError, role: str = "") -> MeshError:
    """The MeshError that another of our services sent; without its details, one made from the status code. `role`
    names the peer in that case."""
    trailing = dict(cast("Iterable[tuple[str, str | bytes]]", call.trailing_metadata() or ()))
    details = trailing.get(DETAILS_KEY)
    decoded = _decode(details) if isinstance(details, bytes) else None
    if decoded is not None:
        if trailing.get(PUSHBACK_KEY) == "-1" and decoded.retry_after_seconds is None:
            decoded.retry_after_seconds = -1
        decoded.relayed = True
        return decoded
    code, peer = call.code(), role or "service"
    if code is grpc.StatusCode.DEADLINE_EXCEEDED:
        return errors.DeadlineExceeded("the deadline of the request has passed")
    if code is grpc.StatusCode.UNAVAILABLE:
        if refusal(call.details()):
            return errors.Unavailable.dependency(peer, f"the {peer}'s certificate is not accepted")
        return errors.Unavailable.dependency(peer, f"the {peer} does not answer; try again")
    if code is grpc.StatusCode.CANCELLED:  # by the peer: a call that we cancelled raises CancelledError
        return errors.Unavailable.dependency(
            role or "service", f"the {role or 'service'} broke the call off; try again"
        )
    if code is grpc.StatusCode.RESOURCE_EXHAUSTED:
        return errors.InvalidArgument(
            "the request or its reply is larger than the message limit", reason=Reason.CONTENT_TOO_LARGE
        )
    known = _CLASSES.get(Code.__members__.get(code.name, Code.INTERNAL), Internal)
    return known(f"the {peer} answered {code.name}")  # its own words may tell of the inside


def _decode(raw: bytes) -> MeshError | None:
    try:
        status = status_pb2.Status.FromString(raw)
    except ValueError:
        return None
    name = code_pb2.Code.Name(status.code) if status.code in code_pb2.Code.values() else "INTERNAL"
    known = _CLASSES.get(Code.__members__.get(name, Code.INTERNAL), Internal)
    reason, metadata, violations, retry = None, {}, [], None
    for detail in status.details:
        if detail.Is(error_details_pb2.ErrorInfo.DESCRIPTOR):
            info = error_details_pb2.ErrorInfo()
            detail.Unpack(info)
            reason = Reason.__members__.get(info.reason)
            metadata = dict(info.metadata)
        elif detail.Is(error_details_pb2.BadRequest.DESCRIPTOR):
            bad = error_details_pb2.BadRequest()
            detail.Unpack(bad)
            violations = [FieldViolation(v.field, v.description) for v in bad.field_violations]
        elif detail.Is(error_details_pb2.RetryInfo.DESCRIPTOR):
            info_retry = error_details_pb2.RetryInfo()
            detail.Unpack(info_retry)
            retry = info_retry.retry_delay.ToMilliseconds() / 1000
    return known(status.message, reason=reason, violations=violations, metadata=metadata, retry_after_seconds=retry)


def is_cancelled(error: BaseException) -> bool:
    """Whether a call ended because somebody no longer wants it."""
    if isinstance(error, asyncio.CancelledError):
        return True
    return isinstance(error, grpc.aio.AioRpcError) and error.code() is grpc.StatusCode.CANCELLED
