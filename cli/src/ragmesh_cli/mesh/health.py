"""What a service's admin port says of it. Always this machine, so never through a proxy that the environment names."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from typing import Any

TIMEOUT_SECONDS = 2.0

_direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def is_ready(admin: str) -> bool:
    """Whether the service at `admin` (host:port) says that it serves."""
    try:
        with _direct.open(f"http://{admin}/readyz", timeout=TIMEOUT_SECONDS) as reply:
            return bool(reply.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def metrics(admin: str) -> str | None:
    """The metrics of the service, as Prometheus reads them; None when it does not answer."""
    try:
        with _direct.open(f"http://{admin}/metrics", timeout=TIMEOUT_SECONDS) as reply:
            return str(reply.read(), "utf-8", "replace")
    except (urllib.error.URLError, OSError):
        return None


def report(admin: str) -> dict[str, Any] | None:
    """The health report of the service; None when it does not answer."""
    try:
        with _direct.open(f"http://{admin}/healthz", timeout=TIMEOUT_SECONDS) as reply:
            body = reply.read()
    except urllib.error.HTTPError as error:
        with error:
            body = error.read()
    except (urllib.error.URLError, OSError):
        return None
    try:
        value = json.loads(body)
    except ValueError:
        return None
    return value if isinstance(value, dict) else None
