"""TLS between the services while certificates change, and when they do not in time. The server is a real process; its
files are renewed as Kubernetes renews a Secret's."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path

import pytest
import structlog

from ragmesh_servicekit.errors import Unavailable
from support.certificates import OPENSSL, Authority
from support.mesh_child import child
from support.mesh_server import SERVICE
from support.tls_mesh import EXPIRY, REJECTED, accepted, caller, free_port, not_after, refused, secret_of, tells
from support.waiting import until

pytestmark = pytest.mark.skipif(OPENSSL is None, reason="the openssl program is not installed")


async def test_ca_and_certificates_are_renewed_under_load_and_no_call_fails(tmp_path: Path) -> None:
    old, new = Authority(tmp_path, "old"), Authority(tmp_path, "new")
    server, client = secret_of(tmp_path, "test", old), secret_of(tmp_path, "gateway", old)
    admin = free_port()
    variables = {"RAGMESH_ADMIN_PORT": str(admin), "RAGMESH_CONNECTION_AGE_SECONDS": "1", "RAGMESH_LOG_LEVEL": "ERROR"}
    done = {"unary": 0, "stream": 0}
    ended = asyncio.Event()
    async with child(**server.variables(), **variables) as process:
        await process.serving()
        async with caller(process, client) as (channel, rotation):
            unary, many = channel.unary_unary(f"/{SERVICE}/Unary"), channel.unary_stream(f"/{SERVICE}/Many")

            async def ask() -> None:
                while not ended.is_set():
                    assert await unary(b"", timeout=10) == b"done"
                    done["unary"] += 1
                    await asyncio.sleep(0.005)

            async def listen() -> None:
                while not ended.is_set():
                    replies = [reply async for reply in many(b"15", timeout=20)]
                    assert len(replies) == 15
                    done["stream"] += 1

            async with asyncio.TaskGroup() as load:
                for work in (ask, ask, listen, listen, listen):
                    load.create_task(work())
                steps = [(old, (old, new)), (new, (old, new)), (new, (new,))]
                for number, (signer, trusted) in enumerate(steps):
                    for secret, name in ((server, "test"), (client, "gateway")):
                        pair = signer.leaf(name, seconds=5000 + 100 * number)
                        secret.put(pair, *trusted)
                        expiry = not_after(pair, tmp_path)
                        if secret is server:
                            await tells(admin, EXPIRY, expiry, certificate="mesh")
                        else:
                            await until(lambda: rotation.current.not_after == expiry)  # noqa: B023 - awaited here
                    enough = done["stream"] + 6  # each 1.5 s: old connections end meanwhile, and new ones are made
                    await until(lambda: done["stream"] >= enough, 30)  # noqa: B023 - awaited here
                ended.set()
            await accepted(channel)
        with pytest.raises(Unavailable):
            async with caller(process, secret_of(tmp_path, "late", old)) as (late, _):
                await late.unary_unary(f"/{SERVICE}/Unary")(b"", timeout=5)
        process.process.send_signal(signal.SIGTERM)
        assert await process.end() == 0
    assert done["unary"] > 300
    assert done["stream"] > 6
    assert process.err == ""


async def test_an_expired_certificate_is_refused_until_it_is_renewed(tmp_path: Path) -> None:
    ours = Authority(tmp_path, "ours")
    server, client = secret_of(tmp_path, "test", ours, seconds=8), secret_of(tmp_path, "gateway", ours)
    async with child(**server.variables(), RAGMESH_CONNECTION_AGE_SECONDS="1") as process:
        await process.serving()
        with structlog.testing.capture_logs() as logs:
            async with caller(process, client) as (channel, _):
                await accepted(channel)
                assert (await refused(channel)).message == "the test's certificate is not accepted"
                server.put(ours.leaf("test"), ours)
                await accepted(channel)
        said = [(line["event"], line.get("detail")) for line in logs if line["event"].startswith("tls.peer")]
        assert said == [("tls.peer_refused", "certificate has expired"), ("tls.peer_accepted", None)]
        process.process.send_signal(signal.SIGTERM)
        assert await process.end() == 0
    events = [line["event"] for line in process.logged() if str(line["event"]).startswith("tls.")]
    assert events[-1:] == ["tls.reloaded"]


async def test_a_callers_expired_certificate_is_refused_until_it_is_renewed(tmp_path: Path) -> None:
    ours = Authority(tmp_path, "ours")
    server = secret_of(tmp_path, "test", ours)
    async with child(**server.variables(), RAGMESH_CONNECTION_AGE_SECONDS="1") as process:
        await process.serving()
        client = secret_of(tmp_path, "gateway", ours, seconds=5)
        async with caller(process, client) as (channel, _):
            await accepted(channel)
            await refused(channel)
            client.put(ours.leaf("gateway"), ours)
            await accepted(channel)


async def test_files_that_are_half_written_or_do_not_match_leave_the_old_ones_in_use(tmp_path: Path) -> None:
    ours, foreign = Authority(tmp_path, "ours"), Authority(tmp_path, "foreign")
    server, client = secret_of(tmp_path, "test", ours), secret_of(tmp_path, "gateway", ours)
    admin = free_port()
    variables = {"RAGMESH_ADMIN_PORT": str(admin), "RAGMESH_CONNECTION_AGE_SECONDS": "1"}
    async with child(**server.variables(), **variables) as process:
        await process.serving()
        chain, key = ours.leaf("test", seconds=4000)
        wrong = [
            ("incomplete", ((chain[:200], key), ours)),
            ("other_key", ((chain, ours.leaf("test")[1]), ours)),
            ("incomplete", ((chain, key[:100]), ours)),
            ("other_authority", (foreign.leaf("test"), ours)),
            ("incomplete", ((b"", b""), ours)),
            ("expired", (ours.leaf("test", seconds=-5), ours)),
        ]
        async with caller(process, client) as (channel, rotation):
            used = rotation.current
            for cause, (pair, authority) in wrong:
                server.put(pair, authority)
                client.put(pair, authority)
                await rotation.look()
                assert rotation.current is used
                await tells(admin, REJECTED, 1, certificate="mesh", cause=cause)
                await accepted(channel)
            server.put((chain, key), ours)
            await tells(admin, EXPIRY, not_after((chain, key), tmp_path), certificate="mesh")
            await tells(admin, REJECTED, 0, certificate="mesh", cause="expired")
            await accepted(channel)
        process.process.send_signal(signal.SIGTERM)
        assert await process.end() == 0
    rejected = [line for line in process.logged() if line["event"] == "tls.rejected"]
    assert [line["cause"] for line in rejected] == [cause for cause, _ in wrong]
    words = ("no whole cert", "is not that of", "no whole private", "not signed by a CA in", "no whole cert", "expired")
    for line, part in zip(rejected, words, strict=True):
        assert part in str(line["detail"])
    assert "PRIVATE KEY" not in process.err
