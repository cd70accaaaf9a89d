"""What a document does to its parser reaches neither the ingestor nor another document."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator

import psutil
import pytest

from ragmesh_backends.embeddings import weights
from ragmesh_backends.embeddings.tokenizer import WordPieces
from ragmesh_backends.model.document import MediaType
from ragmesh_ingestor.adapters.frames import ChildSettings
from ragmesh_ingestor.adapters.parser_process import ParserPool
from ragmesh_ingestor.domain.chunking import ChunkLimits
from ragmesh_ingestor.domain.passage import ParsedPassages, ParseFailure, ParseRequest
from ragmesh_ingestor.domain.passages import passages_of
from support.waiting import until

GOOD = ParseRequest(b"# Title\n\nSome words.", MediaType.MARKDOWN)
# The HTML parser's work is quadratic in the depth of open elements: this takes it minutes.
SLOW = ParseRequest(b"<p>" + b"<div>" * 400_000, MediaType.HTML)
TOKENIZER = weights.installed().tokenizer


def settings(**changes: int) -> ChildSettings:
    values = {"max_tokens": 256, "overlap_tokens": 0, "whole_tokens": 0, "memory_bytes": 1 << 30, "cpu_seconds": 30}
    return ChildSettings(tokenizer=str(TOKENIZER), **values | changes)


@pytest.fixture
async def pool() -> AsyncIterator[ParserPool]:
    async with ParserPool(settings(), timeout_seconds=10) as parser:
        yield parser


def gone(pid: int) -> bool:
    return not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


async def test_the_child_finds_what_the_pure_pipeline_finds(pool: ParserPool) -> None:
    html = ParseRequest("<title>Ü</title><p>ein Wort 🚢 &amp; mehr</p>".encode(), MediaType.HTML)
    bom = ParseRequest(b"\xef\xbb\xbfplain", MediaType.TEXT, "T")
    requests = [GOOD, html, bom]
    spans = WordPieces(TOKENIZER).spans
    assert await pool.parse(requests) == [passages_of(request, ChunkLimits(), spans) for request in requests]


async def test_a_document_that_is_refused_fails_alone(pool: ParserPool) -> None:
    bad = ParseRequest(b"abc\xff", MediaType.TEXT)
    first, second, third = await pool.parse([GOOD, bad, GOOD])
    assert isinstance(first, ParsedPassages)
    assert isinstance(third, ParsedPassages)
    assert second == ParseFailure("CONTENT_INVALID", "content: is not valid UTF-8: the first wrong byte is at offset 3")


async def test_a_document_that_hangs_the_parser_is_killed_and_its_neighbours_are_parsed() -> None:
    async with ParserPool(settings(), timeout_seconds=1) as pool:
        await pool.warm()
        (pid,) = pool.pids
        first, second, third = await pool.parse([GOOD, SLOW, GOOD])
        assert isinstance(first, ParsedPassages)
        assert isinstance(third, ParsedPassages)
        assert isinstance(second, ParseFailure)
        assert "1 seconds" in second.message
        assert not second.repeatable
        assert gone(pid)


async def kill_at_work(pool: ParserPool, after_seconds: float) -> None:
    """Kill the child once it has worked for so long."""
    await until(lambda: bool(pool.pids))
    busy = psutil.Process(pool.pids[0])
    await until(lambda: busy.cpu_times().user > after_seconds)
    os.kill(busy.pid, signal.SIGSEGV)
    await until(lambda: busy.pid not in pool.pids)


async def test_a_parser_that_dies_again_fails_the_document_in_hand_only(pool: ParserPool) -> None:
    await pool.warm()
    work_seconds = psutil.Process(pool.pids[0]).cpu_times().user + 0.5
    work = asyncio.create_task(pool.parse([GOOD, SLOW, GOOD]))
    await kill_at_work(pool, work_seconds)  # the batch
    await kill_at_work(pool, work_seconds)  # the slow one alone
    first, second, third = await work
    assert isinstance(first, ParsedPassages)
    assert isinstance(third, ParsedPassages)
    assert isinstance(second, ParseFailure)
    assert second.repeatable


async def test_a_parser_that_dies_once_fails_no_document_of_a_batch(pool: ParserPool) -> None:
    await pool.warm()
    (pid,) = pool.pids
    work = asyncio.create_task(pool.parse([GOOD] * 200))
    await asyncio.sleep(0)
    os.kill(pid, signal.SIGKILL)
    assert {type(answer) for answer in await work} == {ParsedPassages}


async def test_a_document_cannot_take_more_memory_than_it_may() -> None:
    bomb = ParseRequest(b"<p>" + b"<b>x" * 2_000_000, MediaType.HTML)
    async with ParserPool(settings(memory_bytes=300 << 20), timeout_seconds=20) as pool:
        first, second = await pool.parse([bomb, GOOD])
        assert isinstance(first, ParseFailure)
        assert isinstance(second, ParsedPassages)


async def test_a_document_cannot_take_more_processor_time_than_it_may() -> None:
    async with ParserPool(settings(cpu_seconds=0), timeout_seconds=20) as pool:
        (failure,) = await pool.parse([SLOW])
        assert isinstance(failure, ParseFailure)
        assert "processor time" in failure.message


async def test_cancelling_kills_the_child_at_work(pool: ParserPool) -> None:
    await pool.warm()
    (pid,) = pool.pids
    work = asyncio.create_task(pool.parse([SLOW]))
    await asyncio.sleep(0)
    work.cancel()
    with pytest.raises(asyncio.CancelledError):
        await work
    assert gone(pid)
    assert isinstance((await pool.parse([GOOD]))[0], ParsedPassages)


async def test_closing_leaves_no_child() -> None:
    async with ParserPool(settings(), size=2) as pool:
        await asyncio.gather(pool.parse([GOOD]), pool.parse([GOOD]))
        pids = pool.pids
        assert len(pids) == 2
    assert all(gone(pid) for pid in pids)


async def test_a_child_does_not_outlive_a_parent_that_is_killed() -> None:
    script = (
        "import asyncio, sys\n"
        "from ragmesh_ingestor.adapters.frames import ChildSettings\n"
        "from ragmesh_ingestor.adapters.parser_process import ParserPool\n"
        "async def main():\n"
        "    pool = ParserPool(ChildSettings.decode(sys.argv[1]))\n"
        "    await pool.warm()\n"
        "    print(pool.pids[0], flush=True)\n"
        "    await asyncio.Event().wait()\n"
        "asyncio.run(main())\n"
    )
    parent = await asyncio.create_subprocess_exec(
        sys.executable, "-c", script, settings().encode(), stdout=asyncio.subprocess.PIPE
    )
    assert parent.stdout is not None
    pid = int(await parent.stdout.readline())
    parent.kill()
    await parent.wait()
    await until(lambda: gone(pid))


async def test_a_child_knows_nothing_of_grpc_and_stores_and_has_none_of_our_environment(pool: ParserPool) -> None:
    await pool.warm()
    child = psutil.Process(pool.pids[0])
    loaded = " ".join(mapped.path for mapped in child.memory_maps())
    assert "grpc" not in loaded
    assert "onnxruntime" not in loaded
    assert set(child.environ()) <= {"PYTHONUTF8", "TOKENIZERS_PARALLELISM", "RAYON_NUM_THREADS", "LC_CTYPE"}
    assert child.memory_info().rss < 90 << 20
