"""Blobs on any object store that obstore knows; a local folder is one.

A put is one request of one object, so that a blob is whole or absent; the port asks for no more: an original and its
manifest are one blob.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Self, TypeVar

import obstore
import structlog
from obstore.exceptions import BaseError
from obstore.store import LocalStore, ObjectStore, S3Store

from ragmesh_backends.blobs.folder_files import read_files, write_files
from ragmesh_backends.blobs.keys import check_key
from ragmesh_backends.blobs.refusals import absent, unavailable
from ragmesh_backends.blobs.remote_store import remote_store
from ragmesh_backends.store_settings import BlobsSettings
from ragmesh_servicekit.errors import FailedPrecondition, InvalidArgument, NotFound, Reason, Unavailable
from ragmesh_servicekit.resilience.guard import Guard

log = structlog.get_logger()

T = TypeVar("T")

MAX_BLOB_BYTES = 64 * 1024 * 1024
_PARALLEL = 16
"""Requests of one call in flight at once."""
_LIST_PAGE = 1_000
_PING_SECONDS = 2.0
_START_SECONDS = 10.0
_MEND_FIRST = {"key", "bucket", "region"}
"""Causes of a failure that will not pass until a setting changes."""


class ObjectBlobs:
    """Bytes by key. A blob is whole or absent; writing a key again replaces it.

    Errors: InvalidArgument for an unsafe key or too many bytes, NotFound, Unavailable naming `blobs` (the store does
    not answer, refuses, or its disk is full; see `refusals`), DeadlineExceeded. That the key or the bucket is wrong is
    Unavailable too, and never NotFound: what is stored is not gone.
    """

    def __init__(
        self,
        store: ObjectStore,
        *,
        folder: Path | None = None,
        guard: Guard | None = None,
        max_bytes: int = MAX_BLOB_BYTES,
        cap_seconds: float = 30.0,
    ) -> None:
        """guard: of this store; None makes one. folder: where a local store keeps its files, which are then written and
        read without it (it syncs nothing, and many small files cost it more than their bytes); None for a store that
        acknowledges durable data only."""
        self._store = store
        self._guard = guard or Guard("blobs")
        self._folder = folder
        self._max_bytes = max_bytes
        self._cap_seconds = cap_seconds
        self._slots = asyncio.Semaphore(_PARALLEL)

    @classmethod
    async def open(cls, settings: BlobsSettings, guard: Guard) -> Self:
        """The store of the settings. A bucket is looked into first: FailedPrecondition when a setting is wrong (the
        key, the bucket, the region), so that the process says so at its start; a store that does not answer may come
        later. SettingsError for a URL that is none."""
        if settings.url.startswith("file:"):
            return cls.local(settings.folder(), guard=guard)
        blobs = cls(remote_store(settings), guard=guard)
        try:
            await blobs._look(_START_SECONDS)
        except Unavailable as error:
            if error.metadata.get("cause") in _MEND_FIRST:
                raise FailedPrecondition(error.message, metadata=error.metadata) from error
            log.warning("blobs.not_answering")
        return blobs

    @classmethod
    def local(cls, folder: Path, *, guard: Guard | None = None, max_bytes: int = MAX_BLOB_BYTES) -> Self:
        """Blobs in a folder, which is made for its owner only when it is missing."""
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            root = folder.resolve()
            return cls(LocalStore(root, automatic_cleanup=True), folder=root, guard=guard, max_bytes=max_bytes)
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
        async with self._call(self._cap_seconds):
            if self._folder is None:
                await self._each(blobs.items(), self._put)
            elif blobs:
                await asyncio.to_thread(_write, self._folder, dict(blobs))

    async def get(self, key: str) -> bytes:
        """The blob's bytes."""
        check_key(key)
        async with self._call(self._cap_seconds):
            return await self._get(key)

    async def get_many(self, keys: Sequence[str]) -> list[bytes | None]:
        """The bytes of each blob, in order; None for one that is absent. The caller bounds how much that is."""
        for key in keys:
            check_key(key)
        async with self._call(self._cap_seconds):
            if self._folder is not None:
                found = await asyncio.to_thread(read_files, self._folder, keys, self._max_bytes)
                for data in found:
                    self._check_size(0 if data is None else len(data))
                return found
            by_key: dict[str, bytes | None] = dict.fromkeys(keys)

            async def get(key: str) -> None:
                try:
                    by_key[key] = await self._get(key)
                except FileNotFoundError as error:
                    if not absent(error):
                        raise

            await self._each(by_key, get)
            return [by_key[key] for key in keys]

    async def get_range(self, key: str, start: int, end: int) -> bytes:
        """The bytes start..end (half-open) of a blob, fewer when it ends before; empty when it ends before start."""
        check_key(key)
        if not 0 <= start <= end:
            raise InvalidArgument.field("range", "must be 0 <= start <= end")
        async with self._call(self._cap_seconds):
            # Stores differ in what they say of a range that begins behind the end, so the size is asked first.
            try:
                size: int = (await obstore.head_async(self._store, key))["size"]
            except FileNotFoundError:  # the reply to a HEAD does not say what is absent, that to a GET does
                size = (await obstore.get_async(self._store, key)).meta["size"]
            if start >= min(end, size):
                return b""
            return bytes(await obstore.get_range_async(self._store, key, start=start, end=min(end, size)))

    async def delete_many(self, keys: Iterable[str]) -> None:
        """Delete blobs; those that are absent already are fine."""
        wanted = [check_key(key) for key in keys]
        async with self._call(self._cap_seconds):
            await self._delete(wanted)

    async def delete_prefix(self, prefix: str) -> int:
        """Delete everything under a prefix of whole segments (`a/b` holds `a/b/c`, not `a/bc`); how many they were.
        Bears repetition: after an error, call again."""
        check_key(prefix)
        deleted = 0
        async for page in self._pages(prefix):
            async with self._call(self._cap_seconds):
                await self._delete(page)
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
        await self._look(_PING_SECONDS)

    async def _look(self, cap_seconds: float) -> None:
        async with self._call(cap_seconds, probe=True):
            if self._folder is not None and not await asyncio.to_thread(self._folder.is_dir):
                raise Unavailable.dependency("blobs")
            await anext(aiter(obstore.list(self._store, prefix="ping", chunk_size=1)), None)

    async def _pages(self, prefix: str) -> AsyncIterator[list[str]]:
        listing = aiter(obstore.list(self._store, prefix=prefix, chunk_size=_LIST_PAGE))
        while True:
            async with self._call(self._cap_seconds):
                page = await anext(listing, None)
            if page is None:
                return
            yield [meta["path"] for meta in page]

    @asynccontextmanager
    async def _call(self, cap_seconds: float, *, probe: bool = False) -> AsyncIterator[None]:
        """Through the guard, with obstore's errors turned into the mesh's."""
        async with self._guard.call(cap_seconds, probe=probe):
            try:
                yield
            except FileNotFoundError as error:
                if absent(error):
                    raise NotFound("there is no such content", reason=Reason.DOCUMENT_NOT_FOUND) from error
                raise _logged(error) from error
            except (BaseError, OSError, ValueError) as error:
                raise _logged(error) from error

    def _check_size(self, size: int) -> None:
        if size > self._max_bytes:
            raise InvalidArgument.field("content", f"must not exceed {self._max_bytes} bytes", Reason.CONTENT_TOO_LARGE)

    async def _get(self, key: str) -> bytes:
        found = await obstore.get_async(self._store, key)
        self._check_size(found.meta["size"])
        return bytes(await found.bytes_async())

    async def _put(self, blob: tuple[str, bytes]) -> None:
        key, data = blob
        try:
            await obstore.put_async(self._store, key, data, use_multipart=False)
        except FileNotFoundError as error:  # of a put it does not mean that there is no such content
            raise unavailable(error) from error

    async def _delete(self, keys: Sequence[str]) -> None:
        if isinstance(self._store, S3Store):  # a thousand in one request; absent ones are fine to it
            pages = [keys[at : at + _LIST_PAGE] for at in range(0, len(keys), _LIST_PAGE)]
            await self._each(pages, self._delete_page)
        else:
            await self._each(keys, self._delete_one)

    async def _delete_page(self, keys: Sequence[str]) -> None:
        try:
            await obstore.delete_async(self._store, keys)
        except FileNotFoundError as error:  # the bucket's, or the key's
            raise unavailable(error) from error

    async def _delete_one(self, key: str) -> None:
        try:
            await obstore.delete_async(self._store, key)
        except FileNotFoundError as error:
            if not absent(error):
                raise

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


def _logged(error: Exception) -> Unavailable:
    failure = unavailable(error)
    log.warning("blobs.failed", error=type(error).__name__, cause=failure.metadata.get("cause", ""))
    return failure
