"""`ragmesh search`: the passages for a question."""

from __future__ import annotations

from pathlib import Path

import click
from google.protobuf.json_format import MessageToDict

from ragmesh.common.v1 import search_pb2
from ragmesh.gateway.v1 import search_pb2 as public_search_pb2
from ragmesh_cli.client import connect, find_target
from ragmesh_cli.commands.shared import collection_option, home_of, home_option, json_option, run, target_options
from ragmesh_cli.terminal import harmless, print_json, say

MODES = {
    "graph": search_pb2.SEARCH_MODE_GRAPH,
    "hybrid": search_pb2.SEARCH_MODE_HYBRID,
    "dense": search_pb2.SEARCH_MODE_DENSE,
    "bm25": search_pb2.SEARCH_MODE_BM25,
}
EXCERPT = 200


@click.command()
@click.argument("query")
@collection_option
@click.option("-k", "top_k", type=click.IntRange(1, 100), default=10, show_default=True, help="How many hits.")
@click.option("--mode", type=click.Choice(list(MODES)), default="graph", show_default=True)
@click.option("--explain", is_flag=True, help="Say why each hit stands where it does, and what each leg took.")
@json_option
@home_option
@target_options
def search(
    query: str,
    collection: str,
    top_k: int,
    mode: str,
    explain: bool,
    as_json: bool,
    home: Path | None,
    address: str | None,
    key: str | None,
) -> None:
    """Find the passages of a collection that answer a question."""
    target = find_target(home_of(home), address, key)
    request = public_search_pb2.SearchRequest(
        collection_id=collection, query=query, top_k=top_k, mode=MODES[mode], explain=explain
    )

    async def work() -> public_search_pb2.SearchResponse:
        async with connect(target) as client:
            return await client.search.Search(request, timeout=30)

    reply = run(work())
    if as_json:
        print_json(MessageToDict(reply, preserving_proto_field_name=True))
        return
    for number, hit in enumerate(reply.hits, 1):
        print_hit(number, hit, explain)
    if not reply.hits:
        say("nothing was found")
    if reply.degraded:
        parts = ", ".join(search_pb2.Part.Name(part).removeprefix("PART_") for part in reply.degraded)
        say(f"(incomplete: {parts} did not take part)")
    if explain:
        say("took " + ", ".join(f"{t.step} {t.milliseconds:.1f} ms" for t in reply.timings))


def print_hit(number: int, hit: search_pb2.Hit, explain: bool) -> None:
    """One hit for people."""
    place = " > ".join(hit.heading_path)
    say(harmless(f"{number:>2}. {hit.score:.3f}  {hit.document_id}{f': {place}' if place else ''}"))
    text = harmless(" ".join(hit.text.split()))
    say(f"    {text[:EXCERPT]}{'…' if len(text) > EXCERPT else ''}")
    if not explain:
        return
    legs = [
        f"{name} {getattr(hit.scores, name):.3f}"
        for name in ("dense", "bm25", "graph", "fused")
        if hit.scores.HasField(name)
    ]
    say(f"    {'  '.join(legs)}")
    for reason in hit.explanations:
        say(harmless(f"    {reason.factor} {reason.value:.3f} {reason.detail}".rstrip()))
