"""MeshError and google.rpc.Status say the same."""

from __future__ import annotations

import grpc
import grpc.aio
import pytest
from google.rpc import error_details_pb2

from ragmesh.common.v1 import errors_pb2
from ragmesh_servicekit import errors
from ragmesh_servicekit.errors import Code, FieldViolation, Internal, InvalidArgument, MeshError, Reason, Unavailable
from ragmesh_servicekit.status import (
    DETAILS_KEY,
    MAX_DETAILS_BYTES,
    PUSHBACK_KEY,
    encode,
    error_of_call,
    grpc_code,
    to_mesh_error,
    trailing_metadata,
)


def test_reasons_are_those_of_the_contract() -> None:
    contract = {name.removeprefix("ERROR_REASON_") for name in errors_pb2.ErrorReason.DESCRIPTOR.values_by_name} - {
        "UNSPECIFIED"
    }
    assert contract == set(Reason.__members__)


def test_every_code_has_its_error_and_its_grpc_code() -> None:
    assert {cls.code for cls in MeshError.__subclasses__() if cls.__module__ == errors.__name__} == set(Code)
    assert [grpc_code(code).name for code in Code] == [code.name for code in Code]


def test_an_unexpected_error_loses_its_text() -> None:
    hidden = to_mesh_error(ValueError("secret"))
    assert isinstance(hidden, Internal)
    assert "secret" not in hidden.message


def test_a_group_is_its_first_error() -> None:
    first = Unavailable("down")
    assert to_mesh_error(ExceptionGroup("two", [first, ValueError("x")])) is first


def test_details_stay_below_what_metadata_may_hold() -> None:
    long = "ж" * 1000
    status = encode(InvalidArgument(long, violations=[FieldViolation(long, long)] * 10))
    assert status.ByteSize() <= MAX_DETAILS_BYTES + 500
    bad = error_details_pb2.BadRequest()
    assert any(detail.Unpack(bad) for detail in status.details)
    assert len(bad.field_violations) >= 3
    sent = sum(len(key) + len(value) * 4 // 3 for key, value in trailing_metadata(InvalidArgument(long)))
    assert sent < 8192


@pytest.mark.parametrize(("after", "pushback"), [(None, None), (1.5, "1500"), (0, "0"), (-1, "-1")])
def test_a_wait_becomes_push_back(after: float | None, pushback: str | None) -> None:
    metadata = dict(trailing_metadata(Unavailable("busy", reason=Reason.OVERLOADED, retry_after_seconds=after)))
    assert metadata.get(PUSHBACK_KEY) == pushback
    assert DETAILS_KEY in metadata


def test_text_that_is_not_utf_8_does_not_break_the_status() -> None:
    assert encode(InvalidArgument("bad \udcff name")).message == "bad ? name"


def test_a_store_that_was_waited_for_is_not_waited_for_again_by_a_channel() -> None:
    silent, refusing = Unavailable.dependency("vectors", cause=errors.TIMED_OUT), Unavailable.dependency("vectors")
    assert dict(trailing_metadata(silent))[PUSHBACK_KEY] == "-1"
    assert PUSHBACK_KEY not in dict(trailing_metadata(refusing))


def test_a_store_that_is_down_is_asked_for_by_one_layer_only() -> None:
    trailing = trailing_metadata(Unavailable("down", metadata={"dependency": "vectors"}, retry_after_seconds=7.0))
    assert PUSHBACK_KEY not in dict(trailing)  # the gateway's channel may ask another retriever
    call = grpc.aio.AioRpcError(grpc.StatusCode.UNAVAILABLE, grpc.aio.Metadata(), grpc.aio.Metadata(*trailing))
    relayed = error_of_call(call)
    assert dict(trailing_metadata(relayed))[PUSHBACK_KEY] == "-1"  # the client's may not do it all again
    assert relayed.retry_after_seconds == 7.0
    lost = error_of_call(grpc.aio.AioRpcError(grpc.StatusCode.UNAVAILABLE, grpc.aio.Metadata(), grpc.aio.Metadata()))
    assert PUSHBACK_KEY not in dict(trailing_metadata(lost))


@pytest.mark.parametrize("after", [None, 7.0])
def test_a_failed_model_is_not_asked_again_by_a_channel_and_the_wait_is_still_told(after: float | None) -> None:
    error = Unavailable("the model stopped", reason=Reason.MODEL_UNAVAILABLE, retry_after_seconds=after)
    trailing = trailing_metadata(error)
    assert dict(trailing)[PUSHBACK_KEY] == "-1"
    call = grpc.aio.AioRpcError(grpc.StatusCode.UNAVAILABLE, grpc.aio.Metadata(), grpc.aio.Metadata(*trailing))
    assert error_of_call(call).retry_after_seconds == (7.0 if after else -1)
