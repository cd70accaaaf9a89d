"""`ragmesh eval`: ingest a judged set and measure retrieval through the running mesh."""

from __future__ import annotations

import asyncio
import json
import secrets
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click

from ragmesh.common.v1 import document_pb2
from ragmesh.gateway.v1 import collections_pb2, search_pb2
from ragmesh_cli.client import Client, Target, connect, find_target
from ragmesh_cli.commands.search import MODES
from ragmesh_cli.commands.shared import home_of, home_option, json_option, run, target_options
from ragmesh_cli.evaluation.dataset import Dataset, load
from ragmesh_cli.evaluation.measures import mean, ndcg, percentile, recall
from ragmesh_cli.failure import Failure
from ragmesh_cli.home import Home
from ragmesh_cli.ingestion import Report, ensure_collection, first_failure, follow, send_texts
from ragmesh_cli.terminal import bar, note, print_json, say

RECALL_AT = (2, 5, 10)
POLL_SECONDS = 0.05
LONGEST_POLL_SECONDS = 1.0


@click.command("eval", short_help="Measure retrieval on a judged set.")
@click.argument("folder", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option("--collection", default=None, help="The collection (default: eval-<name of the folder>).")
@click.option("--modes", default="dense,bm25,hybrid,graph", show_default=True, help="Which modes to measure.")
@click.option("-k", "top_k", type=click.IntRange(10, 100), default=10, show_default=True, help="Hits for each query.")
@json_option
@home_option
@target_options
def evaluate(
    folder: Path,
    collection: str | None,
    modes: str,
    top_k: int,
    as_json: bool,
    home: Path | None,
    address: str | None,
    key: str | None,
) -> None:
    """Ingest a judged set in BEIR form (corpus.jsonl, queries.jsonl, qrels/test.tsv) and measure retrieval.

    A collection that holds all of the set already is not ingested again; ingest_seconds is then null."""
    wanted = [mode.strip() for mode in modes.split(",") if mode.strip()]
    unknown = [mode for mode in wanted if mode not in MODES]
    if unknown or not wanted:
        raise click.UsageError(f"--modes: {modes!r} must name some of {', '.join(MODES)}")
    dataset = load(folder)
    place = home_of(home)
    name = collection or f"eval-{dataset.name}"
    report = run(_evaluate(place, find_target(place, address, key), dataset, name, wanted, top_k))
    if as_json:
        print_json(report)
    else:
        _print(report)


async def _evaluate(home: Home, target: Target, dataset: Dataset, name: str, modes: Sequence[str], top_k: int) -> Any:
    async with connect(target) as client:
        ingest_seconds = await _ingest(client, dataset, name)
        embed_only = await _embed_only(home, dataset) if ingest_seconds is not None else None
        results = {mode: await _measure(client, dataset, name, mode, top_k) for mode in modes}
    return {
        "dataset": dataset.name,
        "documents": len(dataset.corpus),
        "queries": len(dataset.queries),
        "ingest_seconds": ingest_seconds,
        "embed_only_seconds": embed_only,
        "modes": results,
    }


async def _ingest(client: Client, dataset: Dataset, name: str) -> float | None:
    """Seconds from the first document sent to the last one searchable; None when they were there already."""
    await ensure_collection(client, name)
    state = await client.collections.GetCollection(collections_pb2.GetCollectionRequest(collection_id=name), timeout=30)
    if state.collection.documents_ready == len(dataset.corpus):
        return None
    documents = [
        document_pb2.DocumentInput(document_id=p.passage_id, title=p.title, text=p.text if p.text.strip() else p.title)
        for p in dataset.corpus
    ]
    with bar() as progress:
        task = progress.add_task(f"ingesting {dataset.name}", total=len(documents))

        def show(report: Report) -> None:
            progress.update(task, completed=report.finished)

        started = time.monotonic()
        report = await send_texts(client, name, documents, f"eval-{secrets.token_hex(6)}")
        if state.collection.documents_ready == 0:  # then the collection's counters tell the end, and cost nothing
            await _until_none_is_pending(client, name, lambda done: progress.update(task, completed=done))
            seconds = time.monotonic() - started
            await follow(client, report, show)
        else:
            await follow(client, report, show)
            seconds = time.monotonic() - started
    if report.failures:
        raise Failure(f"of {dataset.name} {first_failure(report)}")
    return round(seconds, 2)


async def _until_none_is_pending(client: Client, name: str, show: Callable[[int], None]) -> None:
    """Wait until every document is searchable or has failed. Asked seldom while the end is far off, since a question
    takes time from what is measured."""
    request = collections_pb2.GetCollectionRequest(collection_id=name)
    started = time.monotonic()
    while True:
        state = (await client.collections.GetCollection(request, timeout=30)).collection
        done, pending = state.documents_ready + state.documents_failed, state.documents_pending
        show(done)
        if not pending:
            return
        left = (time.monotonic() - started) * pending / done if done else LONGEST_POLL_SECONDS
        await asyncio.sleep(min(LONGEST_POLL_SECONDS, max(POLL_SECONDS, left / 4)))


async def _embed_only(home: Home, dataset: Dataset) -> float | None:
    """Seconds that the embedder alone takes for the same chunks, measured by the ingestor's own code in a process of
    its own while the mesh is idle."""
    note("measuring the embedder alone")
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "ragmesh_ingestor.embed_only",
        "--models-dir",
        str(home.path / "models"),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        start_new_session=True,  # Ctrl-C is ours to hand on
    )
    rows = (json.dumps({"title": p.title, "text": p.text if p.text.strip() else p.title}) for p in dataset.corpus)
    try:
        out, err = await process.communicate("\n".join(rows).encode())
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode != 0:
        note(f"the embedder alone could not be measured: {err.decode(errors='replace').strip()[-200:]}")
        return None
    return float(json.loads(out)["seconds"])


async def _measure(client: Client, dataset: Dataset, name: str, mode: str, top_k: int) -> dict[str, Any]:
    rankings: dict[str, list[str]] = {}
    latencies: list[float] = []
    with bar() as progress:
        task = progress.add_task(f"asking ({mode})", total=len(dataset.queries))
        for query_id, text in dataset.queries.items():
            request = search_pb2.SearchRequest(
                collection_id=name, query=text, top_k=top_k, mode=MODES[mode], strict=True
            )
            started = time.perf_counter()
            reply = await client.search.Search(request, timeout=30)
            latencies.append((time.perf_counter() - started) * 1000)
            rankings[query_id] = list(dict.fromkeys(hit.document_id for hit in reply.hits))
            progress.advance(task)
    pairs = [(rankings[query_id], dataset.qrels[query_id]) for query_id in dataset.queries]
    result: dict[str, Any] = {
        f"recall@{k}": round(mean([recall(ranking, relevant, k) for ranking, relevant in pairs]), 4) for k in RECALL_AT
    }
    result["ndcg@10"] = round(mean([ndcg(ranking, relevant, 10) for ranking, relevant in pairs]), 4)
    result["latency_ms"] = {
        "p50": round(percentile(latencies, 0.5), 2),
        "p95": round(percentile(latencies, 0.95), 2),
    }
    return result


def _print(report: dict[str, Any]) -> None:
    say(f"{report['dataset']}: {report['documents']} documents, {report['queries']} queries")
    if report["ingest_seconds"] is not None:
        alone = report["embed_only_seconds"]
        ratio = f", {report['ingest_seconds'] / alone:.2f} x the embedder alone ({alone:.1f} s)" if alone else ""
        say(f"ingested in {report['ingest_seconds']:.1f} s{ratio}")
    say(f"{'mode':<8}{'R@2':>8}{'R@5':>8}{'R@10':>8}{'nDCG@10':>10}{'p50 ms':>9}{'p95 ms':>9}")
    for mode, r in report["modes"].items():
        say(
            f"{mode:<8}{r['recall@2']:>8.3f}{r['recall@5']:>8.3f}{r['recall@10']:>8.3f}{r['ndcg@10']:>10.3f}"
            f"{r['latency_ms']['p50']:>9.1f}{r['latency_ms']['p95']:>9.1f}"
        )
