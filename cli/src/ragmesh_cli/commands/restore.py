"""`ragmesh restore`: a mesh as it was when it was backed up."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from ragmesh_cli.backups import report
from ragmesh_cli.backups.following import followed
from ragmesh_cli.backups.stores import reachable
from ragmesh_cli.commands.shared import home_of, home_option, json_option, run
from ragmesh_cli.terminal import harmless, print_json, say


@click.command(short_help="Restore a backup.")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@click.option(
    "--replace",
    is_flag=True,
    help="Delete what collections the backup's tenants have, in the moment in which those of the backup appear.",
)
@json_option
@home_option
def restore(file: Path, replace: bool, as_json: bool, home: Path | None) -> None:
    """Bring back what FILE holds, while the mesh runs or rests; without --replace only where there are no collections.

    FILE is checked first. Nothing is seen before all is there; a restore that is cut off changes nothing and can be
    repeated. Keys that are there already stay as they are, revoked ones too; documents that waited are queued again.
    The stores are found as by `ragmesh backup`, and need not be of the same kind."""

    async def bring_back() -> dict[str, Any]:
        async with reachable(home_of(home), made=True) as environ:
            return await followed(environ, ["restore", str(file), *(["--replace"] if replace else [])])

    done = run(bring_back())
    if as_json:
        print_json({"file": str(file), **done})
        return
    kept = f", {report.counted(done['kept_keys'], 'key')} left as it was here" if done["kept_keys"] else ""
    say(harmless(f"restored {report.contents(done)}{kept}"))
    if done["replaced"]:
        say(
            harmless(f"replaced {', '.join(one['collection_id'] + ' of ' + one['tenant'] for one in done['replaced'])}")
        )
