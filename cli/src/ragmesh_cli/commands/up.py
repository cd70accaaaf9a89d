"""`ragmesh up`: start the mesh and keep it running."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

import click

from ragmesh_cli.client import Target
from ragmesh_cli.commands.shared import home_of, home_option
from ragmesh_cli.home import HomeLock
from ragmesh_cli.mesh import detached
from ragmesh_cli.mesh.foreground import serve
from ragmesh_cli.mesh.places import named
from ragmesh_cli.mesh.plan import Options, make_plan, own_stores
from ragmesh_cli.mesh.supervisor import Supervisor
from ragmesh_cli.own_key import own_key
from ragmesh_cli.terminal import note
from ragmesh_cli.trust import of_files, public_files
from ragmesh_cli.welcome import Welcome
from ragmesh_servicekit.api_key import new_key


@click.command(short_help="Start a mesh on this machine.")
@home_option
@click.option(
    "--host",
    envvar="RAGMESH_HOST",
    default="127.0.0.1",
    show_default=True,
    help="Where REST and gRPC listen (or RAGMESH_HOST); inner services never leave this machine.",
)
@click.option(
    "--rest-port",
    envvar="RAGMESH_REST_PORT",
    type=click.IntRange(1, 65535),
    default=8080,
    show_default=True,
    help="The port of REST (or RAGMESH_REST_PORT).",
)
@click.option(
    "--grpc-port",
    envvar="RAGMESH_GRPC_PORT",
    type=click.IntRange(1, 65535),
    default=9090,
    show_default=True,
    help="The port of gRPC (or RAGMESH_GRPC_PORT).",
)
@click.option("--free-ports", is_flag=True, help="Take free ports; `ragmesh status` tells which.")
@click.option(
    "--replicas", default="", metavar="NAME=N,...", help="How many of each service, as retriever=2,generator=2."
)
@click.option("--detach", is_flag=True, help="Return when everything serves; `ragmesh down` stops it.")
@click.option("--ingest", type=click.Path(path_type=Path, exists=True), help="Ingest this folder once it serves.")
@click.option("--ask", "question", help="Ask this then.")
def up(
    home: Path | None,
    host: str,
    rest_port: int,
    grpc_port: int,
    free_ports: bool,
    replicas: str,
    detach: bool,
    ingest: Path | None,
    question: str | None,
) -> None:
    """Start the mesh: its stores and services, on this machine, without a key or a network.

    Stays until Ctrl-C, which drains and stops everything; a second Ctrl-C stops at once. With --ask and without a
    terminal it stops after the answer."""
    tls = public_files(os.environ)
    own, elsewhere = own_stores(os.environ), named(os.environ)
    options = Options(host, rest_port, grpc_port, free_ports, _replicas(replicas), own, elsewhere, tls)
    place = home_of(home)
    if detach and (ingest or question):
        raise click.UsageError("--detach goes without --ingest and --ask; run `ragmesh ingest` afterwards")
    place.prepare()
    if detach:
        detached.start(place, sys.argv[1:])
        return
    lock = HomeLock(place)
    lock.acquire(note)
    key = own_key(os.environ)
    if key or not place.key_file.exists():
        place.write_admin_key(key or new_key())
    plan = make_plan(place, options)
    welcome = None
    if ingest or question:
        trust = of_files(*map(Path, tls)) if tls else None
        welcome = Welcome(Target(plan.grpc, place.admin_key(), trust), ingest, question)
    raise SystemExit(asyncio.run(serve(place, Supervisor(place, lock, plan, note), welcome)))


def _replicas(text: str) -> dict[str, int]:
    result: dict[str, int] = {}
    for part in filter(None, text.split(",")):
        name, _, count = part.partition("=")
        if not count.isdigit():
            raise click.UsageError(f"--replicas: {part!r} must be NAME=N, as in retriever=2,generator=2")
        if name.strip() in result:
            raise click.UsageError(f"--replicas: {name.strip()} is named twice")
        result[name.strip()] = int(count)
    return result
