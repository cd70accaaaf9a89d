"""What `make run` shows a newcomer: the project's own documents ingested, and a question answered from them."""

from __future__ import annotations

import secrets
from pathlib import Path

from ragmesh_cli.answers import print_answer
from ragmesh_cli.client import connect, find_target
from ragmesh_cli.files import find_files
from ragmesh_cli.home import Home
from ragmesh_cli.ingestion import Report, ensure_collection, follow, send_files
from ragmesh_cli.terminal import bar, say

COLLECTION = "default"


class Welcome:
    """Ingests `folder` into the default collection, what is new of it, and asks `question`."""

    def __init__(self, folder: Path | None, question: str | None) -> None:
        self._folder, self._question = folder, question

    async def run(self, home: Home) -> None:
        async with connect(find_target(home, None, None)) as client:
            await ensure_collection(client, COLLECTION)
            if self._folder is not None:
                files = find_files([self._folder])
                with bar() as progress:
                    task = progress.add_task(f"ingesting {self._folder}", total=len(files))

                    def show(report: Report) -> None:
                        progress.update(task, completed=report.unchanged + report.finished)

                    report = await send_files(client, COLLECTION, files, f"welcome-{secrets.token_hex(4)}", show)
                    await follow(client, report, show)
                for document_id, sentence in report.failures.items():
                    say(f"  {document_id}: {sentence}")
            if self._question:
                say("")
                say(f"> {self._question}")
                await print_answer(client, COLLECTION, self._question)
