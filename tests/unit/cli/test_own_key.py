"""`ragmesh up` with a first key that the operator gives."""

from __future__ import annotations

from pathlib import Path

import pytest

from ragmesh_cli.failure import Failure
from ragmesh_cli.own_key import own_key
from ragmesh_servicekit.api_key import new_key


def test_a_key_is_taken_as_it_is_or_from_a_file(tmp_path: Path) -> None:
    key, file = new_key(), tmp_path / "key"
    file.write_text(f"{key}\n")
    assert own_key({"RAGMESH_BOOTSTRAP_KEY": key}) == key
    assert own_key({"RAGMESH_BOOTSTRAP_KEY_FILE": str(file)}) == key
    assert own_key({}) == own_key({"RAGMESH_BOOTSTRAP_KEY": ""}) == ""


@pytest.mark.parametrize(
    ("environ", "sentence"),
    [
        ({"RAGMESH_BOOTSTRAP_KEY": "secret-but-no-key"}, "is not rag_live_"),
        ({"RAGMESH_BOOTSTRAP_KEY_FILE": "/nowhere/key"}, "/nowhere/key cannot be read"),
    ],
)
def test_what_is_no_key_is_refused_without_showing_it(environ: dict[str, str], sentence: str) -> None:
    with pytest.raises(Failure, match=sentence) as refused:
        own_key(environ)
    assert "secret-but" not in str(refused.value)
