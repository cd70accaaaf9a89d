"""The scripted model of the reliability harness as a server in the cluster: `python -m kubernetes.model PORT`."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Mapping
from typing import Any

from reliability.house import by_question
from support.openai_server import OpenAIServer, Script, named_script


def manner(body: Mapping[str, Any]) -> Script:
    """As in the harness for what its load asks; to anybody else it repeats its prompt, sources and all."""
    return by_question(body) if "parcel" in json.dumps(body) else named_script("scripted-echo", body)


class ForgetfulServer(OpenAIServer):
    """Runs for hours, so it keeps nothing of what it was asked."""

    async def forget(self) -> None:
        while True:
            await asyncio.sleep(10)
            self.requests.clear()


async def serve(port: int) -> None:
    async with ForgetfulServer(port, manner, "0.0.0.0") as server:
        await server.forget()


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1])))
