"""The file of a backup: parts, manifest, and what is refused."""

from __future__ import annotations

import errno
import io
import json
import tarfile
from pathlib import Path

import pytest
import structlog

from ragmesh_ingestor.backup import __main__ as backup_process
from ragmesh_ingestor.backup import archive, tasks
from ragmesh_ingestor.backup.archive import HEADER, MANIFEST, ArchiveReader, ArchiveWriter, Entry, Manifest
from ragmesh_servicekit.errors import FailedPrecondition

ENTRIES = [Entry({"document_id": "a\nb\udc80"}, b"\n{}\x00"), Entry({"document_id": "c", "n": [1, None]}), Entry({})]


def written(path: Path, entries: list[Entry] = ENTRIES) -> Path:
    with path.open("wb") as file:
        writer = ArchiveWriter(file, Manifest("acme", "2030"), "1.2.3")
        writer.add("rows", 1, 1, entries)
        writer.add("rows", 1, 1, [])
        writer.manifest.superseded[1] = ["a"]
        writer.finish()
    return path


def test_parts_and_manifest_are_read_as_they_were_written(tmp_path: Path) -> None:
    with ArchiveReader.open(written(tmp_path / "b.tar")) as reader:
        (part,) = reader.manifest.parts
        assert reader.read(part) == ENTRIES
        assert (part.kind, part.collection, part.group, part.entries) == ("rows", 1, 1, 3)
        assert reader.manifest.outdated(1) == {"a"}
        assert reader.manifest.outdated(2) == frozenset()
        assert (reader.manifest.tenant, reader.product) == ("acme", "1.2.3")


def test_every_file_that_is_no_whole_backup_is_refused_with_one_sentence(tmp_path: Path) -> None:
    whole = written(tmp_path / "b.tar").read_bytes()
    bad = tmp_path / "bad.tar"
    for content in (b"", b"no tar at all" * 100, whole[:100], whole[:512]):
        bad.write_bytes(content)
        with pytest.raises(FailedPrecondition, match=r"is not a backup of ragmesh|cut off"):
            ArchiveReader.open(bad)
    for length in range(1024, len(whole.rstrip(b"\0")), 512):
        bad.write_bytes(whole[:length])
        with pytest.raises(FailedPrecondition, match="cut off or damaged"):
            ArchiveReader.open(bad)
    with tarfile.open(bad, "w") as tar:
        tar.addfile(tarfile.TarInfo("holiday.jpg"))
    with pytest.raises(FailedPrecondition, match="is not a backup of ragmesh"):
        ArchiveReader.open(bad)


@pytest.mark.parametrize("header", [b"[]", b"{", b"{}", b'{"format": "x", "product": "1"}', b"\xff"])
def test_a_header_that_makes_no_sense_is_refused(tmp_path: Path, header: bytes) -> None:
    with pytest.raises(FailedPrecondition, match="is not a backup of ragmesh"):
        ArchiveReader.open(of(tmp_path, {HEADER: header}))


def test_a_newer_format_is_refused_with_both_numbers(tmp_path: Path) -> None:
    header = json.dumps({"format": archive.FORMAT + 1, "product": "9.0"}).encode()
    with pytest.raises(FailedPrecondition, match=r"has format 2, written by ragmesh 9\.0; this one knows format 1"):
        ArchiveReader.open(of(tmp_path, {HEADER: header}))


def test_a_manifest_that_was_changed_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path / "b.tar")
    data = path.read_bytes()
    at = data.index(b'"tenant":"acme"')
    path.write_bytes(data[:at] + b'"tenant":"evil"' + data[at + 15 :])
    with pytest.raises(FailedPrecondition, match="its manifest is not what was written"):
        ArchiveReader.open(path)


def test_a_part_that_unpacks_to_more_than_it_says_is_refused_before_it_takes_the_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = written(tmp_path / "b.tar", [Entry({"document_id": "a"}, bytes(1_000_000))])
    monkeypatch.setattr(archive, "MAX_PART_BYTES", 1000)
    with ArchiveReader.open(path) as reader, pytest.raises(FailedPrecondition, match="is damaged: its part"):
        reader.read(reader.manifest.parts[0])


def test_a_full_disk_is_told_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    async def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(tasks, "back_up", full)
    monkeypatch.setattr(structlog, "configure", lambda **_: None)
    assert backup_process.main(["backup", str(tmp_path / "b.tar")]) == 1
    assert json.loads(capsys.readouterr().out) == {"failure": f"there is no space left for {tmp_path / 'b.tar'}"}


def of(folder: Path, members: dict[str, bytes]) -> Path:
    path = folder / "made.tar"
    with tarfile.open(path, "w") as tar:
        for name, data in {**members, MANIFEST: b"{}"}.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return path
