"""Which files `ragmesh ingest` takes from the paths it is given."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ragmesh_cli.failure import Failure

MEDIA_TYPES = {
    ".txt": "text/plain",
    ".text": "text/plain",
    ".md": "text/markdown",
    ".markdown": "text/markdown",
    ".html": "text/html",
    ".htm": "text/html",
}


@dataclass(frozen=True, slots=True)
class SourceFile:
    """A file and the document id it gets: its path relative to the folder that was named, with `/`."""

    path: Path
    document_id: str
    media_type: str


def find_files(paths: Sequence[Path]) -> list[SourceFile]:
    """The files named, and those of known types below folders named; hidden ones are left out. Raises Failure for a
    path that does not exist, a file of an unknown type, two files that would get the same id, and when nothing is
    found."""
    found: dict[str, SourceFile] = {}
    for root in paths:
        if root.is_dir():
            for path in sorted(_walk(root)):
                _add(found, SourceFile(path, path.relative_to(root).as_posix(), MEDIA_TYPES[path.suffix.lower()]))
        elif root.is_file():
            kind = MEDIA_TYPES.get(root.suffix.lower())
            if kind is None:
                known = ", ".join(sorted(MEDIA_TYPES))
                raise Failure(f"{root}: cannot be ingested; the types known are {known}")
            document_id = root.name if root.is_absolute() or ".." in root.parts else root.as_posix()
            _add(found, SourceFile(root, document_id, kind))
        else:
            raise Failure(f"{root}: no such file or folder")
    if not found:
        raise Failure(f"{', '.join(map(str, paths))}: no file of a known type ({', '.join(sorted(MEDIA_TYPES))})")
    return list(found.values())


def _add(found: dict[str, SourceFile], file: SourceFile) -> None:
    known = found.setdefault(file.document_id, file)
    if known.path.resolve() != file.path.resolve():
        raise Failure(
            f"{known.path} and {file.path} would both be the document {file.document_id}; ingest one at a time, into "
            "collections of their own, or name the folder above both"
        )


def _walk(root: Path) -> Iterator[Path]:
    for path in root.rglob("*"):
        relative = path.relative_to(root)
        if any(part.startswith(".") for part in relative.parts):
            continue
        if path.suffix.lower() in MEDIA_TYPES and path.is_file():
            yield path
