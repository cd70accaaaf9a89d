"""The client of an OpenAI-compatible API, made so that one call is one request with a bound on every wait."""

from __future__ import annotations

import httpx2
import openai

CONNECT_SECONDS = 3.0
POOL_SECONDS = 1.0
MAX_CONNECTIONS = 64

_NO_KEY = "none"
"""The SDK takes no empty key; servers without keys take any."""


def open_client(
    base_url: str,
    api_key: str,
    *,
    timeout_seconds: float,
    connect_timeout_seconds: float = CONNECT_SECONDS,
    pool_timeout_seconds: float = POOL_SECONDS,
    max_connections: int = MAX_CONNECTIONS,
    proxy: str | None = None,
) -> openai.AsyncOpenAI:
    """A client whose owner closes it.

    base_url: as the SDK takes it, ending in /v1 for most servers. api_key: may be empty for servers without keys.
    timeout_seconds: of each read and write; the caller bounds the whole call. max_connections: calls at once; one more
    waits pool_timeout_seconds for a place. proxy: the address of an HTTP proxy.

    The SDK's own retries are off, because a repeated call is paid twice and because its time-outs multiply (30 s became
    91 s). Nothing is read from the environment, and redirects are not followed (the key would go with them).
    """
    timeout = openai.Timeout(
        timeout_seconds, connect=min(connect_timeout_seconds, timeout_seconds), pool=pool_timeout_seconds
    )
    return openai.AsyncOpenAI(
        base_url=base_url,
        api_key=api_key or _NO_KEY,
        admin_api_key="",
        organization="",  # empty, not None: None would be filled from the environment
        project="",
        max_retries=0,
        timeout=timeout,
        http_client=openai.DefaultAsyncHttpxClient(
            base_url=base_url,
            timeout=timeout,
            limits=httpx2.Limits(max_connections=max_connections, max_keepalive_connections=max_connections),
            follow_redirects=False,
            trust_env=False,
            proxy=proxy,
        ),
    )
