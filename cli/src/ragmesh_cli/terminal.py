"""How the command line speaks: plain lines, colour and a bar on a terminal, JSON when asked."""

from __future__ import annotations

import json
import sys
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

console = Console(highlight=False, soft_wrap=True, emoji=False)
errors = Console(stderr=True, highlight=False, soft_wrap=True, emoji=False)


_CONTROLS = {code: "\ufffd" for code in (*range(32), 127, *range(128, 160)) if chr(code) not in "\n\t"}


def say(line: str) -> None:
    """A line for people, on stdout at once."""
    console.print(line, markup=False)


def note(line: str) -> None:
    """A line beside the result, on stderr."""
    errors.print(line, markup=False)


def harmless(text: str) -> str:
    """Text of documents as a terminal may show it: control characters, which could command it, made visible."""
    return text.translate(_CONTROLS)


def print_json(value: Any) -> None:
    sys.stdout.write(json.dumps(value, ensure_ascii=False, indent=2) + "\n")
    sys.stdout.flush()


def interactive() -> bool:
    """Whether a person is at the terminal."""
    return sys.stdout.isatty()


def bar() -> Progress:
    """A progress bar; on something that is no terminal it prints its final state only."""
    return Progress(
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=errors,
        transient=False,
    )
