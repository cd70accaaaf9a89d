"""`ragmesh keys`: make, list and revoke keys."""

from __future__ import annotations

from pathlib import Path

import click

from ragmesh.gateway.v1 import keys_pb2
from ragmesh_cli.client import connect, find_target
from ragmesh_cli.commands.shared import home_of, home_option, json_option, run, target_options
from ragmesh_cli.terminal import note, print_json, say


@click.group()
def keys() -> None:
    """Make, list and revoke keys."""


@keys.command()
@click.argument("name")
@click.option("--tenant", default="", help="The tenant (default: the caller's own).")
@click.option("--scope", "scopes", multiple=True, help="What it may do; default: everything but managing keys.")
@json_option
@home_option
@target_options
def create(
    name: str,
    tenant: str,
    scopes: tuple[str, ...],
    as_json: bool,
    home: Path | None,
    address: str | None,
    key: str | None,
) -> None:
    """Make a key. It is shown once."""
    target = find_target(home_of(home), address, key)
    request = keys_pb2.CreateKeyRequest(tenant_id=tenant, display_name=name, scopes=scopes)

    async def work() -> keys_pb2.CreateKeyResponse:
        async with connect(target) as client:
            return await client.keys.CreateKey(request, timeout=30)

    reply = run(work())
    if as_json:
        print_json({"key_id": reply.key.key_id, "tenant_id": reply.key.tenant_id, "secret": reply.secret})
    else:
        say(reply.secret)
        note(f"key {reply.key.key_id} of tenant {reply.key.tenant_id}; it cannot be shown again")


@keys.command("list")
@home_option
@target_options
def list_keys(home: Path | None, address: str | None, key: str | None) -> None:
    """List the tenant's keys."""
    target = find_target(home_of(home), address, key)

    async def work() -> None:
        async with connect(target) as client:
            token = ""
            while True:
                page = await client.keys.ListKeys(keys_pb2.ListKeysRequest(page_token=token), timeout=30)
                for each in page.keys:
                    ended = "revoked" if each.HasField("revoke_time") else "active"
                    say(f"{each.key_id}  {ended:<8} {each.display_name}  {' '.join(each.scopes)}")
                token = page.next_page_token
                if not token:
                    return

    run(work())


@keys.command()
@click.argument("key_id")
@home_option
@target_options
def revoke(key_id: str, home: Path | None, address: str | None, key: str | None) -> None:
    """End a key."""
    target = find_target(home_of(home), address, key)

    async def work() -> None:
        async with connect(target) as client:
            await client.keys.RevokeKey(keys_pb2.RevokeKeyRequest(key_id=key_id), timeout=30)

    run(work())
    say(f"{key_id} is revoked")
