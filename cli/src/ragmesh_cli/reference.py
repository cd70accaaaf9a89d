"""Writes docs/settings.md from the settings classes: `python -m ragmesh_cli.reference [--check] FILE`.

A development tool: the one place that sees the settings of all services side by side, so it asks each service's module
by name instead of importing the services.
"""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path

from ragmesh_servicekit.settings import reference

SERVICES = {
    "gateway": "GatewaySettings",
    "retriever": "RetrieverSettings",
    "generator": "GeneratorSettings",
    "ingestor": "IngestorSettings",
}

HEAD = """# Settings

Every service reads its settings from the environment, once, at start. A wrong value stops it with one sentence that
names the variable and the limit. `ragmesh up` sets what is needed on one machine and passes the rest of its own
environment on. This page is written from the settings classes by `make generate`.

"""


def document() -> str:
    """The page."""
    classes = {
        name: getattr(import_module(f"ragmesh_{name}.settings"), class_name) for name, class_name in SERVICES.items()
    }
    return HEAD + reference(classes)


def main(arguments: list[str]) -> int:
    """0 when written, or when the file is current."""
    check = arguments[:1] == ["--check"]
    path = Path(arguments[-1])
    text = document()
    if not check:
        path.write_text(text, encoding="utf-8")
        return 0
    if not path.exists() or path.read_text(encoding="utf-8") != text:
        sys.stderr.write(f"{path} is not current; run `make generate`\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
