"""The scripted model behind the generators, which can change its manner, refuse connections, and counts its calls."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, Self

from support.openai_server import OpenAIServer, Script, SeenRequest

Manner = Callable[[Mapping[str, Any]], Script]
_TAG = re.compile(r"\(([\w.-]+)\)")


class ScriptedModel:
    """One address for its whole life, whatever it does there. `manner` chooses the script of each request."""

    def __init__(self, manner: Manner) -> None:
        self.manner = manner
        self._server = OpenAIServer(choose=self._choose)
        self._seen: list[SeenRequest] = []

    async def __aenter__(self) -> Self:
        await self._server.__aenter__()
        self._port = self._server.port
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._server.__aexit__(kind, error, trace)

    @property
    def base_url(self) -> str:
        return self._server.base_url

    def _choose(self, body: Mapping[str, Any]) -> Script:
        return self.manner(body)

    async def refuse(self) -> None:
        """Connections are refused, and those there are end."""
        await self._server.__aexit__(None, None, None)
        self._seen += self._server.requests

    async def accept(self) -> None:
        """Serve again at the same address."""
        self._server = OpenAIServer(self._port, choose=self._choose)
        await self._server.__aenter__()

    def calls(self) -> Counter[str]:
        """How many requests arrived for each operation, by its tag."""
        counted: Counter[str] = Counter()
        for seen in (*self._seen, *self._server.requests):
            questions = [m["content"] for m in seen.body.get("messages", ()) if m.get("role") == "user"]
            tags = _TAG.findall(questions[-1]) if questions else []
            counted[tags[-1] if tags else "?"] += 1
        return counted

    def forget(self) -> None:
        """Drop what was counted."""
        self._seen.clear()
        self._server.requests.clear()
