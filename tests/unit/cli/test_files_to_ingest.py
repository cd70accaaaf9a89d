"""Which files are taken, and the ids they get."""

from __future__ import annotations

from pathlib import Path

import pytest

from ragmesh_cli.failure import Failure
from ragmesh_cli.files import find_files


def test_a_folder_gives_its_files_ids_relative_to_itself_and_leaves_hidden_ones_out(tmp_path: Path) -> None:
    for name in ("a.md", "sub/b.TXT", ".hidden/c.md", "sub/.d.md", "picture.png"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text("x")
    assert [(f.document_id, f.media_type) for f in find_files([tmp_path])] == [
        ("a.md", "text/markdown"),
        ("sub/b.TXT", "text/plain"),
    ]


def test_a_file_of_an_unknown_type_and_a_path_that_is_not_there_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_text("x")
    with pytest.raises(Failure, match="cannot be ingested"):
        find_files([tmp_path / "a.png"])
    with pytest.raises(Failure, match="no such file"):
        find_files([tmp_path / "nothing"])
    with pytest.raises(Failure, match="no file of a known type"):
        find_files([tmp_path])


def test_two_files_that_would_be_one_document_are_refused_but_the_same_file_twice_is_one(tmp_path: Path) -> None:
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "x.md").write_text(folder)
    with pytest.raises(Failure, match=r"would both be the document x\.md"):
        find_files([tmp_path / "a", tmp_path / "b"])
    assert [f.document_id for f in find_files([tmp_path / "a", tmp_path / "a" / "x.md"])] == ["x.md"]


def test_a_file_named_by_itself_keeps_its_relative_path_as_id(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "x.md").write_text("x")
    monkeypatch.chdir(tmp_path)
    assert [f.document_id for f in find_files([Path("notes/x.md")])] == ["notes/x.md"]
    assert [f.document_id for f in find_files([tmp_path / "notes" / "x.md"])] == ["x.md"]
    assert [f.document_id for f in find_files([Path("notes/../notes/x.md")])] == ["x.md"]
