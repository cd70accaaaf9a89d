"""The scripted model of the reliability harness as a server in the cluster: `python -m kubernetes.model PORT`."""

from __future__ import annotations

import asyncio
import sys

from reliability.house import by_question
from support.openai_server import OpenAIServer


class ForgetfulServer(OpenAIServer):
    """Runs for hours, so it keeps nothing of what it was asked."""

    async def forget(self) -> None:
        while True:
            await asyncio.sleep(10)
            self.requests.clear()


async def serve(port: int) -> None:
    async with ForgetfulServer(port, by_question, "0.0.0.0") as server:
        await server.forget()


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1])))
