"""The cases in which a store behind a proxy refuses, hangs, slows down, lies, or carries out what it never confirms."""

from __future__ import annotations

import asyncio
import time

from reliability import judge
from reliability.cases import ALWAYS, SETTLE_SECONDS, Case, Inject
from reliability.house import House
from reliability.stores import VARIABLES
from support.proxy import Harm

HARMS: dict[str, tuple[str, Harm]] = {
    "refuses": ("refuses connections", Harm("down")),
    "resets": ("resets connections", Harm("reset_peer")),
    "silent": ("accepts and never answers", Harm("timeout")),
    "slow": ("answers 300 ms late", Harm("latency", latency_ms=300)),
    "very-slow": ("answers 5 s late", Harm("latency", latency_ms=5000)),
    "rubbish": ("answers rubbish", Harm("rubbish")),
    "lost-replies": ("loses every tenth reply after carrying it out", Harm("lose_reply", toxicity=0.1)),
}
HARM_SECONDS = 10.0
EVERY_SECONDS = 32.0
ROOM_SECONDS = 22.0
"""For the harm and ten seconds after it, in which everything must be whole again."""


def _harmed(store: str, harm: Harm) -> Inject:
    async def inject(house: House, end: float) -> None:
        assert house.stores is not None
        await asyncio.sleep(SETTLE_SECONDS)
        turn = 0
        while turn == 0 or time.monotonic() + ROOM_SECONDS < end:
            began = time.monotonic()
            house.faults.log.append(await house.stores.harm(store, harm, HARM_SECONDS))
            turn += 1
            await asyncio.sleep(max(0.0, min(end, began + EVERY_SECONDS) - time.monotonic()))

    return inject


RULES = (judge.every_reply_is_foreseen, judge.back_within(10.0), *ALWAYS)
STORE_CASES: tuple[Case, ...] = tuple(
    Case(f"{store}-{name}", f"{store} {title}", _harmed(store, harm), RULES)
    for store in VARIABLES
    for name, (title, harm) in HARMS.items()
)
