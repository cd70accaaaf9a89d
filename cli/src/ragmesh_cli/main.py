"""The `ragmesh` command."""

from __future__ import annotations

import sys

import click

from ragmesh_cli.commands.ask import ask
from ragmesh_cli.commands.down import down
from ragmesh_cli.commands.eval import evaluate
from ragmesh_cli.commands.ingest import ingest
from ragmesh_cli.commands.keys import keys
from ragmesh_cli.commands.search import search
from ragmesh_cli.commands.status import status
from ragmesh_cli.commands.up import up
from ragmesh_cli.failure import Failure
from ragmesh_cli.terminal import note
from ragmesh_servicekit.errors import MeshError


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="ragmesh")
def cli() -> None:
    """ragmesh answers questions from an organisation's own documents."""


for command in (up, down, status, ingest, ask, search, evaluate, keys):
    cli.add_command(command)


def main() -> None:
    """Entry point: failures are one line and a non-zero exit, never a traceback."""
    try:
        cli(standalone_mode=False)
    except click.exceptions.Abort:
        note("interrupted")
        sys.exit(130)
    except KeyboardInterrupt:
        note("interrupted")
        sys.exit(130)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (Failure, MeshError) as error:
        note(f"ragmesh: {error}")
        sys.exit(getattr(error, "code", 1) if isinstance(error, Failure) else 1)
