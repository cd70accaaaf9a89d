"""What a blob key may look like, the same for a folder and a bucket."""

from __future__ import annotations

import re

from ragmesh_servicekit.errors import InvalidArgument

MAX_KEY_LENGTH = 512
_SEGMENT = r"[A-Za-z0-9_=-][A-Za-z0-9._=-]{0,199}"
_KEY = re.compile(rf"{_SEGMENT}(?:/{_SEGMENT})*")


def check_key(key: str) -> str:
    """The key itself when it is safe on every store: segments of ASCII letters, digits and `._=-` that do not begin
    with a full stop (neither `..` nor a hidden file), at most 200 characters each and 512 in all, joined by `/`.

    Ids that clients choose must be encoded before they become part of a key. Raises InvalidArgument.
    """
    if len(key) > MAX_KEY_LENGTH or _KEY.fullmatch(key) is None:
        raise InvalidArgument.field("blob_key", "must be safe segments joined by `/`, 512 characters at most")
    return key
