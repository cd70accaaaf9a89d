"""The name of an endpoint in metrics, logs and reports."""

from __future__ import annotations

from urllib.parse import urlsplit


def endpoint_of(url: str) -> str:
    """Where a URL leads, without what may be secret in it: user, password and query.

    `redis://u:p@host:6379/0` -> `host:6379/0`; `unix:///run/r.sock?db=1` -> `unix:/run/r.sock`; `host:19530` as it is.
    """
    if "://" not in url:
        return url.partition("?")[0]
    parts = urlsplit(url)
    place = parts.netloc.rpartition("@")[2] + parts.path.rstrip("/")
    return f"unix:{place}" if parts.scheme == "unix" else place
