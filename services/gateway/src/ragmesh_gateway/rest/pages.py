"""Pages beside the contract: health of the REST port, and the reference of the API for people."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from importlib.resources import files

from starlette.responses import HTMLResponse, PlainTextResponse, RedirectResponse, Response

from ragmesh_servicekit.process import Process

Page = Callable[[], Awaitable[Response]]
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'; img-src data:"


def pages(process: Process) -> dict[str, Page]:
    """The GET pages of the REST port by path."""
    docs = files("ragmesh_gateway").joinpath("rest/docs.html").read_text(encoding="utf-8")

    async def home() -> Response:
        return RedirectResponse("/docs")

    async def livez() -> Response:
        return PlainTextResponse("ok\n")

    async def readyz() -> Response:
        ready = process.health.ready
        return PlainTextResponse("ok\n" if ready else "not ready\n", 200 if ready else 503)

    async def reference() -> Response:
        return HTMLResponse(docs, headers={"content-security-policy": _POLICY, "x-content-type-options": "nosniff"})

    return {"/": home, "/livez": livez, "/readyz": readyz, "/docs": reference}
