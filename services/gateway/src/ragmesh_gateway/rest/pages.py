"""Pages beside the contract: health of the REST port, and the reference of the API for people."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Awaitable, Callable
from importlib.resources import files

from starlette.responses import HTMLResponse, PlainTextResponse, RedirectResponse, Response

from ragmesh_servicekit.process import Process

Page = Callable[[], Awaitable[Response]]
_INLINE = re.compile(r"<(script|style)>(.*?)</\1>", re.DOTALL)


def policy(page: str) -> str:
    """The Content-Security-Policy of a page: its own inline script and style by their hashes, and its own server."""
    hashes: dict[str, list[str]] = {"script": [], "style": []}
    for kind, text in _INLINE.findall(page):
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        hashes[kind].append(f"'sha256-{digest}'")
    return (
        f"default-src 'none'; script-src {' '.join(hashes['script'])}; style-src {' '.join(hashes['style'])}; "
        "connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )


def pages(process: Process) -> dict[str, Page]:
    """The GET pages of the REST port by path."""
    docs = files("ragmesh_gateway").joinpath("rest/docs.html").read_text(encoding="utf-8")

    headers = {
        "content-security-policy": policy(docs),
        "x-content-type-options": "nosniff",
        "referrer-policy": "no-referrer",
    }

    async def home() -> Response:
        return RedirectResponse("/docs")

    async def livez() -> Response:
        return PlainTextResponse("ok\n")

    async def readyz() -> Response:
        ready = process.health.ready
        return PlainTextResponse("ok\n" if ready else "not ready\n", 200 if ready else 503)

    async def reference() -> Response:
        return HTMLResponse(docs, headers=headers)

    return {"/": home, "/livez": livez, "/readyz": readyz, "/docs": reference}
