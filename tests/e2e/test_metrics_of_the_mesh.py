"""The admin ports of a mesh that works: each process shows its own numbers, they have moved, and nothing of a caller
is in them."""

from __future__ import annotations

import time

import httpx
from prometheus_client.parser import text_string_to_metric_families

from support.mesh import Mesh

QUESTION = "Where did the platypus engineer William Douglass die?"
DOCUMENT = {"wombat.md": "# Wombat burrow\n\nA wombat digs its burrow with its claws, up to thirty metres long."}
PROCESSES = ("gateway", "retriever", "generator", "ingestor")


def scraped(mesh: Mesh) -> dict[str, str]:
    """What each process shows, by the name of its service."""
    admins = {process["name"].split("-")[0]: process["admin"] for process in mesh.state()["processes"]}
    return {
        name: httpx.get(f"http://{admins[name]}/metrics", trust_env=False).raise_for_status().text for name in PROCESSES
    }


def numbers(text: str) -> dict[str, float]:
    """The sum of each sample's series."""
    found: dict[str, float] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            found[sample.name] = found.get(sample.name, 0.0) + sample.value
    return found


def worked(mesh: Mesh, collection: str) -> dict[str, str]:
    """After something of everything, in a collection of its own: other tests look at the shared one's scores."""
    mesh.create(collection)
    mesh.ingest(collection, DOCUMENT)
    with mesh.rest() as rest:
        rest.post(f"/v1/collections/{collection}:search", json={"query": QUESTION}).raise_for_status()
        rest.post(f"/v1/collections/{collection}:ask", json={"question": QUESTION}).raise_for_status()
        rest.post(f"/v1/collections/{collection}:askStream", json={"question": QUESTION}).raise_for_status()
        rest.post("/v1/collections/nowhere-quokka:ask", json={"question": QUESTION})
        rest.get("/v1/axolotl")
    return scraped(mesh)


def test_every_process_shows_that_it_worked(mesh: Mesh) -> None:
    shown = {name: numbers(text) for name, text in worked(mesh, "echidnas").items()}
    for name in PROCESSES:
        assert shown[name]["ragmesh_ready"] == 1
        assert shown[name]["ragmesh_draining"] == 0
        assert shown[name]["ragmesh_build_info"] == 1
        assert shown[name]["process_resident_memory_bytes"] > 0
        assert shown[name]["process_open_fds"] > 0
        assert 0 <= time.time() - shown[name]["process_start_time_seconds"] < 3600
        assert shown[name]["ragmesh_event_loop_lag_seconds_count"] > 0
    gateway, retriever, generator, ingestor = (shown[name] for name in PROCESSES)
    for metric in (
        "ragmesh_http_calls_total",
        "ragmesh_client_seconds_count",
        "ragmesh_answers_total",
        "ragmesh_answer_first_token_seconds_count",
        "ragmesh_relayed_tokens_total",
        "ragmesh_key_checks_total",
        "ragmesh_failed_calls_total",
    ):
        assert gateway[metric] > 0, metric
    for metric in ("ragmesh_search_step_seconds_count", "ragmesh_search_hits_count", "ragmesh_query_embeddings_total"):
        assert retriever[metric] > 0, metric
    for metric in (
        "ragmesh_model_calls_total",
        "ragmesh_model_first_token_seconds_count",
        "ragmesh_model_tokens_total",
        "ragmesh_generated_answers_total",
        "ragmesh_first_reply_seconds_count",
    ):
        assert generator[metric] > 0, metric
    for metric in (
        "ragmesh_accepted_bytes_total",
        "ragmesh_job_events_total",
        "ragmesh_ended_documents_total",
        "ragmesh_ingestion_stage_seconds_count",
        "ragmesh_written_chunks_total",
    ):
        assert ingestor[metric] > 0, metric
    assert ingestor["ragmesh_queue_waiting_jobs"] == 0
    assert "ragmesh_queue_waiting_jobs" not in gateway
    assert "ragmesh_answers_total" not in ingestor


def test_no_question_document_key_or_tenant_is_in_any_metric(mesh: Mesh) -> None:
    made = mesh.run("keys", "create", "capybara", "--tenant", "tenant-narwhal", "--json")
    assert made.returncode == 0, made.stderr
    everything = "\n".join(worked(mesh, "numbats").values()).lower()
    for word in (
        "platypus",
        "douglass",
        "wombat",
        "burrow",
        "quokka",
        "axolotl",
        "echidna",
        "numbat",
        "narwhal",
        "capybara",
        "tenant",
        "rag_live",
        mesh.key.lower(),
        mesh.key.split("_")[2].lower(),
    ):
        assert word not in everything, word
