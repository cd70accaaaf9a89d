"""Path templates of google.api.http: `/v1/collections/{collection_id}/documents/{document_id=**}:content`.

Matching works on the raw, still encoded path, so that an encoded slash or colon inside an id is never taken for a
separator; variables are decoded afterwards. `{name}` is one segment, `{name=**}` one or more.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from urllib.parse import unquote_to_bytes

from ragmesh_servicekit.errors import InvalidArgument

_VARIABLE = re.compile(r"\{(?P<name>[a-z_][a-z0-9_.]*)(?:=(?P<pattern>\*\*?))?\}")

_BAD_PERCENT = re.compile(r"%(?![0-9A-Fa-f]{2})")


class PathTemplate:
    """One template, compiled. `specificity` sorts templates so that the most literal one is tried first."""

    def __init__(self, template: str) -> None:
        self.template = template
        self.variables: tuple[str, ...] = tuple(m["name"] for m in _VARIABLE.finditer(template))
        expression, at = "", 0
        for variable in _VARIABLE.finditer(template):
            expression += re.escape(template[at : variable.start()])
            expression += f"(?P<{variable['name']}>{'.+' if variable['pattern'] == '**' else '[^/:]+'})"
            at = variable.end()
        self._regex = re.compile(expression + re.escape(template[at:]))
        greedy = "=**" in template
        has_verb = ":" in template.rsplit("/", 1)[-1].rsplit("}", 1)[-1]
        self.specificity = (not has_verb, greedy, -len(template))

    def match(self, raw_path: str) -> Mapping[str, str] | None:
        """The decoded variables, or None. A variable that is not UTF-8 once decoded is refused by name."""
        found = self._regex.fullmatch(raw_path)
        if found is None:
            return None
        return {name: _decode(name, value) for name, value in found.groupdict().items()}

    def openapi(self) -> str:
        """The template as OpenAPI writes it: `{document_id=**}` is `{document_id}`."""
        return _VARIABLE.sub(lambda m: "{" + m["name"] + "}", self.template)


def badly_encoded(text: str) -> bool:
    """Whether a percent sign stands without two hexadecimal digits behind it."""
    return _BAD_PERCENT.search(text) is not None


def _decode(name: str, value: str) -> str:
    if badly_encoded(value):
        raise InvalidArgument.field(name, "has a percent sign that is not followed by two hexadecimal digits")
    try:
        return unquote_to_bytes(value).decode("utf-8")
    except UnicodeDecodeError as error:
        raise InvalidArgument.field(name, "is not valid UTF-8 once decoded") from error
