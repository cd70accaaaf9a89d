"""The commands of `ragmesh`, in one group."""

from __future__ import annotations

import click

from ragmesh_cli.commands.ask import ask
from ragmesh_cli.commands.backup import backup
from ragmesh_cli.commands.doctor import doctor
from ragmesh_cli.commands.down import down
from ragmesh_cli.commands.eval import evaluate
from ragmesh_cli.commands.ingest import ingest
from ragmesh_cli.commands.keys import keys
from ragmesh_cli.commands.restore import restore
from ragmesh_cli.commands.search import search
from ragmesh_cli.commands.status import status
from ragmesh_cli.commands.up import up

COMMANDS = (up, status, down, ingest, ask, search, keys, evaluate, backup, restore, doctor)


class InOrder(click.Group):
    """Lists its commands in the order in which a newcomer needs them."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [command.name or "" for command in COMMANDS]


@click.group(cls=InOrder, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="ragmesh")
def cli() -> None:
    """Answer questions from your own documents, with citations.

    \b
    ragmesh up --detach             start a mesh on this machine
    ragmesh ingest docs/            send it files
    ragmesh ask "How do I ...?"     ask it
    ragmesh down                    stop it

    One mesh lives in one home: $RAGMESH_HOME, or --home, or the user's data folder. The other commands find the mesh
    and its key there, or are told with RAGMESH_ADDRESS and RAGMESH_KEY.
    """


for command in COMMANDS:
    cli.add_command(command)
