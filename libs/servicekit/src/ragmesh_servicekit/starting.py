"""The last step of a start: dependencies get a moment to answer."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import structlog

from ragmesh_servicekit.health import Health
from ragmesh_servicekit.opening import Opening, StartRefused

log = structlog.get_logger()

START_WAIT_SECONDS = 30.0
"""How long the start waits for dependencies before it serves without them, and says so."""

PAUSE_SECONDS = 0.25
"""Between two rounds of checks: a store that comes up tells nobody."""

REFUSED_SECONDS = 5.0
"""How long a store may go on refusing the login: one that has just started refuses right ones as well, and one that was
asked too often with wrong ones says so in between."""


async def await_dependencies(health: Health, openings: Sequence[Opening], stop: asyncio.Event) -> None:
    """Give dependencies a moment; then serve without those that are down. One that refuses this process is not down:
    a rollout with a wrong password must not replace processes that work. Raises StartRefused for it, with a line for
    each."""
    clock = asyncio.get_running_loop().time
    give_up_at = clock() + START_WAIT_SECONDS
    refused_at: dict[str, float] = {}
    sentences: dict[str, str] = {}
    while not stop.is_set():
        await health.check_once()
        for name, sentence in health.refusals().items():
            refused_at.setdefault(name, clock())
            sentences[name] = sentence
        for name in [name for name in refused_at if health.is_ok(name)]:
            del refused_at[name], sentences[name]
        given_up = clock() > give_up_at
        if refused_at and (given_up or clock() >= min(refused_at.values()) + REFUSED_SECONDS):
            raise StartRefused("\n".join(sentences.values()))
        if health.all_ok() and all(opening.done for opening in openings):
            return
        if given_up:
            waiting = [opening.name for opening in openings if not opening.done]
            log.warning("serving_degraded", report=health.report()["checks"], not_opened=waiting)
            return
        await asyncio.sleep(PAUSE_SECONDS)
