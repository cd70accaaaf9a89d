"""Which method a REST request is for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ragmesh_gateway.rest.paths import PathTemplate
from ragmesh_gateway.server.contract import HttpBinding, Method


@dataclass(frozen=True, slots=True)
class Match:
    method: Method
    binding: HttpBinding
    variables: Mapping[str, str]


class Routes:
    """The REST routes of the contract, most literal template first."""

    def __init__(self, methods: tuple[Method, ...]) -> None:
        entries = [(PathTemplate(binding.path), method, binding) for method in methods for binding in method.http]
        self._entries = sorted(entries, key=lambda entry: entry[0].specificity)

    def match(self, verb: str, raw_path: str) -> Match | tuple[str, ...]:
        """The match, or the verbs that the path would take (none: there is no such path). HEAD is GET whose body the
        server drops."""
        allowed: list[str] = []
        for template, method, binding in self._entries:
            variables = template.match(raw_path)
            if variables is None:
                continue
            if binding.verb == verb or (verb == "HEAD" and binding.verb == "GET"):
                return Match(method, binding, variables)
            allowed += [binding.verb, "HEAD"] if binding.verb == "GET" else [binding.verb]
        return tuple(sorted(set(allowed)))
