"""Every metric of the mesh, in one place; docs/metrics.md is written from it.

Labels are bounded: methods, codes, parts, dependencies, the configured model; never ids, tenants or text. Names end in
their unit. A metric that only some processes report says so with `of`.
"""

from __future__ import annotations

from ragmesh_servicekit.telemetry.declared import counter, gauge, histogram

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
SEARCH_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.25, 0.5, 1.0, 2.5, 5.0)
GENERATION_SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 0.75, 1.0, 1.5, 2.5, 5.0, 10.0, 20.0, 30.0, 60.0)
INGESTION_SECONDS = (0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0)
LAG_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)
HITS = (0, 1, 2, 5, 10, 20, 50, 100)

GATEWAY, RETRIEVER, GENERATOR, INGESTOR = ("gateway",), ("retriever",), ("generator",), ("ingestor",)

# -- calls ---------------------------------------------------------------------------------------------------------

SERVER_CALLS = counter("ragmesh_server_calls", "gRPC calls served, by their final code.", ["method", "code"])
SERVER_SECONDS = histogram(
    "ragmesh_server_seconds", "Time to serve a gRPC call, a stream to its end.", ["method"], buckets=SECONDS
)
SERVER_IN_FLIGHT = gauge("ragmesh_server_in_flight", "gRPC calls being served now.", ["method"])
SERVER_RETRIED_CALLS = counter(
    "ragmesh_server_retried_calls", "gRPC calls served that a channel sent again after an attempt failed.", ["method"]
)
FIRST_REPLY_SECONDS = histogram(
    "ragmesh_first_reply_seconds",
    "Time to the first reply of a stream; in the gateway on both surfaces, from the call's admission on.",
    ["method"],
    buckets=SECONDS,
)
FAILED_CALLS = counter(
    "ragmesh_failed_calls", "gRPC calls and REST requests that ended with an error, by the error's reason.", ["reason"]
)
CLIENT_CALLS = counter(
    "ragmesh_client_calls", "Calls made to another service, by their final code.", ["method", "code"], of=GATEWAY
)
CLIENT_SECONDS = histogram(
    "ragmesh_client_seconds",
    "Time of calls to another service, retries included, a stream to its end.",
    ["method"],
    buckets=SECONDS,
    of=GATEWAY,
)
CLIENT_IN_FLIGHT = gauge("ragmesh_client_in_flight", "Calls to another service under way.", ["method"], of=GATEWAY)
HEDGED_CALLS = counter(
    "ragmesh_hedged_calls", "Reads sent to a second replica because the first was late.", ["method"], of=GATEWAY
)
FALLBACK_CALLS = counter(
    "ragmesh_fallback_calls",
    "Calls made by the second way to a service, because nobody whom the first one names could be reached; what is "
    "made again by it counts as another call.",
    ["peer"],
    of=GATEWAY,
)
DEPENDENCY_UP = gauge("ragmesh_dependency_up", "1 when a dependency answered its last check, else 0.", ["dependency"])

# -- dependencies --------------------------------------------------------------------------------------------------

DEPENDENCY_CALLS = counter(
    "ragmesh_dependency_calls",
    "Calls of a dependency: ok, failed, refused (it said no), deadline (the request's own), cancelled, stalled (this "
    "process stood still). Only ok and failed count for its breaker.",
    ["dependency", "outcome"],
)
DEPENDENCY_SECONDS = histogram(
    "ragmesh_dependency_seconds", "Time of those calls, however they ended.", ["dependency"], buckets=SECONDS
)
BREAKER_STATE = gauge(
    "ragmesh_breaker_state",
    "The breaker of a dependency: 0 closed, 1 half-open, 2 open.",
    ["dependency", "endpoint"],
)
BREAKER_CHANGES = counter(
    "ragmesh_breaker_changes",
    "Changes of a breaker, by the state that it came to.",
    ["dependency", "endpoint", "state"],
)
REFUSED_CALLS = counter(
    "ragmesh_refused_dependency_calls",
    "Calls of a dependency that were not made: its breaker was open (breaker), too many were under way (bulkhead), it "
    "has not answered this process yet (not_opened).",
    ["dependency", "endpoint", "cause"],
)
RETRIED_CALLS = counter(
    "ragmesh_retried_dependency_calls", "Calls of a dependency that were made once more, by a worker.", ["dependency"]
)

# -- gateway -------------------------------------------------------------------------------------------------------

HTTP_CALLS = counter(
    "ragmesh_http_calls",
    "REST requests by the method of the contract (`unknown`: no route) and status; 499: the client went away.",
    ["method", "status"],
    of=GATEWAY,
)
HTTP_SECONDS = histogram(
    "ragmesh_http_seconds",
    "Time to serve a REST request, a stream to its end.",
    ["method"],
    buckets=SECONDS,
    of=GATEWAY,
)
HTTP_IN_FLIGHT = gauge("ragmesh_http_in_flight", "REST requests being served now.", ["method"], of=GATEWAY)
KEY_CHECKS = counter(
    "ragmesh_key_checks",
    "Checks of callers' keys: accepted, missing, refused, lacks_scope, unavailable (the store is down).",
    ["outcome"],
    of=GATEWAY,
)
OPEN_STREAMS = gauge(
    "ragmesh_open_streams", "Streams to callers that are open, on both surfaces.", ["method"], of=GATEWAY
)
ANSWERS = counter("ragmesh_answers", "Searches and questions answered to the end.", ["method"], of=GATEWAY)
DEGRADED_ANSWERS = counter(
    "ragmesh_degraded_answers",
    "Of those, answers that lack a part (DENSE, BM25, GRAPH, MODEL); one that lacks two counts under each.",
    ["method", "part"],
    of=GATEWAY,
)
ANSWER_FIRST_TOKEN_SECONDS = histogram(
    "ragmesh_answer_first_token_seconds",
    "From the admission of a streamed question to the first text of its answer, the search included.",
    buckets=GENERATION_SECONDS,
    of=GATEWAY,
)
RELAYED_TOKENS = counter(
    "ragmesh_relayed_tokens", "Tokens of the answers passed on, by the model's own count.", of=GATEWAY
)

# -- retriever -----------------------------------------------------------------------------------------------------

SEARCH_STEP_SECONDS = histogram(
    "ragmesh_search_step_seconds",
    "Time of a step of a search, also of one that failed: embed, dense, bm25, named, hidden, links, fetch.",
    ["step"],
    buckets=SEARCH_SECONDS,
    of=RETRIEVER,
)
SEARCH_MISSING_PARTS = counter(
    "ragmesh_search_missing_parts", "Parts (DENSE, BM25, GRAPH) that did not answer a search.", ["part"], of=RETRIEVER
)
SEARCH_HITS = histogram(
    "ragmesh_search_hits", "Hits that a search returned, by its mode.", ["mode"], buckets=HITS, of=RETRIEVER
)
QUERY_EMBEDDINGS = counter(
    "ragmesh_query_embeddings", "Questions embedded, by the cache's say: hit or miss.", ["cache"], of=RETRIEVER
)
EMBEDDING_TOKENS = counter(
    "ragmesh_embedding_tokens", "Tokens that the embedding API says it has read.", of=(*RETRIEVER, *INGESTOR)
)

# -- generator -----------------------------------------------------------------------------------------------------

MODEL_CALLS = counter(
    "ragmesh_model_calls",
    "Calls of a model: ok, stopped (its reader left), or the cause of the failure in a word.",
    ["model", "outcome"],
    of=GENERATOR,
)
MODEL_FIRST_TOKEN_SECONDS = histogram(
    "ragmesh_model_first_token_seconds",
    "From the call of a model to its first text.",
    ["model"],
    buckets=GENERATION_SECONDS,
    of=GENERATOR,
)
MODEL_SECONDS = histogram(
    "ragmesh_model_seconds",
    "From the call of a model to the end of its answer, however it ended.",
    ["model"],
    buckets=GENERATION_SECONDS,
    of=GENERATOR,
)
MODEL_TOKENS = counter(
    "ragmesh_model_tokens",
    "Tokens of answers that came to their end, prompt and completion; an estimate when the model's server sends none.",
    ["model", "kind"],
    of=GENERATOR,
)
GENERATED_ANSWERS = counter(
    "ragmesh_generated_answers",
    "Answers that came to their end: STOP, LENGTH, CONTENT_FILTER, NO_ANSWER.",
    ["finish_reason"],
    of=GENERATOR,
)
STAND_IN_ANSWERS = counter(
    "ragmesh_stand_in_answers",
    "Answers begun by the extractive stand-in because the model failed, by the cause in a word.",
    ["cause"],
    of=GENERATOR,
)
DROPPED_CITATIONS = counter(
    "ragmesh_dropped_citations",
    "Numbers that a model cited and no passage had, removed from its answers.",
    of=GENERATOR,
)
DROPPED_PASSAGES = counter("ragmesh_dropped_passages", "Passages that did not fit into a model's prompt.", of=GENERATOR)

# -- ingestor ------------------------------------------------------------------------------------------------------

ACCEPTED_BYTES = counter(
    "ragmesh_accepted_bytes", "Bytes of documents that were promised as jobs; one sent again counts again.", of=INGESTOR
)
JOB_EVENTS = counter(
    "ragmesh_job_events",
    "Jobs submitted, taken from the queue, reclaimed from a worker that died, and released (handed back).",
    ["event"],
    of=INGESTOR,
)
ENDED_DOCUMENTS = counter(
    "ragmesh_ended_documents", "Documents whose jobs ended: ready, failed, cancelled.", ["outcome"], of=INGESTOR
)
STAGE_SECONDS = histogram(
    "ragmesh_ingestion_stage_seconds",
    "Time of a group of documents in a stage, waiting for a store that is down included: parsing, embedding, writing.",
    ["stage"],
    buckets=INGESTION_SECONDS,
    of=INGESTOR,
)
STAGE_BUSY = gauge(
    "ragmesh_ingestion_stage_busy",
    "Groups of documents in a stage now; 0 in all is an idle worker.",
    ["stage"],
    of=INGESTOR,
)
WRITTEN_CHUNKS = counter(
    "ragmesh_written_chunks", "Chunks written to the vector store, those written again included.", of=INGESTOR
)
QUEUE_WAITING = gauge(
    "ragmesh_queue_waiting_jobs",
    "Jobs that wait for a worker. Of the whole queue, from each ingestor: max, not sum. NaN: the queue is down.",
    of=INGESTOR,
)
QUEUE_RUNNING = gauge(
    "ragmesh_queue_running_jobs", "Jobs in a worker's hands. Of the whole queue: max, not sum.", of=INGESTOR
)
QUEUE_WAITING_AGE = gauge(
    "ragmesh_queue_oldest_waiting_seconds",
    "Since the oldest waiting job was queued, or handed back; 0 when none waits. Of the whole queue: max, not sum.",
    of=INGESTOR,
)
QUEUE_RUNNING_AGE = gauge(
    "ragmesh_queue_oldest_running_seconds",
    "Since the oldest job in a worker's hands was queued; 0 when there is none. Of the whole queue: max, not sum.",
    of=INGESTOR,
)

# -- the process ---------------------------------------------------------------------------------------------------

BUILD = gauge("ragmesh_build_info", "1; its labels say what runs.", ["service", "version"])
READY = gauge("ragmesh_ready", "1 while the process takes calls.")
DRAINING = gauge("ragmesh_draining", "1 once the process has begun to stop.")
TLS_EXPIRY = gauge(
    "ragmesh_tls_certificate_expiry_timestamp_seconds",
    "When the certificate in use expires, in Unix time: that of the mesh and the public one; absent without TLS.",
    ["certificate"],
)
TLS_FILES_REJECTED = gauge(
    "ragmesh_tls_files_rejected",
    "1 while the files hold what cannot be used, by the cause; the certificate from before them is used meanwhile.",
    ["certificate", "cause"],
)
LOOP_LAG = histogram(
    "ragmesh_event_loop_lag_seconds", "How late a timer fires: what keeps the loop from its work.", buckets=LAG_SECONDS
)
LOOP_TASKS = gauge("ragmesh_event_loop_tasks", "Tasks of the event loop that have not ended.")
