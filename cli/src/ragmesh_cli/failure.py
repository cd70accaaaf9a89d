"""The one error of the command line: a line that names the cause and the cure."""

from __future__ import annotations

import click


class Failure(Exception):
    """Shown as one line on stderr; the command exits with `code`."""

    def __init__(self, message: str, code: int = 1) -> None:
        super().__init__(message)
        self.code = code


def usage_error(error: click.ClickException) -> str:
    """The sentence of a usage error; of an option that a variable may set too, with the variable's name."""
    variable = getattr(getattr(error, "param", None), "envvar", None)
    return f"{error.format_message()} (or {variable})" if variable else error.format_message()
