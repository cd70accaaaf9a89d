"""The file: a tar of compressed parts, which `tar` and `zcat` can look into.

    header.json        format and product version: what decides whether it can be read
    <part>.gz ...      entries, see below
    manifest.json      what was backed up, and name, size, digest and number of entries of every part
    manifest.sha256    its digest; a file without it was cut off

An entry is a line of JSON, followed by as many bytes as its `bytes` says. Parts are small enough to be held in memory,
and a document's entries are in the parts of one group, its record last, so that a restore needs no look back.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import tarfile
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

from ragmesh_servicekit.errors import FailedPrecondition

FORMAT = 1
"""Goes up with every change after which an older program would read a backup wrongly."""

HEADER, MANIFEST, DIGEST = "header.json", "manifest.json", "manifest.sha256"
MAX_PART_BYTES = 512 * 1024 * 1024
"""Of a part as its entries are: a bound for what reading a damaged or hostile file may take."""

_LEVEL = 1
"""zlib's fastest: the next ones halve the speed for a tenth of the size."""


@dataclass(frozen=True, slots=True)
class Entry:
    """facts: what the line says. data: the bytes behind it."""

    facts: dict[str, Any]
    data: bytes = b""


@dataclass(frozen=True, slots=True)
class Part:
    """kind: `rows`, `entities`, `blobs`, `documents` or `keys`. collection: its number, from 1; 0 for keys. group: of
    documents, counted through the file. raw_bytes: uncompressed. sha256: of the part as it is in the file."""

    name: str
    kind: str
    collection: int
    group: int
    entries: int
    size_bytes: int
    raw_bytes: int
    sha256: str


_PART_FACTS = {field.name for field in fields(Part)}


@dataclass(slots=True)
class Manifest:
    """tenant: the one that was backed up, empty for all. collections: see `entries.collection_facts`, with counts and
    `left_out`, the documents that were there and are in no part.
    superseded: by group, the documents that are not taken from there: they changed and come again, or are gone."""

    tenant: str
    created_at: str
    collections: list[dict[str, Any]] = field(default_factory=list)
    keys: int = 0
    superseded: dict[int, list[str]] = field(default_factory=dict)
    parts: list[Part] = field(default_factory=list)

    def encoded(self) -> bytes:
        """Part by part: there are millions in a large backup."""
        facts = {
            "tenant": self.tenant,
            "created_at": self.created_at,
            "collections": self.collections,
            "keys": self.keys,
            "superseded": self.superseded,
        }
        encoded = io.BytesIO()
        encoded.write(f'{_line(facts)[:-1]},"parts":['.encode())
        for at, part in enumerate(self.parts):
            encoded.write(f"{',' if at else ''}{_line(asdict(part))}".encode())
        encoded.write(b"]}")
        return encoded.getvalue()

    @classmethod
    def decoded(cls, data: bytes) -> Manifest:
        """Raises ValueError, KeyError or TypeError for anything else."""
        facts = json.loads(data, object_hook=_part_or_facts)
        superseded = {int(group): ids for group, ids in facts.pop("superseded").items()}
        parts = facts.pop("parts")
        if not all(isinstance(part, Part) for part in parts):
            raise TypeError("parts")
        return cls(superseded=superseded, parts=parts, **facts)

    def outdated(self, group: int) -> frozenset[str]:
        """The documents of a group that are not to be taken from it."""
        return frozenset(self.superseded.get(group, ()))

    def collection(self, number: int) -> dict[str, Any] | None:
        """What is said of a collection; None of one that was deleted while it was backed up."""
        facts = self.collections[number - 1]
        return None if facts.get("deleted") else facts

    def live(self) -> list[dict[str, Any]]:
        """The collections that a restore brings back."""
        return [facts for facts in self.collections if not facts.get("deleted")]


class ArchiveWriter:
    """Adds parts to an open file, in order; `finish` makes it whole."""

    def __init__(self, file: IO[bytes], manifest: Manifest, product: str) -> None:
        self._tar = tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT)  # noqa: SIM115 - closed by finish
        self.manifest = manifest
        header = {"format": FORMAT, "product": product, "created_at": manifest.created_at}
        self._add(HEADER, json.dumps(header).encode())

    def add(self, kind: str, collection: int, group: int, entries: Iterable[Entry]) -> None:
        """Write one part; none for no entries."""
        raw, count = bytearray(), 0
        for entry in entries:
            facts = {**entry.facts, "bytes": len(entry.data)} if entry.data else entry.facts
            raw += _line(facts).encode() + b"\n" + entry.data
            count += 1
        if not count:
            return
        name = f"{len(self.manifest.parts):08}-{collection}-{kind}.gz"
        data = _compressed(raw)
        digest = hashlib.sha256(data).hexdigest()
        self._add(name, data)
        self.manifest.parts.append(Part(name, kind, collection, group, count, len(data), len(raw), digest))

    def finish(self) -> None:
        """Write the manifest, and the end."""
        manifest = self.manifest.encoded()
        self._add(MANIFEST, manifest)
        self._add(DIGEST, hashlib.sha256(manifest).hexdigest().encode() + b"\n")
        self._tar.close()

    def _add(self, name: str, data: bytes) -> None:
        member = tarfile.TarInfo(name)
        member.size, member.mode = len(data), 0o600
        self._tar.addfile(member, io.BytesIO(data))
        self._tar.members.clear()  # type: ignore[attr-defined]  # in CPython only; it would keep them for reading


class ArchiveReader:
    """A whole file; made by `open`. Every part is checked against its digest when it is read."""

    def __init__(self, path: Path, tar: tarfile.TarFile, product: str) -> None:
        self.path, self.product = path, product
        self._tar = tar
        self._places: dict[str, tuple[int, int]] = {}  # offset and size of each member, by name
        with contextlib.suppress(tarfile.TarError):
            while (member := tar.next()) is not None:
                self._places[member.name] = (member.offset_data, member.size)
                tar.members.clear()  # type: ignore[attr-defined]  # as above; name and place are enough to read it
        self.manifest = self._read_manifest()

    @classmethod
    def open(cls, path: Path) -> ArchiveReader:
        """Raises FailedPrecondition for a file that is no backup, a newer program's, cut off or damaged; OSError."""
        try:
            tar = tarfile.open(path, mode="r:")  # noqa: SIM115 - closed by close
        except tarfile.TarError as error:
            raise FailedPrecondition(f"{path} is not a backup of ragmesh, or its beginning is damaged") from error
        try:
            return cls(path, tar, _known(path, tar))
        except BaseException:
            tar.close()
            raise

    def read(self, part: Part) -> list[Entry]:
        """The part's entries. Raises FailedPrecondition when it is damaged."""
        try:
            data = self._bytes(part.name)
        except (KeyError, tarfile.TarError) as error:
            raise self._damaged(part) from error
        if len(data) != part.size_bytes or hashlib.sha256(data).hexdigest() != part.sha256:
            raise self._damaged(part)
        try:
            entries = list(_entries(_decompressed(data, part.raw_bytes)))
        except (ValueError, KeyError, zlib.error) as error:
            raise self._damaged(part) from error
        if len(entries) != part.entries:
            raise self._damaged(part)
        return entries

    def close(self) -> None:
        self._tar.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _read_manifest(self) -> Manifest:
        try:
            data, digest = self._bytes(MANIFEST), self._bytes(DIGEST)
        except (KeyError, tarfile.TarError) as error:
            raise FailedPrecondition(f"{self.path} is cut off or damaged: it has no manifest at its end") from error
        if hashlib.sha256(data).hexdigest().encode() != digest.strip():
            raise FailedPrecondition(f"{self.path} is damaged: its manifest is not what was written")
        try:
            return Manifest.decoded(data)
        except (ValueError, KeyError, TypeError) as error:
            raise FailedPrecondition(f"{self.path} is damaged: its manifest cannot be read") from error

    def _bytes(self, name: str) -> bytes:
        offset, size = self._places[name]
        assert self._tar.fileobj is not None
        self._tar.fileobj.seek(offset)
        data = self._tar.fileobj.read(size)
        if len(data) != size:
            raise tarfile.ReadError("unexpected end of data")
        return data

    def _damaged(self, part: Part) -> FailedPrecondition:
        return FailedPrecondition(f"{self.path} is damaged: its part {part.name} is not what was written")


def _known(path: Path, tar: tarfile.TarFile) -> str:
    """The product that wrote the file."""
    no_backup = FailedPrecondition(f"{path} is not a backup of ragmesh")
    first = tar.next()
    if first is None or first.name != HEADER:
        raise no_backup
    try:
        file = tar.extractfile(first)
        header = json.loads(file.read() if file is not None else b"")
        found, product = int(header["format"]), str(header["product"])
    except (ValueError, KeyError, TypeError, tarfile.TarError) as error:
        raise no_backup from error
    if found > FORMAT:
        raise FailedPrecondition(
            f"{path} has format {found}, written by ragmesh {product}; this one knows format {FORMAT}: run the newer "
            "program"
        )
    return product


def _part_or_facts(facts: dict[str, Any]) -> Part | dict[str, Any]:
    """A part while it is decoded: as a dict it takes three times as much."""
    return Part(**facts) if facts.keys() == _PART_FACTS else facts


def _line(facts: dict[str, Any]) -> str:
    return json.dumps(facts, separators=(",", ":"))


def _compressed(raw: bytes | bytearray) -> bytes:
    packer = zlib.compressobj(_LEVEL, zlib.DEFLATED, 31)  # 31: with gzip's header, which holds no time
    return packer.compress(raw) + packer.flush()


def _decompressed(data: bytes, raw_bytes: int) -> bytes:
    if raw_bytes > MAX_PART_BYTES:
        raise ValueError("too large")
    unpacker = zlib.decompressobj(31)
    raw = unpacker.decompress(data, raw_bytes + 1)
    if len(raw) != raw_bytes or not unpacker.eof:
        raise ValueError("another size")
    return raw


def _entries(raw: bytes) -> Iterator[Entry]:
    at = 0
    while at < len(raw):
        end = raw.index(b"\n", at)
        facts = json.loads(raw[at:end])
        at = end + 1
        size: int = facts.pop("bytes", 0)
        if not 0 <= size <= len(raw) - at:
            raise ValueError("cut off")
        yield Entry(facts, raw[at : at + size])
        at += size
