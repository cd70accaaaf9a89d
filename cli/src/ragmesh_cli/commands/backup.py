"""`ragmesh backup`: everything that a mesh keeps, in one file."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import click

from ragmesh_cli.backups import report
from ragmesh_cli.backups.following import followed
from ragmesh_cli.backups.stores import reachable
from ragmesh_cli.backups.worker import INCOMPLETE, work
from ragmesh_cli.commands.shared import home_of, home_option, json_option, run
from ragmesh_cli.terminal import harmless, note, print_json, say


@click.command(short_help="Back up everything that a mesh keeps.")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--verify", "only_verify", is_flag=True, help="Read FILE through and say what is in it; change nothing.")
@click.option("--tenant", default="", help="Back up this tenant only.")
@click.option("--overwrite", is_flag=True, help="Replace FILE when it is there.")
@click.option("--allow-empty", is_flag=True, help="Back up stores that have no collection.")
@json_option
@home_option
def backup(
    file: Path, only_verify: bool, tenant: str, overwrite: bool, allow_empty: bool, as_json: bool, home: Path | None
) -> None:
    """Write collections, documents, vectors, graph, originals and keys to FILE, while the mesh runs or rests.

    FILE appears when it is whole and was read through. It holds the texts of all documents and the hashes of all keys,
    and is readable by you only. The stores are those that the home's mesh was last run with, or those that
    RAGMESH_RECORDS_URL, RAGMESH_VECTORS_URL and RAGMESH_BLOBS_URL name. Exit code 3: it is whole, but documents that
    changed all the time are not in it."""
    if only_verify and (tenant or overwrite or allow_empty):
        raise click.UsageError("--verify goes without --tenant, --overwrite and --allow-empty")

    async def make() -> dict[str, Any]:
        options = {"--overwrite": overwrite, "--allow-empty": allow_empty}
        arguments = ["backup", str(file), f"--tenant={tenant}", *(name for name, is_set in options.items() if is_set)]
        async with reachable(home_of(home), made=False) as environ:
            return await followed(environ, arguments)

    async def look() -> dict[str, Any]:
        return await work(os.environ, ["verify", str(file)], lambda *_: None)

    found = run(look() if only_verify else make())
    if as_json:
        print_json({"file": str(file), **found})
    else:
        say(harmless(f"{file}: {report.contents(found)}; {report.size(found)}, whole"))
        for sentence in report.unsettled(found):
            note(harmless(f"  {sentence}"))
    if report.left_out(found):
        raise SystemExit(INCOMPLETE)
