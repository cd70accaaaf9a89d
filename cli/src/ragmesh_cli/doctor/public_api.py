"""The mesh as its users see it: REST and gRPC answer the home's key, of the version installed here; jobs end well."""

from __future__ import annotations

import asyncio
import json
import urllib.error
import urllib.request
from dataclasses import replace
from importlib.metadata import version
from typing import Any

from ragmesh.common.v1 import job_pb2
from ragmesh.gateway.v1 import collections_pb2, jobs_pb2
from ragmesh_cli.client import Target, connect, find_target
from ragmesh_cli.doctor.finding import Finding, Situation, error, ok, warning
from ragmesh_cli.failure import Failure
from ragmesh_cli.terminal import harmless
from ragmesh_cli.trust import of_home

CALL_SECONDS = 4.0
PAGE = 200
LOOK_AT_PROCESSES = "what is said of the mesh's processes comes first; then the gateway's log"


def rest(situation: Situation) -> list[Finding]:
    """A read with the key, and the version that the gateway names."""
    if situation.state is None or not situation.state["ready"]:
        return []
    base = str(situation.state["rest"])
    try:
        target = _target(situation)
        _get(f"{base}/v1/collections?page_size=1", target)
        told = _get(f"{base}/openapi.json", target)["info"]["version"]
    except Failure as failure:
        return [error("rest", str(failure), "see `ragmesh keys --help`")]
    except urllib.error.HTTPError as failure:
        with failure:
            cure = "look at RAGMESH_KEY, or unset it" if failure.code in {401, 403} else LOOK_AT_PROCESSES
            return [error("rest", f"{base} answers {failure.code} to a read with the key", cure)]
    except (OSError, ValueError, KeyError, TypeError) as failure:
        return [error("rest", f"{base} gives no good answer ({type(failure).__name__})", LOOK_AT_PROCESSES)]
    if told != version("ragmesh"):
        what = f"the mesh that runs is version {told}, the command line is {version('ragmesh')}"
        return [error("rest", what, "`ragmesh down`, then `ragmesh up`")]
    return [ok("rest", f"{base} answers, version {told}")]


def grpc(situation: Situation) -> list[Finding]:
    """A read with the key; jobs that were given up."""
    if situation.state is None or not situation.state["ready"]:
        return []
    try:
        target = _target(situation)
        dead = asyncio.run(_ask(target))
    except (Failure, TimeoutError) as failure:
        what = str(failure) or f"{situation.state['grpc']} did not answer within {CALL_SECONDS:g} s"
        return [error("grpc", what, LOOK_AT_PROCESSES)]
    findings = [ok("grpc", f"{target.address} answers")]
    if dead:
        last = dead[0]
        count = f"{len(dead)}{' or more jobs' if len(dead) == PAGE else ' job' if len(dead) == 1 else ' jobs'}"
        what = f"{count} given up; the last, {harmless(last.document_id)}: {harmless(last.failure.message)}"
        findings.append(warning("jobs", what, "mend what it says and send the document again"))
    else:
        findings.append(ok("jobs", "none was given up within the last seven days"))
    return findings


async def _ask(target: Target) -> list[job_pb2.Job]:
    """The newest jobs of the key's tenant that were given up, a page at most."""
    async with connect(target) as client, asyncio.timeout(CALL_SECONDS):
        await client.collections.ListCollections(collections_pb2.ListCollectionsRequest(page_size=1))
        reply = await client.jobs.ListJobs(
            jobs_pb2.ListJobsRequest(state=job_pb2.JOB_STATE_DEAD_LETTERED, page_size=PAGE)
        )
        return list(reply.jobs)


def _target(situation: Situation) -> Target:
    """The home's mesh. RAGMESH_KEY is for it unless RAGMESH_ADDRESS names another."""
    assert situation.state is not None
    given = "" if situation.environ.get("RAGMESH_ADDRESS") else situation.environ.get("RAGMESH_KEY")
    found = find_target(situation.home, str(situation.state["grpc"]), given or situation.home.admin_key())
    return replace(found, trust=of_home(situation.state))


def _get(url: str, target: Target) -> Any:
    headers = {"authorization": f"Bearer {target.key}"}
    request = urllib.request.Request(url, headers=headers)  # noqa: S310  # the mesh's own
    handlers: list[urllib.request.BaseHandler] = [urllib.request.ProxyHandler({})]
    if target.trust is not None:
        handlers.append(urllib.request.HTTPSHandler(context=target.trust.context()))
    with urllib.request.build_opener(*handlers).open(request, timeout=CALL_SECONDS) as reply:
        return json.loads(reply.read())
