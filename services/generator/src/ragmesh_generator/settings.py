"""The generator's settings; the environment is read here, once."""

from __future__ import annotations

import os
from dataclasses import dataclass

from ragmesh_servicekit.process_settings import ProcessSettings
from ragmesh_servicekit.settings import SettingsError, load, setting


@dataclass(frozen=True, slots=True)
class ModelSettings:
    """The model. Without a URL the built-in extractive answerer answers."""

    url: str = setting(
        "RAGMESH_MODEL_URL",
        "",
        doc="The base URL of an OpenAI-compatible API, such as `https://host/v1`; empty uses the built-in answerer.",
    )
    key: str = setting("RAGMESH_MODEL_KEY", "", doc="Its key.", secret=True)
    name: str = setting("RAGMESH_MODEL_NAME", "", doc="The model's name there; needed with RAGMESH_MODEL_URL.")
    timeout_seconds: float = setting(
        "RAGMESH_MODEL_TIMEOUT_SECONDS", 30.0, doc="The longest an answer may take.", minimum=1, maximum=3600
    )
    first_token_seconds: float = setting(
        "RAGMESH_MODEL_FIRST_TOKEN_SECONDS",
        15.0,
        doc="The longest wait for a token.",
        minimum=0.1,
        maximum=3600,
    )
    stall_seconds: float = setting(
        "RAGMESH_MODEL_STALL_SECONDS", 10.0, doc="The longest silence between tokens.", minimum=0.1, maximum=3600
    )
    stand_in: bool = setting(
        "RAGMESH_MODEL_STAND_IN",
        True,
        doc="Whether the built-in answerer answers, and says so, when the model fails before its first token.",
    )
    prompt_tokens: int = setting(
        "RAGMESH_MODEL_PROMPT_TOKENS", 6000, doc="The longest prompt, in tokens.", minimum=256, maximum=1_000_000
    )


@dataclass(frozen=True, slots=True)
class GeneratorSettings:
    """Everything that the generator reads."""

    process: ProcessSettings
    model: ModelSettings
    grpc_port: int = setting("RAGMESH_GRPC_PORT", 9092, doc="The gRPC port.", minimum=0, maximum=65535)


def from_environment() -> GeneratorSettings:
    """The settings of this process. Raises SettingsError naming every variable that is wrong."""
    settings = load(GeneratorSettings, os.environ)
    model = settings.model
    if model.url and not model.url.startswith(("http://", "https://")):
        raise SettingsError([f"RAGMESH_MODEL_URL: must start with http:// or https:// (it is {model.url!r})"])
    if model.url and not model.name:
        raise SettingsError(["RAGMESH_MODEL_NAME: must be set with RAGMESH_MODEL_URL"])
    return settings
