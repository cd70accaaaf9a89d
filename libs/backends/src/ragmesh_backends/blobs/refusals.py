"""What an object store's errors mean. obstore gives one class to several of them: its FileNotFoundError is a 404, which
is an absent object, an absent bucket or, on some servers, an unknown key. The store's own code tells them apart."""

from __future__ import annotations

import re

from obstore.exceptions import PermissionDeniedError, UnauthenticatedError

from ragmesh_servicekit.errors import Unavailable

_CODE = re.compile(r"<Code>(\w{1,64})</Code>")
_ABSENT = {"NoSuchKey", "BlobNotFound"}
_NO_BUCKET = {"NoSuchBucket", "ContainerNotFound"}
_REGION = {"AuthorizationHeaderMalformed", "PermanentRedirect", "IncorrectRegion"}
_KEY = {
    "AccessDenied",
    "AccountProblem",
    "AuthenticationFailed",
    "ExpiredToken",
    "InvalidAccessKeyId",
    "InvalidToken",
    "SignatureDoesNotMatch",
    "XAdminUserNotFound",  # versitygw's word for an unknown key, with status 404
}


_AWS_METADATA = "http://169.254.169.254/"
"""Where the driver asks for a role when it was given no key."""


def code_of(error: BaseException) -> str:
    """The store's own word for the failure, empty when it sent none (a HEAD has no body, a folder has no codes)."""
    found = _CODE.search(str(error))
    return found[1] if found else ""


def absent(error: FileNotFoundError) -> bool:
    """Whether only the object is missing."""
    return code_of(error) in {"", *_ABSENT}


def unavailable(error: BaseException) -> Unavailable:
    """The error for a failure of the store; metadata.cause is `key`, `bucket`, `region` or `disk` when the operator has
    to mend something."""
    code = code_of(error)
    if code in _NO_BUCKET:
        return _refusal("bucket", "the bucket of the blobs store does not exist; see RAGMESH_BLOBS_URL")
    if code in _KEY or isinstance(error, (PermissionDeniedError, UnauthenticatedError)):
        return _refusal(
            "key",
            "the blobs store refuses the key; see RAGMESH_BLOBS_S3_ACCESS_KEY, RAGMESH_BLOBS_S3_SECRET_KEY and what it "
            "may do",
        )
    if code in _REGION:
        return _refusal("region", "the bucket of the blobs store is in another region; see RAGMESH_BLOBS_S3_REGION")
    if _AWS_METADATA in str(error):
        return _refusal(
            "key", "there is no key for the blobs store; see RAGMESH_BLOBS_S3_ACCESS_KEY, or give the process a role"
        )
    if "No space left" in str(error):
        return _refusal("disk", "the disk of the blobs store is full")
    return Unavailable.dependency("blobs")


def _refusal(cause: str, sentence: str) -> Unavailable:
    return Unavailable(sentence, metadata={"dependency": "blobs", "cause": cause})
