"""Options that several commands take, and how a command runs."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, TypeVar

import click

from ragmesh_cli.home import Home, default_home

F = TypeVar("F", bound=Callable[..., Any])
T = TypeVar("T")


def home_option(command: F) -> F:
    return click.option(
        "--home",
        type=click.Path(path_type=Path, file_okay=False),
        default=None,
        help="The folder of the mesh (default: $RAGMESH_HOME, or the user's data folder).",
    )(command)


def target_options(command: F) -> F:
    """--address and --key, for a mesh elsewhere."""
    command = click.option(
        "--address", help="host:port of a mesh's gRPC API, with TLS https://host:port (or RAGMESH_ADDRESS)."
    )(command)
    return click.option(
        "--key", help="The key; other users see it in the process list, so better RAGMESH_KEY (default: the home's)."
    )(command)


def json_option(command: F) -> F:
    return click.option("--json", "as_json", is_flag=True, help="Print JSON.")(command)


def collection_option(command: F) -> F:
    return click.option("-c", "--collection", default="default", show_default=True, help="The collection.")(command)


def home_of(path: Path | None) -> Home:
    return Home((path or default_home()).expanduser().absolute())


def run(work: Coroutine[Any, Any, T]) -> T:
    """Run a command's coroutine; Ctrl-C ends it cleanly."""
    return asyncio.run(work)
