"""Writes docs/settings.md from the settings classes and docs/metrics.md from the metrics that are declared:
`python -m ragmesh_cli.reference [--check] FILE`, where the file's name says which.

A development tool. Here, and in the doctor's check of variables, the settings of all services are seen side by side, so
each service's module is asked by name instead of being imported.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
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


METRICS = "ragmesh_servicekit.telemetry.metrics"
MARK = f"<!-- From here on `make generate` writes, from {METRICS}. -->\n"
"""In docs/metrics.md. What stands above it is written by hand and kept."""


def settings_page(_: str = "") -> str:
    """The page of settings, whatever is there."""
    classes = {
        name: getattr(import_module(f"ragmesh_{name}.settings"), class_name) for name, class_name in SERVICES.items()
    }
    return HEAD + reference(classes)


def metrics_page(present: str) -> str:
    """The page of metrics: the head that is there, and the table anew."""
    from ragmesh_servicekit.telemetry.declared import reference as table  # the command line needs none of it

    import_module(METRICS)  # declares them
    return f"{present.partition(MARK)[0]}{MARK}\n{table()}"


PAGES: dict[str, Callable[[str], str]] = {"settings": settings_page, "metrics": metrics_page}


def main(arguments: list[str]) -> int:
    """0 when written, or when the file is current; 1 when it is not, 2 for a file that is neither page."""
    check = arguments[:1] == ["--check"]
    path = Path(arguments[-1])
    page = PAGES.get(path.stem)
    if page is None:
        sys.stderr.write(f"{path}: there is only {' and '.join(f'{name}.md' for name in PAGES)}\n")
        return 2
    present = path.read_text(encoding="utf-8") if path.exists() else ""
    text = page(present)
    if not check:
        path.write_text(text, encoding="utf-8")
        return 0
    if present != text:
        sys.stderr.write(f"{path} is not current; run `make generate`\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
