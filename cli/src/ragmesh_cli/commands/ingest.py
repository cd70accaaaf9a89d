"""`ragmesh ingest`: send files to a collection."""

from __future__ import annotations

import secrets
from pathlib import Path

import click

from ragmesh_cli.client import connect, find_target
from ragmesh_cli.commands.shared import collection_option, home_of, home_option, json_option, run, target_options
from ragmesh_cli.files import find_files
from ragmesh_cli.ingestion import Report, ensure_collection, follow, send_files
from ragmesh_cli.terminal import bar, harmless, note, print_json, say


@click.command(short_help="Send files and folders to a collection.")
@click.argument("paths", nargs=-1, required=True, type=click.Path(path_type=Path))
@collection_option
@click.option("--again", is_flag=True, help="Send unchanged files, too, as when a store has lost what it held of them.")
@click.option("--wait/--no-wait", default=True, show_default=True, help="Wait until everything can be searched.")
@json_option
@home_option
@target_options
def ingest(
    paths: tuple[Path, ...],
    collection: str,
    again: bool,
    wait: bool,
    as_json: bool,
    home: Path | None,
    address: str | None,
    key: str | None,
) -> None:
    """Send files and folders to a collection, which is made when it does not exist.

    A document's id is its path relative to the folder named, so running the command again sends only what changed:
    it goes on where an interrupted run stopped; --again sends everything. Exits 1 when a document was refused or
    failed."""
    files = find_files(paths)
    target = find_target(home_of(home), address, key)

    async def work() -> Report:
        async with connect(target) as client:
            await ensure_collection(client, collection)
            with bar() as progress:
                task = progress.add_task("sending", total=len(files))

                def sending(report: Report) -> None:
                    progress.update(task, completed=report.handled)

                batch_id = f"cli-{secrets.token_hex(6)}"
                report = await send_files(client, collection, files, batch_id, sending, again=again)
                if wait:
                    progress.update(task, description="ingesting", completed=report.finished)

                    def ingesting(report: Report) -> None:
                        progress.update(task, completed=report.finished)

                    await follow(client, report, ingesting)
            return report

    report = run(work())
    if as_json:
        print_json(
            {
                "collection": collection,
                "batch_id": report.batch_id,
                "sent": report.sent,
                "joined": len(report.joined),
                "unchanged": report.unchanged,
                "ready": report.ready,
                "failures": report.failures,
            }
        )
    else:
        done = f"{report.ready} ready" if wait else f"{report.sent + len(report.joined)} accepted"
        say(f"{collection}: {done}, {report.unchanged} unchanged, {len(report.failures)} failed")
        for document_id, sentence in report.failures.items():
            note(harmless(f"  {document_id}: {sentence}"))
    if report.failures:
        raise SystemExit(1)
