"""A store that answers and refuses the login keeps a process from becoming ready; later it is a store that is down."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest

from ragmesh_backends.redis.client import connect
from ragmesh_backends.vectors.contract import SERVICE, milvus_pb2
from ragmesh_cli.stores import redis_server
from support import neo4j
from support.milvus import answering
from support.redis import RedisProcess
from support.service_process import ServiceProcess, service

GATEWAY, RETRIEVER, INGESTOR = "ragmesh_gateway.app", "ragmesh_retriever.app", "ragmesh_ingestor.app"


@pytest.fixture(scope="module")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisProcess]:
    """With a user that may do nothing but sign in, and one that has another password than asked for below."""
    rights = ("--user", "default", "on", "nopass", "~*", "&*", "+@all", "--user", "nobody", "on", ">right", "-@all")
    process = RedisProcess(tmp_path_factory.mktemp("rl"), redis_server.state_command, *rights)
    process.start_and_wait()
    yield process
    process.kill()


def as_user(address: str, user: str, password: str) -> str:
    return address.replace("unix://", f"unix://{user}:{password}@")


async def refused(process: ServiceProcess) -> str:
    """The one sentence, beside its log, of a process that ends because a store refuses it."""
    assert await process.end() == 2, process.err
    assert '"event": "serving"' not in process.err
    assert "wrong" not in process.said
    return process.said


@pytest.mark.parametrize(
    ("module", "user", "password", "sentence"),
    [
        (RETRIEVER, "nobody", "wrong", "refuses the user or the password"),
        (INGESTOR, "nobody", "right", "does not permit the mesh's user"),
    ],
)
async def test_a_redis_for_state_that_refuses_the_login_ends_the_start(
    redis: RedisProcess, module: str, user: str, password: str, sentence: str, tmp_path: Path
) -> None:
    address = as_user(redis.address, user, password)
    async with service(module, RAGMESH_STATE_URL=address, RAGMESH_BLOBS_URL=f"file:{tmp_path}") as process:
        said = await refused(process)
    assert sentence in said
    assert said.endswith("see RAGMESH_STATE_URL")


async def test_a_redis_for_caches_that_refuses_the_login_ends_the_start(redis: RedisProcess) -> None:
    async with service(RETRIEVER, RAGMESH_CACHE_URL=as_user(redis.address, "nobody", "wrong")) as process:
        said = await refused(process)
    assert said == "the cache store refuses the user or the password of the mesh; see RAGMESH_CACHE_URL"


@asynccontextmanager
async def milvus(code: grpc.StatusCode) -> AsyncIterator[str]:
    """`host:port` of a server that refuses every call as Milvus does a wrong token."""

    async def refuse(request: bytes, context: Any) -> bytes:
        await context.abort(code, "auth check failure, please check username and password are correct")
        raise AssertionError("abort raises")

    async with answering({"HasCollection": grpc.unary_unary_rpc_method_handler(refuse)}) as address:
        yield address


@pytest.mark.parametrize(
    ("module", "code"),
    [(RETRIEVER, grpc.StatusCode.UNAUTHENTICATED), (INGESTOR, grpc.StatusCode.PERMISSION_DENIED)],
)
async def test_a_milvus_that_refuses_the_token_ends_the_start(
    module: str, code: grpc.StatusCode, tmp_path: Path
) -> None:
    assert milvus_pb2.DESCRIPTOR.services_by_name["MilvusService"].full_name == SERVICE
    variables = {"RAGMESH_VECTORS_TOKEN": "root:wrong", "RAGMESH_BLOBS_URL": f"file:{tmp_path}"}
    async with milvus(code) as address, service(module, RAGMESH_VECTORS_URL=address, **variables) as process:
        said = await refused(process)
    assert said.startswith("the vectors store ")
    assert said.endswith("; see RAGMESH_VECTORS_TOKEN")


@neo4j.needed
async def test_a_neo4j_that_refuses_the_password_ends_the_start() -> None:
    neo4j.require()
    variables = {
        "RAGMESH_RECORDS_URL": neo4j.URI,
        "RAGMESH_RECORDS_USER": "nobody",
        "RAGMESH_RECORDS_PASSWORD": "wrong",
    }
    async with service(GATEWAY, **variables) as process:
        said = await refused(process)
    assert said == (
        "the records store refuses the user or the password of the mesh; "
        "see RAGMESH_RECORDS_USER and RAGMESH_RECORDS_PASSWORD"
    )


async def test_a_login_that_is_refused_later_is_a_store_that_is_down(tmp_path: Path) -> None:
    own = RedisProcess(tmp_path)
    await own.start()
    admin = connect(own.address)
    try:
        async with service(RETRIEVER, wait_seconds=1, RAGMESH_STATE_URL=own.address) as process:
            await process.ready()
            await process.turns(state="ok")
            await admin.config_set("requirepass", "another")
            await admin.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
            await process.turns(state="down")
            await admin.config_set("requirepass", "")
            await process.turns(state="ok")
            assert await process.stop() == 0, process.err
    finally:
        await admin.aclose()
        own.kill()


def test_the_command_that_makes_layouts_does_not_wait_for_a_login_that_is_refused(
    redis: RedisProcess, tmp_path: Path
) -> None:
    environ = {
        "RAGMESH_RECORDS_URL": f"sqlite:{tmp_path / 'records.db'}",
        "RAGMESH_BLOBS_URL": f"file:{tmp_path / 'blobs'}",
        "RAGMESH_STATE_URL": as_user(redis.address, "nobody", "wrong"),
        "RAGMESH_VECTORS_URL": f"unix:{tmp_path / 'none'}",
    }
    command = [sys.executable, "-c", MIGRATE]
    done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert "the state store refuses the user or the password of the mesh" in done.stderr


MIGRATE = """
import sys
from ragmesh_ingestor import migrate
migrate.migrate.__kwdefaults__["wait_seconds"] = 0.5
sys.exit(migrate.main())
"""
