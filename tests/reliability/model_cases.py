"""The cases in which the model behind the generators misbehaves."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from typing import Any

from reliability import judge
from reliability.cases import ALWAYS, SETTLE_SECONDS, Case, Inject
from reliability.house import House
from reliability.model import Manner
from support.openai_server import Script

QUIET_END_SECONDS = 2.0
"""Before the end of the load the model is well again, so that recovery is seen as well."""

MANNERS: dict[str, tuple[str, Script]] = {
    "stall": ("stalls after two tokens", Script(stall_after=2)),
    "silent": ("takes the request and never answers", Script(first_byte_delay_seconds=60.0)),
    "429": ("answers 429", Script(status=429, headers={"retry-after": "7"})),
    "500": ("answers 500", Script(status=500)),
    "malformed": ("sends malformed events", Script(malformed_after=1)),
    "malformed-first": ("sends a malformed first event", Script(malformed_after=0)),
    "wrong-shape": ("sends JSON that is no chunk", Script(wrong_shape_after=1)),
    "reset": ("resets the connection after two tokens", Script(reset_after=2)),
    "cut": ("ends its answer before it is finished", Script(cut_after=2)),
}
SHORT = {"500", "stall", "malformed"}
RULES = (judge.every_reply_is_foreseen, judge.one_model_call_each, *ALWAYS)


def _behaving(script: Script) -> Inject:
    def manner(body: Mapping[str, Any]) -> Script:
        return script

    async def inject(house: House, end: float) -> None:
        await asyncio.sleep(SETTLE_SECONDS)
        well: Manner = house.model.manner
        house.model.manner = manner
        try:
            await asyncio.sleep(max(1.0, end - QUIET_END_SECONDS - time.monotonic()))
        finally:
            house.model.manner = well

    return inject


async def _refusing(house: House, end: float) -> None:
    await asyncio.sleep(SETTLE_SECONDS)
    await house.model.refuse()
    try:
        await asyncio.sleep(max(1.0, end - QUIET_END_SECONDS - time.monotonic()))
    finally:
        await house.model.accept()


MODEL_CASES: tuple[Case, ...] = (
    Case("model-refuse", "the model refuses connections", _refusing, RULES),
    *(
        Case(f"model-{name}", f"the model {title}", _behaving(script), RULES, 10.0 if name in SHORT else 0.0)
        for name, (title, script) in MANNERS.items()
    ),
)
