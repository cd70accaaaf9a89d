"""What starts the embedded Milvus."""

from __future__ import annotations

from pathlib import Path

import pytest

from ragmesh_cli.stores import milvus_lite
from ragmesh_servicekit.errors import InvalidArgument, Unavailable


def test_the_command_keeps_everything_inside_the_home() -> None:
    home = Path("/srv/mesh")
    command = milvus_lite.command(home)
    assert command.name == "milvus"
    assert command.argv[1:] == ("/srv/mesh/milvus/vectors.db", "unix:/srv/mesh/milvus/milvus.sock", "ERROR")
    assert Path(command.argv[0]).is_file()
    assert command.address == "unix:/srv/mesh/milvus/milvus.sock"
    assert command.env["GLOG_log_dir"] == "/srv/mesh/milvus"
    assert command.log_path == Path("/srv/mesh/logs/milvus.log")


def test_a_home_too_long_for_a_socket_is_refused_with_the_cure() -> None:
    with pytest.raises(InvalidArgument, match="choose a shorter home"):
        milvus_lite.command(Path("/") / ("x" * 100))


async def test_a_store_that_does_not_come_up_is_unavailable(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="did not answer within"):
        await milvus_lite.wait_ready(f"unix:{tmp_path}/none.sock", 0.1)
