"""The one error of the command line: a line that names the cause and the cure."""

from __future__ import annotations


class Failure(Exception):
    """Shown as one line on stderr; the command exits with `code`."""

    def __init__(self, message: str, code: int = 1) -> None:
        super().__init__(message)
        self.code = code
