"""How well the event loop turns: whatever blocks it (a long parse, a driver that is not asynchronous, a processor that
is taken) delays every call of the process alike, and shows nowhere else."""

from __future__ import annotations

import asyncio

from ragmesh_servicekit.telemetry import metrics

EVERY_SECONDS = 0.5
TASKS_EVERY = 10
"""Samples of the lag between two counts of the tasks, which looks at each of them."""


async def watch_event_loop(every_seconds: float = EVERY_SECONDS) -> None:
    """Measure how late a timer fires, until cancelled. A timer of 0.5 s meets a stop of 0.25 s every other time, and
    one of more than 0.5 s always."""
    loop = asyncio.get_running_loop()
    sample = 0
    while True:
        if sample % TASKS_EVERY == 0:
            metrics.LOOP_TASKS.set(len(asyncio.all_tasks(loop)))
        sample += 1
        due = loop.time() + every_seconds
        await asyncio.sleep(every_seconds)
        metrics.LOOP_LAG.observe(max(0.0, loop.time() - due))
