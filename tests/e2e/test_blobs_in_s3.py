"""A mesh whose originals are in S3, by its environment alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from e2e.conftest import DOCUMENTS
from support.mesh import Mesh
from support.s3 import s3_settings


def _environment() -> dict[str, str]:
    settings = s3_settings()
    return {
        "RAGMESH_BLOBS_URL": settings.url,
        "RAGMESH_BLOBS_S3_ENDPOINT": settings.s3_endpoint,
        "RAGMESH_BLOBS_S3_ACCESS_KEY": settings.s3_access_key,
        "RAGMESH_BLOBS_S3_SECRET_KEY": settings.s3_secret_key,
    }


def test_a_mesh_keeps_its_originals_in_s3_and_says_at_start_that_the_key_is_wrong(embedding_cache: Path) -> None:
    mesh = Mesh.at(embedding_cache, _environment())
    try:
        mesh.start()
        mesh.create("facts")
        mesh.ingest("facts", DOCUMENTS)
        with mesh.rest() as rest:
            content = rest.get("/v1/collections/facts/documents/tea.md:content")
        assert "Green tea is brewed at 80 degrees" in content.text
        assert not [path for path in (mesh.home / "blobs").rglob("*") if path.is_file()]
        mesh.terminate()
        mesh.environment = {**mesh.environment, "RAGMESH_BLOBS_S3_SECRET_KEY": "wrong"}
        with pytest.raises(AssertionError, match=r"ingestor-1: .*refuses the key; see RAGMESH_BLOBS_S3_ACCESS_KEY"):
            mesh.start()
    finally:
        mesh.close()
