"""Where spans go: to an OTLP receiver when one is named, nowhere otherwise."""

from __future__ import annotations

import threading

from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased

QUEUE_SPANS = 4096
EXPORT_SECONDS = 3
EXPORT_EVERY_MILLISECONDS = 1000


def configure_tracing(service: str, instance: str, endpoint: str, sample_ratio: float) -> TracerProvider | None:
    """Export spans to `endpoint` (host:port, OTLP over gRPC). None, and spans that cost next to nothing, without one.
    A receiver that is down loses spans and nothing else: the queue is bounded and exporting has a thread of its own."""
    if not endpoint:
        return None
    resource = Resource.create({"service.name": f"ragmesh-{service}", "service.instance.id": instance})
    provider = TracerProvider(resource=resource, sampler=ParentBased(TraceIdRatioBased(sample_ratio)))
    exporter = OTLPSpanExporter(endpoint=endpoint, insecure=True, timeout=EXPORT_SECONDS)
    provider.add_span_processor(
        BatchSpanProcessor(
            exporter,
            max_queue_size=QUEUE_SPANS,
            schedule_delay_millis=EXPORT_EVERY_MILLISECONDS,
            export_timeout_millis=EXPORT_SECONDS * 1000,
        )
    )
    trace.set_tracer_provider(provider)
    return provider


def flush(provider: TracerProvider, seconds: float) -> None:
    """Send what is left, and give up after `seconds`: the SDK's own shutdown waits for its exporter, which tries again
    while a receiver is down. Blocks; the exporting thread does not keep a process alive."""
    last = threading.Thread(target=provider.shutdown, name="trace-flush", daemon=True)
    last.start()
    last.join(seconds)
