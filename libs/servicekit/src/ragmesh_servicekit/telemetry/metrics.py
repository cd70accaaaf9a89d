"""Every metric of the mesh, in one place. Labels are bounded: methods, codes and dependencies, never ids or text."""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)

SERVER_CALLS = Counter("ragmesh_server_calls", "Calls served, by method and final code.", ["method", "code"])
SERVER_SECONDS = Histogram("ragmesh_server_seconds", "Time to serve a call.", ["method"], buckets=SECONDS)
SERVER_IN_FLIGHT = Gauge("ragmesh_server_in_flight", "Calls being served now.", ["method"])
CLIENT_CALLS = Counter("ragmesh_client_calls", "Calls made to another service.", ["method", "code"])
CLIENT_SECONDS = Histogram("ragmesh_client_seconds", "Time of calls to another service.", ["method"], buckets=SECONDS)
HEDGED_CALLS = Counter("ragmesh_hedged_calls", "Reads sent to a second replica because the first was late.", ["method"])
DEPENDENCY_UP = Gauge("ragmesh_dependency_up", "Whether a dependency answered its last check.", ["dependency"])
HTTP_CALLS = Counter("ragmesh_http_calls", "REST requests, by method and status.", ["method", "status"])
HTTP_SECONDS = Histogram("ragmesh_http_seconds", "Time to serve a REST request.", ["method"], buckets=SECONDS)
EMBEDDING_TOKENS = Counter("ragmesh_embedding_tokens", "Tokens that the embedding API says it has read.")
