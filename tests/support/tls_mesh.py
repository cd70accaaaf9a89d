"""Two parties of a mesh with TLS, for tests: a process as a child, and a channel to it whose certificate is renewed."""

from __future__ import annotations

import asyncio
import socket
import urllib.request
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from ragmesh_servicekit import identity
from ragmesh_servicekit.channel import MeshChannel, open_channel
from ragmesh_servicekit.errors import Unavailable
from ragmesh_servicekit.identity import Identity
from ragmesh_servicekit.tls.certificate import CertificateFiles, load
from ragmesh_servicekit.tls.rotation import Rotation
from ragmesh_servicekit.tokens import TokenMinter
from support.certificates import Authority, Secret
from support.mesh_child import Child
from support.mesh_server import KEYS, SERVICE

WHO = Identity("acme", "anna")
EXPIRY, REJECTED = "ragmesh_tls_certificate_expiry_timestamp_seconds", "ragmesh_tls_files_rejected"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def files_of(secret: Secret) -> CertificateFiles:
    return CertificateFiles(secret.folder / "tls.crt", secret.folder / "tls.key", secret.folder / "ca.crt")


def secret_of(folder: Path, name: str, *authorities: Authority, seconds: float = 3600) -> Secret:
    """One with a certificate for `name` of the first authority, which trusts all of them."""
    secret = Secret(folder / name)
    secret.put(authorities[0].leaf(name, seconds=seconds), *authorities)
    return secret


def not_after(pair: tuple[bytes, bytes], folder: Path) -> float:
    """When it ends, as its process should say."""
    (folder / "t.crt").write_bytes(pair[0])
    (folder / "t.key").write_bytes(pair[1])
    return load(CertificateFiles(folder / "t.crt", folder / "t.key", None), "server").not_after


async def tells(admin: int, name: str, value: float, **labels: str) -> None:
    """Wait until the process of this admin port shows the value of the metric."""

    def scraped() -> float | None:
        page = urllib.request.urlopen(f"http://127.0.0.1:{admin}/metrics", timeout=5).read().decode()
        for family in text_string_to_metric_families(page):
            for sample in family.samples:
                if sample.name == name and sample.labels == labels:
                    return sample.value
        return None

    async with asyncio.timeout(15):
        while await asyncio.to_thread(scraped) != value:  # noqa: ASYNC110 - another process sends no event
            await asyncio.sleep(0.1)


@asynccontextmanager
async def caller(
    process: Child, secret: Secret, target: str = "ipv4:127.0.0.1:{port}", fallback: str = ""
) -> AsyncIterator[tuple[MeshChannel, Rotation]]:
    """A channel of this test to the process, whose certificate is renewed from the secret."""
    rotation = Rotation("mesh", files_of(secret), "client")
    ways = [way.format(port=process.port) for way in (target, fallback)]
    channel = open_channel(ways[0], "test", TokenMinter(KEYS), fallback=ways[1], tls=rotation)
    watching = asyncio.create_task(rotation.watch(0.1))
    try:
        with identity.acting_as(WHO):
            yield channel, rotation
    finally:
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)
        await channel.close()


async def accepted(channel: MeshChannel, seconds: float = 10.0) -> None:
    """Wait until a call succeeds."""
    await _until(channel, lambda error: error is None, seconds)


async def refused(channel: MeshChannel, seconds: float = 20.0) -> Unavailable:
    """Wait until a call fails."""
    error = await _until(channel, lambda error: error is not None, seconds)
    assert error is not None
    return error


async def _until(
    channel: MeshChannel, enough: Callable[[Unavailable | None], bool], seconds: float
) -> Unavailable | None:
    call = channel.unary_unary(f"/{SERVICE}/Unary")
    async with asyncio.timeout(seconds):
        while True:
            try:
                assert await call(b"", timeout=5) == b"done"
                ended = None
            except Unavailable as error:
                ended = error
            if enough(ended):
                return ended
            await asyncio.sleep(0.1)
