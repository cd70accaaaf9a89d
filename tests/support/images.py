"""Built images, asked and run through docker's command line. RAGMESH_TEST_IMAGES names the command (`docker`,
`podman`); RAGMESH_TEST_IMAGES_TAG the tag, by default the version of the command line."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement

REPOSITORY = Path(__file__).parents[2]
MEMBERS = ("ragmesh-protos", "ragmesh-servicekit", "ragmesh-backends")
LOCKED_DOWN = ("--read-only", "--cap-drop", "ALL", "--security-opt", "no-new-privileges", "--tmpfs", "/tmp")


@dataclass(frozen=True, slots=True)
class Image:
    """One of the images, and what should be in it."""

    name: str
    requirements: Path
    members: tuple[str, ...]
    ports: frozenset[int]

    @property
    def reference(self) -> str:
        version = tomllib.loads((REPOSITORY / "cli/pyproject.toml").read_text())["project"]["version"]
        return f"{self.name}:{os.environ.get('RAGMESH_TEST_IMAGES_TAG') or version}"

    def inspect(self) -> dict[str, Any]:
        """The image's configuration."""
        found: dict[str, Any] = json.loads(docker("image", "inspect", self.reference))[0]
        return found

    def python(self, program: str) -> str:
        """What the program prints inside a locked-down container of it, without a network."""
        return docker(
            "run", "--rm", "--network", "none", *LOCKED_DOWN, "--entrypoint", "python", self.reference, "-c", program
        )


def _service(name: str, *ports: int) -> Image:
    return Image(
        f"ragmesh-{name}",
        REPOSITORY / f"requirements/{name}.txt",
        (*MEMBERS, f"ragmesh-{name}"),
        frozenset({*ports, 9464}),
    )


SERVICES = (
    _service("gateway", 9090, 8080),
    _service("retriever", 9091),
    _service("generator", 9092),
    _service("ingestor", 9093),
)
WHOLE = Image(
    "ragmesh",
    REPOSITORY / "requirements/cli.txt",
    (*MEMBERS, *(service.name for service in SERVICES), "ragmesh"),
    frozenset({9090, 8080}),
)
IMAGES = (*SERVICES, WHOLE)


def missing() -> str:
    """Why the tests of images cannot run; empty when they can."""
    return "" if os.environ.get("RAGMESH_TEST_IMAGES") else "RAGMESH_TEST_IMAGES: not set (make test-images)"


def docker(*arguments: str, timeout_seconds: float = 120.0) -> str:
    """Its output; AssertionError with what it complained of."""
    command = [*shlex.split(os.environ["RAGMESH_TEST_IMAGES"]), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=timeout_seconds, check=False)
    assert done.returncode == 0, f"{' '.join(command)}: {done.stderr}"
    return done.stdout


@contextmanager
def running(image: Image, environment: dict[str, str], *options: str, command: tuple[str, ...] = ()) -> Iterator[str]:
    """The id of a locked-down container, removed at the end."""
    settings = [part for name, value in environment.items() for part in ("--env", f"{name}={value}")]
    identity = docker("run", "--detach", *LOCKED_DOWN, *settings, *options, image.reference, *command).strip()
    try:
        yield identity
    finally:
        docker("rm", "--force", "--volumes", identity)


@dataclass(frozen=True, slots=True)
class Locked:
    """One line of a requirement file."""

    version: str
    hashes: frozenset[str]


def locked(path: Path, environment: dict[str, str]) -> dict[str, Locked]:
    """Name -> what the file locks where its markers hold, given the marker variables of an interpreter."""
    found: dict[str, Locked] = {}
    for entry in path.read_text().replace("\\\n", " ").splitlines():
        hashes = frozenset(re.findall(r"--hash=sha256:(\w+)", entry))
        text = entry.split("--hash")[0].strip()
        if text and not text.startswith("#"):
            requirement = Requirement(text)
            if requirement.marker is None or requirement.marker.evaluate(environment):
                found[normalised(requirement.name)] = Locked(str(requirement.specifier).removeprefix("=="), hashes)
    return found


def normalised(name: str) -> str:
    """As packaging.python.org compares names."""
    return re.sub(r"[-_.]+", "-", name).lower()
