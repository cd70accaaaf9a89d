"""What `make run` shows a newcomer: the project's own documents ingested, and a question answered from them."""

from __future__ import annotations

import secrets
from pathlib import Path

from ragmesh_cli.answers import print_answer
from ragmesh_cli.client import Target, connect
from ragmesh_cli.failure import Failure
from ragmesh_cli.files import find_files
from ragmesh_cli.ingestion import Report, ensure_collection, first_failure, follow, send_files
from ragmesh_cli.terminal import bar, say

COLLECTION = "default"


class Welcome:
    """Ingests `folder` into the default collection, what is new of it, and asks `question`."""

    def __init__(self, target: Target, folder: Path | None, question: str | None) -> None:
        self._target, self._folder, self._question = target, folder, question

    @property
    def asks(self) -> bool:
        return bool(self._question)

    async def run(self) -> None:
        """Raises Failure when a document is refused or the question fails."""
        async with connect(self._target) as client:
            await ensure_collection(client, COLLECTION)
            if self._folder is not None:
                files = find_files([self._folder])
                with bar() as progress:
                    task = progress.add_task(f"ingesting {self._folder}", total=len(files))

                    def show(report: Report) -> None:
                        progress.update(task, completed=report.finished)

                    report = await send_files(client, COLLECTION, files, f"welcome-{secrets.token_hex(4)}", show)
                    await follow(client, report, show)
                if report.failures:
                    raise Failure(f"of {self._folder} {first_failure(report)}")
            if self._question:
                say("")
                say(f"> {self._question}")
                await print_answer(client, COLLECTION, self._question)
