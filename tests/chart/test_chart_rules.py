"""Every rendering keeps every rule, but for the findings that exceptions.py explains."""

from __future__ import annotations

import pytest

import chart.rules  # noqa: F401 (registers the rules)
from chart import helm
from chart.rules.exceptions import EXCEPTIONS, explained
from chart.rules.registry import RULES


@pytest.mark.parametrize("values", helm.CI_VALUES)
@pytest.mark.parametrize("name", RULES)
def test_a_rendering_keeps_the_rule(name: str, values: str) -> None:
    found = RULES[name].findings(helm.shared(values))
    assert [one for one in found if not explained(name, values, one[0])] == []


def test_every_exception_names_a_rule_has_a_reason_and_is_needed() -> None:
    needed = {
        exception
        for values in helm.CI_VALUES
        for name, rule in RULES.items()
        for where, _ in rule.findings(helm.shared(values))
        for exception in EXCEPTIONS
        if exception.covers(name, values, where)
    }
    assert [one for one in EXCEPTIONS if one not in needed or one.rule not in RULES or len(one.reason) < 20] == []


def test_every_rule_has_the_name_of_a_linter_or_ours() -> None:
    linters = {"kube-score", "kube-linter", "polaris", "kubescape", "pod-security", "ragmesh"}
    names = [name for rule in RULES.values() for name in rule.names]
    assert {name.partition(":")[0] for name in names} == linters
    assert len(names) == len(set(names))
