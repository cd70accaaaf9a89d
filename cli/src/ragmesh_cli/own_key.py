"""The operator's own first key: RAGMESH_BOOTSTRAP_KEY, as the gateway knows it. The home keeps it for the commands."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ragmesh_cli.failure import Failure
from ragmesh_servicekit.api_key import parse
from ragmesh_servicekit.settings import SettingsError, load, setting


@dataclass(frozen=True, slots=True)
class _KeySettings:
    key: str = setting("RAGMESH_BOOTSTRAP_KEY", "", doc="A key that exists from the start.", secret=True)


def own_key(environ: Mapping[str, str]) -> str:
    """The key that the environment gives, by itself or as a file; empty: none. Raises Failure for one that is no key or
    cannot be read."""
    try:
        key = load(_KeySettings, environ).key
    except SettingsError as error:
        raise Failure(str(error)) from error
    if key and parse(key) is None:
        raise Failure("RAGMESH_BOOTSTRAP_KEY: is not rag_live_<id>_<secret>_<checksum>; leave it out and one is made")
    return key
