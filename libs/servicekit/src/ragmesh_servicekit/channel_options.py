"""How a channel spreads, repeats and gives up: the service config and options of every channel inside the mesh.

grpc's core reads the config once, when the channel is made (https://github.com/grpc/grpc/blob/master/doc/service_config.md).
"""

from __future__ import annotations

import json
from typing import Any

from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor

from ragmesh.common.v1 import options_pb2

MESSAGE_BYTES = 20 * 1024 * 1024
REPEATABLE = frozenset({options_pb2.IDEMPOTENCY_READ, options_pb2.IDEMPOTENCY_REPEATABLE})
READS = frozenset({options_pb2.IDEMPOTENCY_READ})

RETRY_POLICY = {
    "maxAttempts": 3,
    "initialBackoff": "0.1s",
    "maxBackoff": "1s",
    "backoffMultiplier": 2,
    "retryableStatusCodes": ["UNAVAILABLE"],
}
"""Within the deadline; grpc varies each pause by 20 %. A server that says `grpc-retry-pushback-ms: -1` is not asked
again: it knows that the next one could not answer either."""

RETRY_BUDGET = {"maxTokens": 1000, "tokenRatio": 1}
"""A failing replica among healthy ones does not exhaust it, an outage does. With 100 and 0.1 retries stopped after 50
failures, and 65 of 1,196 calls that the other replica could have answered failed."""

OUTLIER_DETECTION = {
    "interval": "1s",
    "baseEjectionTime": "2s",
    "maxEjectionTime": "30s",
    "maxEjectionPercent": 50,
    "failurePercentageEjection": {
        "threshold": 85,
        "enforcementPercentage": 100,
        "minimumHosts": 2,
        "requestVolume": 3,
    },
}
"""A replica of which nearly every call fails while the others answer is left alone for some seconds: it is hung, or cut
off. Half of the replicas at most, so that an outage of what all depend on ejects no more than that. The threshold is
high because what a client did wrong counts as well. 2 s, and each time 2 s more: one that was killed is ejected too, is
back after two seconds, and must be used again before the other may be killed; with 5 s answers failed then."""


def methods_of(services: tuple[ServiceDescriptor, ...], kinds: frozenset[Any]) -> list[MethodDescriptor]:
    """The methods of these kinds with one request and one reply: a stream that has begun cannot be sent again."""
    return [
        method
        for service in services
        for method in service.methods
        if method.GetOptions().Extensions[options_pb2.method].idempotency in kinds
        and not method.client_streaming
        and not method.server_streaming
    ]


def repeatable_methods(*services: ServiceDescriptor) -> list[dict[str, str]]:
    """The names, as a service config has them, of methods that may be sent again."""
    return [
        {"service": method.containing_service.full_name, "method": method.name}
        for method in methods_of(services, REPEATABLE)
    ]


def service_config(repeatable: list[dict[str, str]], health_service: str = "") -> str:
    """round_robin over the replicas that neither are ejected nor, when health_service names what they are asked for,
    say that they do not serve; repeatable methods are sent again when a replica is UNAVAILABLE."""
    config: dict[str, Any] = {
        "loadBalancingConfig": [
            {"outlier_detection_experimental": {**OUTLIER_DETECTION, "childPolicy": [{"round_robin": {}}]}}
        ]
    }
    if health_service:
        config["healthCheckConfig"] = {"serviceName": health_service}
    if repeatable:
        config["methodConfig"] = [{"name": repeatable, "retryPolicy": RETRY_POLICY}]
        config["retryThrottling"] = RETRY_BUDGET
    return json.dumps(config)


def channel_options(config: str) -> list[tuple[str, Any]]:
    """For every channel. A peer that does not answer a ping for 3 s, of which there is one each 10 s at least, is gone:
    `keepalive_timeout` does not bound that, `ping_timeout` does (20 s by default). One that was restarted is found
    again within half a second, so that the next may be restarted soon: with 2 s, which a start of 5 s reaches, reads
    failed when the other replica went a second after the first was back."""
    return [
        ("grpc.service_config", config),
        ("grpc.enable_retries", 1),
        ("grpc.max_receive_message_length", MESSAGE_BYTES),
        ("grpc.max_send_message_length", MESSAGE_BYTES),
        ("grpc.keepalive_time_ms", 10_000),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.max_pings_without_data", 0),
        ("grpc.http2.ping_timeout_ms", 3_000),
        ("grpc.initial_reconnect_backoff_ms", 100),
        ("grpc.min_reconnect_backoff_ms", 100),
        ("grpc.max_reconnect_backoff_ms", 500),
        ("grpc.dns_min_time_between_resolutions_ms", 5_000),
        ("grpc.enable_http_proxy", 0),
        ("grpc.use_local_subchannel_pool", 1),
    ]
