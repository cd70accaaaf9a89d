"""An S3 server for tests, which this repository cannot install: its address and key come from the environment."""

from __future__ import annotations

import os
import secrets
from dataclasses import replace

import pytest

from ragmesh_backends.store_settings import BlobsSettings

VARIABLES = tuple(f"RAGMESH_TEST_S3_{name}" for name in ("ENDPOINT", "BUCKET", "ACCESS_KEY", "SECRET_KEY"))


def s3_settings(**changes: str) -> BlobsSettings:
    """Settings for a prefix of the test's own, with `changes` made to them. Skips the test without a server."""
    endpoint, bucket, access_key, secret_key = (os.environ.get(name, "") for name in VARIABLES)
    if not (endpoint and bucket and access_key and secret_key):
        pytest.skip(f"no S3 server to test with: set {', '.join(VARIABLES)}")
    settings = BlobsSettings(
        url=f"s3://{bucket}/{secrets.token_hex(8)}",
        s3_endpoint=endpoint,
        s3_access_key=access_key,
        s3_secret_key=secret_key,
    )
    return replace(settings, **changes)
