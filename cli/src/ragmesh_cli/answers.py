"""A streamed answer on the terminal."""

from __future__ import annotations

import sys
from typing import Any

from ragmesh.common.v1 import answer_pb2, search_pb2
from ragmesh.gateway.v1 import ask_pb2
from ragmesh_cli.client import Client
from ragmesh_cli.terminal import harmless, say

ASK_SECONDS = 300.0


async def print_answer(client: Client, collection_id: str, question: str, **options: Any) -> None:
    """Stream the answer as it is made, then list what it cites."""
    request = ask_pb2.AskStreamRequest(collection_id=collection_id, question=question, **options)
    sources: dict[int, search_pb2.Hit] = {}
    cited: list[int] = []
    missing: list[search_pb2.Part.ValueType] = []
    done = answer_pb2.Done()
    async for event in client.ask.AskStream(request, timeout=ASK_SECONDS):
        match event.WhichOneof("event"):
            case "sources":
                sources = {source.number: source.hit for source in event.sources.sources}
            case "token":
                sys.stdout.write(harmless(event.token.text))
                sys.stdout.flush()
            case "citation":
                if event.citation.number not in cited:
                    cited.append(event.citation.number)
            case "degraded":
                missing.extend(event.degraded.parts)
            case "restarting":
                sys.stdout.write("\n")
                cited.clear()
            case "done":
                done = event.done
    say("")
    for number in sorted(cited):
        hit = sources[number]
        place = " > ".join(hit.heading_path)
        say(harmless(f"  [{number}] {hit.document_id}{f': {place}' if place else ''}"))
    if missing:
        parts = ", ".join(search_pb2.Part.Name(part).removeprefix("PART_") for part in missing)
        say(f"  (incomplete: {parts} did not take part)")
    if done.finish_reason == answer_pb2.FINISH_REASON_LENGTH:
        say("  (cut at the length limit)")
