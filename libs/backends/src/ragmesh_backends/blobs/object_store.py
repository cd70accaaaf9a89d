"""Blobs on any object store that obstore knows; a local folder is one."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Self, TypeVar

import obstore
import structlog
from obstore.exceptions import BaseError
from obstore.store import LocalStore, ObjectStore

from ragmesh_backends.blobs.folder_files import read_files, write_files
from ragmesh_backends.blobs.keys import check_key
from ragmesh_servicekit.deadline import dependency
from ragmesh_servicekit.errors import InvalidArgument, NotFound, Reason, Unavailable

log = structlog.get_logger()

T = TypeVar("T")

MAX_BLOB_BYTES = 64 * 1024 * 1024
_PARALLEL = 16
"""Requests of one call in flight at once."""
_LIST_PAGE = 1_000


class ObjectBlobs:
    """Bytes by key. A blob is whole or absent; writing a key again replaces it.

    Errors: InvalidArgument for an unsafe key or too many bytes, NotFound, Unavailable naming `blobs` (the store does
    not answer, refuses, or its disk is full), DeadlineExceeded.
    """

    def __init__(
        self,
        store: ObjectStore,
        *,
        folder: Path | None = None,
        max_bytes: int = MAX_BLOB_BYTES,
        cap_seconds: float = 30.0,
    ) -> None:
        """folder: where a local store keeps its files, which are then written and read without it (it syncs nothing,
        and many small files cost it more than their bytes); None for a store that acknowledges durable data only."""
        self._store = store
        self._folder = folder
        self._max_bytes = max_bytes
        self._cap_seconds = cap_seconds
        self._slots = asyncio.Semaphore(_PARALLEL)

    @classmethod
    def local(cls, folder: Path, *, max_bytes: int = MAX_BLOB_BYTES) -> Self:
        """Blobs in a folder, which is made for its owner only when it is missing."""
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            root = folder.resolve()
            return cls(LocalStore(root, automatic_cleanup=True), folder=root, max_bytes=max_bytes)
        except OSError as error:
            raise Unavailable.dependency("blobs", "the folder of the blobs store cannot be opened") from error

    async def put(self, key: str, data: bytes) -> None:
        """Keep a blob; it survives a power cut from the return on."""
        await self.put_many({key: data})

    async def put_many(self, blobs: Mapping[str, bytes]) -> None:
        """Keep several blobs; all survive a power cut from the return on. After an error any of them may be there."""
        for key, data in blobs.items():
            check_key(key)
            self._check_size(len(data))
        async with _bounded(self._cap_seconds):
            if self._folder is None:
                await self._each(blobs.items(), self._put)
            elif blobs:
                await asyncio.to_thread(_write, self._folder, dict(blobs))

    async def get(self, key: str) -> bytes:
        """The blob's bytes."""
        check_key(key)
        async with _bounded(self._cap_seconds):
            return await self._get(key)

    async def get_many(self, keys: Sequence[str]) -> list[bytes | None]:
        """The bytes of each blob, in order; None for one that is absent. The caller bounds how much that is."""
        for key in keys:
            check_key(key)
        async with _bounded(self._cap_seconds):
            if self._folder is not None:
                found = await asyncio.to_thread(read_files, self._folder, keys, self._max_bytes)
                for data in found:
                    self._check_size(0 if data is None else len(data))
                return found
            by_key: dict[str, bytes | None] = dict.fromkeys(keys)

            async def get(key: str) -> None:
                with contextlib.suppress(FileNotFoundError):
                    by_key[key] = await self._get(key)

            await self._each(by_key, get)
            return [by_key[key] for key in keys]

    async def get_range(self, key: str, start: int, end: int) -> bytes:
        """The bytes start..end (half-open) of a blob, fewer when it ends before; empty when it ends before start."""
        check_key(key)
        if not 0 <= start <= end:
            raise InvalidArgument.field("range", "must be 0 <= start <= end")
        async with _bounded(self._cap_seconds):
            # Stores differ in what they say of a range that begins behind the end, so the size is asked first.
            size: int = (await obstore.head_async(self._store, key))["size"]
            if start >= min(end, size):
                return b""
            return bytes(await obstore.get_range_async(self._store, key, start=start, end=min(end, size)))

    async def delete_many(self, keys: Iterable[str]) -> None:
        """Delete blobs; those that are absent already are fine."""
        wanted = [check_key(key) for key in keys]
        async with _bounded(self._cap_seconds):
            await self._each(wanted, self._delete)

    async def delete_prefix(self, prefix: str) -> int:
        """Delete everything under a prefix of whole segments (`a/b` holds `a/b/c`, not `a/bc`); how many they were.
        Bears repetition: after an error, call again."""
        check_key(prefix)
        deleted = 0
        async for page in self._pages(prefix):
            async with _bounded(self._cap_seconds):
                await self._each(page, self._delete)
            deleted += len(page)
        return deleted

    async def list_prefix(self, prefix: str) -> AsyncIterator[str]:
        """Keys under a prefix of whole segments, in no promised order, read in pages."""
        check_key(prefix)
        async for page in self._pages(prefix):
            for key in page:
                yield key

    async def ping(self) -> None:
        """Raise Unavailable unless the store answers."""
        async with _bounded(2.0):
            if self._folder is not None and not await asyncio.to_thread(self._folder.is_dir):
                raise Unavailable.dependency("blobs")
            await anext(aiter(obstore.list(self._store, prefix="ping", chunk_size=1)), None)

    async def _pages(self, prefix: str) -> AsyncIterator[list[str]]:
        listing = aiter(obstore.list(self._store, prefix=prefix, chunk_size=_LIST_PAGE))
        while True:
            async with _bounded(self._cap_seconds):
                page = await anext(listing, None)
            if page is None:
                return
            yield [meta["path"] for meta in page]

    def _check_size(self, size: int) -> None:
        if size > self._max_bytes:
            raise InvalidArgument.field("content", f"must not exceed {self._max_bytes} bytes", Reason.CONTENT_TOO_LARGE)

    async def _get(self, key: str) -> bytes:
        found = await obstore.get_async(self._store, key)
        self._check_size(found.meta["size"])
        return bytes(await found.bytes_async())

    async def _put(self, blob: tuple[str, bytes]) -> None:
        key, data = blob
        await obstore.put_async(self._store, key, data, use_multipart=False)

    async def _delete(self, key: str) -> None:
        try:
            await obstore.delete_async(self._store, key)
        except FileNotFoundError:
            return

    async def _each(self, items: Iterable[T], act: Callable[[T], Awaitable[None]]) -> None:
        async def one(item: T) -> None:
            async with self._slots:
                await act(item)

        results = await asyncio.gather(*(one(item) for item in items), return_exceptions=True)
        for result in results:
            if isinstance(result, BaseException):
                raise result


def _write(folder: Path, blobs: Mapping[str, bytes]) -> None:
    try:
        write_files(folder, blobs)
    except FileNotFoundError as error:  # of a put it does not mean that there is no such content
        raise OSError("the folder of the blobs store is gone") from error


@asynccontextmanager
async def _bounded(cap_seconds: float) -> AsyncIterator[None]:
    """Bound a call and turn obstore's errors into the mesh's."""
    try:
        async with dependency("blobs", cap_seconds):
            yield
    except FileNotFoundError as error:
        raise NotFound("there is no such content", reason=Reason.DOCUMENT_NOT_FOUND) from error
    except (BaseError, OSError, ValueError) as error:
        full = "No space left" in str(error)
        log.warning("blobs.failed", error=type(error).__name__, disk_full=full)
        raise Unavailable.dependency("blobs", "the disk of the blobs store is full" if full else None) from error
