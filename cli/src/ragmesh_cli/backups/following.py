"""The progress of a backup or a restore on the terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.progress import TaskID

from ragmesh_cli.backups.worker import work
from ragmesh_cli.terminal import bar


async def followed(environ: Mapping[str, str], arguments: Sequence[str]) -> dict[str, Any]:
    """`work`, with a bar for each stage."""
    with bar() as shown:
        tasks: dict[str, TaskID] = {}

        def progress(stage: str, done: int, total: int) -> None:
            if stage not in tasks:
                tasks[stage] = shown.add_task(stage, total=total)
            shown.update(tasks[stage], completed=done, total=total)

        return await work(environ, arguments, progress)
