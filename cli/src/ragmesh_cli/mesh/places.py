"""Where the stores of a mesh are when they are not in its home: kept in the home, so that a command in another shell,
whose environment does not name them, finds those that the mesh really has, or refuses. Never a password or a key."""

from __future__ import annotations

import re
from collections.abc import Mapping

from ragmesh_cli.failure import Failure
from ragmesh_cli.home import Home

DETAILS: Mapping[str, tuple[str, ...]] = {
    "RAGMESH_RECORDS_URL": ("RAGMESH_RECORDS_USER", "RAGMESH_RECORDS_DATABASE"),
    "RAGMESH_VECTORS_URL": (),
    "RAGMESH_BLOBS_URL": ("RAGMESH_BLOBS_S3_ENDPOINT", "RAGMESH_BLOBS_S3_REGION"),
}
"""The stores that keep documents, and what else tells which store is meant. The Redis for state is not among them."""

WAYS_IN = frozenset({"RAGMESH_RECORDS_USER", "RAGMESH_BLOBS_S3_REGION"})
"""Of the details, those that may differ: the store is the same one by another way."""

_CREDENTIALS = re.compile(r"(?<=//)[^/@]*@")
_SPELLING = re.compile(r"^http://|(?<=^file:)//(?=/)|(?<=^sqlite:)//(?=/)|/+$")
"""What may be written or left out: `file:///folder/` is `file:/folder`, `http://host:19530` is `host:19530`."""


def named(environ: Mapping[str, str]) -> dict[str, str]:
    """What the environment says of the stores that it names, without credentials."""
    return {
        name: value
        for variable, details in DETAILS.items()
        if _given(environ, variable)
        for name in (variable, *details)
        if (value := _given(environ, name))
    }


def of_home(home: Home) -> dict[str, str]:
    """The stores that are files in the home, by their variables."""
    return {
        "RAGMESH_RECORDS_URL": f"sqlite:{home.path / 'records.db'}",
        "RAGMESH_BLOBS_URL": f"file:{home.path / 'blobs'}",
    }


def filled(home: Home, environ: Mapping[str, str]) -> dict[str, str]:
    """The environment, with every store of which it says nothing as this home's mesh was last run with it; only the
    embedded Milvus is left out. Raises Failure when it names another than that: half of one mesh and half of another
    would be taken for one."""
    recorded, result = home.stores(), dict(environ)
    for variable, details in DETAILS.items():
        if recorded is not None and variable in recorded:
            before = {name: recorded.get(name, "") for name in (variable, *details)}
        else:
            before = {variable: of_home(home).get(variable, "")}
        for name, value in before.items():
            given = _given(environ, name)
            if not given and value and not environ.get(f"{name}_FILE"):
                result[name] = value
            elif given and recorded is not None and name not in WAYS_IN and _plain(given) != _plain(value):
                raise Failure(
                    f"{name} is {given}, and the mesh of {home.path} was last run with {value or 'its own'}: unset it, "
                    f"or choose another home with --home, or set all of {', '.join(DETAILS)}"
                )
    return result


def _given(environ: Mapping[str, str], name: str) -> str:
    return _CREDENTIALS.sub("", environ.get(name, "").strip())


def _plain(value: str) -> str:
    return _SPELLING.sub("", value)
