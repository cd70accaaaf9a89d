"""What an operator is told of a setting: when several are wrong, and in the reference."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from ragmesh_servicekit.settings import SettingsError, load, reference, setting


@dataclass(frozen=True, slots=True)
class Names:
    """Two variables, one of which begins with the other's name."""

    port: int = setting("RAGMESH_STORE_PORT", doc="The port.", minimum=1, maximum=9)
    store: str = setting("RAGMESH_STORE", doc="The store.")


@dataclass(frozen=True, slots=True)
class Limits:
    both: int = setting("RAGMESH_BOTH", 2, doc="Both.", minimum=1, maximum=3)
    least: int = setting("RAGMESH_LEAST", 2, doc="Least.", minimum=1)
    most: float = setting("RAGMESH_MOST", 2.0, doc="Most.", maximum=3)
    choice: str = setting("RAGMESH_CHOICE", "a", doc="Choice.", choices=("a", "b"))


def test_a_missing_variable_is_told_beside_a_wrong_one_that_begins_with_its_name() -> None:
    with pytest.raises(SettingsError) as caught:
        load(Names, {"RAGMESH_STORE_PORT": "10"})
    assert caught.value.problems == (
        "RAGMESH_STORE_PORT: must be from 1 to 9 (it is '10')",
        "RAGMESH_STORE: must be set (The store.)",
    )


def test_the_reference_tells_every_limit() -> None:
    rows = {row.split("|")[1].strip(): row.split("|")[4].strip() for row in reference({"one": Limits}).splitlines()[2:]}
    assert rows == {
        "`RAGMESH_BOTH`": "Both. From 1 to 3.",
        "`RAGMESH_LEAST`": "Least. At least 1.",
        "`RAGMESH_MOST`": "Most. At most 3.",
        "`RAGMESH_CHOICE`": "Choice. One of `a`, `b`.",
    }
