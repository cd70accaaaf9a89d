"""What starts the two embedded Redis."""

from __future__ import annotations

from pathlib import Path

import pytest

from ragmesh_cli.stores import redis_server
from ragmesh_cli.stores.redis_server import RedisProgram
from ragmesh_servicekit.errors import FailedPrecondition, InvalidArgument, Unavailable
from support.redis import RedisProcess

SIX = RedisProgram(Path("/usr/bin/redis-server"), (6, 2))


def _option(argv: tuple[str, ...], name: str) -> str:
    return argv[argv.index(name) + 1]


def test_state_is_on_the_disk_before_a_write_is_answered_and_never_evicted() -> None:
    argv = redis_server.state_command(Path("/srv/mesh"), server=SIX).argv
    assert _option(argv, "--appendonly") == "yes"
    assert _option(argv, "--appendfsync") == "always"
    assert _option(argv, "--maxmemory-policy") == "noeviction"


def test_the_cache_is_bounded_and_keeps_nothing_on_disk() -> None:
    argv = redis_server.cache_command(Path("/srv/mesh"), server=SIX).argv
    assert _option(argv, "--appendonly") == "no"
    assert _option(argv, "--save") == ""
    assert _option(argv, "--maxmemory") == "64mb"
    assert _option(argv, "--maxmemory-policy") == "allkeys-lru"


def test_both_answer_on_a_socket_inside_the_home_and_on_no_port() -> None:
    for make, name in ((redis_server.state_command, "redis-state"), (redis_server.cache_command, "redis-cache")):
        command = make(Path("/srv/mesh"))
        assert command.name == name
        assert _option(command.argv, "--port") == "0"
        assert _option(command.argv, "--dir") == f"/srv/mesh/{name}"
        assert command.address == f"unix:///srv/mesh/{name}/redis.sock"
        assert command.cwd == Path(f"/srv/mesh/{name}")


def test_a_home_too_long_for_a_redis_socket_is_refused_with_the_cure() -> None:
    with pytest.raises(InvalidArgument, match="choose a shorter home"):
        redis_server.state_command(Path("/") / ("x" * 100))


def test_data_of_a_newer_server_is_not_silently_left_behind(tmp_path: Path) -> None:
    (tmp_path / "redis-state" / "appendonlydir").mkdir(parents=True)
    with pytest.raises(FailedPrecondition, match=r"written by Redis 7 or newer and the redis-server found is 6\.2"):
        redis_server.state_command(tmp_path, server=SIX)
    redis_server.state_command(tmp_path, server=RedisProgram(Path("/usr/bin/redis-server"), (7, 0)))


def _fake(folder: Path, version: str) -> Path:
    folder.mkdir()
    program = folder / "redis-server"
    program.write_text(f"#!/bin/sh\necho 'Redis server v={version} sha=0:0 malloc=libc bits=64'\n")
    program.chmod(0o755)
    return program


def test_a_server_on_the_path_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = _fake(tmp_path / "bin", "7.2.4")
    monkeypatch.setenv("PATH", str(path.parent))
    assert redis_server.program() == RedisProgram(path, (7, 2))


def test_a_server_on_the_path_that_is_too_old_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = _fake(tmp_path / "bin", "6.0.16")
    monkeypatch.setenv("PATH", str(path.parent))
    assert redis_server.program().path != path


async def test_a_redis_that_does_not_come_up_is_unavailable(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="did not answer within"):
        await redis_server.wait_ready(f"unix://{tmp_path}/none.sock", 0.1)


async def test_both_commands_start_servers_that_answer_and_stop_cleanly(tmp_path: Path) -> None:
    for make in (redis_server.state_command, redis_server.cache_command):
        process = RedisProcess(tmp_path, make)
        await process.start()
        assert process.stop() == 0
