"""The object store that a URL names, configured so that one call is one request."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from obstore.exceptions import BaseError
from obstore.store import ObjectStore, S3Store, from_url

from ragmesh_backends.store_settings import BlobsSettings
from ragmesh_servicekit.settings import SettingsError

if TYPE_CHECKING:
    from obstore.store import ClientConfig, RetryConfig, S3Config

_REQUEST_SECONDS = 30
_CONNECT_SECONDS = 3


def remote_store(settings: BlobsSettings) -> ObjectStore:
    """A store for `s3://bucket/prefix`; `gs://` and `az://`, which are untested, take their credentials from their own
    environment variables. Nothing is asked yet. Raises SettingsError for another URL.

    The driver's retries are off (its default is ten, for three minutes): who calls decides. Plain http only where the
    endpoint says so.
    """
    url = urlsplit(settings.url)
    endpoint = settings.s3_endpoint
    client: ClientConfig = {
        "allow_http": endpoint.startswith("http://"),
        "connect_timeout": timedelta(seconds=_CONNECT_SECONDS),
        "timeout": timedelta(seconds=_REQUEST_SECONDS),
    }
    retry: RetryConfig = {"max_retries": 0}
    if url.scheme not in {"s3", "gs", "az"} or not url.netloc or url.query or url.fragment:
        wanted = "must be `file:/absolute/path`, `s3://bucket` or `s3://bucket/prefix`"
        raise SettingsError([f"RAGMESH_BLOBS_URL: {wanted} (it is {settings.url!r})"])
    try:
        if url.scheme != "s3":
            return from_url(settings.url, client_options=client, retry_config=retry)
        config: S3Config = {"region": settings.s3_region}
        if endpoint:
            config["endpoint"] = endpoint.rstrip("/")
        if settings.s3_access_key:
            config["access_key_id"] = settings.s3_access_key
            config["secret_access_key"] = settings.s3_secret_key
        prefix = url.path.strip("/")
        return S3Store(url.netloc, prefix=prefix or None, config=config, client_options=client, retry_config=retry)
    except (BaseError, ValueError) as error:
        raise SettingsError([f"RAGMESH_BLOBS_URL: {settings.url!r} cannot be used as it is"]) from error
