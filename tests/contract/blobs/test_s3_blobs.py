"""What an S3 server adds to the port: settings that may be wrong, and failures that only look like absent blobs."""

from __future__ import annotations

import asyncio
import socket
from dataclasses import replace

import pytest
from obstore.exceptions import GenericError

from ragmesh_backends.blobs.object_store import ObjectBlobs
from ragmesh_backends.blobs.refusals import unavailable
from ragmesh_backends.blobs.remote_store import remote_store
from ragmesh_backends.store_settings import BlobsSettings
from ragmesh_servicekit import deadline
from ragmesh_servicekit.errors import DeadlineExceeded, FailedPrecondition, NotFound, Unavailable
from ragmesh_servicekit.resilience.guard import Guard
from ragmesh_servicekit.settings import SettingsError, load
from support.s3 import s3_settings

LOCAL = BlobsSettings(
    url="s3://bucket/prefix", s3_endpoint="http://127.0.0.1:9", s3_access_key="a", s3_secret_key="very-secret"
)


def opened(settings: BlobsSettings) -> ObjectBlobs:
    """The store as a running process has it, whose settings were right when it started."""
    return ObjectBlobs(remote_store(settings))


async def every_call_fails(blobs: ObjectBlobs) -> list[Unavailable]:
    """Each call of the port, to a store that has no blob; none may say that there is no such blob, nor that it is
    written or deleted."""
    errors = []
    for call in (
        blobs.ping(),
        blobs.put("t/1", b"x"),
        blobs.get("t/1"),
        blobs.get_many(["t/1"]),
        blobs.get_range("t/1", 0, 1),
        blobs.delete_many(["t/1"]),
        blobs.delete_prefix("t"),
    ):
        with pytest.raises(Unavailable) as caught:
            await call
        assert caught.value.metadata["dependency"] == "blobs"
        assert "very-secret" not in str(caught.value)
        errors.append(caught.value)
    return errors


@pytest.mark.parametrize(
    ("wrong", "cause", "variable"),
    [
        ({"s3_access_key": "nobody"}, "key", "RAGMESH_BLOBS_S3_ACCESS_KEY"),
        ({"s3_secret_key": "very-secret"}, "key", "RAGMESH_BLOBS_S3_SECRET_KEY"),
        ({"url": "s3://there-is-no-such-bucket/x"}, "bucket", "RAGMESH_BLOBS_URL"),
    ],
)
async def test_a_wrong_setting_stops_the_start_and_never_looks_like_an_absent_blob(
    wrong: dict[str, str], cause: str, variable: str
) -> None:
    settings = s3_settings(**wrong)
    with pytest.raises(FailedPrecondition, match=variable):
        await ObjectBlobs.open(settings, Guard("blobs"))
    for error in await every_call_fails(opened(settings)):
        assert error.metadata["cause"] == cause
        assert variable in error.message


async def test_a_server_that_is_not_there_is_unavailable_and_may_come_later() -> None:
    blobs = await ObjectBlobs.open(LOCAL, Guard("blobs"))
    assert {error.metadata.get("cause") for error in await every_call_fails(blobs)} == {None}


async def test_a_server_that_never_answers_is_given_up_in_time() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        settings = replace(LOCAL, s3_endpoint=f"http://127.0.0.1:{silent.getsockname()[1]}")
        blobs = ObjectBlobs(remote_store(settings), cap_seconds=0.2)
        async with asyncio.timeout(5):
            with pytest.raises(Unavailable):
                await blobs.put("t/1", b"x")
            with deadline.scope(0.1), pytest.raises(DeadlineExceeded):
                await blobs.get("t/1")


async def test_stores_of_two_prefixes_of_one_bucket_do_not_see_each_other() -> None:
    settings = s3_settings()
    one = await ObjectBlobs.open(settings, Guard("blobs"))
    other = await ObjectBlobs.open(replace(settings, url=settings.url + "-b"), Guard("blobs"))
    await one.put("t/1", b"one")
    await other.put("t/1", b"other")
    assert await one.get("t/1") == b"one"
    assert await other.delete_prefix("t") == 1
    with pytest.raises(NotFound):
        await other.get("t/1")
    assert [key async for key in one.list_prefix("t")] == ["t/1"]
    assert await one.delete_prefix("t") == 1


async def test_a_key_that_is_missing_or_half_of_one_is_named() -> None:
    asked_for_a_role = GenericError("Generic S3 error: Error performing PUT http://169.254.169.254/latest/api/token")
    assert "RAGMESH_BLOBS_S3_ACCESS_KEY" in unavailable(asked_for_a_role).message
    environment = {"RAGMESH_BLOBS_URL": "s3://bucket", "RAGMESH_BLOBS_S3_ACCESS_KEY": "id"}
    with pytest.raises(SettingsError, match="RAGMESH_BLOBS_S3_SECRET_KEY"):
        load(BlobsSettings, environment)


@pytest.mark.parametrize("url", ["s3:", "s3://", "/folder", "file:relative", "ftp://host/x", "s3://bucket/a?b=c"])
async def test_a_url_that_names_no_store_is_refused_naming_its_variable(url: str) -> None:
    with pytest.raises(SettingsError, match="RAGMESH_BLOBS_URL"):
        await ObjectBlobs.open(replace(LOCAL, url=url), Guard("blobs"))
