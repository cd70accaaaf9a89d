"""A Lua script: one atomic step of several commands."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import NoScriptError


@dataclass(frozen=True, slots=True)
class Script:
    """A script and the SHA-1 by which Redis knows it."""

    body: str
    sha: str = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "sha", hashlib.sha1(self.body.encode(), usedforsecurity=False).hexdigest())

    async def run(self, client: Redis, key: str, *arguments: str | int) -> Any:
        """Its reply. It is sent whole only to a server that does not know it, where nothing has run then. To be
        awaited inside `bounded`."""
        try:
            return await client.evalsha(self.sha, 1, key, *arguments)
        except NoScriptError:
            return await client.eval(self.body, 1, key, *arguments)
