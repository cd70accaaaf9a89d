from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from support.small_ingest import SmallMesh, small_mesh


@pytest.fixture
async def mesh(tmp_path: Path) -> AsyncIterator[SmallMesh]:
    async with small_mesh(tmp_path) as small:
        yield small
