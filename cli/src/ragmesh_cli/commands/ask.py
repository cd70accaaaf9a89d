"""`ragmesh ask`: a question, answered with citations."""

from __future__ import annotations

from pathlib import Path

import click
from google.protobuf.json_format import MessageToDict

from ragmesh.gateway.v1 import ask_pb2
from ragmesh_cli.answers import ASK_SECONDS, print_answer
from ragmesh_cli.client import connect, find_target
from ragmesh_cli.commands.shared import collection_option, home_of, home_option, json_option, run, target_options
from ragmesh_cli.terminal import print_json


@click.command()
@click.argument("question")
@collection_option
@click.option("-k", "top_k", type=click.IntRange(1, 50), default=8, show_default=True, help="Passages to answer from.")
@click.option("--strict", is_flag=True, help="Refuse rather than leave a part out.")
@json_option
@home_option
@target_options
def ask(
    question: str,
    collection: str,
    top_k: int,
    strict: bool,
    as_json: bool,
    home: Path | None,
    address: str | None,
    key: str | None,
) -> None:
    """Answer a question from a collection. The answer is streamed; its sources follow."""
    target = find_target(home_of(home), address, key)

    async def work() -> None:
        async with connect(target) as client:
            if not as_json:
                await print_answer(client, collection, question, top_k=top_k, strict=strict)
                return
            request = ask_pb2.AskRequest(collection_id=collection, question=question, top_k=top_k, strict=strict)
            reply = await client.ask.Ask(request, timeout=ASK_SECONDS)
            print_json(MessageToDict(reply, preserving_proto_field_name=True))

    run(work())
