"""The composition root of the generator: every object of the process is made here."""

from __future__ import annotations

from ragmesh.generator.v1 import generator_pb2, generator_pb2_grpc
from ragmesh_backends.llms.extractive import ExtractiveAnswerer
from ragmesh_backends.model.token_estimate import TokenEstimate
from ragmesh_generator.adapters.measured_model import MeasuredModel
from ragmesh_generator.domain.generate import Generate
from ragmesh_generator.domain.ports import ChatModel
from ragmesh_generator.domain.prompt import PromptBuilder
from ragmesh_generator.server.servicer import GeneratorServicer
from ragmesh_generator.settings import GeneratorSettings, ModelSettings, from_environment
from ragmesh_servicekit.process import Process

SERVICE = generator_pb2.DESCRIPTOR.services_by_name["GeneratorService"].full_name


async def main() -> None:
    """Read the settings and serve until the first signal."""
    await serve(from_environment())


async def serve(settings: GeneratorSettings) -> None:
    """Serve generator.v1."""
    async with Process("generator", settings.process, grpc_port=settings.grpc_port, services=(SERVICE,)) as process:
        extractive, counter = ExtractiveAnswerer(), TokenEstimate()
        model: ChatModel = extractive
        fallback: ChatModel | None = None
        if settings.model.url:
            model = _remote_model(process, settings.model)
            fallback = extractive if settings.model.stand_in else None
        generate = Generate(
            MeasuredModel(model),
            prompts=PromptBuilder(counter, max_prompt_tokens=settings.model.prompt_tokens),
            counter=counter,
            fallback=MeasuredModel(fallback) if fallback is not None else None,
        )
        generator_pb2_grpc.add_GeneratorServiceServicer_to_server(GeneratorServicer(generate), process.server)
        await process.serve()


def _remote_model(process: Process, settings: ModelSettings) -> ChatModel:
    # The SDK takes 60 MB and most of a second to import: only a process that talks to an API pays that.
    from ragmesh_backends.llms.openai_chat import OpenAIChat
    from ragmesh_backends.openai_api.client import MAX_CONNECTIONS

    chat = OpenAIChat(
        settings.url,
        settings.key,
        settings.name,
        timeout_seconds=settings.timeout_seconds,
        first_token_timeout_seconds=settings.first_token_seconds,
        stall_timeout_seconds=settings.stall_seconds,
        guard=process.guard("model", f"{settings.url.rstrip('/')}/{settings.name}", max_concurrent=MAX_CONNECTIONS),
    )
    return process.closing(chat, chat.close)
