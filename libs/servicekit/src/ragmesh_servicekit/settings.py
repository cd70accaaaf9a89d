"""Settings: frozen dataclasses whose fields name their environment variable, read once at the edge.

A bad value stops the process with one sentence that names the variable and the limit. A secret may also come from a
file named by the variable with `_FILE`.
"""

from __future__ import annotations

import dataclasses
import math
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")
_MISSING = object()


class SettingsError(Exception):
    """One or more settings are wrong; `problems` has one sentence for each."""

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = tuple(problems)


@dataclasses.dataclass(frozen=True, slots=True)
class Variable:
    """What is known of one variable."""

    name: str
    doc: str
    minimum: float | None
    maximum: float | None
    choices: tuple[str, ...]
    secret: bool
    required: bool
    check: Callable[[Any], object] | None = None


def setting(
    name: str,
    default: Any = _MISSING,
    *,
    doc: str,
    minimum: float | None = None,
    maximum: float | None = None,
    choices: Sequence[str] = (),
    secret: bool = False,
    check: Callable[[Any], object] | None = None,
) -> Any:
    """A field read from the variable `name`. Without a default it must be set. `check` is given the value and raises
    ValueError, with what it must be, for a wrong one."""
    required = default is _MISSING
    variable = Variable(name, doc, minimum, maximum, tuple(choices), secret, required, check)
    if required:
        return dataclasses.field(metadata={"variable": variable})
    return dataclasses.field(default=default, metadata={"variable": variable})


def load(cls: type[T], environ: Mapping[str, str]) -> T:
    """An instance of `cls` from the environment; fields that are settings classes are loaded too. Raises SettingsError
    with every problem."""
    problems: list[str] = []
    value = _load(cls, environ, problems)
    if problems:
        raise SettingsError(problems)
    return value


def _load(cls: type[T], environ: Mapping[str, str], problems: list[str]) -> T:
    hints = typing.get_type_hints(cls)
    values: dict[str, Any] = {}
    for field in dataclasses.fields(cls):  # type: ignore[arg-type]  # settings classes are dataclasses
        kind = hints[field.name]
        variable: Variable | None = field.metadata.get("variable")
        if variable is None:
            if dataclasses.is_dataclass(kind):
                values[field.name] = _load(typing.cast(type[Any], kind), environ, problems)
            continue
        text = _text(variable, environ, problems)
        if text is None:
            told = (f"{variable.name}: ", f"{variable.name}_FILE: ")
            if variable.required and not any(problem.startswith(told) for problem in problems):
                problems.append(f"{variable.name}: must be set ({variable.doc})")
            continue
        try:
            values[field.name] = _parse(variable, kind, text)
        except ValueError as error:
            shown = "" if variable.secret else f" (it is {text!r})"
            problems.append(f"{variable.name}: {error}{shown}")
    return cls(**values) if not problems else typing.cast(T, None)


def _text(variable: Variable, environ: Mapping[str, str], problems: list[str]) -> str | None:
    text = environ.get(variable.name)
    file = environ.get(f"{variable.name}_FILE") if variable.secret else None
    if file:
        if text:
            problems.append(f"{variable.name}: is set, and {variable.name}_FILE too; set one of them")
        try:
            text = Path(file).read_text(encoding="utf-8")
        except OSError as error:
            problems.append(f"{variable.name}_FILE: {file} cannot be read: {error.strerror}")
        except UnicodeDecodeError:
            problems.append(f"{variable.name}_FILE: {file} is not text")
    return text.strip() if text is not None and text.strip() else None


def _parse(variable: Variable, kind: Any, text: str) -> Any:
    value = _parser(kind)(text)
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        low, high = variable.minimum, variable.maximum
        if (low is not None and value < low) or (high is not None and value > high):
            raise ValueError(f"must be {_range(low, high)}")
    if variable.choices and value not in variable.choices:
        raise ValueError(f"must be one of {', '.join(variable.choices)}")
    if variable.check is not None:
        variable.check(value)
    return value


def _range(low: float | None, high: float | None) -> str:
    if low is None:
        return f"at most {high:g}"
    return f"at least {low:g}" if high is None else f"from {low:g} to {high:g}"


def _parser(kind: Any) -> Callable[[str], Any]:
    if isinstance(kind, types.UnionType):
        (kind,) = [each for each in typing.get_args(kind) if each is not type(None)]
    if typing.get_origin(kind) is tuple:
        return lambda text: tuple(part.strip() for part in text.split(",") if part.strip())
    parsers: dict[Any, Callable[[str], Any]] = {str: str, int: _int, float: _float, bool: _bool, Path: _path}
    return parsers[kind]


def _int(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise ValueError("must be a whole number") from None


def _float(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        raise ValueError("must be a number") from None
    if not math.isfinite(value):
        raise ValueError("must be a number")
    return value


def _bool(text: str) -> bool:
    value = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}.get(text.lower())
    if value is None:
        raise ValueError("must be true or false")
    return value


def _path(text: str) -> Path:
    return Path(text).expanduser()


def variables(cls: type[Any]) -> list[tuple[Variable, Any]]:
    """Every variable of a settings class and those inside it, with its default (None when it is required)."""
    hints = typing.get_type_hints(cls)
    found: list[tuple[Variable, Any]] = []
    for field in dataclasses.fields(cls):
        variable = field.metadata.get("variable")
        if variable is not None:
            found.append((variable, None if variable.required else field.default))
        elif dataclasses.is_dataclass(hints[field.name]):
            found.extend(variables(typing.cast(type[Any], hints[field.name])))
    return found


def reference(classes: Mapping[str, type[Any]]) -> str:
    """The reference table in Markdown: each variable once, with the services that read it."""
    rows: dict[str, tuple[Variable, Any, list[str]]] = {}
    for service, cls in classes.items():
        for variable, default in variables(cls):
            rows.setdefault(variable.name, (variable, default, []))[2].append(service)
    lines = ["| variable | default | read by | meaning |", "|---|---|---|---|"]
    for name in sorted(rows):
        variable, default, services = rows[name]
        shown = "required" if variable.required else (f"`{_show(default)}`" if _show(default) else "empty")
        readers = "all" if len(services) == len(classes) else ", ".join(services)
        limits = ""
        if variable.minimum is not None or variable.maximum is not None:
            limit = _range(variable.minimum, variable.maximum)
            limits = f" {limit[0].upper()}{limit[1:]}."
        if variable.choices:
            limits += f" One of {', '.join(f'`{choice}`' for choice in variable.choices)}."
        secret = f" Secret; may be given as a file in `{name}_FILE`." if variable.secret else ""
        lines.append(f"| `{name}` | {shown} | {readers} | {variable.doc}{limits}{secret} |")
    return "\n".join(lines) + "\n"


def _show(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, tuple):
        return ",".join(value)
    return str(value)
