"""The admin port: /livez, /readyz, /healthz and /metrics over HTTP, on the loop that serves."""

from __future__ import annotations

from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from ragmesh_servicekit.health import Health
from ragmesh_servicekit.telemetry.declared import Exposed


def admin_app(health: Health) -> Starlette:
    """The application of the admin port."""
    exposed = Exposed(health.service)

    async def livez(_: Request) -> Response:
        return PlainTextResponse("ok\n")

    async def readyz(_: Request) -> Response:
        return PlainTextResponse("ok\n" if health.ready else "not ready\n", 200 if health.ready else 503)

    async def healthz(_: Request) -> Response:
        return JSONResponse(health.report(), 200 if health.ready else 503)

    async def metrics(_: Request) -> Response:
        return Response(generate_latest(exposed), media_type=CONTENT_TYPE_LATEST)

    return Starlette(
        routes=[
            Route("/livez", livez),
            Route("/readyz", readyz),
            Route("/healthz", healthz),
            Route("/metrics", metrics),
        ]
    )
