"""Rules of public linters, under their public names: small functions from a release to what is wrong with it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from chart.objects import Release

# (how the object is named, what is wrong)
Finding = tuple[str, str]
Check = Callable[[Release], Iterator[Finding]]


@dataclass(frozen=True, slots=True)
class Rule:
    """A check and the names it has in linters, such as `kube-linter:run-as-non-root`."""

    names: tuple[str, ...]
    check: Check

    @property
    def name(self) -> str:
        return self.names[0]

    def findings(self, release: Release) -> list[Finding]:
        return list(self.check(release))


RULES: dict[str, Rule] = {}


def rule(*names: str) -> Callable[[Check], Check]:
    """Registers a check under the names that linters give it."""

    def register(check: Check) -> Check:
        assert names[0] not in RULES, f"{names[0]} is there twice"
        RULES[names[0]] = Rule(names, check)
        return check

    return register
