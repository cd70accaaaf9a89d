"""Tests of the chart need helm, and skip without it."""

from __future__ import annotations

import pytest

from chart import helm


@pytest.fixture(autouse=True)
def needs_helm() -> None:
    if helm.program("helm") is None:
        pytest.skip("helm is not on PATH: the chart cannot be rendered")
